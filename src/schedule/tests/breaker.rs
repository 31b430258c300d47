use super::*;
use crate::policy::breaker::BreakerPhase;

fn with_breaker(in_flight_max: u32) -> LaneRules {
    LaneRules { breaker: Some(BREAKER), ..rules(in_flight_max) }
}

/// A lane whose breaker opened at 0, with `ready` that are due and two retries at 500.
fn opened(ready: u32) -> Schedule {
    let mut schedule = with_lanes(&[with_breaker(4)]);
    schedule.admit(entry(A, 0, 0), None, MonoMs(0));
    schedule.admit(entry(A, 1, 0), None, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 0), [0, 1]);
    for seq in 0..ready {
        schedule.admit(entry(A, 10 + seq, 0), None, MonoMs(0));
    }
    assert_eq!(failed(&mut schedule, A, 0, 500, 0), None);
    assert_eq!(failed(&mut schedule, A, 1, 500, 0), Some(Turn::Opened));
    schedule
}

#[test]
fn an_open_breaker_lets_one_probe_out_each_cooldown() {
    let mut schedule = opened(100);
    assert_eq!(schedule.breaker(A), Some((BreakerPhase::Open { probe_at: MonoMs(1_000) }, 1_000)));
    assert_eq!(schedule.next_due(A, MonoMs(0)), Some(MonoMs(1_000)));
    assert_eq!(seqs(&mut schedule, 999), NONE);
    assert_eq!(schedule.next_wake(), Some(MonoMs(1_000)));
    let probe = starts(&mut schedule, 1_000);
    assert_eq!(probe.iter().map(|start| start.act).collect::<Vec<_>>(), [Act::Attempt { probe: true }]);
    assert_eq!(probe[0].delivery, delivery(A, 0), "the one accepted first");
    assert_eq!(schedule.breaker(A).map(|(phase, _)| phase), Some(BreakerPhase::Probing));
    assert_eq!(seqs(&mut schedule, 3_000), NONE);
    assert_eq!(failed(&mut schedule, A, 0, 9_000, 3_000), Some(Turn::StaysOpen));
    assert_eq!(seqs(&mut schedule, 4_999), NONE);
    assert_eq!(seqs(&mut schedule, 5_000).len(), 1, "twice the time later");
}

#[test]
fn an_open_breaker_costs_a_wake_up_for_each_probe_and_nothing_else() {
    let mut schedule = opened(100);
    let mut wakes = 0;
    let mut probes = 0;
    while let Some(at) = schedule.next_wake().filter(|at| at.0 < 64_000) {
        wakes += 1;
        for seq in seqs(&mut schedule, at.0) {
            probes += 1;
            failed(&mut schedule, A, seq, at.0 + 100_000, at.0);
        }
    }
    assert_eq!(probes, 17, "at 1, 3, 7 s and then each 4 s");
    assert!(wakes <= 6 * probes, "the wheel and the sweeps wake a few times more: {wakes}");
}

#[test]
fn a_success_of_the_probe_lets_permits_back_one_by_one() {
    let mut schedule = opened(100);
    assert_eq!(seqs(&mut schedule, 1_000), [0]);
    assert_eq!(delivered(&mut schedule, A, 0, 1_001), Some(Turn::Recovered));
    assert_eq!(seqs(&mut schedule, 1_001), [1]);
    assert_eq!(delivered(&mut schedule, A, 1, 1_002), None);
    assert_eq!(seqs(&mut schedule, 1_002), [10, 11]);
    delivered(&mut schedule, A, 10, 1_003);
    assert_eq!(seqs(&mut schedule, 1_003), [12, 13]);
    delivered(&mut schedule, A, 11, 1_004);
    assert_eq!(schedule.breaker(A), Some((BreakerPhase::Closed, 0)));
    assert_eq!(seqs(&mut schedule, 1_004), [14, 15]);
}

