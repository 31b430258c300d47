//! The daemon's core under a clock, a network and a disk of ours: one folder, one life after another.
//!
//! The outbox's threads are real. Everything above them runs on one thread, and only while [`World::rest`] lets it: the
//! dispatcher sees no event, no answer and no moment before. A rest ends when every request but those that wait for the clock
//! is answered and settled, so that the next act meets a world that stands still.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use webhookd::clock::{ManualClock, ManualHandle, MonoMs, SharedClock, UnixMs};
use webhookd::config::{Durability, Endpoint};
use webhookd::dispatch::{Control, Dispatcher, Running, admit};
use webhookd::limits::SCHEDULE_QUEUE_MAX;
use webhookd::model::delivery::{EventRef, Waiting};
use webhookd::model::endpoint::EndpointState;
use webhookd::model::roster::Roster;
use webhookd::model::text::EventId;
use webhookd::observe::Metrics;
use webhookd::outbox::{ListQuery, News, Opened, Outbox, OutboxOptions, StoredEvent};
use webhookd::schedule::Schedule;

use super::disk::{self, FREE_BYTES_MIN, SimDisk, Trouble};
use super::ledger::{Heard, LaneState, Ledger, Now, Post};
use super::network::{Behaviour, Network, Wire};
use super::report::Story;

/// Longest that anything may take in real time before the run counts as stuck.
const STUCK: Duration = Duration::from_secs(30);
/// After a fault everything may take so long to come back, in milliseconds of the simulation.
const RECOVERY_MS: u64 = 20_000;

/// What was settled before the clock moves on by so much is durable after it, in milliseconds.
const SYNCED_MS: u64 = 250;

/// What a seed has chosen once and for all.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub endpoints: Vec<Arc<Endpoint>>,
    pub in_flight_total_max: usize,
    pub generation_bytes: u64,
    pub retention_ms: u64,
    pub size_bytes_max: u64,
    pub durability: Durability,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    pub setup: Setup,
    pub story: Story,
    ledger: Arc<Mutex<Ledger>>,
    behaviours: Vec<Behaviour>,
    home: tempfile::TempDir,
    folders: u32,
    data: PathBuf,
    wall: UnixMs,
    latest_wall: UnixMs,
    life: Option<Life>,
}

/// One life of the daemon.
#[derive(Debug)]
struct Life {
    runtime: Runtime,
    clock: Arc<ManualClock>,
    time: SharedClock,
    disk: Arc<SimDisk>,
    network: Arc<Network>,
    outbox: Outbox,
    control: Control,
    /// What the outbox tells the dispatcher passes through here.
    news: mpsc::Receiver<News>,
    forward: mpsc::Sender<News>,
    stop: CancellationToken,
    drained: CancellationToken,
    tracker: TaskTracker,
    /// Until then a fault may still be felt.
    troubled_until: MonoMs,
    /// Whether a damaged generation may be met.
    damaged: bool,
    /// News are held back for so many rests.
    held_back: u32,
}

/// Waits for a future on this thread, without turning the runtime.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    let begun = Instant::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        assert!(begun.elapsed() < STUCK, "the outbox does not answer");
        std::thread::park_timeout(Duration::from_secs(1));
    }
}

/// All of these futures at once.
async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in running.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(done) = future.as_mut().poll(context)
            {
                *output = Some(done);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

/// Where the folders lie: in memory where that can be had, since a disk would only cost time.
fn in_memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() }
}

