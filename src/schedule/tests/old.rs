//! Directed tests of each rule, and random ones against a model that keeps a plain list.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::model::delivery::EventRef;
use crate::model::endpoint::DisabledReason;
use crate::model::event::Content;
use crate::model::text::{EventId, EventType};

const A: EndpointNo = EndpointNo(0);
const B: EndpointNo = EndpointNo(1);
const DISABLED: EndpointState = EndpointState::Disabled { reason: DisabledReason::Gone, at: UnixMs(0) };

fn delivery(endpoint: EndpointNo, seq: u32) -> DeliveryRef {
    DeliveryRef { event: EventRef { generation: 1, seq }, endpoint }
}

fn entry(endpoint: EndpointNo, seq: u32, due: u64) -> Entry {
    let accepted_at = UnixMs(1_000_000 + u64::from(seq));
    Entry { delivery: delivery(endpoint, seq), accepted_at, due: MonoMs(due), progress: Progress::default() }
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

/// A schedule with these lanes open, each with so many permits.
fn open_lanes(total: usize, permits: &[u32]) -> Schedule {
    let mut schedule = Schedule::new(total);
    for (no, in_flight_max) in (0..).zip(permits) {
        schedule.set_lane(EndpointNo(no), LaneLimits { in_flight_max: *in_flight_max }, EndpointState::Active);
    }
    schedule
}

fn starts(schedule: &mut Schedule, now: u64) -> Vec<Start> {
    let mut starts = Vec::new();
    schedule.start_due(MonoMs(now), &mut starts);
    starts
}

/// What starts, by endpoint and event.
fn started(schedule: &mut Schedule, now: u64) -> Vec<(u16, u32)> {
    starts(schedule, now).iter().map(|s| (s.delivery.endpoint.0, s.delivery.event.seq)).collect()
}

#[test]
fn a_waiting_delivery_is_small() {
    assert_eq!(size_of::<Sleeper>(), 24, "48 on the wheel, see there");
    assert_eq!(size_of::<Ready>(), 32);
}

#[test]
fn a_delivery_starts_when_due_and_comes_back_for_its_retry() {
    let mut schedule = open_lanes(10, &[10]);
    schedule.admit(entry(A, 1, 100), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 99), []);
    let first = starts(&mut schedule, 100);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].accepted_at, UnixMs(1_000_001));
    assert_eq!((schedule.pending(A), schedule.in_flight(A)), (1, 1));
    assert_eq!(schedule.next_wake(), None, "it is under way, and nothing waits");

    let progress = Progress { tries: 1, made: 4 };
    schedule.finish(delivery(A, 1), Outcome::Retry { due: MonoMs(5_100), progress }, MonoMs(110));
    assert_eq!((schedule.pending(A), schedule.in_flight(A)), (1, 0));
    assert_eq!(started(&mut schedule, 5_099), []);
    let second = starts(&mut schedule, 5_100);
    assert_eq!(second[0].progress, progress);
    assert_eq!(second[0].accepted_at, UnixMs(1_000_001));
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(5_200));
    assert_eq!((schedule.total_pending(), schedule.total_in_flight()), (0, 0));
    assert_eq!(schedule.oldest_accepted_of_all(), None);
}

#[test]
fn permits_bound_each_lane_and_all_together() {
    let mut schedule = open_lanes(5, &[3, 3]);
    for seq in 0..10 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
        schedule.admit(entry(B, seq, 0), None, MonoMs(0));
    }
    assert_eq!(started(&mut schedule, 0), [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]);
    assert_eq!(started(&mut schedule, 0), [], "all permits are out");
    assert_eq!(schedule.next_wake(), None, "only a finish can help");
    schedule.finish(delivery(A, 0), Outcome::Done, MonoMs(1));
    assert_eq!(schedule.next_wake(), Some(MonoMs(0)), "at once");
    assert_eq!(started(&mut schedule, 1), [(1, 2)], "it is the other lane's turn");
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(2));
    assert_eq!(started(&mut schedule, 2), [(0, 3)], "one lane has its three, the other goes on");
}

