//! Endpoints stand side by side: none takes more than its share, none waits for another.

use std::time::{Duration, Instant};

use crate::kit::{Act, Answer, Receiver, Setup};

fn batch(prefix: &str, count: usize) -> String {
    let events: Vec<_> = (0..count).map(|n| format!(r#"{{"id":"{prefix}-{n}","type":"a","data":{n}}}"#)).collect();
    format!("[{}]", events.join(","))
}

#[test]
fn max_in_flight_is_reached_and_never_passed() {
    let receiver = Receiver::answering(|_| Answer::status(200).after(Duration::from_millis(40)));
    let daemon = Setup::new()
        .endpoint("three", &receiver.url("/three"), "max_in_flight = 3")
        .endpoint("one", &receiver.url("/one"), "max_in_flight = 1")
        .start();
    daemon.client().post("/v1/events/batch", batch("e", 40)).expect(202);
    receiver.wait(80);
    assert_eq!(receiver.peak("/three"), 3);
    assert_eq!(receiver.peak("/one"), 1);
}

#[test]
fn retries_count_towards_max_in_flight_too() {
    let receiver = Receiver::answering(|request| {
        Answer::status(if request.attempt() < 3 { 500 } else { 200 }).after(Duration::from_millis(20))
    });
    let daemon = Setup::new()
        .delivery("retry = [\"10ms\", \"10ms\", \"10ms\"]")
        .endpoint("two", &receiver.url("/two"), "max_in_flight = 2")
        .start();
    daemon.client().post("/v1/events/batch", batch("e", 20)).expect(202);
    receiver.wait(60);
    assert_eq!(receiver.peak("/two"), 2);
}

#[test]
fn a_hung_endpoint_delays_no_other() {
    let receiver =
        Receiver::answering(
            |request| {
                if request.path == "/hung" { Answer::act(Act::Hang) } else { Answer::status(200) }
            },
        );
    let daemon = Setup::new()
        .delivery("timeout = \"60s\"")
        .endpoint("hung", &receiver.url("/hung"), "max_in_flight = 8")
        .endpoint("well", &receiver.url("/well"), "")
        .start();
    let start = Instant::now();
    daemon.client().post("/v1/events/batch", batch("e", 500)).expect(202);
    let well = |requests: &[crate::kit::Received]| requests.iter().filter(|request| request.path == "/well").count();
    receiver.wait_for("500 deliveries to the endpoint that is well", |requests| well(requests) == 500);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    assert!(receiver.peak("/hung") <= 8);
    let endpoint = daemon.client().get("/v1/endpoints/hung").expect(200).json();
    assert_eq!(endpoint["state"], "active");
}

#[test]
fn a_dead_endpoint_delays_no_other() {
    let receiver = Receiver::start();
    let closed = Receiver::start().address();
    let daemon = Setup::new()
        .delivery("retry = [\"10ms\", \"10ms\", \"10ms\", \"1h\"]")
        .endpoint("closed", &format!("http://{closed}/"), "")
        .endpoint("well", &receiver.url("/"), "")
        .start();
    let start = Instant::now();
    for n in 0..4 {
        daemon.client().post("/v1/events/batch", batch(&format!("e{n}"), 500)).expect(202);
    }
    receiver.wait(2000);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
