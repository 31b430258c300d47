//! SIGKILL amid an operator's work: whatever was answered stands after it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::kit::{Answer, Receiver, Setup, within};

/// What the receiver does with the events of each phase.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Refuses,
    Gone,
    Takes,
}

/// Every event dies; the endpoint is replayed as a whole, in rounds that are each killed at another moment; the last round
/// runs through. An event that was put back and not yet delivered when the kill came must be pending afterwards, or still
/// dead: in the end each has come in, and none is stuck.
#[test]
fn a_replay_that_is_killed_can_be_asked_for_again_and_strands_nothing() {
    let mood = Arc::new(Mutex::new(Mood::Refuses));
    let taken: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let receiver = {
        let (mood, taken) = (Arc::clone(&mood), Arc::clone(&taken));
        Receiver::forgetful(move |request| match *mood.lock().unwrap() {
            Mood::Refuses => Answer::status(400),
            Mood::Gone => Answer::status(410),
            Mood::Takes => {
                *taken.lock().unwrap().entry(request.id().to_owned()).or_default() += 1;
                Answer::status(200)
            }
        })
    };
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "permanent = [400]").start();
    const EVENTS: usize = 1_500;
    for first in (0..EVENTS).step_by(500) {
        let batch: Vec<String> =
            (first..first + 500).map(|n| format!(r#"{{"id":"e{n}","type":"crash.replay","data":{n}}}"#)).collect();
        let batch = format!("[{}]", batch.join(","));
        daemon.client().post("/v1/events/batch", batch).expect(202);
    }
    let nothing_pending = |daemon: &crate::kit::Daemon| {
        within(Duration::from_secs(60), "nothing is pending any more", || {
            let page = daemon.client().get("/v1/events?state=pending&limit=1").expect(200).json();
            page["events"].as_array().unwrap().is_empty().then_some(())
        });
    };
    nothing_pending(&daemon);
    *mood.lock().unwrap() = Mood::Takes;
    for round in 0..6_u64 {
        let client = daemon.client().clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The kill takes the answer with it.
                let _ = client.try_send("POST", "/v1/endpoints/app/replay", &[], "");
            });
            std::thread::sleep(Duration::from_millis(5 + 15 * round));
            daemon.kill();
        });
        daemon.run();
    }
    daemon.client().post("/v1/endpoints/app/replay", "{}").expect(202);
    nothing_pending(&daemon);
    let dead = daemon.client().get("/v1/events?state=dead&limit=10").expect(200).json();
    assert_eq!(dead["events"], serde_json::json!([]), "none is left dead");
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), EVENTS, "each has come in");
    let often = taken.values().max().unwrap();
    assert!(*often <= 8, "an event came in {often} times: more than once for each kill");
}

/// A 410 disables the endpoint. Killed the moment that shows, the daemon still knows after its restart, keeps the events,
/// and delivers them once the endpoint is resumed.
#[test]
fn an_endpoint_that_was_disabled_stays_so_over_sigkill() {
    let mood = Arc::new(Mutex::new(Mood::Gone));
    let receiver = {
        let mood = Arc::clone(&mood);
        Receiver::answering(move |_| Answer::status(if *mood.lock().unwrap() == Mood::Gone { 410 } else { 200 }))
    };
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.client().post("/v1/events", r#"{"id":"first","type":"crash.gone","data":1}"#).expect(202);
    within(Duration::from_secs(20), "the endpoint is disabled", || {
        let shown = daemon.client().get("/v1/endpoints/app").expect(200).json();
        (shown["state"] == "disabled").then_some(())
    });
    daemon.kill();
    *mood.lock().unwrap() = Mood::Takes;
    daemon.run();
    daemon.client().post("/v1/events", r#"{"id":"second","type":"crash.gone","data":2}"#).expect(202);
    let shown = daemon.client().get("/v1/endpoints/app").expect(200).json();
    assert_eq!(shown["state"], "disabled");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(receiver.count(), 1, "nothing goes to a disabled endpoint");
    daemon.client().post("/v1/endpoints/app/resume", "{}").expect(200);
    for id in ["first", "second"] {
        daemon.client().await_state(id, "app", "delivered");
    }
}
