//! The dispatcher on a real outbox, with an injected clock and an injected network.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::clock::{ManualClock, ManualHandle, SharedClock, UnixMs};
use crate::config::{Durability, Endpoint, Format, Order};
use crate::deliver::{Attempted, Courier, Job};
use crate::model::attempt::AttemptError;
use crate::model::delivery::{DeadReason, DeliveryRef, DeliveryState, Standing};
use crate::model::endpoint::{DisabledReason, EndpointState};
use crate::model::event::{Content, Event, Fingerprint, NewEvent};
use crate::model::roster::Roster;
use crate::model::text::{EndpointName, EventId, EventType};
use crate::observe::Metrics;
use crate::outbox::{Outbox, OutboxOptions, StoredEvent};
use crate::policy::answer::Verdict;
use crate::policy::retry::RetryPolicy;
use crate::schedule::Schedule;

const START: UnixMs = UnixMs(1_700_000_000_000);
const RETRY: Verdict = Verdict::Retry { hint_ms: None, hold_endpoint: false };

mod endpoints;

/// A network that answers as it is told, and tells of each attempt.
#[derive(Debug)]
struct Network {
    clock: SharedClock,
    answer: Mutex<Verdict>,
    /// Answers wait while somebody holds this.
    gate: Arc<tokio::sync::RwLock<()>>,
    told: mpsc::UnboundedSender<(String, u16, UnixMs)>,
}

impl Network {
    /// Holds answers back until what this returns is dropped.
    fn hold_back(&self) -> tokio::sync::OwnedRwLockWriteGuard<()> {
        Arc::clone(&self.gate).try_write_owned().unwrap()
    }
}

#[derive(Debug, Clone)]
struct Wire(Arc<Network>);

impl Courier for Wire {
    async fn attempt(&self, job: Job) -> Attempted {
        let at = self.0.clock.wall();
        let verdict = *self.0.answer.lock().unwrap();
        assert!(job.event.id.as_str() != "cursed" || job.n > 2, "a panic on purpose");
        self.0.told.send((job.event.id.to_string(), job.n, at)).unwrap();
        let _open = self.0.gate.read().await;
        let ok = matches!(verdict, Verdict::Delivered);
        Attempted {
            at,
            status: Some(if ok { 200 } else { 500 }),
            error: (!ok).then_some(AttemptError::Status),
            detail: None,
            duration_ms: 1,
            response: Vec::new(),
            verdict,
        }
    }
}

struct World {
    dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    network: Arc<Network>,
    attempts: mpsc::UnboundedReceiver<(String, u16, UnixMs)>,
    generation_bytes: u64,
}

struct Run {
    outbox: Outbox,
    control: Control,
    roster: Arc<Roster>,
    stop: CancellationToken,
    drained: CancellationToken,
    tracker: TaskTracker,
}

fn endpoint(retry: RetryPolicy) -> Endpoint {
    Endpoint {
        name: EndpointName::parse("billing").unwrap(),
        url: url::Url::parse("http://billing.example/").unwrap(),
        events: Default::default(),
        signing: Vec::new(),
        format: Format::Raw,
        headers: Vec::new(),
        permanent: Vec::new(),
        tls: None,
        timeout_ms: 15_000,
        in_flight_max: 32,
        retry,
        allow_networks: Vec::new(),
        response_bytes_max: 1024,
        order: Order::None,
        on_dead: Default::default(),
        rate_limit: None,
        breaker: None,
        disable_after_ms: None,
    }
}

impl World {
    fn new(answer: Verdict) -> Self {
        let clock = ManualClock::at(START);
        let (told, attempts) = mpsc::unbounded_channel();
        let shared: SharedClock = Arc::new(ManualHandle(Arc::clone(&clock)));
        let network = Arc::new(Network { clock: shared, answer: Mutex::new(answer), gate: Arc::default(), told });
        Self { dir: tempfile::tempdir().unwrap(), clock, network, attempts, generation_bytes: u64::MAX }
    }

