use super::*;

#[test]
fn fresh_events_stay_in_memory_until_their_first_attempt() {
    let mut schedule = with_lanes(&[rules(1), ordered(Order::Strict, OnDead::Skip)]);
    let (due, later) = (event(100), event(100));
    schedule.admit(entry(A, 1, 0), Some(Arc::clone(&due)), MonoMs(0));
    schedule.admit(entry(B, 1, 0), Some(Arc::clone(&due)), MonoMs(0));
    schedule.admit(entry(A, 2, 60_000), Some(Arc::clone(&later)), MonoMs(0));
    schedule.admit(entry(B, 2, 60_000), Some(Arc::clone(&later)), MonoMs(0));
    assert_eq!(schedule.fresh_bytes(), due.bytes(), "a shared event counts once");
    assert_eq!(Arc::strong_count(&later), 1, "what must wait is read back");
    let first = starts(&mut schedule, 0);
    assert_eq!(first.len(), 2);
    assert!(first.iter().all(|start| start.fresh.as_ref().is_some_and(|event| Arc::ptr_eq(event, &due))));
    assert_eq!(schedule.fresh_bytes(), 0);
    failed(&mut schedule, A, 1, 0, 1);
    assert_eq!(starts(&mut schedule, 1)[0].fresh, None, "a retry is read back");
}

#[test]
fn bodies_past_the_budget_are_dropped_and_no_delivery_is() {
    let mut schedule = Schedule::with_fresh_bytes(limits::IN_FLIGHT_TOTAL_MAX, 10_000);
    for lane in [A, B] {
        schedule.open_lane(lane, &rules(1000), Kept::default(), MonoMs(0));
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
fn an_open_breaker_keeps_no_bodies() {
    let mut schedule = with_lanes(&[LaneRules { breaker: Some(BREAKER), ..rules(2) }]);
    for seq in 0..5 {
        schedule.admit(entry(A, seq, 0), Some(event(10)), MonoMs(0));
    }
    started(&mut schedule, 0);
    assert_ne!(schedule.fresh_bytes(), 0);
    failed(&mut schedule, A, 0, 500, 0);
    assert_eq!(failed(&mut schedule, A, 1, 500, 0), Some(Turn::Opened));
    schedule.admit(entry(A, 9, 0), Some(event(10)), MonoMs(0));
    assert_eq!(schedule.fresh_bytes(), 0);
}
