use super::*;

#[test]
fn an_event_is_not_stored_twice_under_one_id() {
    // The same one again is a repeat, another one a conflict; neither is stored.
    for no in [0, 77] {
        let mut case = Case::new();
        case.stored("a");
        let again = case.ask("a", None, no);
        case.answer(again, "a", false);
        case.breached("was stored beside");
    }
}

#[test]
fn an_event_is_not_stored_twice_under_one_key() {
    for no in [1, 77] {
        let mut case = Case::new();
        let first = case.ask("a", Some("k"), 1);
        case.answer(first, "a", false);
        let again = case.ask("b", Some("k"), no);
        case.answer(again, "b", false);
        case.breached("was stored beside");
    }
}

#[test]
fn an_event_is_not_stored_twice_after_a_restart() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.restart(&[waits(post, 0, 0), waits(post, 1, 0)]);
    let again = case.ask("a", None, 0);
    case.answer(again, "a", false);
    case.breached("was stored beside");
}

#[test]
fn an_id_is_free_again_once_its_event_is_past_retention() {
    let again = |after_ms| {
        let mut case = Case::new();
        case.taken("a");
        case.pass(after_ms);
        let again = case.ask("a", None, 0);
        case.answer(again, "a", false);
        case
    };
    again(RETENTION_MS).holds();
    again(RETENTION_MS - 1).breached("was stored beside");
}

#[test]
fn a_fresh_event_is_not_told_as_a_repeat() {
    let mut case = Case::new();
    case.stored("a");
    let fresh = case.ask("b", None, 77);
    case.answer(fresh, "a", true);
    case.breached("which was never stored");
}

#[test]
fn another_event_under_a_known_id_is_not_told_as_a_repeat() {
    let mut case = Case::new();
    case.stored("a");
    let repeat = case.ask("a", None, 0);
    case.answer(repeat, "a", true);
    case.holds();
    let other = case.ask("a", None, 77);
    case.answer(other, "a", true);
    assert!(case.ledger.breaches()[0].contains("which was never stored"));
    assert!(case.ledger.breaches()[1].contains("as a repeat in spite of"));
}

#[test]
fn a_conflict_with_nothing_is_found() {
    let conflict = || AcceptError::Conflict { index: 0, id: EventId::parse("a").unwrap() };
    let mut case = Case::new();
    case.stored("a");
    let (other, repeat) = (case.ask("a", None, 77), case.ask("a", None, 0));
    case.refuse(other, conflict(), true);
    case.holds();
    case.refuse(repeat, conflict(), true);
    case.breached("and there is none");
}

#[test]
fn an_event_is_not_refused_while_all_is_well() {
    let mut case = Case::new();
    let post = case.ask("a", None, 0);
    case.refuse(post, AcceptError::Failed, false);
    case.holds();
    case.refuse(post, AcceptError::Failed, true);
    case.breached("though nothing is wrong");
}

#[test]
fn an_event_is_answered_with_the_endpoints_that_take_it() {
    let mut case = Case::new();
    let post = case.ask("a", None, 0);
    let accepted = Accepted { id: EventId::parse("a").unwrap(), endpoints: vec![name(1)], duplicate: false };
    case.ledger.answered(&[post], &Ok(vec![accepted]), case.heard());
    case.breached("goes to");
}

#[test]
fn every_event_gets_an_answer() {
    let mut case = Case::new();
    let post = case.ask("a", None, 0);
    case.ledger.answered(&[post], &Ok(Vec::new()), case.heard());
    case.breached("0 answers to 1 events");
}
