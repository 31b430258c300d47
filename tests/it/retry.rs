//! What happens after an answer that is no success: retries, hints, dead deliveries, replays.

use std::time::{Duration, Instant};

use crate::kit::{Act, Answer, Received, Receiver, SECRET, Setup, hmac_fits, never};

/// The gap between the first two requests.
fn gap(requests: &[Received]) -> Duration {
    requests[1].at - requests[0].at
}

#[test]
fn the_third_attempt_succeeds() {
    let receiver = Receiver::answering(|request| match request.attempt() {
        1 => Answer::status(500).body("out of order"),
        2 => Answer::status(404),
        _ => Answer::status(204),
    });
    let daemon = Setup::new()
        .delivery("retry = [\"1100ms\", \"100ms\", \"100ms\"]")
        .endpoint("app", &receiver.url("/"), "")
        .start();
    let id = daemon.client().event("invoice.paid", "{\"n\":1}");
    let delivery = daemon.client().await_state(&id, "app", "delivered");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 3);
    for (n, request) in requests.iter().enumerate() {
        assert_eq!(request.id(), id, "the id is the same on every attempt");
        assert_eq!(request.header("webhook-attempt"), (n + 1).to_string());
        assert_eq!(request.body, requests[0].body);
        assert!(hmac_fits(request, SECRET), "each attempt is signed anew");
    }
    assert!(gap(&requests) >= Duration::from_millis(1090), "{:?}", gap(&requests));
    let seconds = |n: usize| requests[n].header("webhook-timestamp").parse::<u64>().unwrap();
    assert!(seconds(1) > seconds(0), "the timestamp is that of the attempt");

    let attempts = delivery["attempts"].as_array().unwrap();
    let told: Vec<_> = attempts.iter().map(|a| (a["n"].as_u64(), a["status"].as_u64(), a["error"].as_str())).collect();
    let failed = Some("status");
    assert_eq!(told, [(Some(1), Some(500), failed), (Some(2), Some(404), failed), (Some(3), Some(204), None)]);
    assert!(attempts[0]["response"].as_str().unwrap().contains("out of order"), "{delivery}");
    assert!(delivery["next_attempt_at"].is_null(), "{delivery}");
}

#[test]
fn an_exhausted_delivery_is_dead_until_it_is_replayed() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let mut daemon =
        Setup::new().delivery("retry = [\"20ms\", \"20ms\"]").endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "1");
    let dead = daemon.client().await_state(&id, "app", "dead");
    assert_eq!(dead["attempts"].as_array().unwrap().len(), 3);
    assert!(dead["next_attempt_at"].is_null(), "{dead}");
    never(Duration::from_millis(200), "a fourth attempt", || receiver.count() > 3);
    daemon.restart();
    assert_eq!(daemon.client().state(&id, "app"), "dead", "over a restart too");
    never(Duration::from_millis(200), "an attempt after the restart", || receiver.count() > 3);

    receiver.answer(|_| Answer::status(200));
    daemon.client().post(&format!("/v1/events/{id}/replay"), "{}").expect(202);
    let delivered = daemon.client().await_state(&id, "app", "delivered");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 4);
    assert_eq!(requests[3].id(), id);
    assert_eq!(requests[3].attempt(), 4, "attempts count on over a replay");
    assert_eq!(delivered["attempts"].as_array().unwrap().len(), 4);
}

#[test]
fn a_replay_starts_the_schedule_anew() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let daemon = Setup::new().delivery("retry = [\"20ms\", \"20ms\"]").endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "app", "dead");
    // A body is optional, and so is naming the endpoints.
    daemon.client().post(&format!("/v1/events/{id}/replay"), "{\"endpoints\":[\"app\"]}").expect(202);
    receiver.wait(6);
    daemon.client().await_state(&id, "app", "dead");
    never(Duration::from_millis(200), "a seventh attempt", || receiver.count() > 6);
    daemon.client().send("POST", &format!("/v1/events/{id}/replay"), &[], "").expect(202);
    receiver.wait(9);
    daemon.client().post("/v1/events/unknown/replay", "{}").problem(404);
    let unknown = daemon.client().post(&format!("/v1/events/{id}/replay"), "{\"endpoints\":[\"nobody\"]}");
    assert!((400..500).contains(&unknown.status), "{}", unknown.status);
    unknown.any_problem();
}