#[test]
fn a_long_queue_delays_nobody_by_more_than_a_round() {
    let mut schedule = open_lanes(11, &[1024; 11]);
    for seq in 0..10_000 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    let busy = started(&mut schedule, 0);
    assert_eq!(busy.len(), 11);
    for lane in 1..=10 {
        schedule.admit(entry(EndpointNo(lane), 0, 0), None, MonoMs(0));
    }
    for (_, seq) in busy {
        schedule.finish(delivery(A, seq), Outcome::Done, MonoMs(1));
    }
    let next: Vec<u16> = started(&mut schedule, 1).into_iter().map(|(lane, _)| lane).collect();
    assert_eq!(next, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}

#[test]
fn an_endpoint_without_a_lane_keeps_its_deliveries() {
    let mut schedule = open_lanes(10, &[1]);
    schedule.admit(entry(B, 1, 0), Some(event(10)), MonoMs(0));
    schedule.admit(entry(B, 2, 50), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 100), []);
    assert_eq!(schedule.pending(B), 2);
    assert_eq!((schedule.fresh_bytes(), schedule.next_wake()), (0, None));
    assert_eq!(schedule.next_due(B, MonoMs(100)), None);
    schedule.set_lane(B, LaneLimits { in_flight_max: 9 }, EndpointState::Active);
    assert_eq!(started(&mut schedule, 100), [(1, 1), (1, 2)]);
}

#[test]
fn a_closed_lane_starts_nothing_and_resumes_with_all() {
    for state in [EndpointState::Paused, DISABLED] {
        let mut schedule = open_lanes(10, &[2]);
        schedule.admit(entry(A, 1, 0), Some(event(10)), MonoMs(0));
        schedule.admit(entry(A, 2, 10), None, MonoMs(0));
        schedule.set_state(A, state);
        schedule.admit(entry(A, 3, 0), Some(event(10)), MonoMs(0));
        assert_eq!(schedule.fresh_bytes(), 0, "a closed lane keeps no bodies");
        assert_eq!(started(&mut schedule, 20), []);
        assert_eq!((schedule.pending(A), schedule.next_wake()), (3, None));
        schedule.set_state(A, EndpointState::Active);
        assert_eq!(started(&mut schedule, 20), [(0, 1), (0, 3)], "as many as there are permits");
        schedule.finish(delivery(A, 3), Outcome::Done, MonoMs(21));
        assert_eq!(started(&mut schedule, 21), [(0, 2)]);
    }
}

#[test]
fn a_hold_stops_one_lane_until_it_ends() {
    let mut schedule = open_lanes(10, &[9, 9]);
    schedule.hold(A, MonoMs(1_000));
    schedule.hold(A, MonoMs(500));
    schedule.admit(entry(A, 1, 0), Some(event(10)), MonoMs(0));
    schedule.admit(entry(B, 1, 0), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 999), [(1, 1)], "a shorter hold does not shorten one, and the other lane goes");
    assert_eq!(schedule.next_due(A, MonoMs(999)), Some(MonoMs(1_000)));
    assert_eq!(schedule.next_wake(), Some(MonoMs(1_000)));
    assert_eq!(started(&mut schedule, 1_000), [(0, 1)]);

    schedule.hold(A, MonoMs(2_000));
    schedule.hold(A, MonoMs(3_000));
    schedule.admit(entry(A, 2, 0), None, MonoMs(1_000));
    assert_eq!(started(&mut schedule, 2_999), [], "a longer hold lengthens one");
    assert_eq!(started(&mut schedule, 3_000), [(0, 2)]);
}

#[test]
fn a_resume_overrules_a_hold() {
    let mut schedule = open_lanes(10, &[9]);
    schedule.admit(entry(A, 1, 0), None, MonoMs(0));
    schedule.hold(A, MonoMs(1_000_000));
    schedule.set_state(A, EndpointState::Active);
    assert_eq!(started(&mut schedule, 1), [], "it was active all the time: nobody has resumed it");
    schedule.set_state(A, EndpointState::Paused);
    schedule.set_state(A, EndpointState::Active);
    assert_eq!(started(&mut schedule, 2), [(0, 1)]);
    assert_eq!(schedule.next_wake(), None, "the hold's timer is gone with it");
}

#[test]
fn other_limits_count_from_now_on() {
    let mut schedule = open_lanes(100, &[4]);
    for seq in 0..10 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    assert_eq!(started(&mut schedule, 0).len(), 4);
    schedule.set_lane(A, LaneLimits { in_flight_max: 2 }, EndpointState::Active);
    schedule.finish(delivery(A, 0), Outcome::Done, MonoMs(1));
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(1));
    assert_eq!(started(&mut schedule, 1), []);
    schedule.finish(delivery(A, 2), Outcome::Done, MonoMs(1));
    assert_eq!(started(&mut schedule, 1).len(), 1);
    schedule.set_lane(A, LaneLimits { in_flight_max: 5 }, EndpointState::Active);
    assert_eq!(started(&mut schedule, 1).len(), 3);
}

