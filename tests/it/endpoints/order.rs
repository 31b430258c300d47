//! `order = "key"` and `"strict"`: one at a time, in the order of acceptance.

use std::collections::HashMap;
use std::time::Duration;

use super::waits;
use crate::kit::{Answer, Daemon, Received, Receiver, Setup, eventually, never};

/// Posts events named `key-0`, `key-1` … for each key, in turn.
fn post(daemon: &Daemon, keys: &[&str], from: usize, to: usize) {
    let mut events = Vec::new();
    for n in from..to {
        for key in keys {
            events.push(format!(r#"{{"id":"{key}-{n}","type":"a","key":"{key}","data":{n}}}"#));
        }
    }
    for part in events.chunks(1000) {
        daemon.client().post("/v1/events/batch", format!("[{}]", part.join(","))).expect(202);
    }
}

fn key_and_number(request: &Received) -> (String, usize) {
    let (key, n) = request.id().rsplit_once('-').unwrap();
    (key.to_owned(), n.parse().unwrap())
}

/// What came in must be each number of a key, again and again until it was taken, and then the next.
fn assert_in_order(requests: &[Received], taken: impl Fn(&Received) -> bool) {
    let mut next: HashMap<String, usize> = HashMap::new();
    for request in requests {
        let (key, n) = key_and_number(request);
        let expected = next.entry(key).or_default();
        assert_eq!(n, *expected, "request {} is {}", request.n, request.id());
        *expected += usize::from(taken(request));
    }
}

#[test]
fn each_key_goes_in_order_through_failures_and_keys_do_not_wait_for_each_other() {
    // Every third request fails, whatever it is, and those of one key for a long time.
    let taken = |request: &Received| {
        if request.id().starts_with("sick-") { request.attempt() > 8 } else { !request.n.is_multiple_of(3) }
    };
    let receiver = Receiver::answering(move |request| Answer::status(if taken(request) { 200 } else { 500 }));
    let lines = format!("order = \"key\"\nbreaker = \"off\"\n{}", waits("50ms", 30));
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), &lines).start();
    let names: Vec<String> = (0..20).map(|n| format!("k{n}")).chain(["sick".to_owned()]).collect();
    let keys: Vec<&str> = names.iter().map(String::as_str).collect();
    post(&daemon, &keys, 0, 15);
    let done = |requests: &[Received], of: &dyn Fn(&str) -> bool| {
        requests.iter().filter(|request| of(request.id()) && taken(request)).count()
    };
    let others = |id: &str| !id.starts_with("sick-");
    let requests = receiver.wait_for("all of the well keys", |requests| done(requests, &others) == 300);
    let sick = done(&requests, &|id| !others(id));
    assert!(sick < 15, "the others did not wait for the sick key, which has {sick} of 15");
    let requests = receiver.wait_for("all of the sick key", |requests| done(requests, &|_| true) == 315);
    assert_in_order(&requests, taken);
}

#[test]
fn one_key_has_one_attempt_at_a_time_and_events_without_a_key_do_not_wait() {
    let receiver = Receiver::answering(|_| Answer::status(200).after(Duration::from_millis(30)));
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "order = \"key\"").start();
    post(&daemon, &["k"], 0, 20);
    receiver.wait(20);
    assert_eq!(receiver.peak("/"), 1);
    for n in 0..20 {
        daemon.client().event("free", &n.to_string());
    }
    receiver.wait(40);
    assert!(receiver.peak("/") > 1, "events without a key go side by side");
}

#[test]
fn strict_is_one_at_a_time_in_the_order_of_acceptance() {
    let taken = |request: &Received| !request.n.is_multiple_of(4);
    let receiver = Receiver::answering(move |request| Answer::status(if taken(request) { 200 } else { 500 }));
    let lines = format!("order = \"strict\"\n{}", waits("20ms", 10));
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), &lines).start();
    for n in 0..10 {
        post(&daemon, &["k"], n * 5, n * 5 + 5);
    }
    let requests = receiver.wait_for("all", |requests| requests.iter().filter(|r| taken(r)).count() == 50);
    assert_in_order(&requests, taken);
    assert_eq!(receiver.peak("/"), 1);
}

#[test]
fn a_dead_one_is_skipped_or_blocks_its_key() {
    let receiver = Receiver::answering(|request| Answer::status(if request.id() == "k-1" { 400 } else { 200 }));
    let lines = |on_dead: &str| format!("order = \"key\"\npermanent = [400]\n{on_dead}");
    let mut daemon = Setup::new()
        .endpoint("skip", &receiver.url("/skip"), &lines(""))
        .endpoint("block", &receiver.url("/block"), &lines("on_dead = \"block\""))
        .start();
    post(&daemon, &["k", "other"], 0, 4);
    for id in ["k-2", "k-3", "other-3"] {
        daemon.client().await_state(id, "skip", "delivered");
    }
    daemon.client().await_state("other-3", "block", "delivered");
    daemon.client().await_state("k-1", "block", "dead");
    let blocked = |daemon: &Daemon| {
        let waits = || daemon.client().state("k-2", "block") != "pending";
        never(Duration::from_millis(300), "one overtakes a dead one that blocks", waits);
        let shown = daemon.client().get("/v1/endpoints/block").expect(200).json();
        assert_eq!((&shown["blocked_keys"], &shown["backlog"]), (&1.into(), &2.into()), "{shown}");
    };
    blocked(&daemon);
    daemon.restart();
    blocked(&daemon);
    receiver.answer(|_| Answer::status(200));
    daemon.client().post("/v1/events/k-1/replay", "{\"endpoints\":[\"block\"]}").expect(202);
    daemon.client().await_state("k-3", "block", "delivered");
    let order: Vec<_> = receiver.requests().iter().filter(|r| r.path == "/block").map(|r| r.id().to_owned()).collect();
    let of_k: Vec<_> = order.iter().filter(|id| id.starts_with("k-")).map(String::as_str).collect();
    assert_eq!(of_k, ["k-0", "k-1", "k-1", "k-2", "k-3"]);
}

#[test]
fn a_resume_lets_go_what_a_dead_one_blocks() {
    let receiver = Receiver::answering(|request| Answer::status(if request.id() == "k-0" { 400 } else { 200 }));
    let lines = "order = \"strict\"\npermanent = [400]\non_dead = \"block\"";
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), lines).start();
    post(&daemon, &["k"], 0, 3);
    daemon.client().await_state("k-0", "app", "dead");
    never(Duration::from_millis(200), "one overtakes a dead one that blocks", || receiver.count() > 1);
    daemon.client().post("/v1/endpoints/app/resume", "").expect(200);
    daemon.client().await_state("k-2", "app", "delivered");
    daemon.restart();
    post(&daemon, &["k"], 3, 4);
    daemon.client().await_state("k-3", "app", "delivered");
}

#[test]
fn a_replayed_event_goes_before_the_younger_ones_of_its_key() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "order = \"key\"").start();
    post(&daemon, &["k"], 0, 2);
    receiver.wait(2);
    daemon.client().await_state("k-1", "app", "delivered");
    daemon.client().post("/v1/endpoints/app/pause", "").expect(200);
    post(&daemon, &["k"], 2, 5);
    daemon.client().post("/v1/events/k-0/replay", "{}").expect(202);
    eventually("it is pending", || (daemon.client().state("k-0", "app") == "pending").then_some(()));
    daemon.client().post("/v1/endpoints/app/resume", "").expect(200);
    let ids: Vec<_> = receiver.wait(6)[2..].iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids, ["k-0", "k-2", "k-3", "k-4"]);
}
