//! What the daemon tells about itself: log lines without secrets and payloads, metrics that can be read.

use std::time::Duration;

use crate::kit::{Answer, Receiver, SECRET, SECRET_NEXT, Setup, eventually, never};

#[test]
fn secrets_and_payloads_never_reach_the_log() {
    let receiver = Receiver::answering(|request| match (request.path.as_str(), request.attempt()) {
        ("/fails", _) => Answer::status(500).body("response-body-marker"),
        (_, 1) => Answer::status(503).header("retry-after", "0").body("response-body-marker"),
        _ => Answer::status(200),
    });
    let lines = |path: &str| {
        format!(
            "url = \"{}\"\nsecret = [\"{SECRET}\", \"{SECRET_NEXT}\"]\nheaders = {{ \"authorization\" = \"header-marker\" }}",
            receiver.url(path)
        )
    };
    let mut daemon = Setup::new()
        .api("token.ops = { secret = \"token-marker-0123456789\", scope = \"admin\" }")
        .token("token-marker-0123456789")
        .delivery("retry = [\"20ms\", \"20ms\"]")
        .endpoint_alone("works", &lines("/works"))
        .endpoint_alone("fails", &lines("/fails"))
        .endpoint_alone(
            "closed",
            "url = \"http://127.0.0.1:1/?url-marker=1\"\nsecret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"",
        )
        .prepare();
    daemon.run_with(&[("RUST_LOG", "trace"), ("WEBHOOKD_LOG", "trace")]);
    let client = daemon.client().clone();
    client.post("/v1/events", r#"{"id":"evt-1","type":"a","key":"k","data":{"card":"payload-marker"}}"#).expect(202);
    let raw = [("content-type", "text/plain"), ("idempotency-key", "idem-1")];
    client.send("POST", "/v1/raw/a?id=evt-2", &raw, "payload-marker").expect(202);
    client.post("/v1/events", r#"{"id":"evt-1","type":"a","data":{"card":"payload-marker"}}"#).problem(409);
    client.post("/v1/events", r#"{"type":"a","data":"payload-marker"#).any_problem();
    client.post("/v1/events", r#"{"type":"payload-marker payload-marker","data":1}"#).any_problem();
    client.with_token("wrong-token-marker").get("/v1/events").problem(401);
    for id in ["evt-1", "evt-2"] {
        client.await_state(id, "works", "delivered");
        client.await_state(id, "fails", "dead");
        client.await_state(id, "closed", "dead");
    }
    assert!(daemon.stop().success());
    let log = daemon.log();
    assert!(log.contains("evt-1"), "the deliveries are in the log, at debug:\n{log}");
    for marker in [
        "payload-marker",
        "response-body-marker",
        "token-marker",
        "header-marker",
        "url-marker",
        &SECRET[6..],
        &SECRET_NEXT[6..],
        "v1,",
    ] {
        let line = log.lines().find(|line| line.contains(marker));
        assert!(line.is_none(), "{marker} is in the log: {}", line.unwrap_or_default());
    }
}

#[test]
fn a_json_log_is_json_line_by_line() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").prepare();
    daemon.spawn_with_arguments(&["--log", "json"]);
    eventually("it is ready", || {
        daemon.client().try_send("GET", "/readyz", &[], "").is_ok_and(|reply| reply.status == 200).then_some(())
    });
    daemon.client().event("a", "1");
    receiver.wait(1);
    assert!(daemon.stop().success());
    let log = daemon.log();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value["level"].is_string(), "{line}");
    }
}

/// The sum of a metric over those of its lines that contain all of `labels`; `None` where there is no such line.
fn metric(text: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let lines = text.lines().filter(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label))
    });
    let values: Vec<f64> = lines.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