#[test]
fn fresh_events_stay_in_memory_until_their_first_attempt() {
    let mut schedule = open_lanes(10, &[1, 1]);
    let (due, later) = (event(100), event(100));
    schedule.admit(entry(A, 1, 0), Some(Arc::clone(&due)), MonoMs(0));
    schedule.admit(entry(B, 1, 0), Some(Arc::clone(&due)), MonoMs(0));
    schedule.admit(entry(A, 2, 60_000), Some(Arc::clone(&later)), MonoMs(0));
    assert_eq!(schedule.fresh_bytes(), due.bytes(), "a shared event counts once");
    assert_eq!(Arc::strong_count(&later), 1, "what must wait is read back");
    let first = starts(&mut schedule, 0);
    assert!(first.iter().all(|start| start.fresh.as_ref().is_some_and(|event| Arc::ptr_eq(event, &due))));
    assert_eq!(schedule.fresh_bytes(), 0);
    schedule.finish(delivery(A, 1), Outcome::Retry { due: MonoMs(0), progress: Progress::default() }, MonoMs(1));
    assert_eq!(starts(&mut schedule, 1)[0].fresh, None, "a retry is read back");
}

#[test]
fn bodies_past_the_budget_are_dropped_and_no_delivery_is() {
    let mut schedule = Schedule::with_fresh_bytes(1000, 10_000);
    for lane in [A, B] {
        schedule.set_lane(lane, LaneLimits { in_flight_max: 1000 }, EndpointState::Active);
        for seq in 0..100 {
            let seq = u32::from(lane.0) * 100 + seq;
            schedule.admit(entry(lane, seq, 0), Some(event(1000 - 256)), MonoMs(0));
            assert!(schedule.fresh_bytes() <= 10_000);
        }
    }
    let all = starts(&mut schedule, 0);
    assert_eq!(all.len(), 200);
    let with_body = |lane| all.iter().filter(|s| s.delivery.endpoint == lane && s.fresh.is_some()).count();
    assert_eq!((with_body(A), with_body(B)), (5, 3), "half of the budget, then half of what is left, in whole bodies");
    assert_eq!(schedule.fresh_bytes(), 0);
}

#[test]
fn a_replay_that_overtakes_its_attempt_waits_for_it() {
    let mut schedule = open_lanes(10, &[10]);
    schedule.admit(entry(A, 1, 0), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 0), [(0, 1)]);
    let replayed = Progress { tries: 0, made: 1 };
    schedule.admit(Entry { progress: replayed, ..entry(A, 1, 0) }, None, MonoMs(5));
    assert_eq!(started(&mut schedule, 5), []);
    assert_eq!(schedule.pending(A), 1);
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(6));
    assert_eq!(starts(&mut schedule, 6)[0].progress, replayed);
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(7));
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(7));
    assert_eq!((schedule.total_pending(), schedule.in_flight(A)), (0, 0));
}

#[test]
fn a_delivery_admitted_twice_has_one_attempt_at_a_time() {
    let mut schedule = open_lanes(10, &[10]);
    schedule.admit(entry(A, 1, 0), None, MonoMs(0));
    schedule.admit(entry(A, 1, 0), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 0), [(0, 1)]);
    assert_eq!((schedule.pending(A), schedule.in_flight(A)), (1, 1));
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(1));
    assert_eq!(started(&mut schedule, 1), [(0, 1)]);
    schedule.finish(delivery(A, 1), Outcome::Done, MonoMs(2));
    assert_eq!((schedule.total_pending(), schedule.oldest_accepted(A)), (0, None));
}

#[test]
fn the_next_attempt_of_an_endpoint_is_told() {
    let mut schedule = open_lanes(10, &[1]);
    assert_eq!(schedule.next_due(A, MonoMs(0)), None);
    schedule.admit(entry(A, 1, 9_999), None, MonoMs(0));
    schedule.admit(entry(A, 2, 7_250), None, MonoMs(0));
    assert_eq!(schedule.next_due(A, MonoMs(0)), Some(MonoMs(7_000)), "to the second");
    assert_eq!(schedule.next_due(A, MonoMs(7_100)), Some(MonoMs(7_100)));
    started(&mut schedule, 7_250);
    assert_eq!(schedule.next_due(A, MonoMs(7_300)), Some(MonoMs(9_000)));
    started(&mut schedule, 9_999);
    assert_eq!(schedule.next_due(A, MonoMs(10_000)), Some(MonoMs(10_000)), "due, and without a permit");
    schedule.set_state(A, EndpointState::Paused);
    assert_eq!(schedule.next_due(A, MonoMs(10_000)), None);
}

