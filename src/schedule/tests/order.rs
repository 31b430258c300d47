use super::*;

#[test]
fn one_of_a_key_is_under_way_at_a_time_and_other_keys_go_on() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    for (seq, key) in [(1, 7), (2, 7), (3, 8), (4, 7), (5, 8)] {
        schedule.admit(keyed(seq, key), None, MonoMs(0));
    }
    schedule.admit(entry(A, 6, 0), None, MonoMs(0));
    schedule.admit(entry(A, 7, 0), None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 0), [1, 3, 6, 7], "those without a key wait for nobody");
    assert_eq!(schedule.next_wake(), None);
    delivered(&mut schedule, A, 1, 1);
    assert_eq!(seqs(&mut schedule, 1), [2]);
    delivered(&mut schedule, A, 3, 2);
    delivered(&mut schedule, A, 2, 2);
    assert_eq!(seqs(&mut schedule, 2), [4, 5]);
    assert_eq!(schedule.pending(A), 4);
}

#[test]
fn a_strict_lane_has_one_under_way_whatever_the_keys() {
    let mut schedule = with_lanes(&[ordered(Order::Strict, OnDead::Skip)]);
    for seq in [2, 1] {
        schedule.admit(keyed(seq, u64::from(seq)), None, MonoMs(0));
    }
    schedule.admit(entry(A, 3, 0), None, MonoMs(0));
    for seq in 1..=3 {
        assert_eq!(seqs(&mut schedule, 0), [seq]);
        delivered(&mut schedule, A, seq, 0);
    }
}

#[test]
fn a_retry_holds_its_key_up_and_goes_before_what_is_behind_it() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    schedule.admit(keyed(1, 7), None, MonoMs(0));
    schedule.admit(keyed(2, 7), None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 0), [1]);
    failed(&mut schedule, A, 1, 5_000, 10);
    assert_eq!(seqs(&mut schedule, 4_999), NONE);
    assert_eq!(schedule.next_due(A, MonoMs(4_999)), Some(MonoMs(5_000)));
    assert_eq!(seqs(&mut schedule, 5_000), [1]);
    delivered(&mut schedule, A, 1, 5_001);
    assert_eq!(seqs(&mut schedule, 5_001), [2]);
}

#[test]
fn a_head_that_is_to_be_delivered_later_holds_its_key_up() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    schedule.admit(Entry { due: MonoMs(60_000), ..keyed(1, 7) }, None, MonoMs(0));
    schedule.admit(keyed(2, 7), None, MonoMs(0));
    schedule.admit(keyed(3, 8), None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 59_999), [3]);
    assert_eq!(seqs(&mut schedule, 60_000), [1]);
}

#[test]
fn a_replay_goes_before_younger_ones_and_after_the_one_under_way() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    for seq in [3, 4] {
        schedule.admit(keyed(seq, 7), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0), [3]);
    schedule.admit(keyed(1, 7), None, MonoMs(1));
    assert_eq!(seqs(&mut schedule, 1), NONE);
    failed(&mut schedule, A, 3, 2, 2);
    assert_eq!(seqs(&mut schedule, 2), [1], "the retry is younger");
    delivered(&mut schedule, A, 1, 3);
    assert_eq!(seqs(&mut schedule, 3), [3]);
    delivered(&mut schedule, A, 3, 4);
    assert_eq!(seqs(&mut schedule, 4), [4]);
}

#[test]
fn a_replay_before_a_head_that_waits_goes_at_once() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    schedule.admit(Entry { due: MonoMs(1_000), ..keyed(3, 7) }, None, MonoMs(0));
    schedule.admit(keyed(1, 7), None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 0), [1]);
    assert_eq!(schedule.next_wake().map(|at| seqs(&mut schedule, at.0)), Some(vec![]), "a stale wake-up does no harm");
    assert_eq!(seqs(&mut schedule, 1_000), NONE);
    delivered(&mut schedule, A, 1, 1_001);
    assert_eq!(seqs(&mut schedule, 1_001), [3]);
}

#[test]
fn wake_ups_do_not_pile_up_before_a_head_that_waits() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    schedule.admit(Entry { due: MonoMs(1_000_000), ..keyed(5_000, 7) }, None, MonoMs(0));
    for seq in 0..1_000 {
        schedule.admit(keyed(seq, 7), None, MonoMs(0));
        assert_eq!(seqs(&mut schedule, 0), [seq]);
        delivered(&mut schedule, A, seq, 0);
    }
    assert_eq!(schedule.wakes.len(), 1);
}

#[test]
fn heads_of_many_keys_go_in_the_order_of_acceptance() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    for seq in 0..100 {
        schedule.admit(keyed(seq, 1 + u64::from(seq) * 7_919 % 50), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0), (0..50).collect::<Vec<_>>());
}

#[test]
fn permits_and_rates_hold_for_chains_too() {
    let rate = crate::policy::rate::RateLimit { count: 1, per_ms: 1_000, burst: 1 };
    let mut schedule =
        with_lanes(&[LaneRules { rate: Some(rate), in_flight_max: 2, ..ordered(Order::Key, OnDead::Skip) }]);
    for seq in 1..5 {
        schedule.admit(keyed(seq, u64::from(seq)), None, MonoMs(0));
    }
    assert_eq!([seqs(&mut schedule, 0), seqs(&mut schedule, 999)], [vec![1], vec![]]);
    assert_eq!(seqs(&mut schedule, 1_000), [2]);
    assert_eq!(seqs(&mut schedule, 10_000), NONE, "both permits are out");
}

#[test]
fn a_lane_has_one_timer_also_where_a_head_wakes_with_it() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Skip)]);
    schedule.hold(A, MonoMs(1_000));
    schedule.admit(Entry { due: MonoMs(1_000), ..keyed(1, 7) }, None, MonoMs(0));
    schedule.admit(keyed(2, 8), None, MonoMs(0));
    assert_eq!(schedule.wakes.len(), 2);
    schedule.hold(A, MonoMs(2_000));
    assert_eq!(seqs(&mut schedule, 1_000), NONE);
    assert_eq!(schedule.wakes.len(), 1);
    assert_eq!(seqs(&mut schedule, 2_000), [1, 2]);
}
