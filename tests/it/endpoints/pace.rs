//! `rate_limit` and what an endpoint itself asks for.

use std::time::{Duration, Instant};

use super::batch;
use crate::kit::{Answer, Received, Receiver, Setup, never};

/// Most requests that began within any `window`.
fn most_within(requests: &[Received], window: Duration) -> usize {
    let at: Vec<Instant> = requests.iter().map(|request| request.at).collect();
    (0..at.len()).map(|from| at[from..].iter().filter(|later| **later - at[from] < window).count()).max().unwrap_or(0)
}

#[test]
fn a_rate_limit_spreads_attempts_evenly() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .endpoint("slow", &receiver.url("/slow"), "rate_limit = \"20/s\"")
        .endpoint("burst", &receiver.url("/burst"), "rate_limit = { rate = \"20/s\", burst = 15 }")
        .endpoint("free", &receiver.url("/free"), "")
        .start();
    let start = Instant::now();
    daemon.client().post("/v1/events/batch", batch("a", "e", 40)).expect(202);
    let all = receiver.wait(120);
    assert!(start.elapsed() >= Duration::from_millis(1_900), "40 at 20/s take 1.95 s: {:?}", start.elapsed());
    let of = |path: &str| all.iter().filter(|request| request.path == path).cloned().collect::<Vec<_>>();
    // A request may have been held up on its way, so that two arrive closer together than they were sent.
    let (slow, burst) = (of("/slow"), of("/burst"));
    assert!(most_within(&slow, Duration::from_millis(500)) <= 13, "10 in half a second: {slow:?}");
    assert!(burst[14].at - burst[0].at < Duration::from_millis(700), "the burst goes at once");
    assert!(burst[39].at - burst[0].at >= Duration::from_millis(1_150), "and the rest is spread");
    let free = of("/free");
    assert!(free[39].at - free[0].at < Duration::from_millis(900), "nobody else waits for it");
}

#[test]
fn retries_count_towards_the_rate_too() {
    let receiver = Receiver::answering(|request| Answer::status(if request.attempt() == 1 { 500 } else { 200 }));
    let daemon = Setup::new()
        .delivery("retry = [\"10ms\"]")
        .endpoint("slow", &receiver.url("/"), "rate_limit = \"20/s\"")
        .start();
    let start = Instant::now();
    daemon.client().post("/v1/events/batch", batch("a", "e", 15)).expect(202);
    receiver.wait(30);
    assert!(start.elapsed() >= Duration::from_millis(1_400), "30 attempts at 20/s: {:?}", start.elapsed());
}

#[test]
fn once_a_429_is_waited_out_one_request_goes_first() {
    // It takes a request each 300 ms, and no two at once.
    let (mut last, wait) = (None::<Instant>, Duration::from_millis(300));
    let receiver = Receiver::answering(move |request| {
        if last.is_some_and(|last| request.at - last < wait) {
            return Answer::status(429);
        }
        last = Some(request.at);
        Answer::status(200)
    });
    let daemon = Setup::new()
        .delivery("retry = [\"500ms\", \"500ms\", \"500ms\", \"500ms\"]")
        .endpoint("app", &receiver.url("/"), "")
        .start();
    daemon.client().post("/v1/events/batch", batch("a", "e", 200)).expect(202);
    receiver.wait(33);
    let begun = receiver.count();
    never(Duration::from_millis(1_900), "another herd", || receiver.count() > begun + 12);
}

#[test]
fn a_retry_after_holds_the_whole_endpoint() {
    for status in [429, 503] {
        let receiver = Receiver::answering(move |request| match request.n {
            1 => Answer::status(status).header("retry-after", "2"),
            _ => Answer::status(200),
        });
        let daemon = Setup::new()
            .endpoint("app", &receiver.url("/"), "max_in_flight = 1")
            .endpoint("other", &receiver.url("/other"), "events = [\"b\"]")
            .start();
        daemon.client().post("/v1/events/batch", batch("a", "e", 10)).expect(202);
        receiver.wait(1);
        never(Duration::from_millis(1_500), "another request", || receiver.count() > 1);
        let held = daemon.client().get("/v1/endpoints/app").expect(200).json();
        assert!(held["held_until"].is_string(), "{held}");
        daemon.client().event("b", "1");
        receiver.wait_for("nobody else waits", |requests| requests.iter().any(|request| request.path == "/other"));
        receiver.wait(12);
    }
}