    async fn start(&self, retry: RetryPolicy) -> Run {
        self.start_with(vec![endpoint(retry)]).await
    }

    async fn start_with(&self, endpoints: Vec<Endpoint>) -> Run {
        let clock: SharedClock = Arc::new(ManualHandle(Arc::clone(&self.clock)));
        let (roster, metrics) = (Roster::shared(), Metrics::shared());
        let options = OutboxOptions {
            dir: self.dir.path().join("data"),
            retention_ms: 7 * 24 * 3600 * 1000,
            size_bytes_max: u64::MAX,
            durability: Durability::Fsync,
            generation_bytes: self.generation_bytes,
            free_bytes_min: None,
            disk: crate::outbox::RealDisk::shared(),
        };
        let endpoints: Vec<_> = endpoints.into_iter().map(Arc::new).collect();
        let mut schedule = Schedule::new(64);
        let blocking = super::blocking(endpoints.iter(), &roster);
        let admit = |told| super::recover(&mut schedule, &told, &clock, &blocking);
        let opened =
            Outbox::open(options, Arc::clone(&clock), Arc::clone(&roster), Arc::clone(&metrics), admit).unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let dispatcher = Dispatcher {
            outbox: opened.outbox.clone(),
            courier: Wire(Arc::clone(&self.network)),
            clock,
            metrics,
            roster: Arc::clone(&roster),
            schedule,
            news: opened.news,
            seed: 7,
        };
        let running = dispatcher.start(endpoints.iter(), &opened.endpoints, stop.clone(), &tracker);
        let Running { control, drained, .. } = running;
        Run { outbox: opened.outbox, control, roster, stop, drained, tracker }
    }

    fn answer(&self, verdict: Verdict) {
        *self.network.answer.lock().unwrap() = verdict;
    }
}

impl Run {
    async fn post(&self, id: &str, deliver_at: Option<UnixMs>, at: UnixMs) {
        self.post_to("billing", id, deliver_at, at).await;
    }

    async fn post_to(&self, endpoint: &str, id: &str, deliver_at: Option<UnixMs>, at: UnixMs) {
        let event = Event {
            id: EventId::parse(id).unwrap(),
            event_type: EventType::parse("invoice.paid").unwrap(),
            key: None,
            at,
            timestamp: None,
            deliver_at,
            content: Content { content_type: "text/plain".into(), json: false, body: Bytes::from_static(b"body") },
            traceparent: None,
            cloud_attributes: None,
            headers: Vec::new(),
        };
        let target = self.roster.number(&EndpointName::parse(endpoint).unwrap());
        let new = NewEvent {
            event: Arc::new(event),
            id_given: true,
            idempotency_key: None,
            fingerprint: Fingerprint([0; 16]),
            targets: vec![target],
        };
        self.outbox.accept(vec![new]).await.unwrap();
    }

    async fn stored(&self, id: &str) -> StoredEvent {
        self.outbox.find(&EventId::parse(id).unwrap()).await.unwrap().unwrap()
    }

