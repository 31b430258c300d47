use super::*;

/// Ten seconds and a minute between tries; a breaker that opens at the first failure and probes each four seconds.
fn brittle(order: Order, on_dead: OnDead) -> LaneRules {
    let breaker = BreakerRules { failures: 1, cooldown_ms: 4_000, cooldown_ms_max: 4_000 };
    LaneRules { breaker: Some(breaker), waits_ms: Arc::new([10_000, 60_000]), ..ordered(order, on_dead) }
}

/// Everything that happens up to `until`, while each probe fails and is tried again much later: what is given up, and when.
fn expired_until(schedule: &mut Schedule, until: u64) -> Vec<(u64, u32)> {
    let mut out = Vec::new();
    while let Some(at) = schedule.next_wake().filter(|at| at.0 <= until) {
        for start in starts(schedule, at.0) {
            let seq = start.delivery.event.seq;
            if start.act == Act::Expire {
                out.push((at.0, seq));
                assert_eq!(start.fresh, None);
                dead(schedule, A, seq, at.0);
            } else {
                failed(schedule, A, seq, at.0 + 10_000_000, at.0);
            }
        }
    }
    out
}

/// A lane whose breaker opened at 1,000.
fn opened(rules: &LaneRules, kept: Kept) -> Schedule {
    let mut schedule = with_lanes(&[]);
    schedule.open_lane(A, rules, kept, MonoMs(0));
    schedule.admit(Entry { key: Some(KeyHash(99)), ..entry(A, 0, 0) }, None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 0), [0]);
    assert_eq!(failed(&mut schedule, A, 0, 50_000_000, 1_000), Some(Turn::Opened));
    schedule
}

#[test]
fn what_has_waited_for_its_whole_schedule_while_the_breaker_was_open_is_given_up() {
    for order in [Order::None, Order::Key] {
        let mut schedule = opened(&brittle(order, OnDead::Skip), Kept::default());
        // Twenty that probes take, then the three that are looked at.
        for seq in 1..=20 {
            schedule.admit(keyed(seq, 1_000 + u64::from(seq)), None, MonoMs(1_000));
        }
        let at = |seq, tries, due| {
            let progress = Progress { tries, made: tries };
            Entry { progress, due: MonoMs(due), ..keyed(seq, u64::from(seq)) }
        };
        schedule.admit(at(50, 0, 0), None, MonoMs(1_000));
        schedule.admit(at(51, 1, 0), None, MonoMs(1_000));
        schedule.admit(at(52, 1, 5_000), None, MonoMs(1_000));
        schedule.admit(at(53, 2, 500), None, MonoMs(1_000));
        let gone: Vec<_> = expired_until(&mut schedule, 100_000).into_iter().filter(|(_, seq)| *seq >= 50).collect();
        let expected = [(53, 5_000), (51, 61_000), (52, 65_000), (50, 71_000)];
        assert_eq!(gone.len(), 4, "{gone:?}");
        for ((at, seq), (expected_seq, earliest)) in gone.into_iter().zip(expected) {
            assert_eq!(seq, expected_seq);
            assert!((earliest..=earliest + 1_000).contains(&at), "{seq} at {at}, and not {earliest}: {order:?}");
        }
    }
}

#[test]
fn nothing_is_given_up_while_the_breaker_is_closed() {
    let mut schedule = with_lanes(&[LaneRules { in_flight_max: 1, ..brittle(Order::None, OnDead::Skip) }]);
    for seq in 0..5 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0), [0]);
    assert_eq!(given_up(&mut schedule, 10_000_000), NONE);
}

#[test]
fn time_before_the_breaker_opened_does_not_count() {
    let mut schedule = with_lanes(&[brittle(Order::None, OnDead::Skip)]);
    schedule.set_active(A, false);
    for seq in 0..200 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    schedule.set_active(A, true);
    assert_eq!(seqs(&mut schedule, 5_000_000).len(), 100);
    failed(&mut schedule, A, 0, 90_000_000, 5_000_000);
    let gone = expired_until(&mut schedule, 5_071_000);
    assert!(gone.iter().all(|(at, _)| *at >= 5_070_000), "{:?}", gone.first());
    assert_ne!(gone, []);
}

#[test]
fn what_was_found_expired_and_not_given_up_yet_is_saved_by_a_success() {
    for order in [Order::None, Order::Key] {
        let mut schedule = opened(&LaneRules { in_flight_max: 3, ..brittle(order, OnDead::Skip) }, Kept::default());
        for seq in 1..100 {
            schedule.admit(keyed(seq, u64::from(seq)), None, MonoMs(1_000));
        }
        let probe = seqs(&mut schedule, 5_000);
        assert_eq!(probe, [1]);
        assert_eq!(given_up(&mut schedule, 71_000), [2, 3], "as many as there are permits");
        assert_eq!(delivered(&mut schedule, A, 1, 71_001), Some(Turn::Recovered));
        assert_eq!(seqs(&mut schedule, 71_001), NONE, "one permit, and two are being given up");
        dead(&mut schedule, A, 2, 71_002);
        dead(&mut schedule, A, 3, 71_002);
        assert_eq!(seqs(&mut schedule, 71_002), [4]);
        assert_eq!(schedule.pending(A), 97);
    }
}

