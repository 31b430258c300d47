//! The breaker: nothing but probes to an endpoint that is down, and no stampede when it is back.

use std::time::Duration;

use super::{batch, waits};
use crate::kit::{Answer, Daemon, Received, Receiver, Setup, eventually, never};

fn endpoint(daemon: &Daemon) -> serde_json::Value {
    daemon.client().get("/v1/endpoints/app").expect(200).json()
}

/// Waits until the breaker stands so.
fn await_breaker(daemon: &Daemon, phase: &str) -> serde_json::Value {
    eventually(&format!("the breaker is {phase}"), || Some(endpoint(daemon)).filter(|one| one["breaker"] == phase))
}

/// The time between each request and the next.
fn gaps_ms(requests: &[Received]) -> Vec<u128> {
    requests.windows(2).map(|pair| (pair[1].at - pair[0].at).as_millis()).collect()
}

const RULES: &str = "max_in_flight = 1\nbreaker = { failures = 5, cooldown = \"300ms\", max_cooldown = \"600ms\" }";

#[test]
fn an_endpoint_that_is_down_gets_probes_and_nothing_else() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let lines = format!("{RULES}\n{}", waits("10s", 30));
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/"), &lines).start();
    assert_eq!(endpoint(&daemon)["breaker"], "closed");
    daemon.client().post("/v1/events/batch", batch("a", "e", 200)).expect(202);
    let open = await_breaker(&daemon, "open");
    assert!(open["breaker_open_since"].is_string() && open["next_attempt_at"].is_string(), "{open}");
    assert_eq!((&open["state"], &open["backlog"]), (&"active".into(), &200.into()), "{open}");
    let requests = receiver.wait(9);
    let gaps = gaps_ms(&requests);
    assert!(gaps[4] >= 295, "the first probe after its cooldown: {gaps:?}");
    assert!(gaps[5..8].iter().all(|gap| *gap >= 595), "the next after twice that, which is the longest: {gaps:?}");

    daemon.restart();
    let before = receiver.count();
    let open = endpoint(&daemon);
    assert!(open["breaker"] == "open" || open["breaker"] == "half_open", "over a restart too: {open}");
    never(Duration::from_millis(500), "more than a probe", || receiver.count() > before + 1);

    receiver.answer(|_| Answer::status(200));
    let taken = |requests: &[Received]| requests.len() >= before + 200;
    receiver.wait_for("all that waited is delivered", taken);
    await_breaker(&daemon, "closed");
    let log = daemon.log();
    assert!(log.contains("breaker opened") && log.contains("endpoint recovered"), "{log}");
}

#[test]
fn an_endpoint_that_is_back_is_not_stampeded() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let breaker = "breaker = { failures = 5, cooldown = \"500ms\", max_cooldown = \"500ms\" }";
    let daemon =
        Setup::new().endpoint("app", &receiver.url("/"), &format!("{breaker}\n{}", waits("300ms", 60))).start();
    daemon.client().post("/v1/events/batch", batch("a", "e", 300)).expect(202);
    await_breaker(&daemon, "open");
    // What was under way when it opened has ended once the first probe is there.
    std::thread::sleep(Duration::from_millis(300));
    let hold = Duration::from_millis(100);
    receiver.answer(move |_| Answer::status(200).after(hold));
    let before = receiver.count();
    let requests = receiver.wait(before + 300);
    let since = |n: usize| requests[before + n].at - requests[before].at;
    assert!(since(1) >= hold, "the probe is alone: the next came {:?} after it", since(1));
    // One permit after the probe, and one more for each success: 1, 2, 4, 8 … in each round of 100 ms.
    for (round, most) in [(1, 1), (2, 3), (3, 7), (4, 15)] {
        let begun = (0..100).filter(|n| since(*n) < hold * (round + 1) - Duration::from_millis(5)).count();
        assert!(begun <= 1 + most, "{begun} requests in {round} rounds after the probe");
    }
    assert!(receiver.peak("/") <= 32);
    await_breaker(&daemon, "closed");
}

#[test]
fn what_is_past_its_schedule_while_the_breaker_is_open_is_dead() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let lines = "max_in_flight = 1\nretry = [\"100ms\", \"100ms\"]\n\
                 breaker = { failures = 3, cooldown = \"1s\", max_cooldown = \"1s\" }";
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), lines).start();
    daemon.client().post("/v1/events/batch", batch("a", "e", 40)).expect(202);
    let last = daemon.client().await_state("e-39", "app", "dead");
    assert_eq!(last["reason"], "breaker_open", "{last}");
    assert_eq!(last["attempts"].as_array().map(Vec::len), Some(0), "nothing was sent for it: {last}");
    eventually("nothing is pending", || (endpoint(&daemon)["backlog"] == 0).then_some(()));
    assert!(receiver.count() <= 12, "{} requests", receiver.count());

    receiver.answer(|_| Answer::status(200));
    daemon.client().post("/v1/events/e-39/replay", "{}").expect(202);
    daemon.client().await_state("e-39", "app", "delivered");
}

#[test]
fn without_a_breaker_every_delivery_keeps_its_own_schedule() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let lines = format!("breaker = \"off\"\n{}", waits("50ms", 2));
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), &lines).start();
    daemon.client().post("/v1/events/batch", batch("a", "e", 50)).expect(202);
    receiver.wait(150);
    assert!(endpoint(&daemon)["breaker"].is_null());
}

#[test]
fn a_resume_closes_a_breaker_at_once() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let lines = "max_in_flight = 1\nbreaker = { failures = 2, cooldown = \"1h\" }";
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), lines).start();
    daemon.client().post("/v1/events/batch", batch("a", "e", 20)).expect(202);
    await_breaker(&daemon, "open");
    receiver.answer(|_| Answer::status(200));
    daemon.client().post("/v1/endpoints/app/resume", "").expect(200);
    let delivered = |requests: &[Received]| requests.len() >= 20;
    receiver.wait_for("what had not been tried yet is delivered at once", delivered);
}
