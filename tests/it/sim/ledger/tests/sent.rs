use super::*;

#[test]
fn an_event_that_was_refused_is_not_delivered() {
    let mut case = Case::new();
    case.stored("a");
    let post = case.ask("a", None, 77);
    case.refuse(post, AcceptError::Conflict { index: 0, id: EventId::parse("a").unwrap() }, true);
    case.holds();
    case.begin(post, 0, 1);
    assert!(case.ledger.breaches()[0].contains("was never accepted"));
}

#[test]
fn an_event_that_nobody_handed_in_is_not_delivered() {
    let mut case = Case::new();
    let post = case.stored("a");
    let strange = Event { traceparent: Some("9".into()), ..(*case.events[post]).clone() };
    case.begin_with(Arc::new(strange), 0, 1);
    case.breached("was never handed in");
}

#[test]
fn a_body_arrives_as_it_was_handed_in() {
    let mut case = Case::new();
    let post = case.stored("a");
    let mut event = (*case.events[post]).clone();
    event.content.body = event.content.body.slice(1..);
    case.begin_with(Arc::new(event.clone()), 0, 1);
    case.breached("is delivered with another body or id");

    let mut case = Case::new();
    let post = case.stored("a");
    let mut told = case.told(post, PENDING, 0);
    told.event = Arc::new(event);
    case.audit(post, Some(&told));
    case.breached("has another body");
}

#[test]
fn an_event_goes_only_where_it_was_meant_to() {
    let mut case = Case::new();
    let content = Content { no: 1, len: 10, targets: vec![1], deliver_at: None, key: None };
    let (post, new) = case.ledger.ask(Post::new("a".into(), true, None, content, case.now));
    case.events.push(new.event);
    let accepted = Accepted { id: EventId::parse("a").unwrap(), endpoints: vec![name(1)], duplicate: false };
    case.ledger.answered(&[post], &Ok(vec![accepted]), case.heard());
    case.holds();
    case.begin(post, 0, 1);
    case.breached("was never meant for it");
}

#[test]
fn an_attempt_before_its_time_is_found() {
    let retried = |after_ms| {
        let mut case = Case::new();
        let post = case.stored("a");
        case.attempt(post, 0, 1, Answer::Status(500));
        case.pass(after_ms);
        case.begin(post, 0, 2);
        case
    };
    retried(WAIT_MS).holds();
    retried(WAIT_MS - 1).breached("1 ms early");
}

#[test]
fn an_attempt_before_the_moment_that_the_producer_chose_is_found() {
    let begun = |after_ms| {
        let mut case = Case::new();
        let deliver_at = Some(START.0 + 100);
        let content = Content { no: 1, len: 10, targets: vec![0, 1], deliver_at, key: None };
        let (post, new) = case.ledger.ask(Post::new("a".into(), true, None, content, case.now));
        case.events.push(new.event);
        case.answer(post, "a", false);
        case.announce(post);
        case.pass(after_ms);
        case.begin(post, 0, 1);
        case
    };
    begun(100).holds();
    begun(99).breached("1 ms early");
}

#[test]
fn an_attempt_beside_another_of_the_same_delivery_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.begin(post, 1, 1);
    case.begin(post, 1, 1);
    case.breached("while an attempt is under way");
}

#[test]
fn more_requests_than_an_endpoint_takes_at_once_are_found() {
    let mut case = Case::new();
    let (one, other) = (case.stored("a"), case.stored("b"));
    case.begin(one, 0, 1);
    case.holds();
    case.begin(other, 0, 1);
    case.breached("though 1 of 1 requests are under way");
}

#[test]
fn more_requests_than_there_may_be_in_all_are_found() {
    let mut case = Case::new();
    let (one, other) = (case.stored("a"), case.stored("b"));
    case.begin(one, 0, 1);
    case.begin(one, 1, 1);
    case.holds();
    case.begin(other, 1, 1);
    case.breached("though 1 of 2 requests are under way");
}

#[test]
fn an_attempt_after_the_last_is_found() {
    for answer in [Answer::Taken, Answer::Abort] {
        let mut case = Case::new();
        let post = case.stored("a");
        case.attempt(post, 0, 1, answer);
        case.begin(post, 0, 2);
        case.breached("and stands at");
    }
}

#[test]
fn an_attempt_past_the_end_of_the_retry_schedule_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    for n in 1..=3 {
        case.attempt(post, 0, n, Answer::Status(500));
        case.pass(WAIT_MS);
    }
    case.holds();
    case.begin(post, 0, 4);
    case.breached("Exhausted");
}

#[test]
fn an_attempt_with_a_wrong_number_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.begin(post, 0, 2);
    case.breached("the one after 0");
}

#[test]
fn an_attempt_of_a_delivery_that_the_dispatcher_was_not_given_is_found() {
    let mut case = Case::new();
    let post = case.ask("a", None, 0);
    case.answer(post, "a", false);
    case.begin(post, 0, 1);
    case.breached("is not on the schedule");
}

#[test]
fn an_attempt_to_a_paused_endpoint_is_found() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.ledger.operated(0, LaneState::Paused, false);
    case.begin(post, 1, 1);
    case.holds();
    case.begin(post, 0, 1);
    case.breached("though its endpoint is");
    case.ledger.at_rest(case.now);
    case.breached("though its endpoint is");
}

#[test]
fn an_attempt_to_an_endpoint_that_is_gone_is_found() {
    for answer in [Answer::Gone, Answer::TakenAsLast] {
        let mut case = Case::new();
        let (one, other) = (case.stored("a"), case.stored("b"));
        case.attempt(one, 0, 1, answer);
        case.health[0].state =
            disabled(if answer == Answer::Gone { DisabledReason::Gone } else { DisabledReason::Asked });
        case.rest();
        case.holds();
        case.begin(other, 0, 1);
        case.breached("though its endpoint is");
    }
}

#[test]
fn an_endpoint_that_is_open_again_must_be_tried() {
    let mut case = Case::new();
    let post = case.stored("a");
    case.begin(post, 1, 1);
    case.ledger.operated(0, LaneState::Paused, false);
    case.ledger.at_rest(case.now);
    case.holds();
    case.ledger.opens(0);
    case.ledger.operated(0, LaneState::Active, false);
    case.ledger.at_rest(case.now);
    case.breached("late");
}

#[test]
fn an_attempt_to_an_endpoint_that_asked_for_time_is_found() {
    let begun = |after_ms| {
        let mut case = Case::new();
        let (one, other) = (case.stored("a"), case.stored("b"));
        case.attempt(one, 0, 1, Answer::Later(429, 20));
        case.health[0].held_until = Some(case.now.wall.plus_ms(20_000));
        case.rest();
        case.pass(after_ms);
        case.begin(other, 0, 1);
        case
    };
    begun(20_000).holds();
    begun(19_999).breached("though its endpoint waits for 1 ms more");
}
