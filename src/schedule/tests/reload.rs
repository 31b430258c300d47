use super::*;
use crate::policy::breaker::BreakerPhase;

const ORDERS: [Order; 3] = [Order::None, Order::Key, Order::Strict];

#[test]
fn an_endpoint_without_a_lane_keeps_its_deliveries() {
    for order in ORDERS {
        let mut schedule = with_lanes(&[rules(1)]);
        schedule.admit(entry(B, 2, 0), Some(event(10)), MonoMs(0));
        schedule.admit(entry(B, 3, 50), None, MonoMs(0));
        schedule.admit(entry(B, 4, 500), None, MonoMs(0));
        assert_eq!(started(&mut schedule, 100), []);
        assert_eq!((schedule.pending(B), schedule.orphans()), (3, vec![B]));
        assert_eq!((schedule.fresh_bytes(), schedule.next_wake()), (0, None));
        assert_eq!(schedule.next_due(B, MonoMs(100)), None);
        schedule.open_lane(B, &LaneRules { order, ..rules(9) }, Kept::default(), MonoMs(100));
        assert_eq!(schedule.orphans(), []);
        let mut gone = Vec::new();
        for now in [100, 100, 500] {
            let new = started(&mut schedule, now);
            for (_, seq) in &new {
                delivered(&mut schedule, B, *seq, now);
            }
            gone.extend(new);
        }
        assert_eq!(gone, [(1, 2), (1, 3), (1, 4)], "{order:?}");
    }
}

#[test]
fn a_lane_opens_as_it_was_kept() {
    let kept = Kept { active: false, held_until: Some(MonoMs(400)), open_breaker: None, resumed_at: UnixMs(0) };
    let mut schedule = with_lanes(&[]);
    schedule.admit(entry(A, 1, 0), None, MonoMs(0));
    schedule.open_lane(A, &rules(1), kept, MonoMs(0));
    assert_eq!(schedule.held_until(A), Some(MonoMs(400)));
    assert_eq!(seqs(&mut schedule, 100), NONE);
    schedule.set_active(A, true);
    assert_eq!(seqs(&mut schedule, 399), NONE);
    assert_eq!(seqs(&mut schedule, 400), [1]);
}

#[test]
fn other_limits_count_from_now_on() {
    let mut schedule = with_lanes(&[rules(4)]);
    for seq in 0..10 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0).len(), 4);
    schedule.change_lane(A, &rules(2), MonoMs(0));
    delivered(&mut schedule, A, 0, 1);
    delivered(&mut schedule, A, 1, 1);
    assert_eq!(seqs(&mut schedule, 1), NONE);
    delivered(&mut schedule, A, 2, 1);
    assert_eq!(seqs(&mut schedule, 1).len(), 1);
    schedule.change_lane(A, &rules(5), MonoMs(1));
    assert_eq!(seqs(&mut schedule, 1).len(), 3);
}

#[test]
fn a_changed_lane_keeps_its_breaker_its_pace_its_hold_and_its_pause() {
    let rate = crate::policy::rate::RateLimit { count: 1, per_ms: 10_000, burst: 1 };
    let before = LaneRules { breaker: Some(BREAKER), rate: Some(rate), ..rules(4) };
    let after = LaneRules { in_flight_max: 8, ..before.clone() };
    let mut schedule = with_lanes(&[before]);
    (0..5).for_each(|seq| schedule.admit(entry(A, seq, 0), None, MonoMs(0)));
    assert_eq!(seqs(&mut schedule, 0), [0]);
    schedule.change_lane(A, &after, MonoMs(1));
    assert_eq!([seqs(&mut schedule, 9_999), seqs(&mut schedule, 10_000)], [vec![], vec![1]], "the pace");
    failed(&mut schedule, A, 0, 90_000, 10_000);
    failed(&mut schedule, A, 1, 90_000, 10_000);
    let open = schedule.breaker(A);
    assert!(matches!(open, Some((BreakerPhase::Open { .. }, 1_000))));
    schedule.hold(A, MonoMs(30_000));
    schedule.set_active(A, false);
    schedule.change_lane(A, &after, MonoMs(10_001));
    assert_eq!((schedule.breaker(A), schedule.held_until(A)), (open, Some(MonoMs(30_000))));
    assert_eq!(seqs(&mut schedule, 29_999), NONE);
    schedule.set_active(A, true);
    assert_eq!(seqs(&mut schedule, 30_000), [2], "the probe, after the hold");
    schedule.change_lane(A, &rules(8), MonoMs(30_001));
    assert_eq!((schedule.breaker(A), seqs(&mut schedule, 30_001)), (None, vec![3, 4]), "no breaker, no pace any more");
    schedule.change_lane(A, &after, MonoMs(30_002));
    assert_eq!(failed(&mut schedule, A, 2, 90_000, 30_003), None, "the old probe counts as any other");
}