#[test]
fn what_was_found_expired_is_saved_by_a_longer_schedule() {
    for order in [Order::None, Order::Key] {
        let rules = LaneRules { in_flight_max: 3, ..brittle(order, OnDead::Skip) };
        let mut schedule = opened(&rules, Kept::default());
        schedule.hold(A, MonoMs(10_000_000));
        for seq in 1..100 {
            schedule.admit(keyed(seq, u64::from(seq)), None, MonoMs(1_000));
        }
        assert_eq!(given_up(&mut schedule, 71_000), [1, 2, 3]);
        schedule.change_lane(A, &LaneRules { waits_ms: Arc::new([100_000]), ..rules }, MonoMs(71_000));
        dead(&mut schedule, A, 1, 71_000);
        assert_eq!(given_up(&mut schedule, 100_999), NONE);
        assert_eq!(given_up(&mut schedule, 102_000), [4]);
    }
}

#[test]
fn without_a_retry_schedule_each_waits_for_the_longest_cooldown() {
    let rules = LaneRules { waits_ms: Arc::new([]), ..brittle(Order::None, OnDead::Skip) };
    let mut schedule = opened(&rules, Kept::default());
    for seq in 1..=3 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(1_000));
    }
    assert_eq!(expired_until(&mut schedule, 4_999), []);
    let probe_or_gone = starts(&mut schedule, 5_000);
    assert_eq!(probe_or_gone.len(), 3, "{probe_or_gone:?}");
}

#[test]
fn a_lane_that_is_not_active_gives_nothing_up() {
    let mut schedule = opened(&brittle(Order::None, OnDead::Skip), Kept::default());
    schedule.admit(entry(A, 1, 0), None, MonoMs(1_000));
    schedule.admit(entry(A, 2, 0), None, MonoMs(1_000));
    schedule.set_active(A, false);
    assert_eq!(given_up(&mut schedule, 900_000), NONE);
    assert!(schedule.next_wake() > Some(MonoMs(900_000)), "nor does it look for what has expired");
    schedule.set_active(A, true);
    assert_eq!(given_up(&mut schedule, 900_000), [1, 2]);
}

#[test]
fn a_hold_and_a_rate_stop_no_giving_up() {
    let rate = crate::policy::rate::RateLimit { count: 1, per_ms: 3_600_000, burst: 1 };
    let mut schedule = opened(&LaneRules { rate: Some(rate), ..brittle(Order::None, OnDead::Skip) }, Kept::default());
    schedule.hold(A, MonoMs(900_000));
    schedule.admit(entry(A, 1, 0), None, MonoMs(1_000));
    assert_eq!(expired_until(&mut schedule, 100_000).len(), 1);
}

#[test]
fn the_next_of_a_chain_is_given_up_right_after_the_one_before_it() {
    let mut schedule = with_lanes(&[brittle(Order::Strict, OnDead::Skip)]);
    (0..50).for_each(|seq| schedule.admit(entry(A, seq, 0), None, MonoMs(0)));
    assert_eq!(seqs(&mut schedule, 0), [0]);
    assert_eq!(schedule.finish(delivery(A, 0), Outcome::Dead, Signal::Failure, MonoMs(0)), Some(Turn::Opened));
    schedule.hold(A, MonoMs(10_000_000));
    let gone = expired_until(&mut schedule, 75_000);
    assert_eq!(gone.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), (1..50).collect::<Vec<_>>());
    assert_eq!(
        gone.first().map(|(at, _)| *at),
        gone.last().map(|(at, _)| *at),
        "one sweep finds the first, none the others"
    );
}

#[test]
fn one_that_is_given_up_blocks_those_behind_it_where_the_rule_is_to_block() {
    let mut schedule = with_lanes(&[brittle(Order::Strict, OnDead::Block)]);
    (0..50).for_each(|seq| schedule.admit(entry(A, seq, 0), None, MonoMs(0)));
    assert_eq!(seqs(&mut schedule, 0), [0]);
    failed(&mut schedule, A, 0, 0, 0);
    schedule.hold(A, MonoMs(10_000_000));
    let gone = expired_until(&mut schedule, 1_000_000);
    assert_eq!(gone.iter().map(|(_, seq)| *seq).collect::<Vec<_>>(), [0]);
    assert_eq!((schedule.blocked(A), schedule.pending(A)), (1, 49));
}
