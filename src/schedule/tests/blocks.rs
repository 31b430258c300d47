use super::*;
use crate::model::delivery::Fallen;

fn fallen(seq: u32, key: u64, died_at: u64) -> Fallen {
    Fallen { delivery: delivery(A, seq), died_at: UnixMs(died_at), key: Some(KeyHash(key)) }
}

/// A lane in which the first of a key has died, with two behind it and another key.
fn after_a_death(order: Order, on_dead: OnDead) -> Schedule {
    let mut schedule = with_lanes(&[ordered(order, on_dead)]);
    for seq in [2, 3, 4] {
        schedule.admit(keyed(seq, 7), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0), [2]);
    dead(&mut schedule, A, 2, 1);
    schedule.admit(keyed(5, 8), None, MonoMs(1));
    schedule
}

#[test]
fn a_dead_delivery_is_passed_over_where_the_rule_is_to_skip() {
    for order in [Order::Key, Order::Strict] {
        let mut schedule = after_a_death(order, OnDead::Skip);
        assert_eq!(seqs(&mut schedule, 1)[0], 3);
        assert_eq!(schedule.blocked(A), 0);
    }
}

#[test]
fn a_dead_delivery_blocks_those_of_its_key_behind_it_and_no_others() {
    let mut schedule = after_a_death(Order::Key, OnDead::Block);
    schedule.admit(keyed(1, 7), None, MonoMs(1));
    assert_eq!(seqs(&mut schedule, 1), [1, 5], "what was accepted before it goes");
    assert_eq!(schedule.blocked(A), 0, "the key is under way");
    delivered(&mut schedule, A, 1, 2);
    delivered(&mut schedule, A, 5, 2);
    assert_eq!(seqs(&mut schedule, 1_000_000), NONE);
    assert_eq!((schedule.blocked(A), schedule.pending(A), schedule.next_wake()), (1, 2, None));
    assert_eq!(schedule.next_due(A, MonoMs(1_000_000)), None);
}

#[test]
fn a_dead_delivery_blocks_a_whole_strict_lane() {
    let mut schedule = after_a_death(Order::Strict, OnDead::Block);
    schedule.admit(entry(A, 6, 0), None, MonoMs(1));
    assert_eq!(seqs(&mut schedule, 1), NONE);
    assert_eq!(schedule.blocked(A), 1);
}

#[test]
fn a_replay_lifts_its_block_and_goes_first() {
    let mut schedule = after_a_death(Order::Key, OnDead::Block);
    assert_eq!(seqs(&mut schedule, 1), [5]);
    schedule.admit(keyed(2, 7), None, MonoMs(2));
    assert_eq!(schedule.blocked(A), 0);
    for seq in [2, 3, 4] {
        assert_eq!(seqs(&mut schedule, 2), [seq]);
        delivered(&mut schedule, A, seq, 2);
    }
}

#[test]
fn a_replay_that_dies_blocks_again() {
    let mut schedule = after_a_death(Order::Key, OnDead::Block);
    schedule.admit(keyed(2, 7), None, MonoMs(2));
    assert_eq!(seqs(&mut schedule, 2), [2, 5]);
    dead(&mut schedule, A, 2, 3);
    assert_eq!((seqs(&mut schedule, 3), schedule.blocked(A)), (vec![], 1));
}

#[test]
fn a_resume_lifts_all_blocks() {
    let mut schedule = after_a_death(Order::Key, OnDead::Block);
    schedule.resume(A, MonoMs(2));
    assert_eq!((seqs(&mut schedule, 2), schedule.blocked(A)), (vec![3, 5], 0));
}

#[test]
fn the_dead_of_a_generation_that_is_gone_block_nobody() {
    let mut schedule = after_a_death(Order::Key, OnDead::Block);
    assert_eq!(seqs(&mut schedule, 1), [5]);
    schedule.forget_generation(2);
    assert_eq!((seqs(&mut schedule, 1), schedule.blocked(A)), (vec![], 1));
    schedule.forget_generation(1);
    assert_eq!((seqs(&mut schedule, 1), schedule.blocked(A)), (vec![3], 0));
}

#[test]
fn two_dead_of_a_key_block_it_until_both_are_gone() {
    let mut schedule = with_lanes(&[ordered(Order::Key, OnDead::Block)]);
    schedule.admit_dead(&fallen(1, 7, 0));
    schedule.admit_dead(&fallen(2, 7, 0));
    schedule.admit(keyed(3, 7), None, MonoMs(0));
    schedule.admit(keyed(1, 7), None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 0), [1]);
    delivered(&mut schedule, A, 1, 1);
    assert_eq!(seqs(&mut schedule, 1), NONE);
    schedule.admit(keyed(2, 7), None, MonoMs(2));
    assert_eq!(seqs(&mut schedule, 2), [2]);
    delivered(&mut schedule, A, 2, 3);
    assert_eq!(seqs(&mut schedule, 3), [3]);
}

#[test]
fn the_dead_told_before_a_lane_is_opened_block_by_its_rules() {
    for (order, on_dead, resumed_at, expected) in [
        (Order::Key, OnDead::Block, 0, vec![3]),
        (Order::Strict, OnDead::Block, 0, vec![]),
        (Order::Key, OnDead::Skip, 0, vec![2, 3]),
        (Order::None, OnDead::Skip, 0, vec![2, 3]),
        (Order::Key, OnDead::Block, 100, vec![3]),
        (Order::Key, OnDead::Block, 101, vec![2, 3]),
    ] {
        let mut schedule = with_lanes(&[]);
        schedule.admit(keyed(2, 7), None, MonoMs(0));
        schedule.admit_dead(&fallen(1, 7, 100));
        schedule.admit(keyed(3, 8), None, MonoMs(0));
        let kept = Kept { resumed_at: UnixMs(resumed_at), ..Kept::default() };
        schedule.open_lane(A, &ordered(order, on_dead), kept, MonoMs(0));
        assert_eq!(seqs(&mut schedule, 0), expected, "{order:?} {on_dead:?} {resumed_at}");
    }
}

#[test]
fn a_death_of_unknown_time_blocks_until_the_endpoint_is_resumed_once() {
    for (resumed_at, expected) in [(0, vec![]), (1, vec![2])] {
        let mut schedule = with_lanes(&[]);
        let kept = Kept { resumed_at: UnixMs(resumed_at), ..Kept::default() };
        schedule.open_lane(A, &ordered(Order::Key, OnDead::Block), kept, MonoMs(0));
        schedule.admit_dead(&fallen(1, 7, 0));
        schedule.admit(keyed(2, 7), None, MonoMs(0));
        assert_eq!(seqs(&mut schedule, 0), expected);
    }
}
