use webhookd::config::{BreakerRules, RateLimit};
use webhookd::model::endpoint::{Failing, OpenBreaker};

use super::*;

const HOUR_MS: u64 = 3600 * 1000;

/// Two failures open it, for a second at first.
pub(super) fn breaker() -> BreakerRules {
    BreakerRules { failures: 2, cooldown_ms: 1_000, cooldown_ms_max: 3_000 }
}

fn tell(case: &mut Case, endpoint: usize, phase: BreakerPhase) {
    let open = matches!(phase, BreakerPhase::Open { .. } | BreakerPhase::Probing);
    case.health[endpoint].breaker = Some(BreakerHealth { phase, open_since: open.then_some(START) });
}

/// The daemon tells that a breaker is open, with a probe after so many milliseconds.
pub(super) fn open(case: &mut Case, endpoint: usize, after_ms: u64) {
    let probe_at = case.now.mono.plus_ms(after_ms);
    tell(case, endpoint, BreakerPhase::Open { probe_at });
}

/// A case with five events, of which two have failed at `e1`, so that its breaker is open.
fn down() -> (Case, Vec<usize>) {
    let mut case = Case::with(|endpoint| {
        endpoint.breaker = Some(breaker());
        endpoint.in_flight_max = 8;
    });
    let ids = ["a", "b", "c", "d", "e"];
    let posts: Vec<usize> = ids.iter().map(|id| case.stored(id)).collect();
    case.rest();
    posts[..2].iter().for_each(|post| case.attempt(*post, 1, 1, Answer::Status(500)));
    open(&mut case, 1, 1_000);
    case.rest();
    case.holds();
    (case, posts)
}

#[test]
fn attempts_above_the_rate_are_found() {
    let begun = |gaps_ms: &[u64]| {
        let limit = RateLimit { count: 2, per_ms: 1_000, burst: 2 };
        let mut case = Case::with(|endpoint| endpoint.rate_limit = Some(limit));
        for (n, gap_ms) in gaps_ms.iter().enumerate() {
            case.pass(*gap_ms);
            let post = case.stored(&format!("a{n}"));
            case.attempt(post, 1, 1, Answer::Taken);
        }
        case
    };
    begun(&[0, 0, 500, 500, 2_000, 0, 500]).holds();
    begun(&[0, 0, 499]).breached("1 ms before its endpoint's rate allows it");
    begun(&[0, 0, 600, 399]).breached("1 ms before its endpoint's rate allows it");
}

#[test]
fn an_attempt_while_the_breaker_is_open_is_found() {
    let begun = |after_ms| {
        let (mut case, posts) = down();
        case.pass(after_ms);
        case.begin(posts[2], 1, 1);
        case
    };
    begun(1_000).holds();
    begun(999).breached("1 ms before the next probe");
}

#[test]
fn a_second_probe_is_found() {
    // Beside the first, in the same moment after it, and later.
    for (ends, rests) in [(false, false), (true, false), (false, true)] {
        let (mut case, posts) = down();
        case.pass(1_000);
        let probe = case.begin(posts[2], 1, 1);
        if ends {
            case.end(&probe, Answer::Status(500));
        }
        if rests {
            tell(&mut case, 1, BreakerPhase::Probing);
            case.rest();
        }
        case.holds();
        case.begin(posts[3], 1, 1);
        case.breached("beside the probe");
    }
}

#[test]
fn a_breaker_that_stays_closed_or_opens_for_nothing_is_found() {
    let told = |failures, phase| {
        let mut case = Case::with(|endpoint| endpoint.breaker = Some(breaker()));
        for n in 0..failures {
            let post = case.stored(&format!("a{n}"));
            case.attempt(post, 1, 1, Answer::Status(500));
        }
        tell(&mut case, 1, phase);
        case.rest();
        case
    };
    let open = BreakerPhase::Open { probe_at: MonoMs(1_000) };
    told(1, BreakerPhase::Closed).holds();
    told(2, open).holds();
    told(2, BreakerPhase::Closed).breached("the breaker of e1 is told to be Closed");
    told(1, open).breached("the breaker of e1 is told to be Open");
    told(0, open).breached("the breaker of e1 is told to be Open");
}

