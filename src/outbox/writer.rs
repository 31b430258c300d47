//! The one thread that writes: group commit, replays, endpoint states, housekeeping.
//!
//! It takes whatever waits in its queue as one commit: settlements first, then new events, then replays; makes it durable
//! once; and only then answers. While it syncs, the next commit gathers. Settlements alone are written at once and synced
//! within [`SETTLE_SYNC_MS`]: losing one means one more delivery, never one less.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::commit::{Known, Stage};
use super::endpoints::EndpointStates;
use super::generation::Generation;
use super::recovery::Current;
use super::store::{Ids, Life, Slot, Store};
use super::{AcceptError, Accepted, FreshEvent, News, OutboxOptions, StoreError};
use crate::clock::{MonoMs, SharedClock, UnixMs};
use crate::config::Durability;
use crate::limits::COMMIT_EVENTS_MAX;
use crate::model::delivery::{DeliveryRef, Settlement, Standing};
use crate::model::endpoint::EndpointState;
use crate::model::event::NewEvent;
use crate::model::roster::EndpointNo;
use crate::observe::Metrics;
use crate::observe::happening::{CommitFailed, Committed};

/// Longest that a settlement waits for its fsync, in milliseconds.
const SETTLE_SYNC_MS: u64 = 200;
/// Time between two rounds of housekeeping, in milliseconds.
const HOUSEKEEPING_MS: u64 = 1_000;
/// Most generations that wait for their sync at once.
const UNSYNCED_MAX: usize = 8;
/// A generation is sealed at this age even if it is small, so that retention can remove it: a quarter of the retention,
/// within these bounds, in milliseconds.
const SEAL_AGE_MS: std::ops::RangeInclusive<u64> = 1_000..=24 * 3600 * 1000;
/// Shortest time between two tries to begin a generation on a disk that refuses, in milliseconds.
const BEGIN_AGAIN_MS: u64 = 500;

/// What the writer is asked.
#[derive(Debug)]
pub(super) enum Command {
    Accept(Accept),
    Settle(Settlement),
    Replay { deliveries: Vec<DeliveryRef>, reply: oneshot::Sender<Result<usize, AcceptError>> },
    EndpointState { endpoint: EndpointNo, state: EndpointState, reply: oneshot::Sender<Result<(), AcceptError>> },
    Stop { reply: oneshot::Sender<()> },
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
    pub(super) endpoints: EndpointStates,
    pub(super) options: OutboxOptions,
    pub(super) clock: SharedClock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) news: mpsc::Sender<News>,
    /// Generations with settlements that are written and not synced.
    pub(super) unsynced: BTreeMap<u32, Arc<Generation>>,
    pub(super) unsynced_since: Option<MonoMs>,
    pub(super) begin_again: MonoMs,
    pub(super) seal_again: MonoMs,
}

enum Wake {
    Command(Command),
    Time,
    Closed,
}

