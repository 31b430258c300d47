use webhookd::model::event::Content as Body;
use webhookd::model::text::EventType;
use webhookd::policy::routing::TypeFilter;

use super::*;

/// A case in which `e0` is told of all others, and an event whose delivery to an endpoint has died.
fn dead(endpoint: usize) -> (Case, usize) {
    let mut case = Case::with(|endpoint| {
        if endpoint.name.as_str() == "e0" {
            endpoint.events = TypeFilter::parse(&["webhookd.*"]).unwrap();
        }
    });
    let post = case.stored("a");
    case.attempt(post, endpoint, 1, Answer::Abort);
    (case, post)
}

fn tell(case: &mut Case, id: &str, event_type: &str, body: &str, targets: &[u16]) {
    let body = Body { content_type: "application/json".into(), json: true, body: body.to_owned().into() };
    let (id, event_type) = (EventId::parse(id).unwrap(), EventType::parse(event_type).unwrap());
    let event = Event { id, event_type, content: body, traceparent: None, ..(*case.events[0]).clone() };
    let targets = targets.iter().map(|no| EndpointNo(*no)).collect();
    let seq = 100 + case.ledger.posts().len();
    let fresh = FreshEvent { place: place(seq), event: Arc::new(event), targets };
    case.ledger.announced(&fresh, false, case.now);
}

const DEATH: &str = r#"{"event":"a","type":"sim.0","endpoint":"e1","reason":"aborted","attempts":1}"#;

fn tell_death(case: &mut Case, id: &str, body: &str, targets: &[u16]) {
    tell(case, id, "webhookd.delivery.dead", body, targets);
}

#[test]
fn a_death_is_told_once() {
    let (mut case, _) = dead(1);
    tell_death(&mut case, "r1", DEATH, &[0]);
    case.rest();
    case.holds();
    tell_death(&mut case, "r2", DEATH, &[0]);
    case.breached("or was told of before");
}

#[test]
fn a_death_that_nobody_is_told_of_is_found() {
    let (mut case, _) = dead(1);
    case.rest();
    case.breached("died and nobody was told");
    let (mut case, _) = dead(0);
    case.rest();
    case.holds();
}

#[test]
fn a_death_that_was_none_is_not_told() {
    let (mut case, _) = dead(1);
    tell_death(&mut case, "r1", &DEATH.replace("aborted", "exhausted"), &[0]);
    case.breached("did not die so");
    let (mut case, _) = dead(1);
    tell_death(&mut case, "r1", &DEATH.replace(r#"attempts":1"#, r#"attempts":2"#), &[0]);
    case.breached("did not die so");
}

#[test]
fn an_endpoint_is_not_told_of_itself_and_who_did_not_ask_is_not_told() {
    let (mut case, _) = dead(0);
    tell_death(&mut case, "r1", &DEATH.replace("e1", "e0"), &[0]);
    case.breached("goes to others than []");
    let (mut case, _) = dead(1);
    tell_death(&mut case, "r1", DEATH, &[0, 1]);
    case.breached("goes to others than [0]");
}

#[test]
fn nobody_is_told_what_became_of_what_he_was_told() {
    let (mut case, _) = dead(1);
    tell_death(&mut case, "r1", DEATH, &[0]);
    tell_death(&mut case, "r2", &DEATH.replace(r#""a""#, r#""r1""#).replace("sim.0", "webhookd.delivery.dead"), &[0]);
    case.breached("did not die so");
}

#[test]
fn an_endpoint_that_was_disabled_once_is_not_told_twice() {
    let disable = |case: &mut Case, id| {
        let body = r#"{"endpoint":"e1","reason":"gone","pending":1}"#;
        tell(case, id, "webhookd.endpoint.disabled", body, &[0]);
    };
    let (mut case, _) = dead(1);
    let post = case.stored("b");
    tell_death(&mut case, "r1", DEATH, &[0]);
    case.attempt(post, 1, 1, Answer::Gone);
    disable(&mut case, "r2");
    case.health[1].state = disabled(DisabledReason::Gone);
    case.rest();
    case.holds();
    disable(&mut case, "r3");
    case.rest();
    case.breached("that e1 was disabled is told more often than it happened");
}

#[test]
fn what_is_told_is_delivered_as_it_was_stored() {
    let (mut case, _) = dead(1);
    tell_death(&mut case, "r1", DEATH, &[0]);
    let event = Arc::clone(case.ledger.posts().last().unwrap().report.as_ref().unwrap());
    case.begin_with(Arc::clone(&event), 0, 1);
    case.holds();
    let mut other = (*event).clone();
    other.content.body = "{}".into();
    let (mut case, _) = dead(1);
    tell_death(&mut case, "r1", DEATH, &[0]);
    case.begin_with(Arc::new(other), 0, 1);
    case.breached("is delivered with another body");
}