#[test]
fn a_cooldown_that_does_not_grow_as_it_should_is_found() {
    let told = |first_ms, second_ms| {
        let (mut case, posts) = down();
        for (n, wait_ms) in [first_ms, second_ms].into_iter().enumerate() {
            case.pass(3_000);
            case.attempt(posts[2 + n], 1, 1, Answer::Status(500));
            open(&mut case, 1, wait_ms);
            case.rest();
        }
        case
    };
    told(2_000, 3_000).holds();
    told(1_000, 2_000).breached("is told to be Open");
    told(2_000, 4_000).breached("is told to be Open");
}

#[test]
fn more_attempts_after_a_recovery_than_permits_have_come_back_are_found() {
    let (mut case, posts) = down();
    case.pass(1_000);
    case.attempt(posts[2], 1, 1, Answer::Taken);
    case.begin(posts[3], 1, 1);
    case.holds();
    case.begin(posts[4], 1, 1);
    case.breached("when its breaker allows 1 at once");

    let (mut case, posts) = down();
    case.pass(1_000);
    case.attempt(posts[2], 1, 1, Answer::Taken);
    tell(&mut case, 1, BreakerPhase::Recovering { permits: 2 });
    case.rest();
    case.breached("is told to be Recovering");
}

#[test]
fn more_attempts_after_a_429_than_permits_have_come_back_are_found() {
    let begun = |rests: bool| {
        let mut case = Case::with(|endpoint| {
            endpoint.breaker = Some(breaker());
            endpoint.in_flight_max = 8;
        });
        let posts = ["a", "b", "c", "d"].map(|id| case.stored(id));
        case.attempt(posts[0], 1, 1, Answer::Status(429));
        if rests {
            case.health[1].held_until = Some(case.now.wall.plus_ms(WAIT_MS));
            case.rest();
            case.pass(WAIT_MS);
        }
        case.begin(posts[1], 1, 1);
        case.holds();
        case.begin(posts[2], 1, 1);
        case
    };
    begun(false).holds();
    begun(true).breached("when its breaker allows 1 at once");
}

#[test]
fn a_probe_that_is_due_and_does_not_go_is_late() {
    let (mut case, posts) = down();
    posts.iter().for_each(|post| case.attempt(*post, 0, 1, Answer::Taken));
    case.pass(999);
    case.ledger.at_rest(case.now);
    case.holds();
    case.pass(1);
    case.ledger.at_rest(case.now);
    assert!(case.ledger.breaches().iter().all(|breach| breach.contains("late")));
    assert_eq!(case.ledger.breaches().len(), 3, "the two that failed are not due yet");
}

#[test]
fn a_breaker_that_a_restart_forgets_is_found() {
    let kept = OpenBreaker { since: START, probe_at: START.plus_ms(1_000), cooldown_ms: 1_000 };
    let restarted = |breaker| {
        let (mut case, _) = down();
        case.ledger.life_ends(false, case.now);
        let record = EndpointRecord { breaker, ..EndpointRecord::default() };
        case.ledger.lanes_begin(&[EndpointRecord::default(), record], true, case.now);
        case
    };
    restarted(Some(kept)).holds();
    restarted(None).breached("the breaker of e1 is None after a restart");
    restarted(Some(OpenBreaker { cooldown_ms: 2_000, ..kept })).breached("the breaker of e1 is");
}

/// An endpoint that fails at once, and again after a while, with a success between where that is wanted.
fn failed(after_ms: u64, success: bool, told: EndpointState) -> Case {
    let mut case = Case::with(|endpoint| endpoint.disable_after_ms = Some(HOUR_MS));
    let posts = [case.stored("a"), case.stored("b"), case.stored("c")];
    case.attempt(posts[0], 1, 1, Answer::Status(500));
    case.rest();
    if success {
        case.attempt(posts[1], 1, 1, Answer::Taken);
        case.rest();
    }
    case.pass(after_ms);
    case.attempt(posts[2], 1, 1, Answer::Status(500));
    case.health[1].state = told;
    case.rest();
    case
}

#[test]
fn an_endpoint_that_is_given_up_too_early_or_too_late_is_found() {
    let given_up = disabled(DisabledReason::Failing);
    failed(12 * HOUR_MS, false, given_up).holds();
    failed(12 * HOUR_MS - 1, false, EndpointState::Active).holds();
    failed(12 * HOUR_MS, true, EndpointState::Active).holds();
    failed(12 * HOUR_MS - 1, false, given_up).breached("e1 is told to be Failing");
    failed(12 * HOUR_MS, true, given_up).breached("e1 is told to be Failing");
    failed(12 * HOUR_MS, false, EndpointState::Active).breached("e1 is told to be Active");
}

