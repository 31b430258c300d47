//! Pause, resume, disable: what operators and endpoints ask for.

use std::time::Duration;

use super::batch;
use crate::kit::{Answer, Receiver, Setup, eventually, never};

#[test]
fn a_410_that_was_under_way_does_not_undo_a_resume() {
    let receiver = Receiver::answering(|request| match request.attempt() {
        1 => Answer::status(410).after(Duration::from_millis(800)),
        _ => Answer::status(200),
    });
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "1");
    receiver.wait(1);
    daemon.client().post("/v1/endpoints/app/resume", "").expect(200);
    daemon.client().await_state(&id, "app", "delivered");
    assert_eq!(daemon.client().get("/v1/endpoints/app").expect(200).json()["state"], "active");
}

#[test]
fn a_disabled_endpoint_says_why_and_delivers_its_backlog_once_it_is_resumed() {
    for (answer, reason) in
        [(Answer::status(410), "gone"), (Answer::status(500).header("webhook-delivery", "disable"), "asked")]
    {
        let first = answer.clone();
        let receiver = Receiver::answering(move |_| first.clone());
        let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "max_in_flight = 1").start();
        daemon.client().post("/v1/events/batch", batch("a", "e", 30)).expect(202);
        let disabled = |daemon: &crate::kit::Daemon| {
            let shown = daemon.client().get("/v1/endpoints/app").expect(200).json();
            (shown["state"] == "disabled" && shown["reason"] == reason && shown["disabled_at"].is_string())
                .then_some(())
        };
        eventually("it is disabled", || disabled(&daemon));
        let count = receiver.count();
        daemon.restart();
        assert!(disabled(&daemon).is_some(), "over a restart too");
        never(Duration::from_millis(300), "a request to a disabled endpoint", || receiver.count() > count);
        receiver.answer(|_| Answer::status(200));
        daemon.client().post("/v1/endpoints/app/resume", "").expect(200);
        receiver.wait(count + 30);
        daemon.client().await_state("e-29", "app", "delivered");
    }
}

#[test]
fn abort_message_makes_one_delivery_dead_and_no_other() {
    let receiver = Receiver::answering(|request| match request.id() {
        "e-3" => Answer::status(500).header("webhook-delivery", "abort-message"),
        _ => Answer::status(200),
    });
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.client().post("/v1/events/batch", batch("a", "e", 6)).expect(202);
    let dead = daemon.client().await_state("e-3", "app", "dead");
    assert_eq!((&dead["reason"], dead["attempts"].as_array().map(Vec::len)), (&"aborted".into(), Some(1)), "{dead}");
    for n in [0, 1, 2, 4, 5] {
        daemon.client().await_state(&format!("e-{n}"), "app", "delivered");
    }
}

#[test]
fn a_paused_endpoint_keeps_its_place_and_its_state_over_sigkill() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.client().post("/v1/endpoints/app/pause", "").expect(200);
    daemon.kill();
    daemon.run();
    let shown = daemon.client().get("/v1/endpoints/app").expect(200).json();
    assert_eq!(shown["state"], "paused", "it was durable before it was answered");
    daemon.client().post("/v1/events/batch", batch("a", "e", 10)).expect(202);
    never(Duration::from_millis(300), "a request to a paused endpoint", || receiver.count() > 0);
    daemon.client().post("/v1/endpoints/app/resume", "").expect(200);
    receiver.wait(10);
}