impl Writer {
    /// Runs until it is told to stop.
    pub(super) fn run(mut self, runtime: &Handle, mut commands: mpsc::Receiver<Command>) {
        let mut housekeeping = self.clock.mono();
        loop {
            let housekeeping_due = housekeeping.plus_ms(HOUSEKEEPING_MS);
            let sync_due = self.unsynced_since.map(|since| since.plus_ms(SETTLE_SYNC_MS));
            let due = sync_due.map_or(housekeeping_due, |sync| sync.min(housekeeping_due));
            let clock = Arc::clone(&self.clock);
            let wake = runtime.block_on(async {
                tokio::select! {
                    biased;
                    command = commands.recv() => command.map_or(Wake::Closed, Wake::Command),
                    () = clock.sleep_until(due) => Wake::Time,
                }
            });
            let stopped = match wake {
                Wake::Command(first) => self.work(first, &mut commands),
                Wake::Time => None,
                Wake::Closed => Some(None),
            };
            let now = self.clock.mono();
            if stopped.is_some() || self.unsynced_since.is_some_and(|since| now.since(since) >= SETTLE_SYNC_MS) {
                self.sync_settlements();
            }
            if let Some(reply) = stopped {
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
    fn work(&mut self, first: Command, commands: &mut mpsc::Receiver<Command>) -> Option<Option<oneshot::Sender<()>>> {
        let (mut accepts, mut settlements, mut replays) = (Vec::new(), Vec::new(), Vec::new());
        let (mut events, mut stop) = (0, None);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Accept(accept) => {
                    events += accept.events.len();
                    accepts.push(accept);
                }
                Command::Settle(settlement) => settlements.push(settlement),
                Command::Replay { deliveries, reply } => replays.push((deliveries, reply)),
                Command::EndpointState { endpoint, state, reply } => {
                    let _ = reply.send(self.set_endpoint_state(endpoint, state));
                }
                Command::Stop { reply } => stop = Some(Some(reply)),
            }
            let full = events >= COMMIT_EVENTS_MAX || settlements.len() >= COMMIT_EVENTS_MAX;
            next = if full || stop.is_some() { None } else { commands.try_recv().ok() };
        }
        self.settle(settlements);
        if !accepts.is_empty() {
            self.accept(accepts);
        }
        for (deliveries, reply) in replays {
            let _ = reply.send(self.replay(&deliveries));
        }
        stop
    }

    fn accept(&mut self, accepts: Vec<Accept>) {
        let started = Instant::now();
        if self.store.disk_bytes() >= self.options.size_bytes_max {
            for accept in accepts {
                let _ = accept.reply.send(Err(AcceptError::Full));
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
                    Committed { events: events.len(), took: started.elapsed() }.tell(&self.metrics);
                    self.announce(events);
                }
            }
            Err(error) => {
                CommitFailed { error: &error.to_string(), events: events.len() }.tell(&self.metrics);
                self.abandon_current(Some(acknowledged));
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
            let key = new.idempotency_key.as_ref().map(|key| (super::ids::idempotency_hash(key.as_str()), seq));
            std::iter::once((super::ids::id_hash(new.event.id.as_str()), seq)).chain(key)
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
            self.unsynced.remove(&no);
        } else {
            self.unsynced.insert(no, generation);
            self.unsynced_since.get_or_insert(mono);
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

    /// Writes settlements; readers see them at once.
    fn settle(&mut self, settlements: Vec<Settlement>) {
        let mut by_generation: BTreeMap<u32, Vec<Settlement>> = BTreeMap::new();
        for settlement in settlements {
            by_generation.entry(settlement.delivery.event.generation).or_default().push(settlement);
        }
        for (no, settlements) in by_generation {
            let Some(slot) = self.store.slot(no) else { continue };
            let written = self.append(&slot, &settlements).or_else(|error| {
                tracing::debug!(generation = no, %error, "a generation failed and is opened again");
                self.abandon(no);
                self.append(&slot, &settlements)
            });
            match written {
                Ok(generation) => {
                    let now = self.clock.wall();
                    let finished =
                        settlements.iter().filter(|s| !matches!(s.standing, Standing::Pending { .. })).count();
                    slot.life(|life| {
                        life.pending = life.pending.saturating_sub(finished as u64);
                        life.changed_at = now;
                    });
                    self.sync_soon(no, generation);
                }
                Err(error) => {
                    tracing::warn!(
                        generation = no,
                        %error,
                        outcomes = settlements.len(),
                        "outcomes of deliveries could not be written: after a restart they are delivered once more"
                    );
                    self.abandon(no);
                }
            }
        }
    }

    fn append(&self, slot: &Slot, settlements: &[Settlement]) -> Result<Arc<Generation>, StoreError> {
        let generation = self.open(slot)?;
        generation.append_settlements(settlements)?;
        Ok(generation)
    }

    /// Has a generation synced within [`SETTLE_SYNC_MS`]. It stays open until then, so there are never many of them.
    fn sync_soon(&mut self, no: u32, generation: Arc<Generation>) {
        if self.unsynced.len() >= UNSYNCED_MAX {
            self.sync_settlements();
        }
        self.unsynced.insert(no, generation);
        self.unsynced_since.get_or_insert(self.clock.mono());
    }

    fn set_endpoint_state(&mut self, endpoint: EndpointNo, state: EndpointState) -> Result<(), AcceptError> {
        let name = self.store.roster().name(endpoint);
        self.endpoints.set(name, state).map_err(|error| {
            CommitFailed { error: &error.to_string(), events: 0 }.tell(&self.metrics);
            AcceptError::Failed
        })
    }

    fn sync_settlements(&mut self) {
        self.unsynced_since = None;
        for (no, generation) in std::mem::take(&mut self.unsynced) {
            if let Err(error) = generation.sync() {
                tracing::warn!(generation = no, %error, "outcomes of deliveries could not be synced");
                drop(generation);
                self.abandon(no);
            }
        }
    }

    /// Seals small generations that are old, marks finished ones and removes those past retention.
    fn keep_house(&mut self) {
        let now = self.clock.wall();
        let seal_age_ms = (self.options.retention_ms / 4).clamp(*SEAL_AGE_MS.start(), *SEAL_AGE_MS.end());
        if self.current.as_ref().is_some_and(|current| current.generation.failed()) {
            // Nothing was written meanwhile that would have met the failure, and reads cannot open it before it is let go.
            self.abandon_current(None);
        }
        self.seal_left_over();
        let old = |current: &Current| current.generation.events() > 0 && now.since(current.since) >= seal_age_ms;
        if self.current.as_ref().is_some_and(old) {
            self.seal_current();
        }
        for slot in self.store.slots() {
            if !slot.is_sealed() {
                continue;
            }
            let life = slot.life(|life| *life);
            if life.pending > 0 {
                continue;
            }
            if now.since(life.changed_at) >= self.options.retention_ms {
                self.unsynced.remove(&slot.no());
                match self.store.remove(slot.no()) {
                    Ok(()) => tracing::debug!(generation = slot.no(), "generation removed: past retention"),
                    Err(error) => {
                        tracing::warn!(generation = slot.no(), %error, "a generation past retention could not be removed");
                    }
                }
            } else if !life.marked_done {
                let marked = self.open(&slot).and_then(|generation| {
                    generation.set_done(Some(life.changed_at))?;
                    self.sync_soon(slot.no(), generation);
                    Ok(())
                });
                match marked {
                    Ok(()) => slot.life(|life| life.marked_done = true),
                    Err(error) => tracing::warn!(generation = slot.no(), %error, "a generation could not be marked"),
                }
            }
        }
        self.metrics.outbox_disk_bytes.set(i64::try_from(self.store.measure()).unwrap_or(i64::MAX));
        self.metrics.outbox_generations.set(i64::try_from(self.store.len()).unwrap_or(i64::MAX));
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
        let life = Life { pending: 0, last_at: UnixMs(0), disorder_ms: 0, changed_at: now, marked_done: false };
        let slot = Slot::new(no, Ids::Live(HashMap::new()), life);
        let generation = match self.store.open(&slot) {
            Ok(generation) => generation,
            Err(error) => {
                // Half a generation would stand in the way of the next try. Nothing was ever stored in it.
                let _ = self.store.folder().remove_generation(no);
                return Err(error);
            }
        };
        self.store.add(Arc::clone(&slot));
        Ok(Current { slot, generation, bytes: 0, since: now })
    }

    fn seal_current(&mut self) {
        let Some(current) = self.current.take() else { return };
        let no = current.slot.no();
        match current.slot.seal(&current.generation) {
            Ok(()) => {
                self.unsynced.remove(&no);
                tracing::debug!(generation = no, events = current.generation.events(), "generation sealed");
            }
            Err(error) => {
                tracing::warn!(generation = no, %error, "a generation could not be sealed; it is tried again");
                self.abandon(no);
            }
        }
    }

    /// Lets go of the current generation after a failure. `cut`: only so many of its events were acknowledged.
    fn abandon_current(&mut self, cut: Option<u32>) {
        if let Some(current) = self.current.take() {
            let no = current.slot.no();
            drop(current);
            self.abandon_from(no, cut);
        }
    }

    /// Lets go of a generation that failed; the next use opens it anew.
    pub(super) fn abandon(&mut self, no: u32) {
        self.abandon_from(no, None);
    }

    fn abandon_from(&mut self, no: u32, cut: Option<u32>) {
        self.unsynced.remove(&no);
        if self.current.as_ref().is_some_and(|current| current.slot.no() == no) {
            self.current = None;
        }
        self.store.forget(no, cut);
    }
}