#[test]
fn a_delivered_event_can_be_replayed_too() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "{\"n\":1}");
    daemon.client().await_state(&id, "app", "delivered");
    daemon.client().post(&format!("/v1/events/{id}/replay"), "{}").expect(202);
    let requests = receiver.wait(2);
    assert_eq!(requests[1].id(), id);
    assert_eq!(requests[1].body, requests[0].body);
    daemon.client().await_state(&id, "app", "delivered");
}

/// Posts one event to an endpoint that first answers with `first` and then with 200; the gap between the two.
fn gap_after(first: impl Fn() -> Answer + Send + 'static, lines: &str) -> Duration {
    let receiver =
        Receiver::answering(move |request| if request.attempt() == 1 { first() } else { Answer::status(200) });
    let daemon = Setup::new().delivery("retry = [\"50ms\"]").endpoint("app", &receiver.url("/"), lines).start();
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "app", "delivered");
    let requests = receiver.requests();
    assert_eq!(requests.len(), 2);
    gap(&requests)
}

#[test]
fn retry_after_in_seconds_is_honoured() {
    for status in [429, 503] {
        let gap = gap_after(move || Answer::status(status).header("retry-after", "2"), "");
        assert!(gap >= Duration::from_millis(1990) && gap < Duration::from_secs(6), "{status}: {gap:?}");
    }
}

#[test]
fn retry_after_as_a_date_is_honoured() {
    let date = || httpdate::fmt_http_date(std::time::SystemTime::now() + Duration::from_secs(3));
    let gap = gap_after(move || Answer::status(503).header("retry-after", date()), "");
    // A date has whole seconds, so up to one of the three is lost.
    assert!(gap >= Duration::from_millis(1900) && gap < Duration::from_secs(7), "{gap:?}");
}

#[test]
fn retry_after_is_capped() {
    for hint in ["86400", "99999999999999999999999", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let gap = gap_after(move || Answer::status(503).header("retry-after", hint), "max_retry_after = \"1s\"");
        assert!(gap >= Duration::from_millis(900) && gap < Duration::from_secs(5), "{hint}: {gap:?}");
    }
}

#[test]
fn a_retry_after_without_a_meaning_is_ignored() {
    for hint in ["soon", "-5", "", "Wed, 99 Nov 2099 00:00:00 GMT", "1.5"] {
        let gap = gap_after(move || Answer::status(503).header("retry-after", hint), "");
        assert!(gap < Duration::from_secs(3), "{hint:?}: {gap:?}");
    }
    // A past date means now; the schedule's own wait stands.
    let gap = gap_after(|| Answer::status(503).header("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"), "");
    assert!(gap >= Duration::from_millis(40) && gap < Duration::from_secs(3), "{gap:?}");
    // On other statuses the header says nothing.
    let gap = gap_after(|| Answer::status(500).header("retry-after", "30"), "");
    assert!(gap < Duration::from_secs(3), "{gap:?}");
}

#[test]
fn a_429_holds_the_whole_endpoint() {
    let receiver = Receiver::answering(|request| {
        if request.n == 1 { Answer::status(429).header("retry-after", "2") } else { Answer::status(200) }
    });
    let daemon = Setup::new()
        .delivery("retry = [\"50ms\", \"50ms\"]")
        .endpoint("held", &receiver.url("/held"), "max_in_flight = 1")
        .start();
    daemon.client().event("a", "1");
    receiver.wait(1);
    std::thread::sleep(Duration::from_millis(100));
    daemon.client().event("a", "2");
    let requests = receiver.wait(3);
    for later in &requests[1..] {
        let gap = later.at - requests[0].at;
        assert!(gap >= Duration::from_millis(1990), "{gap:?} after the 429");
    }
}

