use super::*;

#[test]
fn a_delivery_starts_when_due_and_comes_back_for_its_retry() {
    let mut schedule = with_lanes(&[rules(10)]);
    schedule.admit(entry(A, 1, 100), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 99), []);
    let first = starts(&mut schedule, 100);
    assert_eq!(first.len(), 1);
    assert_eq!((first[0].accepted_at, first[0].act), (UnixMs(1_000_001), Act::Attempt { probe: false }));
    assert_eq!((schedule.pending(A), schedule.in_flight(A)), (1, 1));
    assert_eq!(schedule.next_wake(), None, "it is under way, and nothing waits");

    let progress = Progress { tries: 1, made: 4 };
    let retry = Outcome::Retry { due: MonoMs(5_100), progress };
    schedule.finish(delivery(A, 1), retry, Signal::Failure, MonoMs(110));
    assert_eq!((schedule.pending(A), schedule.in_flight(A)), (1, 0));
    assert_eq!(started(&mut schedule, 5_099), []);
    let second = starts(&mut schedule, 5_100);
    assert_eq!(second[0].progress, progress);
    assert_eq!(second[0].accepted_at, UnixMs(1_000_001));
    delivered(&mut schedule, A, 1, 5_200);
    assert_eq!((schedule.total_pending(), schedule.total_in_flight()), (0, 0));
    assert_eq!(schedule.oldest_accepted_of_all(), None);
}

#[test]
fn what_is_due_goes_in_the_order_of_acceptance_retries_included() {
    let mut schedule = with_lanes(&[rules(2)]);
    for seq in [3, 4, 5] {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0), [3, 4]);
    failed(&mut schedule, A, 3, 10, 1);
    schedule.admit(entry(A, 1, 0), None, MonoMs(2));
    schedule.admit(entry(A, 2, 5), None, MonoMs(2));
    schedule.admit(entry(A, 6, 0), None, MonoMs(2));
    assert_eq!(seqs(&mut schedule, 3), [1]);
    delivered(&mut schedule, A, 1, 20);
    delivered(&mut schedule, A, 4, 20);
    assert_eq!(seqs(&mut schedule, 20), [2, 3]);
    delivered(&mut schedule, A, 2, 21);
    delivered(&mut schedule, A, 3, 21);
    assert_eq!(seqs(&mut schedule, 21), [5, 6]);
}

#[test]
fn permits_bound_each_lane() {
    let mut schedule = with_lanes(&[rules(2), rules(1)]);
    for seq in 0..10 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
        schedule.admit(entry(B, seq, 0), None, MonoMs(0));
    }
    assert_eq!(started(&mut schedule, 0), [(0, 0), (1, 0), (0, 1)]);
    assert_eq!(started(&mut schedule, 0), []);
    assert_eq!(schedule.next_wake(), None, "only a finish can help");
    delivered(&mut schedule, B, 0, 1);
    assert_eq!(schedule.next_wake(), Some(MonoMs(0)), "at once");
    assert_eq!(started(&mut schedule, 1), [(1, 1)]);
}

#[test]
fn a_long_queue_delays_nobody_by_more_than_a_round() {
    let mut schedule = with_lanes(&vec![rules(1024); 11]);
    for seq in 0..10_000 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    assert_eq!(started(&mut schedule, 0).len(), 1024);
    delivered(&mut schedule, A, 0, 1);
    delivered(&mut schedule, A, 1, 1);
    for lane in 1..=10 {
        schedule.admit(entry(EndpointNo(lane), 0, 0), None, MonoMs(1));
    }
    let next: Vec<u16> = started(&mut schedule, 1).into_iter().map(|(lane, _)| lane).collect();
    assert_eq!(next, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]);
}

