//! Directed tests of each rule, and random ones against a model that keeps plain lists.

mod blocks;
mod breaker;
mod expiry;
mod fresh;
mod lanes;
mod model;
mod order;
mod random;
mod reload;
mod share;

use bytes::Bytes;

use super::*;
use crate::model::delivery::EventRef;
use crate::model::event::Content;
use crate::model::text::{EventId, EventType};
use crate::policy::breaker::BreakerRules;
use crate::policy::order::{OnDead, Order};

const A: EndpointNo = EndpointNo(0);
const B: EndpointNo = EndpointNo(1);

/// What starts where nothing does.
const NONE: [u32; 0] = [];

const BREAKER: BreakerRules = BreakerRules { failures: 2, cooldown_ms: 1_000, cooldown_ms_max: 4_000 };

fn delivery(endpoint: EndpointNo, seq: u32) -> DeliveryRef {
    DeliveryRef { event: EventRef { generation: 1, seq }, endpoint }
}

fn entry(endpoint: EndpointNo, seq: u32, due: u64) -> Entry {
    let accepted_at = UnixMs(1_000_000 + u64::from(seq));
    Entry { delivery: delivery(endpoint, seq), accepted_at, due: MonoMs(due), progress: Progress::default(), key: None }
}

/// An entry of the first endpoint, due at once.
fn keyed(seq: u32, key: u64) -> Entry {
    Entry { key: Some(KeyHash(key)), ..entry(A, seq, 0) }
}

fn event(bytes: usize) -> Arc<Event> {
    Arc::new(Event {
        id: EventId::parse("evt_1").unwrap(),
        event_type: EventType::parse("invoice.paid").unwrap(),
        key: None,
        at: UnixMs(0),
        timestamp: None,
        deliver_at: None,
        content: Content { content_type: "text/plain".into(), json: false, body: Bytes::from(vec![0; bytes]) },
        traceparent: None,
        cloud_attributes: None,
        headers: Vec::new(),
    })
}

/// Rules of a lane that has so many permits, and nothing else to keep it.
fn rules(in_flight_max: u32) -> LaneRules {
    LaneRules {
        in_flight_max,
        order: Order::None,
        on_dead: OnDead::Skip,
        rate: None,
        breaker: None,
        waits_ms: Arc::new([5_000, 60_000]),
    }
}

fn ordered(order: Order, on_dead: OnDead) -> LaneRules {
    LaneRules { order, on_dead, ..rules(100) }
}

/// A schedule with lanes of these rules, and permits for all.
fn with_lanes(lanes: &[LaneRules]) -> Schedule {
    let mut schedule = Schedule::new(limits::IN_FLIGHT_TOTAL_MAX);
    for (no, rules) in (0..).zip(lanes) {
        schedule.open_lane(EndpointNo(no), rules, Kept::default(), MonoMs(0));
    }
    schedule
}

fn starts(schedule: &mut Schedule, now: u64) -> Vec<Start> {
    let mut starts = Vec::new();
    schedule.start_due(MonoMs(now), &mut starts);
    starts
}

/// The attempts that start, by endpoint and event.
fn started(schedule: &mut Schedule, now: u64) -> Vec<(u16, u32)> {
    let starts = starts(schedule, now);
    assert!(starts.iter().all(|start| start.act != Act::Expire), "{starts:?}");
    starts.iter().map(|start| (start.delivery.endpoint.0, start.delivery.event.seq)).collect()
}

/// The attempts to the first endpoint that start.
fn seqs(schedule: &mut Schedule, now: u64) -> Vec<u32> {
    started(schedule, now).into_iter().map(|(_, seq)| seq).collect()
}

/// What of the first endpoint is given up.
fn given_up(schedule: &mut Schedule, now: u64) -> Vec<u32> {
    let starts = starts(schedule, now);
    assert!(starts.iter().all(|start| start.act == Act::Expire), "{starts:?}");
    starts.iter().map(|start| start.delivery.event.seq).collect()
}

fn delivered(schedule: &mut Schedule, endpoint: EndpointNo, seq: u32, now: u64) -> Option<Turn> {
    schedule.finish(delivery(endpoint, seq), Outcome::Delivered, Signal::Success, MonoMs(now))
}

fn dead(schedule: &mut Schedule, endpoint: EndpointNo, seq: u32, now: u64) -> Option<Turn> {
    schedule.finish(delivery(endpoint, seq), Outcome::Dead, Signal::Nothing, MonoMs(now))
}

/// It failed, and is tried again at `due`.
fn failed(schedule: &mut Schedule, endpoint: EndpointNo, seq: u32, due: u64, now: u64) -> Option<Turn> {
    let outcome = Outcome::Retry { due: MonoMs(due), progress: Progress { tries: 1, made: 1 } };
    schedule.finish(delivery(endpoint, seq), outcome, Signal::Failure, MonoMs(now))
}

#[test]
fn a_waiting_delivery_is_small() {
    assert_eq!((size_of::<Waiting>(), size_of::<Sleeper>()), (40, 32), "24 more on the wheel, see there");
    assert_eq!(size_of::<Wake>(), 16);
}