#[test]
fn a_410_disables_the_endpoint_for_good() {
    let receiver =
        Receiver::answering(|request| if request.path == "/gone" { Answer::status(410) } else { Answer::status(200) });
    let mut daemon = Setup::new()
        .delivery("retry = [\"50ms\"]")
        .endpoint("gone", &receiver.url("/gone"), "")
        .endpoint("here", &receiver.url("/here"), "")
        .start();
    let id = daemon.client().event("a", "1");
    let disabled = |daemon: &crate::kit::Daemon| {
        let endpoint = daemon.client().get("/v1/endpoints/gone").expect(200).json();
        (endpoint["state"] == "disabled").then_some(endpoint)
    };
    let endpoint = crate::kit::eventually("the endpoint is disabled", || disabled(&daemon));
    assert!(!endpoint["reason"].as_str().unwrap_or_default().is_empty(), "{endpoint}");
    daemon.client().await_state(&id, "here", "delivered");
    assert_eq!(daemon.client().state(&id, "gone"), "pending", "it waits for an operator, it is not lost");
    daemon.restart();
    assert!(disabled(&daemon).is_some(), "over a restart too");
    // Further events are taken, and wait.
    let later = daemon.client().event("a", "2");
    daemon.client().await_state(&later, "here", "delivered");
    let to_gone = || receiver.requests().iter().filter(|request| request.path == "/gone").count();
    never(Duration::from_millis(300), "an attempt at the disabled endpoint", || to_gone() > 1);
    assert_eq!(daemon.client().state(&later, "gone"), "pending");

    receiver.answer(|_| Answer::status(200));
    daemon.client().post("/v1/endpoints/gone/resume", "").expect(200);
    daemon.client().await_state(&id, "gone", "delivered");
    daemon.client().await_state(&later, "gone", "delivered");
}

#[test]
fn a_paused_endpoint_waits_for_resume() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.client().post("/v1/endpoints/app/pause", "").expect(200);
    let id = daemon.client().event("a", "1");
    assert_eq!(daemon.client().get("/v1/endpoints/app").expect(200).json()["state"], "paused");
    never(Duration::from_millis(200), "a delivery to the paused endpoint", || receiver.count() > 0);
    daemon.restart();
    never(Duration::from_millis(200), "a delivery to the paused endpoint", || receiver.count() > 0);
    daemon.client().post("/v1/endpoints/app/resume", "").expect(200);
    daemon.client().await_state(&id, "app", "delivered");
    daemon.client().post("/v1/endpoints/nobody/pause", "").problem(404);
}

#[test]
fn an_endpoint_can_ask_with_a_header() {
    // Standard Webhooks' `webhook-delivery`: stop this message, or stop altogether.
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/abort" => Answer::status(500).header("webhook-delivery", "abort-message"),
        _ => Answer::status(500).header("webhook-delivery", "disable"),
    });
    let daemon = Setup::new()
        .delivery("retry = [\"20ms\", \"20ms\"]")
        .endpoint("abort", &receiver.url("/abort"), "")
        .endpoint("disable", &receiver.url("/disable"), "")
        .start();
    let id = daemon.client().event("a", "1");
    let dead = daemon.client().await_state(&id, "abort", "dead");
    assert_eq!(dead["attempts"].as_array().unwrap().len(), 1, "{dead}");
    crate::kit::eventually("the endpoint is disabled", || {
        (daemon.client().get("/v1/endpoints/disable").expect(200).json()["state"] == "disabled").then_some(())
    });
    assert_eq!(daemon.client().state(&id, "disable"), "pending");
}