#[test]
fn a_time_of_failure_that_a_restart_forgets_or_makes_up_is_found() {
    let restarted = |for_ms: Option<u64>| {
        let mut case = failed(150_000, false, EndpointState::Active);
        case.ledger.life_ends(false, case.now);
        let failing = for_ms.map(|for_ms| Failing { since: START, for_ms });
        let record = EndpointRecord { failing, ..EndpointRecord::default() };
        case.ledger.lanes_begin(&[EndpointRecord::default(), record], true, case.now);
        case
    };
    restarted(Some(120_000)).holds();
    restarted(Some(60_000)).breached("e1 fails for 60000 ms");
    restarted(Some(180_000)).breached("e1 fails for 180000 ms");
    restarted(None).breached("e1 fails for 0 ms");
}

#[test]
fn an_answer_from_before_a_resume_disables_nobody() {
    let mut case = Case::new();
    let post = case.stored("a");
    let before = case.begin(post, 1, 1);
    case.ledger.opens(1);
    case.end(&before, Answer::Gone);
    case.rest();
    case.holds();
    case.health[1].state = disabled(DisabledReason::Gone);
    case.rest();
    case.breached("e1 is told to be Gone");
}

#[test]
fn an_endpoint_that_stays_open_though_it_is_gone_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.attempt(post, 1, 1, Answer::Gone);
    case.rest();
    case.breached("e1 is told to be Active and should be {Gone}");
}

#[test]
fn an_attempt_to_an_endpoint_that_is_not_in_the_config_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    let config = Arc::clone(&case.ledger.endpoints[1]);
    case.ledger.reconfigures(1, None, case.now);
    (case.health[1].orphaned, case.health[1].pending) = (true, 1);
    case.rest();
    case.ledger.reconfigures(1, Some(config), case.now);
    case.begin(post, 1, 1);
    case.holds();
    let other = case.stored("b");
    case.ledger.reconfigures(1, None, case.now);
    case.begin(other, 1, 1);
    case.breached("though the config does not name its endpoint");
}

#[test]
fn an_orphan_is_told_with_all_that_waits_for_it_and_its_state() {
    let told = |change: fn(&mut EndpointHealth)| {
        let mut case = Case::new();
        case.stored("a");
        case.stored("b");
        case.ledger.operated(1, LaneState::Paused, false);
        case.ledger.reconfigures(1, None, case.now);
        (case.health[1].orphaned, case.health[1].pending) = (true, 2);
        case.health[1].state = EndpointState::Paused;
        change(&mut case.health[1]);
        case.rest();
        case
    };
    told(|_| {}).holds();
    told(|one| one.pending = 1).breached("1 deliveries are told to wait for the orphan e1, and 2 do");
    told(|one| one.state = EndpointState::Active).breached("the orphan e1 is told to be Active and was Paused");
    let as_if_it_were = told(|one| one.orphaned = false);
    assert!(as_if_it_were.ledger.breaches()[0].contains("is told of as if it were"));
}

#[test]
fn what_comes_back_must_be_tried() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.attempt(post, 0, 1, Answer::Taken);
    let config = Arc::clone(&case.ledger.endpoints[1]);
    case.ledger.reconfigures(1, None, case.now);
    case.ledger.at_rest(case.now);
    case.holds();
    case.ledger.reconfigures(1, Some(config), case.now);
    case.ledger.at_rest(case.now);
    case.breached("late");
}

#[test]
fn an_endpoint_with_nothing_under_way_is_kept_waiting_by_none_while_there_is_a_permit() {
    let mut case = Case::with(|endpoint| endpoint.in_flight_max = 8);
    let posts = [case.stored("a"), case.stored("b"), case.stored("c")];
    case.begin(posts[0], 1, 1);
    // Of two permits one is shared: `e1` may have to wait for its second, `e0` not for its first.
    case.ledger.at_rest(case.now);
    assert!(case.ledger.breaches().iter().all(|breach| breach.contains("e0 is 0 ms late")));
    assert_eq!(case.ledger.breaches().len(), 3);
}
