//! Planted lies: the ledger finds each of them, and by the check that looks for it. Each test goes from a ledger without a
//! breach to one with a single breach, which must be the right one.
//!
//! | file | lies about |
//! |---|---|
//! | `answered` | what was stored, what was known already, what was refused |
//! | `kept` | what is on the disk, what waits, what was lost |
//! | `sent` | what the network saw |
//! | `ordered` | which delivery waits for which |
//! | `guarded` | endpoints that are down, limited, given up, or not in the config |
//! | `reported` | what the daemon tells of them |

mod answered;
mod guarded;
mod kept;
mod ordered;
mod reported;
mod sent;

use std::sync::Arc;

use webhookd::clock::{MonoMs, UnixMs};
use webhookd::config::{Delivery, Endpoint};
use webhookd::deliver::Job;
use webhookd::dispatch::{BreakerHealth, EndpointHealth};
use webhookd::model::attempt::Attempt;
use webhookd::model::delivery::{DeliveryRef, EventRef, Progress, Standing, Waiting};
use webhookd::model::endpoint::{DisabledReason, EndpointRecord, EndpointState};
use webhookd::model::event::Event;
use webhookd::model::roster::EndpointNo;
use webhookd::model::text::{EndpointName, EventId};
use webhookd::outbox::{AcceptError, Accepted, EventSummary, FreshEvent, StoredDelivery, StoredEvent};
use webhookd::policy::breaker::BreakerPhase;
use webhookd::policy::retry::RetryPolicy;

use super::attempts::Trial;
use super::{Calm, Heard, LaneState, Ledger, Now, Post};
use crate::sim::content::Content;
use crate::sim::network::Answer;

const RETENTION_MS: u64 = 60_000;
const WAIT_MS: u64 = 5_000;
const START: UnixMs = UnixMs(1_000_000);
const PENDING: Standing = Standing::Pending { next_at: START };
const DELIVERED: Standing = Standing::Delivered;

/// A ledger with a clock and two endpoints: `e0` takes one request at once, `e1` two, and there may be two in all.
struct Case {
    ledger: Ledger,
    now: Now,
    events: Vec<Arc<Event>>,
    /// What the daemon tells of its endpoints at a rest.
    health: Vec<EndpointHealth>,
}

impl Case {
    fn new() -> Self {
        Self::with(|_| {})
    }

    /// With other rules for both endpoints.
    fn with(change: impl Fn(&mut Endpoint)) -> Self {
        let endpoint = |at, in_flight_max| {
            let retry = RetryPolicy { waits_ms: vec![WAIT_MS; 2], jitter: 0.0, ..RetryPolicy::default() };
            let delivery = Delivery { in_flight_max, retry, ..Delivery::default() };
            let url = url::Url::parse("http://endpoint.example/").unwrap();
            let plain = Endpoint { breaker: None, ..Endpoint::new(name(at), url, &delivery) };
            let mut endpoint = plain;
            change(&mut endpoint);
            Arc::new(endpoint)
        };
        let endpoints = vec![endpoint(0, 1), endpoint(1, 2)];
        let health = endpoints.iter().map(|endpoint| health(endpoint)).collect();
        let ledger = Ledger::new(endpoints, 2, RETENTION_MS);
        let now = Now { wall: START, mono: MonoMs(0) };
        Self { ledger, now, events: Vec::new(), health }
    }

    fn pass(&mut self, ms: u64) {
        self.now = Now { wall: self.now.wall.plus_ms(ms), mono: self.now.mono.plus_ms(ms) };
    }

    /// Nothing more happens in this moment.
    fn rest(&mut self) {
        let calm = Calm { sound: true, kept: true, told: true };
        self.ledger.lanes_are_told(&self.health, calm, self.now);
    }

    fn heard(&self) -> Heard {
        Heard { now: self.now, cut: false, calm: true }
    }

    /// Hands in an event that says `no`, under an id of the producer's and perhaps a key.
    fn ask(&mut self, id: &str, key: Option<&str>, no: u64) -> usize {
        self.ask_in_order(id, key, no, None)
    }

    /// And with an ordering key.
    fn ask_in_order(&mut self, id: &str, key: Option<&str>, no: u64, ordering_key: Option<u8>) -> usize {
        let content = Content { no, len: 10, targets: vec![0, 1], deliver_at: None, key: ordering_key };
        let (post, new) = self.ledger.ask(Post::new(id.into(), true, key.map(Into::into), content, self.now));
        self.events.push(new.event);
        post
    }

    fn answer(&mut self, post: usize, id: &str, duplicate: bool) {
        let id = EventId::parse(id).unwrap();
        let endpoints = vec![name(0), name(1)];
        let heard = self.heard();
        self.ledger.answered(&[post], &Ok(vec![Accepted { id, endpoints, duplicate }]), heard);
    }

    fn refuse(&mut self, post: usize, error: AcceptError, calm: bool) {
        let heard = Heard { calm, ..self.heard() };
        self.ledger.answered(&[post], &Err(error), heard);
    }

    /// An event that was acknowledged, and that the dispatcher knows.
    fn stored(&mut self, id: &str) -> usize {
        let post = self.ask(id, None, self.events.len() as u64);
        self.answer(post, id, false);
        self.announce(post);
        post
    }

    /// One with an ordering key.
    fn stored_in_order(&mut self, id: &str, ordering_key: Option<u8>) -> usize {
        let post = self.ask_in_order(id, None, self.events.len() as u64, ordering_key);
        self.answer(post, id, false);
        self.announce(post);
        post
    }