const LANES: u16 = 4;

#[derive(Clone, Debug)]
enum Op {
    Admit { lane: u16, ahead: u64, fresh: bool },
    Turn { by: u64 },
    TurnAtWake,
    Finish { which: prop::sample::Index, retry: Option<u64> },
    State { lane: u16, active: bool },
    Limits { lane: u16, in_flight_max: u32 },
    Hold { lane: u16, ahead: u64 },
}

fn op() -> impl Strategy<Value = Op> {
    let ahead = || prop_oneof![3 => Just(0), 1 => 1..100_u64, 1 => 1..100_000_u64];
    prop_oneof![
        6 => (0..LANES, ahead(), any::<bool>()).prop_map(|(lane, ahead, fresh)| Op::Admit { lane, ahead, fresh }),
        2 => ahead().prop_map(|by| Op::Turn { by }),
        2 => Just(Op::TurnAtWake),
        4 => (any::<prop::sample::Index>(), prop::option::of(ahead()))
            .prop_map(|(which, retry)| Op::Finish { which, retry }),
        1 => (0..LANES, any::<bool>()).prop_map(|(lane, active)| Op::State { lane, active }),
        1 => (0..LANES, 1..4_u32).prop_map(|(lane, in_flight_max)| Op::Limits { lane, in_flight_max }),
        1 => (0..LANES, ahead()).prop_map(|(lane, ahead)| Op::Hold { lane, ahead }),
    ]
}

/// The same rules over plain lists, with a scan for every question.
#[derive(Default)]
struct Model {
    total_max: usize,
    lanes: [ModelLane; LANES as usize],
    waiting: Vec<Entry>,
    flying: Vec<Entry>,
}

#[derive(Clone, Copy)]
struct ModelLane {
    in_flight_max: u32,
    active: bool,
    held_until: u64,
}

impl Default for ModelLane {
    fn default() -> Self {
        Self { in_flight_max: 0, active: true, held_until: 0 }
    }
}

impl Model {
    fn lane_of(&self, entry: &Entry) -> &ModelLane {
        &self.lanes[usize::from(entry.delivery.endpoint.0)]
    }

    fn flying_to(&self, endpoint: EndpointNo) -> usize {
        self.flying.iter().filter(|entry| entry.delivery.endpoint == endpoint).count()
    }

    /// When the lane and the entry's own moment let it start; `None`: not as things are.
    fn start_at(&self, entry: &Entry) -> Option<u64> {
        let lane = self.lane_of(entry);
        let permit = self.flying_to(entry.delivery.endpoint) < lane.in_flight_max as usize;
        (permit && lane.active && self.flying.len() < self.total_max).then_some(entry.due.0.max(lane.held_until))
    }

    fn start(&mut self, start: &Start, now: u64) -> Result<(), TestCaseError> {
        let at = self.waiting.iter().position(|entry| entry.delivery == start.delivery);
        let Some(at) = at else {
            return Err(TestCaseError::fail(format!("{start:?} was not waiting")));
        };
        let allowed = self.start_at(&self.waiting[at]);
        prop_assert!(allowed.is_some_and(|at| at <= now), "{start:?} may start at {allowed:?}, not at {now}");
        let entry = self.waiting.swap_remove(at);
        prop_assert_eq!((start.progress, start.accepted_at), (entry.progress, entry.accepted_at));
        self.flying.push(entry);
        Ok(())
    }
}