#[test]
fn a_probe_that_says_nothing_is_made_again_after_the_same_time() {
    let mut schedule = opened(5);
    assert_eq!(seqs(&mut schedule, 1_000), [0]);
    let turn = schedule.finish(delivery(A, 0), Outcome::Dead, Signal::Nothing, MonoMs(1_000));
    assert_eq!(turn, Some(Turn::StaysOpen));
    assert_eq!(seqs(&mut schedule, 1_999), NONE);
    assert_eq!(seqs(&mut schedule, 2_000), [1]);
}

#[test]
fn an_attempt_from_before_it_opened_is_not_taken_for_the_probe() {
    let mut schedule = with_lanes(&[with_breaker(4)]);
    for seq in 0..6 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
    }
    assert_eq!(seqs(&mut schedule, 0).len(), 4);
    failed(&mut schedule, A, 0, 100_000, 0);
    assert_eq!(failed(&mut schedule, A, 1, 100_000, 0), Some(Turn::Opened));
    assert_eq!(seqs(&mut schedule, 1_000), [4]);
    assert_eq!(failed(&mut schedule, A, 2, 100_000, 1_001), None);
    assert_eq!(schedule.breaker(A).map(|(phase, _)| phase), Some(BreakerPhase::Probing));
    assert_eq!(failed(&mut schedule, A, 4, 100_000, 1_002), Some(Turn::StaysOpen));
}

#[test]
fn a_probe_waits_for_the_end_of_a_hold() {
    let mut schedule = opened(5);
    schedule.hold(A, MonoMs(7_000));
    assert_eq!(seqs(&mut schedule, 1_000), NONE);
    assert_eq!(schedule.next_due(A, MonoMs(1_000)), Some(MonoMs(7_000)));
    assert_eq!(seqs(&mut schedule, 7_000).len(), 1);
}

#[test]
fn one_that_was_open_when_the_daemon_stopped_goes_on_probing() {
    let mut schedule = with_lanes(&[]);
    (0..5).for_each(|seq| schedule.admit(entry(A, seq, 0), None, MonoMs(0)));
    let kept = Kept { open_breaker: Some((MonoMs(2_000), 3_000)), ..Kept::default() };
    schedule.open_lane(A, &with_breaker(4), kept, MonoMs(0));
    assert_eq!(seqs(&mut schedule, 1_999), NONE);
    assert_eq!(seqs(&mut schedule, 2_000), [0]);
    failed(&mut schedule, A, 0, 100_000, 2_000);
    assert_eq!(schedule.breaker(A), Some((BreakerPhase::Open { probe_at: MonoMs(6_000) }, 4_000)));
}

#[test]
fn a_resume_closes_it_anew_and_forgets_its_probe() {
    let mut schedule = opened(9);
    assert_eq!(seqs(&mut schedule, 1_000), [0]);
    schedule.resume(A, MonoMs(1_500));
    assert_eq!(schedule.breaker(A), Some((BreakerPhase::Closed, 0)));
    assert_eq!(seqs(&mut schedule, 1_500), [1, 10, 11], "all permits but that of the old probe");
    failed(&mut schedule, A, 1, 100_000, 1_600);
    assert_eq!(failed(&mut schedule, A, 10, 100_000, 1_600), Some(Turn::Opened), "two failures, as at first");
    assert_eq!(seqs(&mut schedule, 2_600), [12], "the next probe");
    assert_eq!(failed(&mut schedule, A, 0, 100_000, 2_601), None, "the old probe is none any more");
    assert_eq!(schedule.breaker(A).map(|(phase, _)| phase), Some(BreakerPhase::Probing));
}

#[test]
fn an_endpoint_without_a_breaker_is_tried_on_and_on() {
    let mut schedule = with_lanes(&[rules(4)]);
    for seq in 0..100 {
        schedule.admit(entry(A, seq, 0), None, MonoMs(0));
        assert_eq!(seqs(&mut schedule, 0), [seq]);
        assert_eq!(failed(&mut schedule, A, seq, 1_000_000, 0), None);
    }
    assert_eq!(schedule.breaker(A), None);
}