    fn announce(&mut self, post: usize) {
        let targets = vec![EndpointNo(0), EndpointNo(1)];
        let fresh = FreshEvent { place: place(post), event: Arc::clone(&self.events[post]), targets };
        self.ledger.announced(&fresh, false, self.now);
    }

    fn begin(&mut self, post: usize, endpoint: usize, n: u16) -> Trial {
        let event = Arc::clone(&self.events[post]);
        self.begin_with(event, endpoint, n)
    }

    fn begin_with(&mut self, event: Arc<Event>, endpoint: usize, n: u16) -> Trial {
        let endpoint = Arc::clone(&self.ledger.endpoints[endpoint]);
        self.ledger.attempt_begins(&Job { event, endpoint, n }, self.now)
    }

    fn end(&mut self, trial: &Trial, answer: Answer) {
        self.ledger.attempt_ends(trial, answer, self.now, self.now);
    }

    fn attempt(&mut self, post: usize, endpoint: usize, n: u16, answer: Answer) {
        let trial = self.begin(post, endpoint, n);
        self.end(&trial, answer);
    }

    /// An event of which both deliveries were taken.
    fn taken(&mut self, id: &str) -> usize {
        let post = self.stored(id);
        (0..2).for_each(|endpoint| self.attempt(post, endpoint, 1, Answer::Taken));
        post
    }

    /// What an outbox tells of an event whose deliveries stand so after so many attempts, all answered with 200.
    fn told(&self, post: usize, standing: Standing, made: u16) -> StoredEvent {
        let attempt =
            |n| Attempt { n, at: self.now.wall, status: Some(200), error: None, duration_ms: 0, response: vec![] };
        let progress = Progress { tries: made, made };
        let one =
            |at| StoredDelivery { endpoint: name(at), standing, progress, attempts: (1..=made).map(attempt).collect() };
        let event = Arc::clone(&self.events[post]);
        StoredEvent { place: place(post), event, body_lost: false, deliveries: vec![one(0), one(1)] }
    }

    fn audit(&mut self, post: usize, found: Option<&StoredEvent>) {
        self.ledger.audit(post, found, true, self.now);
    }

    fn listed(&self, post: usize, standing: Standing, made: u16) -> EventSummary {
        let Event { id, event_type, at, .. } = (*self.events[post]).clone();
        let progress = Progress { tries: made, made };
        let deliveries = (0..2).map(|at| (name(at), standing, progress)).collect();
        EventSummary { place: place(post), id, event_type, key: None, at, deliveries }
    }

    /// A life ends without a crash, and the next one finds these deliveries to each of both endpoints waiting.
    fn restart(&mut self, waiting: &[(usize, Waiting)]) {
        self.ledger.make_sure();
        self.ledger.life_ends(false, self.now);
        self.ledger.lanes_begin(&[EndpointRecord::default(); 2], true, self.now);
        self.ledger.begins(waiting, &[], true, self.now);
    }

    fn holds(&self) {
        assert!(self.ledger.breaches().is_empty(), "{:?}", self.ledger.breaches());
    }

    /// There is this breach, and no other.
    fn breached(&self, words: &str) {
        let breaches = self.ledger.breaches();
        assert!(breaches.len() == 1 && breaches[0].contains(words), "{words:?} is not what was found: {breaches:?}");
    }
}

fn health(endpoint: &Endpoint) -> EndpointHealth {
    EndpointHealth {
        name: endpoint.name.clone(),
        orphaned: false,
        state: EndpointState::Active,
        breaker: endpoint.breaker.map(|_| BreakerHealth { phase: BreakerPhase::Closed, open_since: None }),
        failing_since: None,
        held_until: None,
        blocked_keys: 0,
        pending: 0,
        in_flight: 0,
        recent_attempts: 0,
        recent_successes: 0,
        latency_ms_p50: None,
        latency_ms_p99: None,
        last_error: None,
        last_success_at: None,
        next_attempt_at: None,
        oldest_pending_at: None,
    }
}

fn disabled(reason: DisabledReason) -> EndpointState {
    EndpointState::Disabled { reason, at: START }
}

fn name(at: usize) -> EndpointName {
    EndpointName::parse(&format!("e{at}")).unwrap()
}

fn place(post: usize) -> EventRef {
    EventRef { generation: 1, seq: post as u32 }
}

fn delivery(post: usize, endpoint: u16) -> DeliveryRef {
    DeliveryRef { event: place(post), endpoint: EndpointNo(endpoint) }
}

fn waits(post: usize, endpoint: u16, made: u16) -> (usize, Waiting) {
    let delivery = delivery(post, endpoint);
    (
        post,
        Waiting { delivery, accepted_at: START, next_at: START, progress: Progress { tries: made, made }, key: None },
    )
}

#[test]
fn an_honest_life_is_no_breach() {
    let mut case = Case::new();
    let (taken, refused) = (case.stored("a"), case.ask("b", None, 9));
    case.begin(taken, 1, 1);
    case.attempt(taken, 0, 1, Answer::Taken);
    case.refuse(refused, AcceptError::Full, false);
    case.ledger.life_ends(true, case.now);
    case.ledger.lanes_begin(&[EndpointRecord::default(); 2], false, case.now);
    case.ledger.begins(&[waits(taken, 1, 0)], &[], true, case.now);
    case.attempt(taken, 1, 1, Answer::Taken);
    case.ledger.at_rest(case.now);
    case.audit(taken, Some(&case.told(taken, DELIVERED, 1)));
    case.audit(refused, None);
    case.ledger.audit_list(&[case.listed(taken, DELIVERED, 1)], case.now);
    case.ledger.audit_damages(&[]);
    case.ledger.audit_end();
    case.pass(RETENTION_MS);
    case.audit(taken, None);
    case.holds();
}