#[test]
fn an_endpoint_that_is_not_active_starts_nothing_and_goes_on_with_all() {
    let mut schedule = with_lanes(&[rules(2)]);
    schedule.admit(entry(A, 1, 0), Some(event(10)), MonoMs(0));
    schedule.admit(entry(A, 2, 10), None, MonoMs(0));
    schedule.set_active(A, false);
    schedule.admit(entry(A, 3, 0), Some(event(10)), MonoMs(0));
    assert_eq!(schedule.fresh_bytes(), 0, "it keeps no bodies");
    assert_eq!(started(&mut schedule, 20), []);
    assert_eq!((schedule.pending(A), schedule.next_wake(), schedule.next_due(A, MonoMs(20))), (3, None, None));
    schedule.set_active(A, true);
    assert_eq!(seqs(&mut schedule, 20), [1, 2], "as many as there are permits");
    delivered(&mut schedule, A, 1, 21);
    assert_eq!(seqs(&mut schedule, 21), [3]);
}

#[test]
fn a_hold_stops_one_lane_until_it_ends() {
    let mut schedule = with_lanes(&[rules(9), rules(9)]);
    schedule.hold(A, MonoMs(1_000));
    schedule.hold(A, MonoMs(500));
    schedule.admit(entry(A, 1, 0), Some(event(10)), MonoMs(0));
    schedule.admit(entry(B, 1, 0), None, MonoMs(0));
    assert_eq!(started(&mut schedule, 999), [(1, 1)], "a shorter hold does not shorten one, and the other lane goes");
    assert_eq!(schedule.next_due(A, MonoMs(999)), Some(MonoMs(1_000)));
    assert_eq!((schedule.held_until(A), schedule.held_until(B)), (Some(MonoMs(1_000)), None));
    assert_eq!(schedule.next_wake(), Some(MonoMs(1_000)));
    assert_eq!(started(&mut schedule, 1_000), [(0, 1)]);
    assert_eq!(schedule.held_until(A), None);

    schedule.hold(A, MonoMs(2_000));
    schedule.hold(A, MonoMs(3_000));
    schedule.admit(entry(A, 2, 0), None, MonoMs(1_000));
    assert_eq!(started(&mut schedule, 2_999), [], "a longer hold lengthens one");
    assert_eq!(started(&mut schedule, 3_000), [(0, 2)]);
}

#[test]
fn a_resume_overrules_a_hold_and_a_pause() {
    let mut schedule = with_lanes(&[rules(9)]);
    schedule.admit(entry(A, 1, 0), None, MonoMs(0));
    schedule.hold(A, MonoMs(1_000_000));
    schedule.set_active(A, false);
    schedule.set_active(A, true);
    assert_eq!(seqs(&mut schedule, 1), NONE, "the hold stands");
    schedule.set_active(A, false);
    schedule.resume(A, MonoMs(2));
    assert_eq!(seqs(&mut schedule, 2), [1]);
    assert_eq!(schedule.next_wake(), None, "the lane's timer is gone with it");
}

#[test]
fn a_rate_spreads_attempts_and_wakes_for_each() {
    let rate = crate::policy::rate::RateLimit { count: 10, per_ms: 1_000, burst: 2 };
    let mut schedule = with_lanes(&[LaneRules { rate: Some(rate), ..rules(100) }]);
    for seq in 0..5 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0), [0, 1], "a burst of two");
    let mut at = Vec::new();
    while let Some(wake) = schedule.next_wake() {
        assert!(at.len() < 20, "it does not spin");
        let started = seqs(&mut schedule, wake.0);
        assert!(started.len() <= 1);
        at.extend(started.into_iter().map(|seq| (wake.0, seq)));
    }
    assert_eq!(at, [(100, 2), (200, 3), (300, 4)]);
    schedule.admit(entry(A, 9, 0), None, MonoMs(310));
    assert_eq!(schedule.next_due(A, MonoMs(310)), Some(MonoMs(400)));
    schedule.resume(A, MonoMs(311));
    assert_eq!(seqs(&mut schedule, 311), [9], "a resume begins the pace anew");
}

