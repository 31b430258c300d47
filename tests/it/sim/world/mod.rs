//! The daemon's core under a clock, a network and a disk of ours: one folder, one life after another.
//!
//! The outbox's threads are real. Everything above them runs on one thread, and only while [`World::rest`] lets it: the
//! dispatcher sees no event, no answer and no moment before. A rest ends when every request but those that wait for the clock
//! is answered and settled, so that the next act meets a world that stands still.

use std::collections::BTreeSet;
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
use webhookd::dispatch::{Control, Dispatcher, EndpointHealth, Running, blocking, recover};
use webhookd::limits::SCHEDULE_QUEUE_MAX;
use webhookd::model::delivery::EventRef;
use webhookd::model::endpoint::EndpointRecord;
use webhookd::model::roster::Roster;
use webhookd::model::text::EventId;
use webhookd::observe::Metrics;
use webhookd::outbox::{ListQuery, News, Opened, Outbox, OutboxOptions, Recovered, StoredEvent};
use webhookd::schedule::Schedule;

use super::disk::{self, FREE_BYTES_MIN, SimDisk, Trouble};
use super::ledger::{Calm, Fate, Heard, LaneState, Ledger, Now, Post};
use super::network::{Behaviour, Network, Wire};
use super::report::Story;

mod acts;
mod audits;
mod lives;
mod time;

pub(crate) use acts::described;

/// Longest that anything may take in real time before the run counts as stuck.
const STUCK: Duration = Duration::from_secs(30);
/// How long reads may take in real time before the writer is woken.
const PATIENCE: Duration = Duration::from_millis(200);
/// After a fault everything may take so long to come back, in milliseconds of the simulation.
const RECOVERY_MS: u64 = 20_000;

/// What was settled before the clock moves on by so much is durable after it, in milliseconds.
const SYNCED_MS: u64 = 250;

/// What a seed has chosen once and for all.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) endpoints: Vec<Arc<Endpoint>>,
    pub(crate) in_flight_total_max: usize,
    pub(crate) generation_bytes: u64,
    pub(crate) retention_ms: u64,
    pub(crate) size_bytes_max: u64,
    pub(crate) durability: Durability,
}

impl Setup {
    /// Whether an endpoint is told of the others.
    fn is_told(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.events.takes("webhookd.endpoint.disabled"))
    }
}

/// Everything.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) story: Story,
    ledger: Arc<Mutex<Ledger>>,
    behaviours: Vec<Behaviour>,
    home: tempfile::TempDir,
    folders: u32,
    data: PathBuf,
    wall: UnixMs,
    latest_wall: UnixMs,
    /// Endpoints that the config does not name just now.
    gone: BTreeSet<usize>,
    /// Whether the last life ended in order, and nothing was wrong.
    ended_in_order: bool,
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
    pub(crate) fn new(setup: Setup, wall: UnixMs, behaviours: Vec<Behaviour>) -> Self {
        let mut ledger = Ledger::new(setup.endpoints.clone(), setup.in_flight_total_max, setup.retention_ms);
        ledger.lazy = setup.durability == Durability::Interval;
        let home = tempfile::Builder::new().prefix("webhookd-sim-").tempdir_in(in_memory()).unwrap();
        let data = home.path().join("0");
        let ledger = Arc::new(Mutex::new(ledger));
        Self {
            setup,
            story: Story::new(),
            ledger,
            behaviours,
            home,
            folders: 0,
            data,
            wall,
            latest_wall: wall,
            gone: BTreeSet::new(),
            ended_in_order: true,
            life: None,
        }
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the daemon has started.
    pub(crate) fn is_alive(&self) -> bool {
        self.life.is_some()
    }

    pub(crate) fn tell(&mut self, line: String) {
        let mono = self.life.as_ref().map_or(0, |life| life.time.mono().0);
        self.story.tell(format!("{mono:>12} {line}"));
    }

    fn life(&self) -> &Life {
        self.life.as_ref().expect("the daemon is alive")
    }

    pub(crate) fn now(&self) -> Now {
        Now::of(&self.life().time)
    }

    /// Whether an image for a crash was taken: what comes now is not in it.
    pub(crate) fn cut(&self) -> bool {
        self.life().disk.taken().is_some()
    }

    /// Whether nothing has been wrong for a while.
    pub(crate) fn calm(&self) -> bool {
        let life = self.life();
        !life.disk.trouble().any() && life.time.mono() >= life.troubled_until
    }

    /// Whether the dispatcher knows what the outbox has told.
    fn has_heard_all(&self) -> bool {
        self.life().held_back == 0 && self.life().news.is_empty()
    }

    /// How sure what is told at a rest is.
    fn calmness(&self) -> Calm {
        let sound = self.calm() && !self.life().damaged;
        let kept = sound && !self.cut();
        Calm { sound, kept, told: kept && self.has_heard_all() && self.setup.size_bytes_max == u64::MAX }
    }

    /// The endpoints of the config.
    fn present(&self) -> Vec<Arc<Endpoint>> {
        let there = (0..self.setup.endpoints.len()).filter(|at| !self.gone.contains(at));
        there.map(|at| Arc::clone(&self.setup.endpoints[at])).collect()
    }

    /// Whether the config names an endpoint.
    pub(crate) fn is_present(&self, endpoint: usize) -> bool {
        !self.gone.contains(&endpoint)
    }

    fn heard(&self, cut_before: bool) -> Heard {
        let limited = self.setup.size_bytes_max != u64::MAX;
        // A damaged generation may be met by looking for an id, and is mended while the request is refused.
        let calm = self.calm() && !limited && !self.life().damaged;
        Heard { now: self.now(), cut: cut_before || self.cut(), calm }
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
