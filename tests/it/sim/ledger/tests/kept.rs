use webhookd::config::BreakerRules;
use webhookd::model::delivery::DeadReason;
use webhookd::model::endpoint::OpenBreaker;
use webhookd::outbox::{Damage, Loss};

use super::*;

fn damage(loss: Loss) -> Damage {
    Damage { generation: 1, at: START, what: String::new(), loss, folder: "".into() }
}

#[test]
fn an_acknowledged_event_that_cannot_be_found_is_lost() {
    let mut case = Case::new();
    let post = case.taken("a");
    // Retention may take what is finished, and not a moment too soon.
    case.pass(RETENTION_MS - 1);
    case.audit(post, None);
    case.breached("is lost");
}

#[test]
fn an_unfinished_event_is_lost_however_long_ago_it_was_accepted() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.attempt(post, 0, 1, Answer::Taken);
    case.pass(10 * RETENTION_MS);
    case.audit(post, None);
    case.breached("is lost");
}

#[test]
fn an_acknowledged_event_that_is_not_in_the_list_is_found() {
    let mut case = Case::new();
    let (one, other) = (case.stored("a"), case.stored("b"));
    let pending = |case: &Case, post| case.listed(post, PENDING, 0);
    case.ledger.audit_list(&[pending(&case, other), pending(&case, one)], case.now);
    case.holds();
    case.ledger.audit_list(&[pending(&case, other)], case.now);
    case.breached("is not in the list");
}

#[test]
fn a_pending_delivery_that_a_restart_forgets_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.restart(&[waits(post, 0, 0), waits(post, 1, 0)]);
    case.holds();
    case.restart(&[waits(post, 0, 0)]);
    case.breached("does not wait after a restart");
}

#[test]
fn a_delivery_that_is_on_no_schedule_is_found_at_the_next_rest() {
    let mut case = Case::new();
    let post = case.ask("a", None, 0);
    case.answer(post, "a", false);
    case.ledger.at_rest(case.now);
    assert_eq!(case.ledger.breaches().len(), 2, "one for each endpoint");
    assert!(case.ledger.breaches()[0].contains("on no schedule"));
}

#[test]
fn a_delivery_that_is_due_and_does_not_go_is_late() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.attempt(post, 0, 1, Answer::Taken);
    case.attempt(post, 1, 1, Answer::Status(500));
    case.pass(WAIT_MS - 1);
    case.ledger.at_rest(case.now);
    case.holds();
    case.pass(1);
    case.ledger.at_rest(case.now);
    case.breached("late");
}

#[test]
fn a_delivery_that_is_told_as_delivered_and_was_never_taken_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.attempt(post, 0, 1, Answer::Taken);
    let mut told = case.told(post, DELIVERED, 1);
    told.deliveries[1].attempts.clear();
    told.deliveries[1].progress = Progress::default();
    case.audit(post, Some(&told));
    case.breached("and not at");
}

#[test]
fn a_delivery_that_is_listed_as_dead_and_is_not_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    let mut listed = case.listed(post, PENDING, 0);
    listed.deliveries[1].1 = Standing::Dead(DeadReason::Exhausted);
    case.ledger.audit_list(&[listed], case.now);
    case.breached("is listed at");
}

#[test]
fn a_delivery_that_never_ends_is_found_at_the_end() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.attempt(post, 0, 1, Answer::Taken);
    assert_eq!(case.ledger.unfinished().len(), 1);
    case.ledger.audit_end();
    case.breached("was accepted and never taken");
}

#[test]
fn an_outcome_that_was_durable_and_is_forgotten_is_found_after_a_restart() {
    let mut case = Case::new();
    let post = case.taken("a");
    // A crash right after it may forget it, and it is made once more.
    case.ledger.life_ends(true, case.now);
    case.ledger.begins(&[waits(post, 0, 0)], &[], true, case.now);
    case.holds();
    let mut case = Case::new();
    let post = case.taken("a");
    case.restart(&[waits(post, 0, 0)]);
    case.breached("waits as");
}

#[test]
fn an_attempt_that_is_told_and_was_never_seen_is_found() {
    let mut case = Case::new();
    let post = case.taken("a");
    let mut told = case.told(post, DELIVERED, 1);
    case.audit(post, Some(&told));
    case.holds();
    told.deliveries[0].attempts[0].status = Some(204);
    case.audit(post, Some(&told));
    case.breached("attempts that were not seen");
}

#[test]
fn two_events_do_not_lie_in_one_place() {
    let mut case = Case::new();
    let (one, other) = (case.stored("a"), case.stored("b"));
    let told = StoredEvent { place: place(one), ..case.told(other, PENDING, 0) };
    case.audit(other, Some(&told));
    case.breached("lies where");
}

#[test]
fn a_list_out_of_order_is_found() {
    let mut case = Case::new();
    let (one, other) = (case.stored("a"), case.stored("b"));
    let listed = [case.listed(one, PENDING, 0), case.listed(other, PENDING, 0)];
    case.ledger.audit_list(&listed, case.now);
    case.breached("out of order");
}

#[test]
fn a_delivery_does_not_wait_twice_after_a_restart() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.restart(&[waits(post, 0, 0), waits(post, 1, 0), waits(post, 0, 0)]);
    case.breached("waits twice");
}

#[test]
fn an_endpoint_stays_paused_over_a_restart() {
    let mut case = Case::new();
    case.ledger.operated(0, LaneState::Paused, false);
    case.ledger.life_ends(false, case.now);
    let paused = EndpointRecord { state: EndpointState::Paused, ..EndpointRecord::default() };
    case.ledger.lanes_begin(&[paused, EndpointRecord::default()], true, case.now);
    case.holds();
    case.ledger.lanes_begin(&[EndpointRecord::default(); 2], true, case.now);
    case.breached("is Active after a restart");
}

