//! The one thread that writes: group commit, replays, what is kept of endpoints; outcomes as in `settling.rs`, and once a second what
//! `housekeeping.rs` tells.
//!
//! It takes whatever waits in its queues as one commit: settlements first, then new events, then replays; makes it durable
//! once; and only then answers. While it syncs, the next commit gathers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::commit::{Known, Stage};
use super::endpoints::{EndpointRecords, Notes};
use super::generation::Generation;
use super::housekeeping::HOUSEKEEPING_MS;
use super::low::{self, LowWatch};
use super::readers::Readers;
use super::recovery::Current;
use super::room::Room;
use super::settling::{Outcome, Outcomes, SETTLE_SYNC_MS};
use super::slot::{Ids, Life, Slot};
use super::store::Store;
use super::{AcceptError, Accepted, FreshEvent, News, OutboxOptions, StorageSettings, StoreError, ids};
use crate::clock::{MonoMs, SharedClock};
use crate::config::Durability;
use crate::limits::{COMMIT_EVENTS_MAX, OWED_SETTLEMENTS_MAX};
use crate::model::delivery::DeliveryRef;
use crate::model::event::NewEvent;
use crate::observe::Metrics;
use crate::observe::storage::{CommitFailed, Committed};

/// Shortest time between two tries to begin a generation on a disk that refuses, in milliseconds.
const BEGIN_AGAIN_MS: u64 = 500;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    Accept(Accept),
    Replay {
        deliveries: Vec<DeliveryRef>,
        reply: oneshot::Sender<Result<usize, AcceptError>>,
    },
    /// What was noted of endpoints is to be durable.
    StoreEndpoints {
        reply: oneshot::Sender<Result<(), AcceptError>>,
    },
    Configure {
        settings: StorageSettings,
        reply: oneshot::Sender<()>,
    },
    /// Whether the writer gets through its work. The permit is free again once it has answered.
    Heartbeat {
        reply: oneshot::Sender<()>,
        permit: tokio::sync::OwnedSemaphorePermit,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// Events handed in together.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) events: Vec<NewEvent>,
    /// What was found under their ids in the generations before `horizon`.
    pub(super) known: Vec<Option<Known>>,
    /// The writer itself looks from this generation on.
    pub(super) horizon: u32,
    /// Bytes that count against the queue until the answer.
    pub(super) permit: Option<tokio::sync::OwnedSemaphorePermit>,
    pub(super) reply: oneshot::Sender<Result<Vec<Accepted>, AcceptError>>,
}

/// The writer's own things.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    pub(super) current: Option<Current>,
    pub(super) endpoints: EndpointRecords,
    /// What is known of endpoints and not written yet.
    pub(super) notes: Arc<Notes>,
    /// Whether the disk refused it last.
    pub(super) endpoints_refused: bool,
    pub(super) options: OutboxOptions,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) news: mpsc::Sender<News>,
    /// Threads that may do something for the writer.
    pub(super) readers: Arc<Readers>,
    /// Whether events are taken, for everybody to see.
    pub(super) room: Arc<Room>,
    pub(super) low: LowWatch,
    pub(super) outcomes: Outcomes,
    /// What the disk said when it last refused; nothing once it works again.
    pub(super) trouble: Option<String>,
    /// Generations that could not be opened at the start, and why.
    pub(super) shut: Vec<u32>,
    pub(super) why_shut: String,
    pub(super) begin_again: MonoMs,
    pub(super) seal_again: MonoMs,
    pub(super) mend_again: MonoMs,
}

/// The writer's queues.
#[derive(Debug)]
pub(super) struct Queues {
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) outcomes: mpsc::Receiver<Outcome>,
}

enum Wake {
    Command(Command),
    Outcome(Outcome),
    Time,
    Closed,
}

