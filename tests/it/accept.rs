//! Events in: every way to post one, what is answered, and what a repeat gets.

use serde_json::json;

use crate::kit::{Daemon, Receiver, Setup, never};
use std::time::{Duration, Instant};

fn daemon(receiver: &Receiver) -> Daemon {
    Setup::new().endpoint("app", &receiver.url("/app"), "format = \"raw\"").start()
}

#[test]
fn an_event_is_accepted_and_delivered() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let reply = daemon.client().post("/v1/events", r#"{"type":"invoice.paid","data":{"n":1}}"#).expect(202);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let body = reply.json();
    assert_eq!(body["endpoints"], json!(["app"]));
    assert_eq!(body["duplicate"], json!(false));
    let id = body["id"].as_str().unwrap();
    assert!(!id.is_empty() && !id.contains('.'), "{id}");
    let requests = receiver.wait(1);
    assert_eq!(requests[0].id(), id);
    assert_eq!(requests[0].text(), r#"{"n":1}"#);
    let delivery = daemon.client().await_state(id, "app", "delivered");
    let attempts = delivery["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["n"], 1);
    assert_eq!(attempts[0]["status"], 200);
    assert!(attempts[0]["error"].is_null(), "{delivery}");
    assert!(attempts[0]["duration_ms"].is_u64(), "{delivery}");
}

#[test]
fn an_event_shows_what_was_posted() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let event = r#"{"id":"evt-1","type":"invoice.paid","key":"customer-7","data":{"n":[1,2]}}"#;
    daemon.client().post("/v1/events", event).expect(202);
    let shown = daemon.client().look("evt-1");
    assert_eq!(shown["id"], "evt-1");
    assert_eq!(shown["type"], "invoice.paid");
    assert_eq!(shown["key"], "customer-7");
    assert_eq!(shown["data"], json!({"n": [1, 2]}));
    assert!(shown["content_type"].as_str().unwrap().starts_with("application/json"), "{shown}");
    let at = shown["at"].as_str().unwrap();
    assert!(at.parse::<jiff::Timestamp>().is_ok(), "{at} is no RFC 3339 time");
    daemon.client().get("/v1/events/evt-2").problem(404);
}

#[test]
fn a_repeat_under_the_same_id_is_acknowledged_and_not_delivered_again() {
    let receiver = Receiver::start();
    let mut daemon = daemon(&receiver);
    let event = r#"{"id":"evt-1","type":"a","data":{"n":1}}"#;
    daemon.client().post("/v1/events", event).expect(202);
    daemon.client().await_state("evt-1", "app", "delivered");
    for round in 0..2 {
        let repeat = daemon.client().post("/v1/events", event).expect(200).json();
        assert_eq!(repeat["id"], "evt-1");
        assert_eq!(repeat["duplicate"], true);
        let other = daemon.client().post("/v1/events", r#"{"id":"evt-1","type":"a","data":{"n":2}}"#);
        other.problem(409);
        daemon.client().post("/v1/events", r#"{"id":"evt-1","type":"b","data":{"n":1}}"#).problem(409);
        if round == 0 {
            daemon.restart();
        }
    }
    never(Duration::from_millis(300), "a second delivery", || receiver.count() > 1);
}

#[test]
fn an_idempotency_key_stands_for_the_id() {
    let receiver = Receiver::start();
    let mut daemon = daemon(&receiver);
    let headers = [("content-type", "application/json"), ("idempotency-key", "order 17/a")];
    let event = r#"{"type":"a","data":{"n":1}}"#;
    let first = daemon.client().send("POST", "/v1/events", &headers, event).expect(202).json();
    daemon.restart();
    let again = daemon.client().send("POST", "/v1/events", &headers, event).expect(200).json();
    assert_eq!(again["id"], first["id"]);
    assert_eq!(again["duplicate"], true);
    daemon.client().send("POST", "/v1/events", &headers, r#"{"type":"a","data":{"n":2}}"#).problem(409);
    receiver.wait(1);
    never(Duration::from_millis(300), "a second delivery", || receiver.count() > 1);
    // Without the key, the same content is another event.
    let other = daemon.client().post("/v1/events", event).expect(202).json();
    assert_ne!(other["id"], first["id"]);
}

#[test]
fn many_producers_of_one_id_make_one_event() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let post = || daemon.client().post("/v1/events", r#"{"id":"same","type":"a","data":1}"#).status;
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(post)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 202).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 15, "{statuses:?}");
    receiver.wait(1);
    never(Duration::from_millis(300), "a second delivery", || receiver.count() > 1);
}

#[test]
fn a_batch_is_taken_whole_or_not_at_all() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let batch: Vec<_> = (0..1000).map(|n| json!({"id": format!("b-{n}"), "type": "a", "data": {"n": n}})).collect();
    let reply = daemon.client().post("/v1/events/batch", serde_json::to_vec(&batch).unwrap()).expect(202).json();
    let events = reply["events"].as_array().unwrap();
    assert_eq!(events.len(), 1000);
    for (n, event) in events.iter().enumerate() {
        assert_eq!(event["id"], format!("b-{n}"), "in the order of the request");
        assert_eq!(event["endpoints"], json!(["app"]));
        assert_eq!(event["duplicate"], false);
    }
    let mut ids: Vec<_> = receiver.wait(1000).iter().map(|request| request.id().to_owned()).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1000);

    // One bad event, wherever it stands, keeps all the others out, and the problem points at it.
    let bad = r#"[{"id":"good-1","type":"a","data":1},{"id":"good-2","type":"","data":1}]"#;
    let problem = daemon.client().post("/v1/events/batch", bad).any_problem();
    assert!(problem["pointer"].as_str().unwrap_or_default().contains("/1"), "{problem}");
    // So does a conflict with an event that is known.
    let conflict = r#"[{"id":"good-1","type":"a","data":1},{"id":"b-7","type":"a","data":"another"}]"#;
    daemon.client().post("/v1/events/batch", conflict).problem(409);
    daemon.client().get("/v1/events/good-1").problem(404);
    never(Duration::from_millis(200), "a part of a refused batch", || receiver.count() > 1000);

    // A whole batch again is a batch of repeats.
    let again = daemon.client().post("/v1/events/batch", serde_json::to_vec(&batch).unwrap());
    assert!(matches!(again.status, 200 | 202), "{}", again.status);
    assert!(again.json()["events"].as_array().unwrap().iter().all(|event| event["duplicate"] == true));
    never(Duration::from_millis(200), "a second delivery", || receiver.count() > 1000);
}