impl World {
    /// A world with an empty folder. Nothing runs yet.
    pub fn new(setup: Setup, wall: UnixMs, behaviours: Vec<Behaviour>) -> Self {
        let ledger = Ledger::new(setup.endpoints.clone(), setup.in_flight_total_max, setup.retention_ms);
        let home = tempfile::Builder::new().prefix("webhookd-sim-").tempdir_in(in_memory()).unwrap();
        let data = home.path().join("0");
        let ledger = Arc::new(Mutex::new(ledger));
        Self { setup, story: Story::new(), ledger, behaviours, home, folders: 0, data, wall, latest_wall: wall, life: None }
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the daemon has started.
    pub fn is_alive(&self) -> bool {
        self.life.is_some()
    }

    pub fn tell(&mut self, line: String) {
        let mono = self.life.as_ref().map_or(0, |life| life.time.mono().0);
        self.story.tell(format!("{mono:>12} {line}"));
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("the daemon is alive")
    }

    pub fn now(&self) -> Now {
        Now::of(&self.life().time)
    }

    /// Whether an image for a crash was taken: what comes now is not in it.
    pub fn cut(&self) -> bool {
        self.life().disk.taken().is_some()
    }

    /// Whether nothing has been wrong for a while.
    pub fn calm(&self) -> bool {
        let life = self.life();
        !life.disk.trouble().any() && life.time.mono() >= life.troubled_until
    }

    /// Whether the dispatcher knows what the outbox has told.
    fn has_heard_all(&self) -> bool {
        self.life().held_back == 0 && self.life().news.is_empty()
    }

    fn heard(&self, cut_before: bool) -> Heard {
        let limited = self.setup.size_bytes_max != u64::MAX;
        Heard { now: self.now(), cut: cut_before || self.cut(), calm: self.calm() && !limited }
    }

    // --- Lives ---------------------------------------------------------------------------------------------------------

    /// Starts the daemon on the folder as it is.
    pub fn start(&mut self) {
        let clock = ManualClock::at(self.wall);
        let time: SharedClock = Arc::new(ManualHandle(Arc::clone(&clock)));
        let disk = SimDisk::of(&self.data);
        let options = OutboxOptions {
            dir: self.data.clone(),
            retention_ms: self.setup.retention_ms,
            size_bytes_max: self.setup.size_bytes_max,
            durability: self.setup.durability,
            free_bytes_min: Some(FREE_BYTES_MIN),
            generation_bytes: self.setup.generation_bytes,
            disk: Arc::clone(&disk) as _,
        };
        let (roster, metrics) = (Roster::shared(), Metrics::shared());
        for (at, endpoint) in self.setup.endpoints.iter().enumerate() {
            assert_eq!(usize::from(roster.number(&endpoint.name).0), at);
        }
        let runtime = Builder::new_current_thread().build().unwrap();
        let mut schedule = Schedule::new(self.setup.in_flight_total_max);
        let mut waiting = Vec::new();
        let opened = {
            let _entered = runtime.enter();
            let each = |one: Waiting| {
                admit(&mut schedule, &one, &time);
                waiting.push(one);
            };
            Outbox::open(options, Arc::clone(&time), Arc::clone(&roster), Arc::clone(&metrics), each)
        };
        let Opened { outbox, news, endpoint_states } = match opened {
            Ok(opened) => opened,
            Err(error) => {
                self.ledger().breach(format!("the outbox does not open: {error}"));
                return;
            }
        };
        let network = Network::new(Arc::clone(&time), Arc::clone(&self.ledger), self.behaviours.clone(), self.setup.seed);
        let (forward, forwarded) = mpsc::channel(SCHEDULE_QUEUE_MAX);
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let dispatcher = Dispatcher {
            outbox: outbox.clone(),
            courier: Wire(Arc::clone(&network)),
            clock: Arc::clone(&time),
            metrics,
            roster,
            schedule,
            news: forwarded,
            seed: self.setup.seed,
        };
        let running = {
            let _entered = runtime.enter();
            dispatcher.start(self.setup.endpoints.iter(), &endpoint_states, stop.clone(), &tracker)
        };
        let Running { control, drained, .. } = running;
        let damaged = self.ledger().is_harmed();
        let complete = outbox.condition().reason() != Some("failing");
        self.life = Some(Life {
            runtime,
            clock,
            time,
            disk,
            network,
            outbox,
            control,
            news,
            forward,
            stop,
            drained,
            tracker,
            troubled_until: MonoMs(if damaged { RECOVERY_MS } else { 0 }),
            damaged,
            held_back: 0,
        });
        let told: Vec<LaneState> = (self.setup.endpoints.iter())
            .map(|endpoint| {
                let state = endpoint_states.iter().find(|(name, _)| *name == endpoint.name).map(|(_, state)| *state);
                match state.unwrap_or_default() {
                    EndpointState::Active => LaneState::Active,
                    EndpointState::Paused => LaneState::Paused,
                    EndpointState::Disabled { .. } => LaneState::Disabled,
                }
            })
            .collect();
        let waiting: Vec<_> = waiting.into_iter().filter_map(|one| Some((self.know(one.delivery.event)?, one))).collect();
        let now = self.now();
        let (line, mut ledger) = (format!("started, {} wait, endpoints {told:?}", waiting.len()), self.ledger());
        ledger.lanes_begin(&told);
        ledger.begins(&waiting, complete, now);
        drop(ledger);
        self.tell(line);
    }

    /// Which event lies in a place; it is asked for where that is not known yet, or may have changed with a crash.
    fn know(&mut self, place: EventRef) -> Option<usize> {
        let known = self.ledger().post_at(place);
        let sure = known.filter(|post| self.ledger().posts()[*post].fate == super::ledger::Fate::Stored);
        if sure.is_some() {
            return sure;
        }
        match wait(self.life().outbox.load(place)) {
            Ok(Some(event)) => {
                let post = event.traceparent.as_deref().and_then(|mark| mark.parse().ok());
                if let Some(post) = post {
                    self.ledger().lies_at(post, place);
                }
                post
            }
            other => {
                let calm = self.life().troubled_until == MonoMs(0) && !self.life().damaged;
                if calm {
                    self.ledger().breach(format!("what waits at {place:?} cannot be read: {other:?}"));
                }
                None
            }
        }
    }

    /// Has an image taken in the middle of what comes, after so many writes and syncs.
    pub fn crash_after(&mut self, passes: u32) {
        self.folders += 1;
        let to = self.home.path().join(self.folders.to_string());
        self.life().disk.take_image_after(passes, to);
    }

    /// Ends this life as SIGKILL would, at the image that was taken, or now.
    pub fn crash(&mut self) {
        let in_the_middle = self.cut();
        if !in_the_middle {
            self.crash_after(0);
            self.life().disk.take_image_now();
        }
        self.ledger().counts.crashes += 1;
        self.ledger().counts.cut += u64::from(in_the_middle);
        self.tell(format!("killed{}", if in_the_middle { " in the middle of something" } else { "" }));
        let Some(life) = self.life.take() else { return };
        let image = life.disk.taken().expect("an image was just taken");
        self.wall = life.time.wall();
        life.disk.set_trouble(Trouble::default());
        life.end();
        let _ = std::fs::remove_dir_all(&self.data);
        self.data = image;
        self.ledger().life_ends(true);
    }

    /// Stops in order. `patient`: requests under way may end first.
    pub fn stop(&mut self, patient: bool) {
        self.tell(format!("stopped{}", if patient { "" } else { " with requests under way" }));
        self.ledger().counts.stops += 1;
        self.life().stop.cancel();
        if patient {
            while let Some(end) = self.life().network.next_end() {
                let ms = end.since(self.life().time.mono());
                self.life().clock.advance_ms(ms);
                self.rest_in(Rest::Stopping);
            }
            let life = self.life();
            life.runtime.block_on(async {
                let begun = Instant::now();
                while !life.drained.is_cancelled() {
                    assert!(begun.elapsed() < STUCK, "the dispatcher does not drain");
                    tokio::task::yield_now().await;
                }
            });
        }
        let calm = self.calm() && !self.cut();
        if self.cut() {
            // The stop came too late for the image: it is a crash.
            self.crash();
            return;
        }
        let life = self.life.take().expect("the daemon is alive");
        self.wall = life.time.wall();
        life.end();
        let mut ledger = self.ledger();
        if calm {
            ledger.make_sure();
        }
        ledger.life_ends(!calm);
    }

    /// Damages a generation of the folder, between two lives.
    pub fn damage(&mut self, random: &mut fastrand::Rng) {
        if let Some((no, how)) = disk::damage(&self.data, random) {
            self.tell(format!("generation {no} damaged: {how}"));
            self.ledger().counts.damages += 1;
            self.ledger().harm(no);
        }
    }

    /// Leaves what a kill between two steps leaves in the folder, between two lives.
    pub fn leave_residue(&mut self, random: &mut fastrand::Rng) {
        if let Some(what) = disk::leave_residue(&self.data, random) {
            self.tell(format!("found beside the generations: {what}"));
        }
    }

    // --- Time and rest -------------------------------------------------------------------------------------------------

    /// Lets everything happen that can happen before the clock moves on, and looks whether it did.
    pub fn rest(&mut self) {
        let heard = self.life().held_back == 0;
        self.rest_in(Rest::Running);
        let now = self.now();
        if self.calm() && !self.cut() && heard {
            self.ledger().lanes_are_settled();
            self.ledger().at_rest(now);
        }
    }

    fn rest_in(&mut self, rest: Rest) {
        let begun = Instant::now();
        loop {
            self.let_write();
            self.pass_news();
            self.let_dispatch(rest);
            self.let_write();
            let life = self.life.as_mut().expect("the daemon is alive");
            if life.held_back > 0 || life.news.is_empty() {
                life.held_back = life.held_back.saturating_sub(1);
                return;
            }
            assert!(begun.elapsed() < STUCK, "the world never rests");
        }
    }

    /// Lets the writer do all it has to do in this moment: what was asked before these questions, and after the first of
    /// them whatever is due.
    fn let_write(&self) {
        for _ in 0..2 {
            let _ = wait(self.life().outbox.replay(Vec::new()));
        }
    }

    /// Passes on to the dispatcher what the outbox tells it.
    fn pass_news(&mut self) {
        if self.life().held_back > 0 {
            return;
        }
        let now = self.now();
        while let Ok(news) = self.life.as_mut().expect("the daemon is alive").news.try_recv() {
            match &news {
                News::Accepted(events) => events.iter().for_each(|fresh| self.ledger().announced(fresh, now)),
                News::Revived(waiting) => {
                    for one in waiting {
                        self.know(one.delivery.event);
                        self.ledger().counts.revived += 1;
                        self.ledger().revived(one, now);
                    }
                }
            }
            self.life().forward.try_send(news).expect("the dispatcher takes its news");
        }
    }

    /// Turns the runtime until nothing is under way but what waits for the clock.
    fn let_dispatch(&self, rest: Rest) {
        let life = self.life();
        let begun = Instant::now();
        life.runtime.block_on(async {
            let mut quiet = 0;
            while quiet < 2 {
                let health = life.control.endpoints().await.expect("the dispatcher answers");
                let under_way: usize = health.iter().map(|one| one.in_flight as usize).sum();
                let read = life.forward.capacity() == life.forward.max_capacity();
                quiet = if under_way <= life.network.held() && read { quiet + 1 } else { 0 };
                if begun.elapsed() > STUCK {
                    panic!("the dispatcher never rests ({rest:?}): {health:?}, {} held", life.network.held());
                }
                tokio::task::yield_now().await;
                if quiet == 0 {
                    std::thread::yield_now();
                }
            }
        });
    }

    /// Moves both clocks on.
    pub fn advance(&mut self, ms: u64) {
        self.life().clock.advance_ms(ms);
        if self.life().disk.trouble().any() {
            self.trouble_is_felt();
        }
        self.let_write();
        if ms >= SYNCED_MS && self.calm() && !self.cut() {
            self.ledger().make_sure();
        }
        self.rest();
    }

    /// Sets the wall clock alone.
    pub fn set_wall(&mut self, wall: UnixMs) {
        let before = self.wall();
        self.latest_wall = self.latest_wall();
        self.wall = wall;
        if let Some(life) = &self.life {
            life.clock.set_wall(wall);
        }
        self.ledger().clock_was_set(before, wall);
    }

    /// Changes what is wrong with the disk.
    pub fn set_trouble(&mut self, trouble: Trouble) {
        self.life().disk.set_trouble(trouble);
        self.trouble_is_felt();
    }

    pub fn trouble(&self) -> Trouble {
        self.life().disk.trouble()
    }

    fn trouble_is_felt(&mut self) {
        let until = self.life().time.mono().plus_ms(RECOVERY_MS);
        self.life.as_mut().expect("the daemon is alive").troubled_until = until;
    }

    /// Keeps what the outbox tells from the dispatcher for so many rests.
    pub fn hold_news_back(&mut self, rests: u32) {
        self.life.as_mut().expect("the daemon is alive").held_back = rests;
    }

    // --- Acts ----------------------------------------------------------------------------------------------------------

    /// Hands in groups of events, each group together, all groups at once.
    pub fn post(&mut self, groups: Vec<Vec<Post>>) {
        let cut = self.cut();
        let mut asked = Vec::new();
        let mut events = Vec::new();
        for group in groups {
            let (numbers, group): (Vec<_>, Vec<_>) = group.into_iter().map(|post| self.ledger().ask(post)).unzip();
            asked.push(numbers);
            events.push(group);
        }
        let outbox = self.life().outbox.clone();
        let answers = wait(all(events.into_iter().map(|group| outbox.accept(group)).collect()));
        let heard = self.heard(cut);
        for (numbers, answer) in asked.iter().zip(&answers) {
            let told = match answer {
                Ok(accepted) => {
                    let repeats = accepted.iter().filter(|one| one.duplicate).count();
                    format!("{} stored, {repeats} known", accepted.len() - repeats)
                }
                Err(error) => format!("refused: {error}"),
            };
            let names: Vec<String> = numbers.iter().map(|post| self.shown(*post)).collect();
            self.tell(format!("posted {}: {told}", names.join(", ")));
            self.ledger().answered(numbers, answer, heard);
        }
    }

    fn shown(&self, post: usize) -> String {
        let ledger = self.ledger();
        let Post { id, key, content, .. } = &ledger.posts()[post];
        let key = key.as_deref().map_or_else(String::new, |key| format!(" key {key}"));
        let later = content.deliver_at.map_or("", |_| " later");
        format!("[{post}] {id}{key} ({} B to {:?}{later})", content.len, content.targets)
    }

    /// Deliveries that the dispatcher has not finished.
    pub fn pending(&self) -> u64 {
        let life = self.life();
        let health = life.runtime.block_on(life.control.endpoints()).expect("the dispatcher answers");
        health.iter().map(|one| one.pending).sum()
    }

    /// Changes how an endpoint behaves.
    pub fn behave(&mut self, endpoint: usize, behaviour: Behaviour) {
        self.behaviours[endpoint] = behaviour;
        self.life().network.behave(endpoint, behaviour);
        self.tell(format!("e{endpoint} now answers {behaviour:?}"));
    }

    /// How an endpoint behaves.
    pub fn behaviour(&self, endpoint: usize) -> Behaviour {
        self.behaviours[endpoint]
    }

    /// Pauses or resumes an endpoint.
    pub fn operate(&mut self, endpoint: usize, state: LaneState) {
        let cut = self.cut();
        let name = format!("e{endpoint}");
        if state == LaneState::Active {
            self.ledger().opens(endpoint);
        }
        let life = self.life();
        let answer = life.runtime.block_on(async {
            match state {
                LaneState::Active => life.control.resume(&name).await,
                LaneState::Paused | LaneState::Disabled => life.control.pause(&name).await,
            }
        });
        let (cut, now) = (cut || self.cut(), self.now());
        self.tell(format!("e{endpoint} {state:?}: {}", if answer.is_ok() { "done" } else { "refused" }));
        match answer {
            Ok(_) => self.ledger().operated(endpoint, state, cut, now),
            Err(error) => self.ledger().breach(format!("e{endpoint} cannot be made {state:?}: {error}")),
        }
    }

    /// Puts deliveries back: of one event, or of one endpoint.
    pub fn replay(&mut self, wanted: &str, deliveries: Vec<webhookd::model::delivery::DeliveryRef>) {
        let count = deliveries.len();
        let (calm, now) = (self.calm(), self.now());
        self.ledger().replay_asked(&deliveries, now);
        let answer = wait(self.life().outbox.replay(deliveries));
        self.tell(format!("replayed {wanted}, {count} deliveries: {answer:?}"));
        if answer.is_err() && calm && !self.life().damaged {
            self.ledger().breach(format!("a replay was refused though nothing is wrong: {answer:?}"));
        }
    }

    /// The event under an id.
    pub fn find(&mut self, id: &str) -> Option<StoredEvent> {
        match wait(self.life().outbox.find(&EventId::parse(id).unwrap())) {
            Ok(found) => found,
            Err(error) => {
                self.tell(format!("event {id} cannot be read: {error}"));
                if self.calm() && !self.life().damaged {
                    self.ledger().breach(format!("event {id} cannot be read: {error}"));
                }
                None
            }
        }
    }

    /// Every event, newest first; `None` where the outbox cannot be read just now.
    pub fn list(&mut self, page: usize) -> Option<Vec<webhookd::outbox::EventSummary>> {
        let mut query = ListQuery { limit: page, ..ListQuery::default() };
        let mut events = Vec::new();
        loop {
            match wait(self.life().outbox.list(query.clone())) {
                Ok(page) => {
                    events.extend(page.events);
                    match page.next {
                        Some(cursor) => query.cursor = Some(cursor),
                        None => return Some(events),
                    }
                }
                Err(error) => {
                    if self.calm() && !self.life().damaged {
                        self.ledger().breach(format!("the events cannot be listed: {error}"));
                    }
                    return None;
                }
            }
        }
    }

    // --- Audits --------------------------------------------------------------------------------------------------------

    /// Compares some events, chosen by `pick`, with what the outbox tells of them. Only at a rest, and while
    /// nothing is cut or wrong: what the disk refused is not there to be read.
    pub fn audit(&mut self, pick: impl Fn(usize) -> bool) {
        if self.cut() || !self.calm() || !self.has_heard_all() {
            return;
        }
        let posts: Vec<usize> = self.ledger().to_audit().into_iter().filter(|post| pick(*post)).collect();
        for post in posts {
            let (id, shaken) = (self.ledger().posts()[post].id.clone(), self.life().damaged);
            let breaches = self.ledger().breaches().len();
            let found = self.find(&id);
            if (found.is_none() && (shaken || !self.calm())) || self.ledger().breaches().len() > breaches {
                continue;
            }
            let (calm, now) = (self.calm(), self.now());
            self.ledger().audit(post, found.as_ref(), calm, now);
        }
    }

    /// Compares everything.
    pub fn audit_all(&mut self, page: usize) {
        self.audit(|_| true);
        if self.cut() || !self.calm() || !self.has_heard_all() {
            return;
        }
        if !self.ledger().is_harmed() {
            self.audit_told_damages();
        }
        if let Some(listed) = self.list(page) {
            let now = self.now();
            self.ledger().audit_list(&listed, now);
        }
    }

    /// Reads everything, more than once, so that whatever is damaged is met and mended.
    pub fn read_all(&mut self) {
        for _ in 0..4 {
            let ids: Vec<String> = {
                let ledger = self.ledger();
                ledger.to_audit().into_iter().map(|post| ledger.posts()[post].id.clone()).collect()
            };
            for id in ids {
                self.find(&id);
            }
            self.advance(2_000);
        }
    }

    /// Compares what was damaged with what is said of it, once everything was read and mended, and nothing waits any more.
    pub fn audit_damages(&mut self) {
        let posts = self.ledger().to_audit();
        for post in posts {
            let id = self.ledger().posts()[post].id.clone();
            let (found, now) = (self.find(&id), self.now());
            self.ledger().audit(post, found.as_ref(), false, now);
            self.ledger().audit_harmed_end(post, found.as_ref());
        }
        self.audit_told_damages();
    }

    /// Compares the damage that is told with what is missing.
    pub fn audit_told_damages(&mut self) {
        let damages = self.life().outbox.damages();
        if !damages.is_empty() {
            self.tell(format!("damage told: {damages:?}"));
        }
        self.ledger().audit_damages(&damages);
    }

    /// The latest that the wall clock ever showed.
    pub fn latest_wall(&self) -> UnixMs {
        self.wall().max(self.latest_wall)
    }

    /// What lies in the data folder.
    pub fn files(&self) -> Vec<String> {
        disk::listing(&self.data).into_iter().map(|(path, len, _)| format!("{} {len}", path.display())).collect()
    }

    /// The wall clock between two lives.
    pub fn wall(&self) -> UnixMs {
        self.life.as_ref().map_or(self.wall, |life| life.time.wall())
    }

    /// Generations on the disk.
    pub fn generations(&self) -> usize {
        disk::generations(&self.data).len()
    }
}

#[derive(Clone, Copy, Debug)]
enum Rest {
    Running,
    Stopping,
}

impl Life {
    /// Closes everything, whatever is still under way.
    fn end(self) {
        let Self { runtime, outbox, forward, news, tracker, .. } = self;
        drop((forward, news));
        tracker.close();
        runtime.block_on(outbox.close());
    }
}