#[test]
fn another_order_holds_for_all_that_waits_wherever_it_stands() {
    for before in ORDERS {
        for after in ORDERS {
            let mut schedule = with_lanes(&[LaneRules { order: before, ..rules(100) }]);
            // One sleeps, one is under way, one is due; of one key.
            schedule.admit(keyed(3, 7), None, MonoMs(0));
            assert_eq!(seqs(&mut schedule, 0), [3]);
            schedule.admit(Entry { due: MonoMs(1_000), ..keyed(1, 7) }, None, MonoMs(0));
            schedule.admit(keyed(4, 7), None, MonoMs(0));
            schedule.admit(Entry { due: MonoMs(1_000), ..entry(A, 5, 0) }, None, MonoMs(0));
            schedule.admit(Entry { due: MonoMs(500), ..entry(B, 5, 0) }, None, MonoMs(0));
            schedule.change_lane(A, &LaneRules { order: after, ..rules(100) }, MonoMs(0));
            let (due, rest): (Vec<u32>, Vec<Vec<u32>>) = match after {
                Order::None => (vec![4], vec![vec![1, 5]]),
                Order::Key => (vec![], vec![vec![1, 5], vec![4]]),
                Order::Strict => (vec![], vec![vec![1], vec![4], vec![5]]),
            };
            assert_eq!(seqs(&mut schedule, 0), due, "{before:?} to {after:?}");
            delivered(&mut schedule, A, 3, 1);
            assert_eq!(seqs(&mut schedule, 999), NONE, "{before:?} to {after:?}");
            for expected in rest {
                assert_eq!(seqs(&mut schedule, 1_000), expected, "{before:?} to {after:?}");
                for seq in expected {
                    delivered(&mut schedule, A, seq, 1_000);
                }
            }
            assert_eq!(schedule.in_flight(A), due.len() as u32);
        }
    }
}

#[test]
fn a_key_with_several_under_way_waits_for_all_of_them() {
    let mut schedule = with_lanes(&[rules(100)]);
    for seq in 1..=4 {
        schedule.admit(keyed(seq, 7), None, MonoMs(0));
        if seq == 3 {
            assert_eq!(seqs(&mut schedule, 0), [1, 2, 3]);
        }
    }
    schedule.change_lane(A, &ordered(Order::Key, OnDead::Skip), MonoMs(0));
    delivered(&mut schedule, A, 1, 1);
    failed(&mut schedule, A, 3, 1, 1);
    assert_eq!(seqs(&mut schedule, 1), NONE);
    delivered(&mut schedule, A, 2, 2);
    assert_eq!(seqs(&mut schedule, 2), [3]);
    delivered(&mut schedule, A, 3, 3);
    assert_eq!(seqs(&mut schedule, 3), [4]);
}