impl Writer {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self, runtime: &Handle, mut queues: Queues) {
        let mut housekeeping = self.clock.mono();
        loop {
            let housekeeping_due = housekeeping.plus_ms(HOUSEKEEPING_MS);
            let sync_due = self.outcomes.unsynced_since.map(|since| since.plus_ms(SETTLE_SYNC_MS));
            let due = sync_due.map_or(housekeeping_due, |sync| sync.min(housekeeping_due));
            let clock = Arc::clone(&self.clock);
            let patient = self.outcomes.has_room();
            let wake = runtime.block_on(async {
                tokio::select! {
                    biased;
                    command = queues.commands.recv() => command.map_or(Wake::Closed, Wake::Command),
                    Some(outcome) = queues.outcomes.recv(), if patient => Wake::Outcome(outcome),
                    () = clock.sleep_until(due) => Wake::Time,
                }
            });
            let stopped = match wake {
                Wake::Command(first) => self.work(Some(first), Vec::new(), &mut queues),
                Wake::Outcome(first) => self.work(None, vec![first], &mut queues),
                Wake::Time => None,
                Wake::Closed => Some(None),
            };
            let now = self.clock.mono();
            let sync_is_due = |since: MonoMs| now.since(since) >= SETTLE_SYNC_MS;
            let is_due = self.outcomes.unsynced_since.is_some_and(sync_is_due) || self.outcomes.hold_up();
            if stopped.is_some() || is_due {
                self.sync_settlements();
            }
            if let Some(reply) = stopped {
                // What is refused now was told as that.
                let _ = self.store_endpoints();
                self.tell_owed();
                self.current = None;
                self.store.close_all();
                if let Some(reply) = reply {
                    let _ = reply.send(());
                }
                return;
            }
            if now.since(housekeeping) >= HOUSEKEEPING_MS {
                housekeeping = now;
                self.keep_house();
            }
        }
    }

    /// Makes sure that there is a generation to write to.
    pub(super) fn begin(&mut self) -> Result<(), StoreError> {
        self.current().map(drop)
    }

    /// One commit. Returns the reply of a stop, where one was asked.
    fn work(
        &mut self,
        first: Option<Command>,
        mut outcomes: Vec<Outcome>,
        queues: &mut Queues,
    ) -> Option<Option<oneshot::Sender<()>>> {
        let (mut accepts, mut replays) = (Vec::new(), Vec::new());
        let (mut stores, mut configured, mut heartbeats) = (Vec::new(), Vec::new(), Vec::new());
        let (mut events, mut stop) = (0, None);
        let mut next = first.or_else(|| queues.commands.try_recv().ok());
        while let Some(command) = next {
            match command {
                Command::Accept(accept) => {
                    events += accept.events.len();
                    accepts.push(accept);
                }
                Command::Replay { deliveries, reply } => replays.push((deliveries, reply)),
                Command::StoreEndpoints { reply } => stores.push(reply),
                Command::Configure { settings, reply } => {
                    self.options.adopt(settings);
                    configured.push(reply);
                }
                Command::Heartbeat { reply, permit } => heartbeats.push((reply, permit)),
                Command::Stop { reply } => stop = Some(Some(reply)),
            }
            let full = events >= COMMIT_EVENTS_MAX || stop.is_some();
            next = if full { None } else { queues.commands.try_recv().ok() };
        }
        // A replay, and a stop, come after every outcome that was told before them.
        let all = !replays.is_empty() || stop.is_some();
        while (all || outcomes.len() < COMMIT_EVENTS_MAX)
            && self.outcomes.has_room()
            && let Ok(outcome) = queues.outcomes.try_recv()
        {
            outcomes.push(outcome);
            if outcomes.len() >= OWED_SETTLEMENTS_MAX {
                self.settle(std::mem::take(&mut outcomes));
            }
        }
        self.settle(outcomes);
        if !accepts.is_empty() {
            self.accept(accepts);
        }
        for (deliveries, reply) in replays {
            let _ = reply.send(self.replay(&deliveries));
        }
        if !stores.is_empty() {
            let stored = self.store_endpoints();
            for reply in stores {
                let _ = reply.send(stored.clone());
            }
        }
        if !configured.is_empty() {
            // Other limits let other generations go, and leave other room.
            self.keep_house();
            for reply in configured {
                let _ = reply.send(());
            }
        }
        // Last: everything that came with them has been done, or refused. What the disk says to it does not matter here.
        for (reply, _permit) in heartbeats {
            let _ = reply.send(());
        }
        stop
    }

    fn accept(&mut self, accepts: Vec<Accept>) {
        let started = Instant::now();
        let condition = self.judge_room();
        if condition.is_full() || !self.shut.is_empty() {
            let error = if condition.is_full() { AcceptError::Full } else { AcceptError::Failed };
            for accept in accepts {
                let _ = accept.reply.send(Err(error.clone()));
            }
            return;
        }
        let mut stage = Stage::new(Arc::clone(&self.store));
        let mut waiting = Vec::with_capacity(accepts.len());
        for accept in accepts {
            match stage.add(accept.events, accept.known, accept.horizon) {
                Ok(accepted) => waiting.push((accept.reply, accepted, accept.permit)),
                Err(error) => {
                    let _ = accept.reply.send(Err(error));
                }
            }
        }
        let events = stage.into_events();
        let acknowledged = self.current.as_ref().map_or(0, |current| current.generation.events());
        let outcome = if events.is_empty() { Ok(()) } else { self.commit(&events) };
        match outcome {
            Ok(()) => {
                for (reply, accepted, _permit) in waiting {
                    // Whoever asked may have gone away; the events are stored all the same.
                    let _ = reply.send(Ok(accepted));
                }
                if !events.is_empty() {
                    let mended = self.trouble.take().is_some();
                    if mended || low::is_near(self.store.disk_bytes(), self.options.size_bytes_max) {
                        self.judge_room();
                    }
                    Committed { events: events.len(), took: started.elapsed() }.tell(&self.metrics);
                    self.announce(events);
                }
            }
            Err(error) => {
                CommitFailed { error: &error.to_string(), events: events.len(), known: self.trouble.is_some() }
                    .tell(&self.metrics);
                let failed = self.current.as_ref().map(|current| current.slot.no());
                self.abandon_current(Some(acknowledged));
                // One that holds nothing is not kept: while a disk refuses, every request would leave another.
                if let Some(no) = failed.filter(|_| acknowledged == 0)
                    && let Err(error) = self.store.remove(no)
                {
                    tracing::debug!(generation = no, %error, "a generation that holds nothing could not be removed");
                }
                self.trouble = Some(error.to_string());
                self.judge_room();
                for (reply, ..) in waiting {
                    let _ = reply.send(Err(AcceptError::Failed));
                }
            }
        }
    }

    /// Writes events and makes them durable.
    fn commit(&mut self, events: &[NewEvent]) -> Result<(), StoreError> {
        let durable = self.options.durability == Durability::Fsync;
        let now = self.clock.wall();
        let mono = self.clock.mono();
        let current = self.current()?;
        let first = current.generation.events();
        let bytes = current.generation.append_events(events)?;
        if durable {
            current.generation.sync()?;
        } else {
            current.generation.flush()?;
        }
        current.bytes += bytes;
        current.slot.learn(events.iter().zip(first..).flat_map(|(new, seq)| {
            let key = new.idempotency_key.as_ref().map(|key| key.as_str());
            ids::of(new.event.id.as_str(), key).map(move |hash| (hash, seq))
        }));
        current.slot.life(|life| {
            life.pending += events.iter().map(|new| new.targets.len() as u64).sum::<u64>();
            for new in events {
                life.disorder_ms = life.disorder_ms.max(life.last_at.since(new.event.at));
                life.last_at = life.last_at.max(new.event.at);
            }
            life.changed_at = now;
        });
        let (no, generation) = (current.slot.no(), Arc::clone(&current.generation));
        self.store.add_disk_bytes(bytes);
        if durable {
            self.outcomes.unsynced.remove(&no);
        } else {
            self.outcomes.unsynced.insert(no, generation);
            self.outcomes.unsynced_since.get_or_insert(mono);
        }
        Ok(())
    }

    /// Hands fresh events to the scheduler, straight from memory; then seals a generation that is full.
    fn announce(&mut self, events: Vec<NewEvent>) {
        let Some(current) = &self.current else { return };
        let generation = &current.generation;
        let first = generation.events() - u32::try_from(events.len()).unwrap_or(0);
        let fresh = events
            .into_iter()
            .zip(first..)
            .map(|(new, seq)| FreshEvent { place: generation.place(seq), event: new.event, targets: new.targets })
            .filter(|fresh| !fresh.targets.is_empty())
            .collect();
        // A closed channel means that the daemon is stopping: the events wait for the next start.
        let _ = self.news.blocking_send(News::Accepted(fresh));
        if current.bytes >= self.options.generation_bytes {
            self.seal_current();
        }
    }

    /// Tells the scheduler something, also before this thread runs, when nobody takes it and there is room for it.
    pub(super) fn announce_now(&self, news: News) {
        if let Err(mpsc::error::TrySendError::Full(news)) = self.news.try_send(news) {
            let _ = self.news.blocking_send(news);
        }
    }

    pub(super) fn open(&self, slot: &Slot) -> Result<Arc<Generation>, StoreError> {
        match &self.current {
            Some(current) if current.slot.no() == slot.no() => Ok(Arc::clone(&current.generation)),
            _ => self.store.open(slot),
        }
    }

    /// The generation that takes events; a new one where there is none.
    fn current(&mut self) -> Result<&mut Current, StoreError> {
        if self.current.is_none() {
            let now = self.clock.mono();
            if now < self.begin_again {
                return Err(StoreError::Resting);
            }
            self.begin_again = now.plus_ms(BEGIN_AGAIN_MS);
            self.current = Some(self.begin_generation()?);
            self.begin_again = now;
        }
        self.current.as_mut().ok_or(StoreError::Resting)
    }

    fn begin_generation(&self) -> Result<Current, StoreError> {
        let no = self.store.newest() + 1;
        let now = self.clock.wall();
        let life = Life { disorder_ms: 0, ..Life::unknown(now) };
        let slot = Slot::new(no, Ids::Live(HashMap::new()), life);
        let generation = match self.store.make(&slot) {
            Ok(generation) => generation,
            Err(error) => {
                // Half a generation would stand in the way of the next try. Nothing was ever stored in it.
                let _ = self.store.folder().remove_generation(no);
                return Err(error);
            }
        };
        if let Err(source) = self.store.enroll(Arc::clone(&slot)) {
            drop(generation);
            let _ = self.store.folder().remove_generation(no);
            return Err(StoreError::Io { what: "cannot put on the roll", generation: no, source });
        }
        Ok(Current { slot, generation, bytes: 0, since: now })
    }

    pub(super) fn seal_current(&mut self) {
        let Some(current) = self.current.take() else { return };
        let no = current.slot.no();
        match current.slot.seal(&current.generation) {
            Ok(()) => {
                self.outcomes.unsynced.remove(&no);
                tracing::debug!(generation = no, events = current.generation.events(), "generation sealed");
            }
            Err(error) => {
                tracing::warn!(generation = no, %error, "a generation could not be sealed; it is tried again");
                self.abandon(no);
            }
        }
    }

    /// Lets go of the current generation after a failure. `know_only`: only so many of its events were acknowledged.
    pub(super) fn abandon_current(&mut self, know_only: Option<u32>) {
        if let Some(current) = self.current.take() {
            // What was written lazily is handed to the file; an engine that has failed refuses, and that is known.
            let _ = current.generation.flush();
            self.abandon_from(current.slot.no(), know_only);
            drop(current);
        }
    }

    /// Lets go of a generation that failed; the next use opens it anew.
    pub(super) fn abandon(&mut self, no: u32) {
        self.abandon_from(no, None);
    }

    fn abandon_from(&mut self, no: u32, know_only: Option<u32>) {
        if self.current.as_ref().is_some_and(|current| current.slot.no() == no) {
            self.abandon_current(know_only);
            return;
        }
        // It looks at what it forgets, so that is let go of only then.
        let unsynced = self.outcomes.unsynced.remove(&no);
        if let Some(generation) = &unsynced {
            let _ = generation.flush();
        }
        self.store.forget(no, know_only);
        drop(unsynced);
    }
}