#[test]
fn permanent_statuses_are_not_retried() {
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/strict" => Answer::status(422),
        _ => Answer::status(if request.attempt() == 1 { 422 } else { 200 }),
    });
    let daemon = Setup::new()
        .delivery("retry = [\"20ms\", \"20ms\"]")
        .endpoint("strict", &receiver.url("/strict"), "permanent = [400, 422]")
        .endpoint("patient", &receiver.url("/patient"), "")
        .start();
    let id = daemon.client().event("a", "1");
    let dead = daemon.client().await_state(&id, "strict", "dead");
    assert_eq!(dead["attempts"].as_array().unwrap().len(), 1);
    assert_eq!(dead["attempts"][0]["status"], 422);
    daemon.client().await_state(&id, "patient", "delivered");
}

#[test]
fn redirects_are_failures_and_never_followed() {
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = Receiver::start();
        let to = elsewhere.url("/elsewhere");
        let receiver = Receiver::answering(move |_| Answer::status(status).header("location", to.clone()));
        let daemon = Setup::new().delivery("retry = [\"20ms\"]").endpoint("app", &receiver.url("/"), "").start();
        let id = daemon.client().event("a", "1");
        let dead = daemon.client().await_state(&id, "app", "dead");
        assert_eq!(dead["attempts"][1]["status"], status);
        assert_eq!(elsewhere.count(), 0, "{status} was followed");
    }
}

/// The last attempt of an event that fails at `url` until its short schedule runs out.
fn failure_at(url: &str, lines: &str) -> serde_json::Value {
    let daemon = Setup::new().delivery("retry = [\"20ms\"]").endpoint("app", url, lines).start();
    let id = daemon.client().event("a", "1");
    let dead = daemon.client().await_state(&id, "app", "dead");
    let attempts = dead["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{dead}");
    attempts[1].clone()
}

#[test]
fn an_answer_that_does_not_come_is_a_timeout() {
    let receiver = Receiver::answering(|_| Answer::act(Act::Hang));
    let start = Instant::now();
    let attempt = failure_at(&receiver.url("/"), "timeout = \"300ms\"");
    assert_eq!(attempt["error"], "timeout");
    assert!(attempt["status"].is_null(), "{attempt}");
    assert!((290..5000).contains(&attempt["duration_ms"].as_u64().unwrap()), "{attempt}");
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_closed_port_is_a_connect_error() {
    let address = Receiver::start().address();
    let attempt = failure_at(&format!("http://{address}/"), "");
    assert_eq!(attempt["error"], "connect");
    assert!(attempt["status"].is_null());
}

#[test]
fn a_name_that_does_not_resolve_is_a_dns_error() {
    let attempt = failure_at("http://no-such-host.invalid/", "");
    assert_eq!(attempt["error"], "dns");
}

#[test]
fn a_connection_that_ends_without_an_answer_is_a_failure() {
    let receiver = Receiver::answering(|_| Answer::act(Act::Drop));
    let attempt = failure_at(&receiver.url("/"), "");
    assert_eq!(attempt["error"], "protocol");
}

#[test]
fn plain_http_where_tls_is_spoken_is_a_tls_error() {
    let receiver = Receiver::start();
    let attempt = failure_at(&format!("https://{}/", receiver.address()), "");
    assert_eq!(attempt["error"], "tls");
}

#[test]
fn a_body_without_end_does_not_hold_a_delivery() {
    let receiver = Receiver::answering(|_| Answer::act(Act::Endless));
    let daemon = Setup::new()
        .delivery("log_response_bytes = \"2KiB\"\ntimeout = \"20s\"")
        .endpoint("app", &receiver.url("/"), "")
        .start();
    let start = Instant::now();
    let id = daemon.client().event("a", "1");
    let delivery = daemon.client().await_state(&id, "app", "delivered");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let kept = delivery["attempts"][0]["response"].as_str().unwrap();
    assert!(kept.len() <= 2048 && kept.starts_with("xxx"), "{} bytes were kept", kept.len());
}
