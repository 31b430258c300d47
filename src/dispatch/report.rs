//! Operational events: what happens to endpoints, deliveries and the storage, told as events like others to the endpoints that
//! subscribe to `webhookd.*`.
//!
//! None is stored where nobody subscribes. An endpoint is never told of itself, and no operational event is told of the fate of
//! another: two endpoints that are both down cannot keep each other busy. They are told once: one that cannot be stored, since
//! the disk is full or the daemon is killed in that moment, is given up with a log line.

use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::clock::SharedClock;
use crate::config::Endpoint;
use crate::model::endpoint::DisabledReason;
use crate::model::event::{Content, Event, Fingerprint, NewEvent, new_id};
use crate::model::roster::EndpointNo;
use crate::model::text::{EndpointName, EventType, OrderingKey};
use crate::observe::Metrics;
use crate::observe::deliveries::{OperationalEvent, OperationalEventsLost};
use crate::outbox::{AcceptError, Outbox, StorageLow};
use crate::policy::routing::OPERATIONAL_PREFIX;

/// Operational events that wait to be stored; beyond this, attempts wait with theirs.
const WAITING_MAX: usize = 1024;
/// Most of them stored in one go.
const TOGETHER_MAX: usize = 256;
/// How often storing is tried while the outbox is busy, a second apart.
const TRIES: u32 = 30;
const AGAIN_MS: u64 = 1_000;

/// What is told.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Report {
    /// An endpoint was switched off.
    Disabled { endpoint: EndpointName, reason: &'static str, pending: u64 },
    /// An endpoint's breaker opened.
    BreakerOpened { endpoint: EndpointName, failures: u32, pending: u64 },
    /// An endpoint whose breaker was open took an event.
    Recovered { endpoint: EndpointName, open_ms: u64, pending: u64 },
    /// A delivery died.
    Dead {
        event: String,
        #[serde(rename = "type")]
        event_type: String,
        endpoint: EndpointName,
        reason: &'static str,
        attempts: u16,
    },
    /// Storage runs low.
    StorageLow { reason: &'static str, bytes: u64, limit_bytes: u64 },
}

impl Report {
    pub(super) fn disabled(endpoint: &EndpointName, reason: DisabledReason, pending: u64) -> Self {
        Self::Disabled { endpoint: endpoint.clone(), reason: reason.word(), pending }
    }

    pub(super) fn storage_low(low: &StorageLow) -> Self {
        Self::StorageLow { reason: low.reason, bytes: low.bytes, limit_bytes: low.bytes_limit }
    }

    fn event_type(&self) -> &'static str {
        match self {
            Self::Disabled { .. } => "webhookd.endpoint.disabled",
            Self::BreakerOpened { .. } => "webhookd.endpoint.breaker_opened",
            Self::Recovered { .. } => "webhookd.endpoint.recovered",
            Self::Dead { .. } => "webhookd.delivery.dead",
            Self::StorageLow { .. } => "webhookd.storage.low",
        }
    }

    /// The endpoint that it is about.
    fn about(&self) -> Option<&EndpointName> {
        match self {
            Self::Disabled { endpoint, .. }
            | Self::BreakerOpened { endpoint, .. }
            | Self::Recovered { endpoint, .. }
            | Self::Dead { endpoint, .. } => Some(endpoint),
            Self::StorageLow { .. } => None,
        }
    }
}

/// Whether an event's fate is told.
pub(super) fn is_told(event_type: &str) -> bool {
    !event_type.starts_with(OPERATIONAL_PREFIX)
}

/// Endpoints with their numbers.
type Subscribers = Arc<RwLock<Vec<(EndpointNo, Arc<Endpoint>)>>>;

/// Where reports are handed in. Cloning it is cheap.
#[derive(Clone, Debug)]
pub(super) struct Reporter {
    subscribers: Subscribers,
    waiting: mpsc::Sender<Told>,
    tracker: TaskTracker,
}

#[derive(Debug)]
struct Told {
    report: Report,
    targets: Vec<EndpointNo>,
}

impl Reporter {
    /// Starts the task that stores them. It ends when the last reporter is dropped.
    pub(super) fn start(outbox: Outbox, clock: SharedClock, metrics: Arc<Metrics>, tracker: &TaskTracker) -> Self {
        let (waiting, told) = mpsc::channel(WAITING_MAX);
        tracker.spawn(store_all(told, outbox, clock, metrics));
        Self { subscribers: Subscribers::default(), waiting, tracker: tracker.clone() }
    }

    /// Sets who may subscribe.
    pub(super) fn set_endpoints(&self, endpoints: Vec<(EndpointNo, Arc<Endpoint>)>) {
        *self.subscribers.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }

    /// Tells it, and waits where many wait to be stored.
    pub(super) async fn tell(&self, report: Report) {
        if let Some(told) = self.addressed(report) {
            // Nobody takes it any more only where the daemon has stopped.
            let _ = self.waiting.send(told).await;
        }
    }

    /// Tells it without waiting.
    pub(super) fn tell_soon(&self, report: Report) {
        let Some(told) = self.addressed(report) else { return };
        if let Err(mpsc::error::TrySendError::Full(told)) = self.waiting.try_send(told) {
            let waiting = self.waiting.clone();
            self.tracker.spawn(async move { drop(waiting.send(told).await) });
        }
    }