    /// Waits until the delivery of `id` has `made` attempts settled, and tells where it stands.
    async fn settled(&self, id: &str, made: u16) -> Standing {
        loop {
            let stored = self.stored(id).await;
            if stored.deliveries[0].progress.made >= made {
                assert_eq!(stored.deliveries[0].attempts.len(), usize::from(stored.deliveries[0].progress.made));
                return stored.deliveries[0].standing;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Waits until the schedule itself has taken the last outcome.
    async fn idle(&self) -> EndpointHealth {
        loop {
            let health = self.control.endpoint("billing").await.unwrap();
            if health.in_flight == 0 {
                return health;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.drained.cancelled().await;
        self.outbox.close().await;
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_default_schedule_spans_75_hours_and_each_attempt_comes_when_it_is_due() {
    let mut world = World::new(RETRY);
    let policy = RetryPolicy { jitter: 0.0, ..RetryPolicy::default() };
    let waits = policy.waits_ms.clone();
    assert_eq!(policy.span_ms(), (5 + 300 + 1800 + (2 + 5 + 10 + 14 + 20 + 24) * 3600) * 1000);
    let run = world.start(policy).await;
    run.post("e", None, START).await;
    let mut due = START;
    for (made, wait) in (1..).zip(waits.iter().copied()) {
        let (_, n, at) = world.attempts.recv().await.unwrap();
        assert_eq!((n, at), (made, due));
        run.settled("e", made).await;
        run.idle().await;
        world.clock.advance_ms(wait - 1);
        run.idle().await;
        assert!(world.attempts.try_recv().is_err(), "attempt {} came early", made + 1);
        world.clock.advance_ms(1);
        due = due.plus_ms(wait);
    }
    let (_, n, at) = world.attempts.recv().await.unwrap();
    assert_eq!((n, at), (10, due), "the last attempt is made at the end of the schedule");
    assert_eq!(run.settled("e", 10).await, Standing::Dead(DeadReason::Exhausted));
    world.clock.advance_ms(100 * 3600 * 1000);
    run.idle().await;
    assert!(world.attempts.try_recv().is_err(), "nobody tries any more");
    // A replay starts the schedule anew and counts the attempts on.
    world.answer(Verdict::Delivered);
    let stored = run.stored("e").await;
    let endpoint = run.roster.known("billing").unwrap();
    assert_eq!(run.outbox.replay(vec![DeliveryRef { event: stored.place, endpoint }]).await, Ok(1));
    assert_eq!(world.attempts.recv().await.unwrap().1, 11);
    assert_eq!(run.settled("e", 11).await, Standing::Delivered);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_schedule_was() {
    let mut world = World::new(RETRY);
    let policy = RetryPolicy { waits_ms: vec![60_000, 120_000], jitter: 0.0, retry_after_ms_max: 0 };
    let run = world.start(policy.clone()).await;
    run.post("e", None, START).await;
    run.settled("e", 1).await;
    run.stop().await;
    world.clock.advance_ms(59_999);
    let run = world.start(policy).await;
    run.idle().await;
    assert_eq!(world.attempts.recv().await.unwrap().1, 1);
    assert!(world.attempts.try_recv().is_err(), "early");
    world.clock.advance_ms(1);
    assert_eq!(world.attempts.recv().await.unwrap(), ("e".to_owned(), 2, START.plus_ms(60_000)));
    let standing = run.settled("e", 2).await;
    assert_eq!(standing, Standing::Pending { next_at: START.plus_ms(180_000) });
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deliver_at_is_waited_for() {
    let mut world = World::new(Verdict::Delivered);
    let run = world.start(RetryPolicy::default()).await;
    run.post("e", Some(START.plus_ms(5_000)), START).await;
    // The news of an accepted event and this question reach the dispatcher on different ways.
    while run.idle().await.pending == 0 {
        tokio::task::yield_now().await;
    }
    world.clock.advance_ms(4_999);
    run.idle().await;
    assert!(world.attempts.try_recv().is_err(), "early");
    world.clock.advance_ms(1);
    assert_eq!(world.attempts.recv().await.unwrap().2, START.plus_ms(5_000));
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_endpoint_stays_so_over_a_restart_until_it_is_resumed() {
    let mut world = World::new(Verdict::Disable(DisabledReason::Gone));
    let run = world.start(RetryPolicy::default()).await;
    run.post("first", None, START).await;
    run.settled("first", 1).await;
    let gone = EndpointState::Disabled { reason: DisabledReason::Gone, at: START };
    assert_eq!(run.idle().await.state, gone);
    run.post("second", None, START).await;
    run.stop().await;
    world.clock.advance_ms(1000);
    world.answer(Verdict::Delivered);
    let run = world.start(RetryPolicy::default()).await;
    let health = run.idle().await;
    assert_eq!((health.state, health.pending), (gone, 2));
    assert_eq!(world.attempts.recv().await.unwrap().1, 1);
    assert!(world.attempts.try_recv().is_err());
    assert_eq!(run.control.resume("billing").await.unwrap().state, EndpointState::Active);
    let mut tried = BTreeMap::new();
    for _ in 0..2 {
        let (id, n, _) = world.attempts.recv().await.unwrap();
        tried.insert(id, n);
    }
    assert_eq!(tried, BTreeMap::from([("first".to_owned(), 2), ("second".to_owned(), 1)]));
    assert_eq!(run.settled("second", 1).await.state(), DeliveryState::Delivered);
    assert_eq!(run.control.pause("nobody").await.unwrap_err(), ControlError::UnknownEndpoint);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_panics_keeps_no_permit_and_is_tried_again_on_the_schedule() {
    let mut world = World::new(Verdict::Delivered);
    let run = world.start(RetryPolicy { waits_ms: vec![1_000; 5], jitter: 0.0, retry_after_ms_max: 0 }).await;
    run.post("cursed", None, START).await;
    for _ in 0..2 {
        while run.idle().await.next_attempt_at.is_none_or(|at| at <= run_now(&world)) {
            tokio::task::yield_now().await;
        }
        world.clock.advance_ms(1_000);
    }
    assert_eq!(world.attempts.recv().await.unwrap(), ("cursed".to_owned(), 3, START.plus_ms(2_000)));
    while run.stored("cursed").await.deliveries[0].standing != Standing::Delivered {
        tokio::task::yield_now().await;
    }
    run.stop().await;
}

fn run_now(world: &World) -> UnixMs {
    world.network.clock.wall()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_with_a_clock_far_in_the_past_does_not_strand_retries() {
    let mut world = World::new(RETRY);
    let policy = RetryPolicy { waits_ms: vec![60_000], jitter: 0.0, retry_after_ms_max: 0 };
    let run = world.start(policy.clone()).await;
    run.post("e", None, START).await;
    run.settled("e", 1).await;
    run.stop().await;
    assert_eq!(world.attempts.recv().await.unwrap().1, 1);
    world.clock.set_wall(UnixMs(0));
    let run = world.start(policy).await;
    run.idle().await;
    world.clock.advance_ms(60_000);
    assert_eq!(world.attempts.recv().await.unwrap().1, 2);
    run.settled("e", 2).await;
    run.stop().await;
}

/// Whether this process has a file open below `dir`.
fn is_open(dir: &std::path::Path) -> bool {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|file| file.starts_with(dir))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_cannot_be_read_uses_up_no_attempts() {
    let mut world = World::new(Verdict::Delivered);
    world.generation_bytes = 1;
    let run = world.start(RetryPolicy { waits_ms: Vec::new(), jitter: 0.0, retry_after_ms_max: 0 }).await;
    run.post("later", Some(START.plus_ms(600_000)), START).await;
    // Other generations, so that the first takes no more events.
    for n in 0..8 {
        run.post(&format!("e{n}"), None, START).await;
        run.settled(&format!("e{n}"), 1).await;
        world.attempts.recv().await.unwrap();
    }
    // Nobody uses it, so it is closed before long.
    let (folder, away) = (world.dir.path().join("data/outbox"), world.dir.path().join("away"));
    let mut passed_ms = 0;
    while is_open(&folder.join("00000001")) {
        world.clock.advance_ms(1_000);
        passed_ms += 1_000;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    std::fs::rename(&folder, &away).unwrap();
    world.clock.advance_ms(600_000 - passed_ms);
    while run.idle().await.last_error.is_none_or(|last| last.error != AttemptError::Storage) {
        tokio::task::yield_now().await;
    }
    assert!(!folder.exists(), "nothing is put in its place");
    std::fs::rename(&away, &folder).unwrap();
    // With no wait in its schedule, one attempt is all that the delivery has.
    assert_eq!(run.stored("later").await.deliveries[0].standing, Standing::Pending { next_at: START.plus_ms(600_000) });
    world.clock.advance_ms(10_000);
    assert_eq!(world.attempts.recv().await.unwrap(), ("later".to_owned(), 1, START.plus_ms(610_000)));
    assert_eq!(run.settled("later", 1).await, Standing::Delivered);
    run.stop().await;
}
