//! Operational events: an endpoint that subscribes to `webhookd.*` is told what happens to the others.

use std::time::Duration;

use serde_json::Value;

use super::batch;
use crate::kit::{Answer, Daemon, Received, Receiver, Setup, never};

/// The operational events that came in, as type and data.
fn told(requests: &[Received], path: &str) -> Vec<(String, Value)> {
    let of = |request: &Received| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        (body["type"].as_str().unwrap().to_owned(), body["data"].clone())
    };
    requests.iter().filter(|request| request.path == path).map(of).collect()
}

/// Waits until one of this type was told, and returns its data.
fn await_told(ops: &Receiver, event_type: &str) -> Value {
    let is = |(told, _): &(String, Value)| told == event_type;
    let requests = ops.wait_for(event_type, |requests| told(requests, "/ops").iter().any(is));
    told(&requests, "/ops").into_iter().find(is).unwrap().1
}

fn daemon(ops: &Receiver, app: &Receiver, lines: &str) -> Daemon {
    Setup::new()
        .endpoint("app", &app.url("/"), &format!("max_in_flight = 1\nevents = [\"*\", \"webhookd.*\"]\n{lines}"))
        .endpoint("ops", &ops.url("/ops"), "events = [\"webhookd.*\"]")
        .start()
}

#[test]
fn a_breaker_that_opens_and_an_endpoint_that_recovers_are_told() {
    let ops = Receiver::start();
    let app = Receiver::answering(|_| Answer::status(500));
    let lines =
        "breaker = { failures = 3, cooldown = \"300ms\" }\nretry = [\"300ms\", \"300ms\", \"300ms\", \"300ms\"]";
    let daemon = daemon(&ops, &app, lines);
    daemon.client().post("/v1/events/batch", batch("a", "e", 10)).expect(202);
    let opened = await_told(&ops, "webhookd.endpoint.breaker_opened");
    assert_eq!((&opened["endpoint"], &opened["failures"]), (&"app".into(), &3.into()), "{opened}");
    app.answer(|_| Answer::status(200));
    let recovered = await_told(&ops, "webhookd.endpoint.recovered");
    assert_eq!(recovered["endpoint"], "app");
    assert!(recovered["open_ms"].as_u64().unwrap() >= 250, "{recovered}");
    let itself = |requests: &[Received]| requests.iter().any(|r| r.text().contains("webhookd."));
    never(Duration::from_millis(300), "an endpoint is told of itself", || itself(&app.requests()));
}

#[test]
fn a_disabled_endpoint_is_told() {
    let ops = Receiver::start();
    let app = Receiver::answering(|_| Answer::status(410));
    let daemon = daemon(&ops, &app, "");
    daemon.client().event("a", "1");
    let disabled = await_told(&ops, "webhookd.endpoint.disabled");
    assert_eq!(disabled, serde_json::json!({"endpoint": "app", "reason": "gone", "pending": 1}));
}

#[test]
fn a_dead_delivery_is_told_and_the_death_of_that_event_is_not() {
    let ops = Receiver::answering(|_| Answer::status(400));
    let app = Receiver::answering(|_| Answer::status(400));
    let daemon = Setup::new()
        .endpoint("app", &app.url("/"), "permanent = [400]")
        .endpoint("ops", &ops.url("/ops"), "permanent = [400]\nevents = [\"webhookd.*\"]")
        .endpoint("pager", &ops.url("/pager"), "permanent = [400]\nevents = [\"webhookd.*\"]")
        .start();
    let id = daemon.client().event("invoice.paid", "1");
    let dead = await_told(&ops, "webhookd.delivery.dead");
    let expected = serde_json::json!(
        {"event": id, "type": "invoice.paid", "endpoint": "app", "reason": "permanent", "attempts": 1}
    );
    assert_eq!(dead, expected);
    ops.wait(2);
    never(Duration::from_millis(500), "operational events about operational events", || ops.count() > 2);
    let listed = daemon.client().get("/v1/events?type=webhookd.*").expect(200).json();
    assert_eq!(listed["events"].as_array().map(Vec::len), Some(1), "an event like others, once: {listed}");
}

#[test]
fn where_nobody_subscribes_there_are_none() {
    let app = Receiver::answering(|_| Answer::status(410));
    let daemon = Setup::new().endpoint("app", &app.url("/"), "").start();
    daemon.client().event("a", "1");
    app.wait(1);
    never(Duration::from_millis(300), "an event for nobody", || {
        let listed = daemon.client().get("/v1/events").expect(200).json();
        listed["events"].as_array().map(Vec::len) != Some(1)
    });
}