    /// The report with those who want it, if anybody does.
    fn addressed(&self, report: Report) -> Option<Told> {
        let (event_type, about) = (report.event_type(), report.about());
        let subscribers = self.subscribers.read().unwrap_or_else(PoisonError::into_inner);
        let wants = |endpoint: &Endpoint| Some(&endpoint.name) != about && endpoint.events.takes(event_type);
        let targets: Vec<_> = subscribers.iter().filter(|(_, one)| wants(one)).map(|(no, _)| *no).collect();
        drop(subscribers);
        (!targets.is_empty()).then_some(Told { report, targets })
    }
}

async fn store_all(mut told: mpsc::Receiver<Told>, outbox: Outbox, clock: SharedClock, metrics: Arc<Metrics>) {
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    while told.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        let types: Vec<_> = together.iter().map(|told| told.report.event_type()).collect();
        let events: Vec<_> = together.drain(..).filter_map(|told| event(told, &clock)).collect();
        match store(events, &outbox, &clock).await {
            Ok(()) => types.iter().for_each(|event_type| OperationalEvent { event_type }.tell(&metrics)),
            Err(error) => OperationalEventsLost { count: types.len(), error: &error.to_string() }.tell(&metrics),
        }
    }
}

async fn store(events: Vec<NewEvent>, outbox: &Outbox, clock: &SharedClock) -> Result<(), AcceptError> {
    let mut tries = 0;
    loop {
        match outbox.accept(events.clone()).await {
            Ok(_) => return Ok(()),
            Err(AcceptError::Busy) if tries < TRIES => {
                tries += 1;
                clock.sleep_until(clock.mono().plus_ms(AGAIN_MS)).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The event that tells a report; its ordering key is the endpoint that it is about.
fn event(Told { report, targets }: Told, clock: &SharedClock) -> Option<NewEvent> {
    let now = clock.wall();
    let event_type = EventType::parse(report.event_type()).expect("the types of operational events keep the rule");
    let body = serde_json::to_vec(&report).expect("a report is plain data");
    let event = Event {
        // Without randomness for an id nothing works; the daemon's own events are the least of it.
        id: new_id(now)?,
        event_type,
        key: report.about().and_then(|name| OrderingKey::parse(name.as_str()).ok()),
        at: now,
        timestamp: None,
        deliver_at: None,
        content: Content { content_type: "application/json".into(), json: true, body: Bytes::from(body) },
        traceparent: None,
        cloud_attributes: None,
        headers: Vec::new(),
    };
    let event = Arc::new(event);
    // It is told under an id of its own, so nothing is ever compared with it.
    Some(NewEvent { event, id_given: false, idempotency_key: None, fingerprint: Fingerprint([0; 16]), targets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Delivery;
    use crate::policy::routing::TypeFilter;

    fn endpoint(name: &str, events: &[&str]) -> Arc<Endpoint> {
        let url = url::Url::parse("http://ops.example/").unwrap();
        let endpoint = Endpoint::new(EndpointName::parse(name).unwrap(), url, &Delivery::default());
        Arc::new(Endpoint { events: TypeFilter::parse(events).unwrap(), ..endpoint })
    }

    #[test]
    fn those_who_subscribe_are_told_and_nobody_of_himself() {
        let (waiting, _told) = mpsc::channel(1);
        let reporter = Reporter { subscribers: Subscribers::default(), waiting, tracker: TaskTracker::new() };
        let all = [("apps", &["*"][..]), ("ops", &["webhookd.*"]), ("pager", &["webhookd.endpoint.*"])];
        let numbered = all.iter().zip(0..).map(|((name, events), no)| (EndpointNo(no), endpoint(name, events)));
        reporter.set_endpoints(numbered.collect());
        let targets = |report| reporter.addressed(report).map(|told| told.targets.iter().map(|no| no.0).collect());
        let of = |name: &str| Report::disabled(&EndpointName::parse(name).unwrap(), DisabledReason::Gone, 0);
        assert_eq!(targets(of("apps")), Some(vec![1, 2]));
        assert_eq!(targets(of("ops")), Some(vec![2]), "not of itself");
        let low = Report::StorageLow { reason: "max_size", bytes: 1, limit_bytes: 2 };
        assert_eq!(targets(low.clone()), Some(vec![1]));
        reporter.set_endpoints(vec![(EndpointNo(0), endpoint("apps", &["*"]))]);
        assert_eq!(targets(low), None, "nobody wants it, so there is none");
    }

    #[test]
    fn no_operational_event_is_told_of_another() {
        assert!(is_told("invoice.paid"));
        assert!(!is_told("webhookd.delivery.dead") && !is_told("webhookd.ping"));
    }

    #[test]
    fn reports_are_flat_json() {
        let name = EndpointName::parse("billing").unwrap();
        let json = |report: &Report| serde_json::to_string(report).unwrap();
        assert_eq!(
            json(&Report::disabled(&name, DisabledReason::Gone, 7)),
            r#"{"endpoint":"billing","reason":"gone","pending":7}"#
        );
        let dead = Report::Dead {
            event: "evt_1".to_owned(),
            event_type: "invoice.paid".to_owned(),
            endpoint: name,
            reason: "exhausted",
            attempts: 10,
        };
        assert_eq!(
            json(&dead),
            r#"{"event":"evt_1","type":"invoice.paid","endpoint":"billing","reason":"exhausted","attempts":10}"#
        );
    }
}
