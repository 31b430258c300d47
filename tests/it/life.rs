//! Start, stop, crash, and what is left of it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::kit::{Act, Answer, Daemon, Receiver, SECRET, SOON, Setup, eventually, never};

#[test]
fn a_restart_recovers_everything_pending() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let mut daemon = Setup::new()
        .delivery("retry = [\"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\", \"1s\"]")
        .endpoint("one", &receiver.url("/one"), "format = \"raw\"\nbreaker = \"off\"")
        .endpoint("two", &receiver.url("/two"), "format = \"raw\"\nbreaker = \"off\"")
        .start();
    let events: Vec<_> = (0..300).map(|n| format!(r#"{{"id":"e-{n}","type":"a","data":{n}}}"#)).collect();
    daemon.client().post("/v1/events/batch", format!("[{}]", events.join(","))).expect(202);
    receiver.wait(100);
    daemon.kill();
    let tried = receiver.count();
    receiver.answer(|_| Answer::status(200));
    daemon.run();
    let all = receiver.wait_for("600 deliveries after the restart", |requests| {
        let distinct: BTreeSet<_> =
            requests[tried..].iter().map(|request| (request.path.clone(), request.id())).collect();
        distinct.len() == 600
    });
    for request in &all[tried..] {
        assert_eq!(format!("e-{}", request.text()), request.id());
    }
    for n in [0, 150, 299] {
        daemon.client().await_state(&format!("e-{n}"), "one", "delivered");
        daemon.client().await_state(&format!("e-{n}"), "two", "delivered");
    }
}

#[test]
fn a_delivered_event_is_not_delivered_again_after_a_clean_stop() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    for n in 0..50 {
        daemon.client().event("a", &n.to_string());
    }
    receiver.wait(50);
    daemon.restart();
    never(Duration::from_millis(500), "a second delivery", || receiver.count() > 50);
}

#[test]
fn sigterm_lets_attempts_under_way_end() {
    let receiver = Receiver::answering(|_| Answer::status(200).after(Duration::from_millis(1500)));
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "1");
    receiver.wait(1);
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    // It takes no more events and says so, as long as attempts are under way.
    eventually("it is draining", || (daemon.client().get("/readyz").status == 503).then_some(()));
    let late = daemon.client().post("/v1/events", r#"{"type":"late","data":1}"#);
    late.problem(503);
    assert!(late.header("retry-after").is_some());
    daemon.client().get("/healthz").expect(200);
    assert_eq!(daemon.client().state(&id, "app"), "pending", "what is going on can be looked at");
    let status = daemon.wait(Duration::from_secs(20));
    assert_eq!(status.code(), Some(0), "{}", daemon.log());
    assert!(start.elapsed() >= Duration::from_millis(1300), "it did not wait: {:?}", start.elapsed());
    daemon.run();
    assert_eq!(daemon.client().state(&id, "app"), "delivered");
    let again = || receiver.requests().iter().filter(|request| request.id() == id).count() > 1;
    never(Duration::from_millis(300), "a second delivery", again);
}

#[test]
fn sigint_stops_like_sigterm() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait(Duration::from_secs(10)).code(), Some(0), "{}", daemon.log());
}

#[test]
fn a_second_signal_stops_at_once_and_loses_nothing() {
    let receiver = Receiver::answering(|_| Answer::act(Act::Hang));
    let mut daemon = Setup::new().delivery("timeout = \"60s\"").endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "1");
    receiver.wait(1);
    daemon.signal(Signal::TERM);
    never(Duration::from_millis(700), "it ends while an attempt is under way", || !daemon.alive());
    let second = Instant::now();
    daemon.signal(Signal::TERM);
    daemon.wait(Duration::from_secs(5));
    assert!(second.elapsed() < Duration::from_secs(3), "{:?}", second.elapsed());
    receiver.answer(|_| Answer::status(200));
    daemon.run();
    daemon.client().await_state(&id, "app", "delivered");
}

/// Starts a daemon that cannot start; what it said.
fn refusal(daemon: &mut Daemon) -> String {
    daemon.spawn(&[]);
    let status = daemon.wait(SOON);
    let log = daemon.log();
    assert!(status.code().is_some_and(|code| code != 0), "it ended with {status}:\n{log}");
    assert!(!log.contains("panicked") && !log.contains("RUST_BACKTRACE"), "{log}");
    let errors: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("error")).collect();
    assert!(log.lines().count() <= 6, "one clear line, not a novel:\n{log}");
    assert!(errors.len() <= 1, "one clear line, not several:\n{log}");
    log
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let mut first = Setup::new().start();
    let mut second = Setup::new().listen(first.listen()).prepare();
    let log = refusal(&mut second);
    assert!(log.contains(first.listen()) && log.contains("in use"), "{log}");
    assert!(first.alive());
    first.client().get("/healthz").expect(200);
}

#[test]
fn a_bad_secret_is_one_clear_line_that_does_not_show_it() {
    for secret in ["whsec_not*base64*at*all", "whsec_c2hvcnQ=", "whsk_c2hvcnQ="] {
        let lines = format!("url = \"http://127.0.0.1:9/\"\nsecret = \"{secret}\"");
        let mut daemon = Setup::new().endpoint_alone("app", &lines).prepare();
        let log = refusal(&mut daemon);
        assert!(log.contains("secret") && log.contains("app"), "{log}");
        assert!(!log.contains(&secret[6..]), "the secret is shown: {log}");
    }
}

#[test]
fn a_missing_secret_file_is_one_clear_line() {
    let lines = "url = \"http://127.0.0.1:9/\"\nsecret = { file = \"/nowhere/secret\" }";
    let log = refusal(&mut Setup::new().endpoint_alone("app", lines).prepare());
    assert!(log.contains("/nowhere/secret"), "{log}");
}

#[test]
fn an_endpoint_that_left_the_config_does_not_stop_the_daemon() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let mut daemon = Setup::new()
        .delivery("retry = [\"1h\"]")
        .endpoint("stays", &receiver.url("/stays"), "")
        .endpoint("leaves", &receiver.url("/leaves"), "")
        .start();
    let id = daemon.client().event("a", "1");
    receiver.wait(2);
    let stop = daemon.stop();
    assert!(stop.success());
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    let (before, _) = config.split_once("[endpoint.leaves]").unwrap();
    std::fs::write(daemon.config(), before).unwrap();
    daemon.run();
    let event = daemon.client().look(&id);
    assert_eq!(event["deliveries"].as_array().unwrap().len(), 2, "its deliveries are still shown: {event}");
    assert_eq!(daemon.client().state(&id, "stays"), "pending");
    // It comes back, and its deliveries are there.
    daemon.stop();
    std::fs::write(daemon.config(), config).unwrap();
    receiver.answer(|_| Answer::status(200));
    daemon.run();
    daemon.client().post(&format!("/v1/events/{id}/replay"), "{}").expect(202);
    assert!(["pending", "delivered"].contains(&daemon.client().state(&id, "leaves").as_str()));
}

#[test]
fn the_log_file_holds_no_error_after_a_plain_life() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.client().event("a", "1");
    receiver.wait(1);
    assert!(daemon.stop().success());
    let log = daemon.log();
    assert!(!log.is_empty(), "it says that it started and stopped");
    for word in ["ERROR", "WARN", "panicked", SECRET] {
        assert!(!log.contains(word), "{word}: {log}");
    }
}