#[test]
fn metrics_count_what_happened() {
    let receiver = Receiver::answering(|request| Answer::status(if request.attempt() == 1 { 500 } else { 200 }));
    let daemon = Setup::new()
        .delivery("retry = [\"20ms\", \"1h\"]")
        .endpoint("app", &receiver.url("/"), "events = [\"a\"]")
        .endpoint("closed", "http://127.0.0.1:1/", "events = [\"b\"]")
        .start();
    let ids: Vec<_> = (0..5).map(|n| daemon.client().event("a", &n.to_string())).collect();
    for id in &ids {
        daemon.client().await_state(id, "app", "delivered");
    }
    daemon.client().event("b", "1");
    daemon.client().event("nobody.wants.it", "1");
    daemon.client().post("/v1/events", "{").any_problem();
    let text = eventually("the numbers have arrived", || {
        let reply = daemon.client().get("/metrics").expect(200);
        let kind = reply.header("content-type").unwrap_or_default().to_owned();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let text = reply.text();
        let attempts = metric(&text, "webhookd_attempts_total", &["closed"]);
        (attempts == Some(2.0) && metric(&text, "webhookd_deliveries_in_flight", &[]) == Some(0.0)).then_some(text)
    });
    for (name, labels, value) in [
        ("webhookd_events_accepted_total", &[][..], 7.0),
        ("webhookd_requests_refused_total", &[], 1.0),
        ("webhookd_attempts_total", &["app", "success"], 5.0),
        ("webhookd_attempts_total", &["app", "status"], 5.0),
        ("webhookd_attempts_total", &["closed", "connect"], 2.0),
        ("webhookd_deliveries_finished_total", &["app", "delivered"], 5.0),
        ("webhookd_accepted_to_delivered_seconds_count", &["app"], 5.0),
        ("webhookd_deliveries_pending", &["app"], 0.0),
        ("webhookd_deliveries_pending", &["closed"], 1.0),
        ("webhookd_endpoint_active", &["app"], 1.0),
        ("webhookd_ready", &[], 1.0),
    ] {
        assert_eq!(metric(&text, name, labels), Some(value), "{name} {labels:?}:\n{text}");
    }
    assert!(metric(&text, "webhookd_oldest_pending_seconds", &[]).is_some(), "{text}");
    // Names of the house: webhookd_<noun>_<unit>[_total].
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        assert!(line.starts_with("webhookd_") || line.starts_with("process_"), "{line}");
    }
    assert!(!text.contains(&SECRET[6..]));
}

#[test]
fn readiness_and_liveness_are_told() {
    let daemon = Setup::new().start();
    daemon.client().get("/healthz").expect(200);
    daemon.client().get("/readyz").expect(200);
}

#[test]
fn a_weaker_durability_is_said_at_start() {
    let daemon = Setup::new().storage("durability = \"interval\"").start();
    let log = daemon.log();
    let told = log.lines().find(|line| line.contains("WARN") && line.contains("durability"));
    assert!(told.is_some(), "{log}");
    daemon.client().event("a", "1");
}

#[test]
fn blob_files_of_the_storage_engine_are_told_at_the_start_and_whenever_there_are_more() {
    let mut daemon = Setup::new().start();
    daemon.client().event("a", "1");
    assert!(daemon.stop().success());
    let log_of =
        |log: &str| log.lines().filter(|line| line.contains("has made blob files")).map(str::to_owned).collect();
    let none: Vec<String> = log_of(&daemon.log());
    assert!(none.is_empty(), "{none:?}");
    let folder = daemon.data().join("outbox/00000001");
    std::fs::write(folder.join("blobs/0000"), b"x").unwrap();
    daemon.run();
    let metric = |count: u32| {
        let line = format!("webhookd_outbox_blob_files {count}");
        daemon.client().get("/metrics").expect(200).text().lines().any(|found| found == line)
    };
    assert!(metric(1), "the start counts them");
    let lines: Vec<String> = log_of(&daemon.log());
    assert!(lines.len() == 1 && lines[0].contains(" ERROR "), "{lines:?}");
    assert!(lines[0].contains(folder.to_str().unwrap()) && lines[0].contains("store export"), "{lines:?}");
    never(Duration::from_millis(2_500), "it is told again and again", || log_of(&daemon.log()) != lines);
    std::fs::write(folder.join("blobs/0001"), b"x").unwrap();
    eventually("more are counted", || metric(2).then_some(()));
    let lines: Vec<String> = log_of(&daemon.log());
    assert!(lines.len() == 2 && lines[1].contains("count=2"), "{lines:?}");
}