/// Turns the schedule and checks what starts, that nothing was left standing, and every figure it tells.
fn turn(schedule: &mut Schedule, model: &mut Model, now: u64) -> Result<(), TestCaseError> {
    for start in starts(schedule, now) {
        model.start(&start, now)?;
    }
    for entry in &model.waiting {
        let left = model.start_at(entry).is_some_and(|at| at <= now);
        prop_assert!(!left, "{entry:?} could have started at {now}");
    }
    let next = model.waiting.iter().filter_map(|entry| model.start_at(entry)).min();
    if let Some(next) = next {
        let wake = schedule.next_wake();
        prop_assert!(wake.is_some_and(|wake| now < wake.0 && wake.0 <= next), "{wake:?} for {next}");
    }
    for no in 0..LANES {
        let endpoint = EndpointNo(no);
        let mine = || model.waiting.iter().chain(&model.flying).filter(|entry| entry.delivery.endpoint == endpoint);
        prop_assert_eq!(schedule.pending(endpoint), mine().count() as u64);
        prop_assert_eq!(schedule.in_flight(endpoint) as usize, model.flying_to(endpoint));
        let oldest = mine().map(|entry| entry.accepted_at.0 / 1000).min();
        prop_assert_eq!(schedule.oldest_accepted(endpoint).map(|at| at.0 / 1000), oldest);
    }
    prop_assert_eq!(schedule.total_in_flight(), model.flying.len());
    prop_assert_eq!(schedule.total_pending(), (model.waiting.len() + model.flying.len()) as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Never above the permits, never early, never from a closed or held lane, nothing lost or doubled, and nothing
    /// left standing that could go.
    #[test]
    fn keeps_every_rule(ops in prop::collection::vec(op(), 1..150), total_max in 1..8_usize) {
        let mut schedule = Schedule::with_fresh_bytes(total_max, 10_000);
        let mut model = Model { total_max, ..Model::default() };
        let mut now = 0_u64;
        for (seq, op) in (0..).zip(ops) {
            match op {
                Op::Admit { lane, ahead, fresh } => {
                    let mut new = entry(EndpointNo(lane), seq, now + ahead);
                    new.accepted_at = UnixMs(new.accepted_at.0 + u64::from(seq) * 777 % 5_000);
                    schedule.admit(new, fresh.then(|| event(500)), MonoMs(now));
                    model.waiting.push(new);
                }
                Op::Turn { by } => {
                    now += by;
                    turn(&mut schedule, &mut model, now)?;
                }
                Op::TurnAtWake => {
                    now = schedule.next_wake().map_or(now, |at| at.0.max(now));
                    turn(&mut schedule, &mut model, now)?;
                }
                Op::Finish { which, retry } if !model.flying.is_empty() => {
                    let mut entry = model.flying.swap_remove(which.index(model.flying.len()));
                    let outcome = match retry {
                        None => Outcome::Done,
                        Some(ahead) => {
                            entry.due = MonoMs(now + ahead);
                            entry.progress.tries += 1;
                            entry.progress.made += 1;
                            model.waiting.push(entry);
                            Outcome::Retry { due: entry.due, progress: entry.progress }
                        }
                    };
                    schedule.finish(entry.delivery, outcome, MonoMs(now));
                }
                Op::Finish { .. } => {}
                Op::State { lane, active } => {
                    let there = &mut model.lanes[usize::from(lane)];
                    if active && !there.active {
                        there.held_until = 0;
                    }
                    there.active = active;
                    let state = if active { EndpointState::Active } else { EndpointState::Paused };
                    schedule.set_state(EndpointNo(lane), state);
                }
                Op::Limits { lane, in_flight_max } => {
                    let there = &mut model.lanes[usize::from(lane)];
                    there.in_flight_max = in_flight_max;
                    let state = if there.active { EndpointState::Active } else { DISABLED };
                    schedule.set_lane(EndpointNo(lane), LaneLimits { in_flight_max }, state);
                }
                Op::Hold { lane, ahead } => {
                    let there = &mut model.lanes[usize::from(lane)];
                    there.held_until = there.held_until.max(now + ahead);
                    schedule.hold(EndpointNo(lane), MonoMs(now + ahead));
                }
            }
            prop_assert!(schedule.fresh_bytes() <= 10_000);
        }

        // Everything can be brought to its end, and nothing is left behind.
        for lane in 0..LANES {
            model.lanes[usize::from(lane)] = ModelLane { in_flight_max: 3, active: true, held_until: 0 };
            schedule.set_state(EndpointNo(lane), EndpointState::Paused);
            schedule.set_lane(EndpointNo(lane), LaneLimits { in_flight_max: 3 }, EndpointState::Active);
        }
        while schedule.total_pending() > 0 {
            now = schedule.next_wake().map_or(now, |at| at.0.max(now));
            turn(&mut schedule, &mut model, now)?;
            for entry in model.flying.drain(..) {
                schedule.finish(entry.delivery, Outcome::Done, MonoMs(now));
            }
        }
        prop_assert!(model.waiting.is_empty());
        prop_assert_eq!(schedule.fresh_bytes(), 0);
        prop_assert_eq!(schedule.oldest_accepted_of_all(), None);
        prop_assert_eq!(schedule.next_wake().filter(|at| at.0 > now), None);
        prop_assert!((0..LANES).all(|no| schedule.next_due(EndpointNo(no), MonoMs(now)).is_none()));
    }
}
