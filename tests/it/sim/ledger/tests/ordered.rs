use webhookd::config::{OnDead, Order};
use webhookd::model::delivery::{DeadReason, Fallen};

use super::*;

/// Two events of one key, of which the first has failed once.
fn retried(order: Order, keys: [Option<u8>; 2]) -> (Case, usize, usize) {
    let mut case = Case::with(|endpoint| endpoint.order = order);
    let (one, other) = (case.stored_in_order("a", keys[0]), case.stored_in_order("b", keys[1]));
    case.rest();
    case.attempt(one, 1, 1, Answer::Status(500));
    (case, one, other)
}

#[test]
fn an_attempt_before_an_earlier_one_of_its_key_is_found() {
    let begun = |order, keys| {
        let (mut case, _, other) = retried(order, keys);
        case.begin(other, 1, 1);
        case
    };
    begun(Order::Key, [Some(1), Some(1)]).breached("which is earlier and of the same key");
    begun(Order::Strict, [None, Some(1)]).breached("which is earlier and of the same key");
    begun(Order::Key, [Some(1), Some(2)]).holds();
    begun(Order::Key, [None, None]).holds();
    begun(Order::None, [Some(1), Some(1)]).holds();
}

#[test]
fn a_later_one_goes_once_the_earlier_one_has_ended() {
    let (mut case, one, other) = retried(Order::Key, [Some(1), Some(1)]);
    case.pass(WAIT_MS);
    case.attempt(one, 1, 2, Answer::Taken);
    case.begin(other, 1, 1);
    case.holds();
}

#[test]
fn two_of_a_key_at_once_are_found_whichever_is_earlier() {
    let mut case = Case::with(|endpoint| endpoint.order = Order::Key);
    let (one, other) = (case.stored_in_order("a", Some(1)), case.stored_in_order("b", Some(1)));
    case.attempt(one, 1, 1, Answer::Taken);
    case.begin(other, 1, 1);
    // It is put back, and has to wait for the one under way.
    case.ledger.replay_asked(&[delivery(one, 1)], case.now);
    case.ledger.revived(&Waiting { progress: Progress { tries: 0, made: 1 }, ..waits(one, 1, 0).1 }, case.now);
    case.holds();
    case.begin(one, 1, 2);
    case.breached("of the same key, is under way");
}

#[test]
fn one_that_was_put_back_goes_before_those_after_it_once_the_dispatcher_knows() {
    let begun = |known| {
        let mut case = Case::with(|endpoint| endpoint.order = Order::Key);
        let (one, other) = (case.stored_in_order("a", Some(1)), case.stored_in_order("b", Some(1)));
        case.attempt(one, 1, 1, Answer::Taken);
        case.rest();
        case.ledger.replay_asked(&[delivery(one, 1)], case.now);
        case.ledger.revived(&Waiting { progress: Progress { tries: 0, made: 1 }, ..waits(one, 1, 0).1 }, case.now);
        if known {
            case.rest();
        }
        case.begin(other, 1, 1);
        case
    };
    begun(false).holds();
    begun(true).breached("which is earlier and of the same key");
}

fn blocked(on_dead: OnDead) -> (Case, usize, usize) {
    let mut case = Case::with(|endpoint| (endpoint.order, endpoint.on_dead) = (Order::Key, on_dead));
    let (one, other) = (case.stored_in_order("a", Some(1)), case.stored_in_order("b", Some(1)));
    case.attempt(one, 1, 1, Answer::Abort);
    (case, one, other)
}

#[test]
fn an_attempt_behind_a_dead_one_that_blocks_is_found() {
    let (mut case, _, other) = blocked(OnDead::Skip);
    case.begin(other, 1, 1);
    case.holds();
    let (mut case, _, other) = blocked(OnDead::Block);
    case.begin(other, 1, 1);
    case.breached("is dead and blocks it");
}

#[test]
fn a_dead_one_blocks_after_a_restart_and_no_more_after_a_resume() {
    let begun = |resumed| {
        let (mut case, one, other) = blocked(OnDead::Block);
        if resumed {
            case.ledger.opens(1);
        }
        case.ledger.make_sure();
        case.ledger.life_ends(false, case.now);
        case.ledger.lanes_begin(&[EndpointRecord::default(); 2], true, case.now);
        let dead = Fallen { delivery: delivery(one, 1), died_at: case.now.wall, key: None };
        case.ledger.begins(&[waits(one, 0, 0), waits(other, 0, 0), waits(other, 1, 0)], &[(one, dead)], true, case.now);
        case.begin(other, 1, 1);
        case
    };
    begun(true).holds();
    begun(false).breached("is dead and blocks it");
}

#[test]
fn one_that_nothing_holds_up_is_late_and_one_behind_another_is_not() {
    let (mut case, one, other) = retried(Order::Key, [Some(1), Some(1)]);
    case.attempt(one, 0, 1, Answer::Taken);
    case.attempt(other, 0, 1, Answer::Taken);
    case.ledger.at_rest(case.now);
    case.holds();
    case.pass(WAIT_MS);
    case.ledger.at_rest(case.now);
    case.breached("late");
}

#[test]
fn a_dead_one_that_is_not_told_at_the_start_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.attempt(post, 0, 1, Answer::Abort);
    case.restart(&[waits(post, 1, 0)]);
    case.breached("is dead and not told so");
    let mut case = Case::new();
    let post = case.stored("a");
    let dead = Fallen { delivery: delivery(post, 0), died_at: START, key: None };
    case.ledger.life_ends(false, case.now);
    case.ledger.lanes_begin(&[EndpointRecord::default(); 2], true, case.now);
    case.ledger.begins(&[waits(post, 0, 0), waits(post, 1, 0)], &[(post, dead)], true, case.now);
    case.breached("is told as dead at the start");
}

#[test]
fn a_generation_that_is_removed_too_early_is_found() {
    let mut case = Case::new();
    case.taken("a");
    case.ledger.removed(1, case.now.wall.plus_ms(RETENTION_MS));
    case.holds();
    case.ledger.removed(1, case.now.wall.plus_ms(RETENTION_MS - 1));
    case.breached("is removed before its time");
}

#[test]
fn one_that_was_given_up_was_due_long_enough_while_the_breaker_was_open() {
    use super::guarded::{breaker, open};
    // Two waits of five seconds are left to it.
    for (waited_ms, may_be) in [(2 * WAIT_MS - 1, false), (2 * WAIT_MS, true)] {
        let mut case = Case::with(|endpoint| endpoint.breaker = Some(breaker()));
        let (one, other, third) = (case.stored("a"), case.stored("b"), case.stored("c"));
        case.attempt(one, 0, 1, Answer::Status(500));
        case.attempt(other, 0, 1, Answer::Status(500));
        open(&mut case, 0, 1_000);
        case.rest();
        case.pass(waited_ms);
        case.rest();
        case.holds();
        let mut told = case.told(third, PENDING, 0);
        told.deliveries[0].standing = Standing::Dead(DeadReason::BreakerOpen);
        case.audit(third, Some(&told));
        if may_be { case.holds() } else { case.breached("and not at") }
    }
}