#[test]
fn a_replay_that_goes_on_where_the_delivery_ended_is_found() {
    let revived = |made| {
        let mut case = Case::new();
        let post = case.taken("a");
        case.ledger.replay_asked(&[delivery(post, 0)], case.now);
        let waiting = Waiting { progress: Progress { tries: 0, made }, ..waits(post, 0, 0).1 };
        case.ledger.revived(&waiting, case.now);
        case
    };
    revived(1).holds();
    revived(0).breached("was revived as");
}

#[test]
fn a_replay_after_a_crash_goes_on_from_any_end_that_the_crash_has_left_open() {
    let revived = |made| {
        let mut case = Case::new();
        let post = case.taken("a");
        case.ledger.make_sure();
        // Put back, tried once more and taken; whether any of that is durable nobody knows.
        case.ledger.replay_asked(&[delivery(post, 0)], case.now);
        let waiting = Waiting { progress: Progress { tries: 0, made: 1 }, ..waits(post, 0, 0).1 };
        case.ledger.revived(&waiting, case.now);
        case.attempt(post, 0, 2, Answer::Taken);
        case.ledger.life_ends(true, case.now);
        case.ledger.begins(&[], &[], true, case.now);
        case.ledger.replay_asked(&[delivery(post, 0)], case.now);
        let waiting = Waiting { progress: Progress { tries: 0, made }, ..waiting };
        case.ledger.revived(&waiting, case.now);
        case
    };
    revived(1).holds();
    revived(2).holds();
    revived(0).breached("was revived as");
    revived(3).breached("was revived as");
}

#[test]
fn events_lost_by_damage_are_named() {
    let mut case = Case::new();
    let posts = [case.taken("a"), case.taken("b")];
    case.ledger.harm(1);
    posts.iter().for_each(|post| case.audit(*post, None));
    case.ledger.audit_damages(&[damage(Loss { events_lost: 2, ..Loss::default() })]);
    case.ledger.audit_damages(&[damage(Loss { unknown: true, ..Loss::default() })]);
    case.holds();
    case.ledger.audit_damages(&[damage(Loss { events_lost: 1, ..Loss::default() })]);
    case.breached("1 events are named as lost");
}

#[test]
fn bodies_and_states_lost_by_damage_are_named() {
    let bare = |case: &Case, post| StoredEvent { body_lost: true, ..case.told(post, DELIVERED, 1) };
    let forgetful = |case: &Case, post| case.told(post, PENDING, 0);
    for forgets in [false, true] {
        let mut case = Case::new();
        let post = case.taken("a");
        case.ledger.harm(1);
        let told = if forgets { forgetful(&case, post) } else { bare(&case, post) };
        case.audit(post, Some(&told));
        case.ledger.audit_damages(&[damage(Loss { bodies_lost: 1, ..Loss::default() })]);
        case.holds();
        case.ledger.audit_damages(&[damage(Loss::default())]);
        case.breached("no loss is named");
    }
}

#[test]
fn a_body_is_not_lost_without_damage() {
    let mut case = Case::new();
    let post = case.taken("a");
    let mut bare = (*case.events[post]).clone();
    bare.content.body = Default::default();
    let told = StoredEvent { body_lost: true, event: Arc::new(bare), ..case.told(post, DELIVERED, 1) };
    case.audit(post, Some(&told));
    case.breached("has another body");
}

#[test]
fn damage_that_nobody_did_is_not_told() {
    let mut case = Case::new();
    case.taken("a");
    case.ledger.audit_damages(&[damage(Loss::default())]);
    case.breached("damage is told where there was none");
}

#[test]
fn what_is_left_of_a_damaged_generation_ends_too() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.ledger.harm(1);
    let mut told = case.told(post, PENDING, 0);
    told.deliveries.truncate(1);
    case.ledger.audit_harmed_end(post, Some(&told));
    case.breached("never ends");
}

#[test]
fn what_waits_for_an_endpoint_whose_name_was_lost_is_named() {
    let waiting = |harmed| {
        let mut case = Case::new();
        let post = case.stored("a");
        if harmed {
            case.ledger.harm(1);
        }
        case.restart(&[waits(post, 0, 0), waits(post, 1, 0), waits(post, 2, 0)]);
        case
    };
    waiting(false).breached("waits and was never meant for it");
    let mut case = waiting(true);
    case.ledger.audit_damages(&[damage(Loss { names_lost: 1, ..Loss::default() })]);
    case.holds();
    case.ledger.audit_damages(&[]);
    case.breached("no loss is named");
}

#[test]
fn a_breaker_that_a_crash_finds_open_has_had_a_reason_since_the_last_rest() {
    let rules = BreakerRules { failures: 1, cooldown_ms: WAIT_MS, cooldown_ms_max: WAIT_MS };
    let killed = |fails: bool| {
        let mut case = Case::with(|endpoint| endpoint.breaker = Some(rules));
        let post = case.stored("a");
        case.pass(10 * WAIT_MS);
        case.rest();
        if fails {
            case.attempt(post, 0, 1, Answer::Status(500));
        }
        let open = OpenBreaker { since: case.now.wall, probe_at: case.now.wall.plus_ms(WAIT_MS), cooldown_ms: WAIT_MS };
        let records = [EndpointRecord { breaker: Some(open), ..EndpointRecord::default() }, EndpointRecord::default()];
        case.ledger.life_ends(true, case.now);
        case.ledger.lanes_begin(&records, false, case.now);
        case
    };
    killed(true).holds();
    killed(false).breached("after a restart and was");
}