#[test]
fn a_closed_lane_is_an_orphan_that_keeps_everything_but_bodies() {
    for (before, after) in ORDERS.into_iter().flat_map(|before| ORDERS.map(|after| (before, after))) {
        let mut schedule = with_lanes(&[LaneRules { order: before, ..rules(2) }]);
        for seq in 1..=4 {
            schedule.admit(keyed(seq, u64::from(seq)), Some(event(10)), MonoMs(0));
        }
        let under_way = seqs(&mut schedule, 0);
        schedule.admit(Entry { due: MonoMs(50), ..keyed(6, 6) }, None, MonoMs(0));
        schedule.close_lane(A);
        assert_eq!((schedule.fresh_bytes(), schedule.orphans(), schedule.breaker(A)), (0, vec![A], None));
        for seq in under_way {
            failed(&mut schedule, A, seq, 60, 1);
        }
        schedule.admit(keyed(5, 5), Some(event(10)), MonoMs(1));
        assert_eq!(seqs(&mut schedule, 100), NONE);
        assert_eq!((schedule.pending(A), schedule.in_flight(A), schedule.fresh_bytes()), (6, 0, 0));
        assert_eq!(schedule.next_wake(), None);
        schedule.open_lane(A, &LaneRules { order: after, ..rules(1) }, Kept::default(), MonoMs(100));
        for seq in 1..=6 {
            assert_eq!(seqs(&mut schedule, 100), [seq], "{before:?} to {after:?}");
            delivered(&mut schedule, A, seq, 100);
        }
        assert_eq!((schedule.total_pending(), schedule.orphans()), (0, vec![]));
    }
}

#[test]
fn blocks_outlast_a_change_and_a_time_without_a_lane() {
    let block = ordered(Order::Key, OnDead::Block);
    let mut schedule = with_lanes(std::slice::from_ref(&block));
    (1..=3).for_each(|seq| schedule.admit(keyed(seq, 7), None, MonoMs(0)));
    schedule.admit(keyed(4, 8), None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 0), [1, 4]);
    dead(&mut schedule, A, 1, 1);
    schedule.change_lane(A, &LaneRules { in_flight_max: 9, ..block.clone() }, MonoMs(1));
    assert_eq!((seqs(&mut schedule, 1), schedule.blocked(A)), (vec![], 1));
    schedule.close_lane(A);
    dead(&mut schedule, A, 4, 2);
    schedule.admit(keyed(5, 8), None, MonoMs(2));
    schedule.open_lane(A, &block, Kept::default(), MonoMs(2));
    assert_eq!((seqs(&mut schedule, 2), schedule.blocked(A)), (vec![], 2), "also what died meanwhile");
    schedule.change_lane(A, &ordered(Order::Strict, OnDead::Block), MonoMs(3));
    assert_eq!((seqs(&mut schedule, 3), schedule.blocked(A)), (vec![], 1));
    schedule.change_lane(A, &block, MonoMs(3));
    assert_eq!((seqs(&mut schedule, 3), schedule.blocked(A)), (vec![], 2));
    schedule.change_lane(A, &ordered(Order::Key, OnDead::Skip), MonoMs(4));
    assert_eq!((seqs(&mut schedule, 4), schedule.blocked(A)), (vec![2, 5], 0));
}

#[test]
fn what_was_admitted_twice_before_its_lane_is_opened_goes_once() {
    for order in ORDERS {
        let mut schedule = with_lanes(&[]);
        for due in [0, 0, 500] {
            schedule.admit(Entry { due: MonoMs(due), ..keyed(1, 7) }, None, MonoMs(0));
            schedule.admit(Entry { due: MonoMs(due), ..keyed(2, 8) }, None, MonoMs(0));
        }
        schedule.open_lane(A, &LaneRules { order, ..rules(10) }, Kept::default(), MonoMs(0));
        for now in [0, 500, 500] {
            for seq in seqs(&mut schedule, now) {
                delivered(&mut schedule, A, seq, now);
            }
        }
        assert_eq!((schedule.total_pending(), schedule.oldest_accepted(A)), (0, None), "{order:?}");
    }
}