#[test]
fn what_waits_at_a_closed_gate_costs_one_timer_at_most() {
    let mut schedule = with_lanes(&[rules(10)]);
    schedule.hold(A, MonoMs(1_000_000));
    for seq in 0..10_000 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(u64::from(seq)));
    }
    assert_eq!((schedule.wakes.len(), schedule.sleepers.len(), schedule.line.len()), (1, 0, 0));
    schedule.set_active(A, false);
    assert_eq!(schedule.wakes.len(), 0);
}

#[test]
fn a_replay_that_overtakes_its_attempt_waits_for_it() {
    for order in [Order::None, Order::Strict] {
        let mut schedule = with_lanes(&[ordered(order, OnDead::Block)]);
        schedule.admit(entry(A, 1, 0), None, MonoMs(0));
        assert_eq!(seqs(&mut schedule, 0), [1]);
        let replayed = Progress { tries: 0, made: 1 };
        schedule.admit(Entry { progress: replayed, ..entry(A, 1, 0) }, None, MonoMs(5));
        assert_eq!(seqs(&mut schedule, 5), NONE);
        assert_eq!(schedule.pending(A), 1);
        dead(&mut schedule, A, 1, 6);
        assert_eq!(schedule.blocked(A), 0, "it is not dead any more");
        assert_eq!(starts(&mut schedule, 6)[0].progress, replayed);
        delivered(&mut schedule, A, 1, 7);
        delivered(&mut schedule, A, 1, 7);
        assert_eq!((schedule.total_pending(), schedule.in_flight(A)), (0, 0));
    }
}

#[test]
fn a_delivery_admitted_twice_has_one_attempt_at_a_time() {
    for order in [Order::None, Order::Strict] {
        for second_due in [0, 50] {
            let mut schedule = with_lanes(&[ordered(order, OnDead::Skip)]);
            schedule.admit(entry(A, 1, 0), Some(event(10)), MonoMs(0));
            schedule.admit(entry(A, 1, second_due), None, MonoMs(0));
            schedule.admit(entry(A, 1, 0), Some(event(10)), MonoMs(0));
            assert_eq!([seqs(&mut schedule, 0), seqs(&mut schedule, 60)], [vec![1], vec![]]);
            assert_eq!((schedule.pending(A), schedule.in_flight(A)), (1, 1));
            delivered(&mut schedule, A, 1, 61);
            let again = seqs(&mut schedule, 61);
            assert_eq!(again, if second_due > 0 && order == Order::None { vec![1] } else { vec![] }, "{order:?}");
            delivered(&mut schedule, A, 1, 62);
            assert_eq!((schedule.total_pending(), schedule.oldest_accepted(A)), (0, None));
            assert_eq!(schedule.fresh_bytes(), 0);
        }
    }
}

#[test]
fn the_next_attempt_of_an_endpoint_is_told() {
    for order in [Order::None, Order::Key] {
        let mut schedule = with_lanes(&[LaneRules { order, ..rules(1) }]);
        assert_eq!(schedule.next_due(A, MonoMs(0)), None);
        schedule.admit(Entry { key: Some(KeyHash(1)), ..entry(A, 1, 9_999) }, None, MonoMs(0));
        schedule.admit(Entry { key: Some(KeyHash(2)), ..entry(A, 2, 7_250) }, None, MonoMs(0));
        assert_eq!(schedule.next_due(A, MonoMs(0)), Some(MonoMs(7_000)), "to the second");
        assert_eq!(schedule.next_due(A, MonoMs(7_100)), Some(MonoMs(7_100)));
        started(&mut schedule, 7_250);
        assert_eq!(schedule.next_due(A, MonoMs(7_300)), Some(MonoMs(9_000)));
        started(&mut schedule, 9_999);
        assert_eq!(schedule.next_due(A, MonoMs(10_000)), Some(MonoMs(10_000)), "due, and without a permit");
    }
}