#[test]
fn a_raw_body_is_delivered_byte_for_byte() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let headers = [("content-type", "application/x-thing; v=\"1\"")];
    let reply = daemon.client().send("POST", "/v1/raw/thing.made?id=raw-1&key=k%201", &headers, bytes.clone());
    let reply = reply.expect(202).json();
    assert_eq!(reply["id"], "raw-1");
    let requests = receiver.wait(1);
    assert_eq!(requests[0].body, bytes);
    assert_eq!(requests[0].header("content-type"), "application/x-thing; v=\"1\"");
    let shown = daemon.client().look("raw-1");
    assert_eq!(shown["type"], "thing.made");
    assert_eq!(shown["key"], "k 1");
    assert!(shown["body_base64"].is_string() && shown.get("data").is_none_or(serde_json::Value::is_null));
    // Idempotent like the others; an empty body is a body.
    let again = daemon.client().send("POST", "/v1/raw/thing.made?id=raw-1&key=k%201", &headers, bytes);
    assert_eq!(again.expect(200).json()["duplicate"], true);
    daemon.client().send("POST", "/v1/raw/thing.made?id=raw-2", &headers, "").expect(202);
    assert!(receiver.wait(2)[1].body.is_empty());
}

#[test]
fn a_large_body_comes_out_as_it_went_in() {
    let receiver = Receiver::start();
    let mut daemon = daemon(&receiver);
    receiver.answer(|_| crate::kit::Answer::status(500));
    let text = "0123456789abcdef".repeat(65_000);
    let event = format!(r#"{{"id":"large","type":"a","data":"{text}"}}"#);
    daemon.client().post("/v1/events", event).expect(202);
    // Once from memory, once from the disk after a restart.
    receiver.wait(1);
    daemon.kill();
    receiver.answer(|_| crate::kit::Answer::status(200));
    daemon.run();
    let requests = receiver.wait(2);
    for request in requests {
        assert!(request.text() == format!("\"{text}\""), "attempt {} was changed", request.attempt());
    }
}

#[test]
fn an_event_waits_for_its_moment() {
    let receiver = Receiver::start();
    let mut daemon = daemon(&receiver);
    let start = Instant::now();
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(2500);
    let event = format!(r#"{{"id":"later","type":"a","data":1,"deliver_at":"{at}"}}"#);
    daemon.client().post("/v1/events", event).expect(202);
    daemon.client().post("/v1/events", r#"{"id":"now","type":"a","data":1}"#).expect(202);
    assert_eq!(receiver.wait(1)[0].id(), "now");
    let pending = daemon.client().look("later");
    assert_eq!(pending["deliveries"][0]["state"], "pending");
    let next: jiff::Timestamp = pending["deliveries"][0]["next_attempt_at"].as_str().unwrap().parse().unwrap();
    assert!((next.as_millisecond() - at.as_millisecond()).abs() <= 1, "{next} is not {at}");
    // The moment is kept over a restart.
    daemon.restart();
    let requests = receiver.wait(2);
    assert_eq!(requests[1].id(), "later");
    let waited = requests[1].at - start;
    assert!(waited >= Duration::from_millis(2400), "delivered after {waited:?} already");
    // A moment that has passed is no reason to wait.
    daemon.client().post("/v1/events", r#"{"type":"a","data":1,"deliver_at":"2020-01-01T00:00:00Z"}"#).expect(202);
    receiver.wait(3);
}

#[test]
fn a_cloud_event_comes_in_structured_mode() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/app"), "format = \"cloudevents\"").start();
    let event = r#"{"specversion":"1.0","id":"A234-1234-1234","source":"/orders/7","type":"com.example.order.paid",
        "subject":"7","time":"2018-04-05T17:31:00Z","comexampleextension1":"value","datacontenttype":"application/json",
        "data":{"total":1.10,"big":123456789012345678901234567890}}"#;
    let headers = [("content-type", "application/cloudevents+json; charset=utf-8")];
    let reply = daemon.client().send("POST", "/v1/events", &headers, event).expect(202).json();
    assert_eq!(reply["endpoints"], json!(["app"]));
    let request = &receiver.wait(1)[0];
    assert!(request.header("content-type").starts_with("application/cloudevents+json"));
    let out: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    for (attribute, value) in [
        ("specversion", "1.0"),
        ("id", "A234-1234-1234"),
        ("source", "/orders/7"),
        ("type", "com.example.order.paid"),
        ("subject", "7"),
        ("time", "2018-04-05T17:31:00Z"),
        ("comexampleextension1", "value"),
        ("datacontenttype", "application/json"),
    ] {
        assert_eq!(out[attribute], value, "{attribute}");
    }
    assert!(request.text().contains(r#"{"total":1.10,"big":123456789012345678901234567890}"#), "{}", request.text());
    let again = daemon.client().send("POST", "/v1/events", &headers, event).expect(200).json();
    assert_eq!(again["duplicate"], true);
    assert_eq!(again["id"], reply["id"]);
}

#[test]
fn a_cloud_event_comes_in_binary_mode() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("cloud", &receiver.url("/cloud"), "format = \"cloudevents\"")
        .endpoint("raw", &receiver.url("/raw"), "format = \"raw\"")
        .start();
    let headers = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "bin-1"),
        ("ce-source", "/orders/8"),
        ("ce-type", "order.paid"),
        ("ce-subject", "Euro%20%E2%82%AC"),
        ("ce-tenant", "acme"),
    ];
    daemon.client().send("POST", "/v1/events", &headers, r#"{"total": 2.50}"#).expect(202);
    let requests = receiver.wait(2);
    let raw = requests.iter().find(|request| request.path == "/raw").unwrap();
    assert_eq!(raw.text(), r#"{"total": 2.50}"#);
    assert_eq!(raw.header("content-type"), "application/json");
    let cloud = requests.iter().find(|request| request.path == "/cloud").unwrap();
    let out: serde_json::Value = serde_json::from_slice(&cloud.body).unwrap();
    assert_eq!(out["id"], "bin-1");
    assert_eq!(out["source"], "/orders/8");
    assert_eq!(out["type"], "order.paid");
    assert_eq!(out["subject"], "Euro €", "header values are percent-decoded (HTTP protocol binding 3.1.3.2)");
    assert_eq!(out["tenant"], "acme");
    assert!(cloud.text().contains(r#"{"total": 2.50}"#), "{}", cloud.text());
}

#[test]
fn a_binary_cloud_event_keeps_bytes_that_are_no_json() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("cloud", &receiver.url("/cloud"), "format = \"cloudevents\"")
        .endpoint("raw", &receiver.url("/raw"), "format = \"raw\"")
        .start();
    let headers = [
        ("content-type", "application/octet-stream"),
        ("ce-specversion", "1.0"),
        ("ce-id", "bin-2"),
        ("ce-source", "/files"),
        ("ce-type", "file.made"),
    ];
    let bytes: Vec<u8> = vec![0, 255, 254, 10, 13, 0];
    daemon.client().send("POST", "/v1/events", &headers, bytes.clone()).expect(202);
    let requests = receiver.wait(2);
    assert_eq!(requests.iter().find(|request| request.path == "/raw").unwrap().body, bytes);
    let cloud = requests.iter().find(|request| request.path == "/cloud").unwrap();
    let out: serde_json::Value = serde_json::from_slice(&cloud.body).unwrap();
    assert_eq!(out["data_base64"], "AP/+Cg0A");
    assert_eq!(out["datacontenttype"], "application/octet-stream");
    assert!(out.get("data").is_none());
}

#[test]
fn cloud_events_come_in_batches() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/app"), "format = \"cloudevents\"").start();
    let headers = [("content-type", "application/cloudevents-batch+json")];
    let batch = r#"[{"specversion":"1.0","id":"c-1","source":"/s","type":"a.b","data":"x"},
        {"specversion":"1.0","id":"c-2","source":"/s","type":"a.c"},
        {"specversion":"1.0","id":"c-3","source":"/s","type":"a.d","datacontenttype":"image/png","data_base64":"iVBORw=="}]"#;
    let reply = daemon.client().send("POST", "/v1/events", &headers, batch).expect(202).json();
    assert_eq!(reply["events"].as_array().unwrap().len(), 3, "{reply}");
    let requests = receiver.wait(3);
    let mut out: Vec<serde_json::Value> =
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect();
    out.sort_by_key(|event| event["id"].to_string());
    assert_eq!(out[0]["data"], "x");
    assert!(out[1].get("data").is_none_or(serde_json::Value::is_null), "no data came, none goes out: {}", out[1]);
    assert_eq!(out[2]["data_base64"], "iVBORw==");
    assert_eq!(out[2]["datacontenttype"], "image/png");
    // All or none here too.
    let bad =
        r#"[{"specversion":"1.0","id":"c-4","source":"/s","type":"a"},{"specversion":"1.0","id":"c-5","type":"a"}]"#;
    let problem = daemon.client().send("POST", "/v1/events", &headers, bad).any_problem();
    assert!(problem["status"].as_u64().unwrap() < 500, "{problem}");
    never(Duration::from_millis(200), "a part of a refused batch", || receiver.count() > 3);
}
