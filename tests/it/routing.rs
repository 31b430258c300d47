//! Which endpoint gets which event.

use std::time::Duration;

use serde_json::json;

use crate::kit::{Receiver, Setup, never};

#[test]
fn patterns_choose_the_endpoints() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("all", &receiver.url("/all"), "")
        .endpoint("billing", &receiver.url("/billing"), "events = [\"invoice.*\", \"payment.succeeded\"]")
        .endpoint("most", &receiver.url("/most"), "events = [\"*\", \"!*.test\"]")
        .endpoint("ends", &receiver.url("/ends"), "events = [\"*.paid\"]")
        .endpoint("middle", &receiver.url("/middle"), "events = [\"in*.*paid\"]")
        .start();
    let cases = [
        ("invoice.paid", vec!["all", "billing", "ends", "middle", "most"]),
        ("invoice.test", vec!["all", "billing"]),
        ("payment.succeeded", vec!["all", "billing", "most"]),
        ("payment.succeeded2", vec!["all", "most"]),
        ("invoice", vec!["all", "most"]),
        ("xinvoice.paid", vec!["all", "ends", "most"]),
        ("invoice.line.paid", vec!["all", "billing", "ends", "middle", "most"]),
        ("Invoice.paid", vec!["all", "ends", "most"]),
    ];
    let mut total = 0;
    for (event_type, wanted) in cases {
        let event = format!(r#"{{"type":"{event_type}","data":null}}"#);
        let reply = daemon.client().post("/v1/events", event).expect(202).json();
        let mut named: Vec<&str> =
            reply["endpoints"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        named.sort_unstable();
        assert_eq!(named, wanted, "{event_type}");
        total += wanted.len();
        let id = reply["id"].as_str().unwrap();
        let requests = receiver.wait(total);
        let mut reached: Vec<&str> = requests.iter().filter(|r| r.id() == id).map(|r| &r.path[1..]).collect();
        reached.sort_unstable();
        assert_eq!(reached, wanted, "{event_type}");
    }
}

#[test]
fn named_endpoints_alone_get_the_event() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("one", &receiver.url("/one"), "")
        .endpoint("two", &receiver.url("/two"), "")
        .endpoint("three", &receiver.url("/three"), "")
        .start();
    let event = r#"{"type":"a","data":1,"endpoints":["three","one"]}"#;
    let reply = daemon.client().post("/v1/events", event).expect(202).json();
    let mut named: Vec<_> = reply["endpoints"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    named.sort_unstable();
    assert_eq!(named, ["one", "three"]);
    let mut paths: Vec<_> = receiver.wait(2).into_iter().map(|request| request.path).collect();
    paths.sort();
    assert_eq!(paths, ["/one", "/three"]);
    never(Duration::from_millis(200), "a third delivery", || receiver.count() > 2);
}

#[test]
fn an_event_that_nobody_takes_is_stored_all_the_same() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "events = [\"b.*\"]").start();
    let reply = daemon.client().post("/v1/events", r#"{"id":"lonely","type":"a","data":{"n":1}}"#).expect(202).json();
    assert_eq!(reply["endpoints"], json!([]));
    daemon.restart();
    let shown = daemon.client().look("lonely");
    assert_eq!(shown["deliveries"], json!([]));
    assert_eq!(shown["data"], json!({"n": 1}));
    assert_eq!(receiver.count(), 0);
}

#[test]
fn a_daemon_without_endpoints_takes_events() {
    let daemon = Setup::new().start();
    let id = daemon.client().event("a", "1");
    assert_eq!(daemon.client().look(&id)["deliveries"], json!([]));
    assert_eq!(daemon.client().get("/v1/endpoints").expect(200).json()["endpoints"], json!([]));
}
