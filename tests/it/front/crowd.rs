//! A thousand idle connections and a hundred slow ones, and honest clients beside them. `benches/clients` is the same, larger,
//! with figures.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::framing::resident_kib;
use super::raw::{Raw, metric};
use crate::kit::{Receiver, Setup, never};

const IDLE: usize = 1000;
const SLOW: usize = 100;

/// This process holds the other ends.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
}

#[test]
fn a_crowd_that_wastes_time_leaves_honest_clients_served_and_memory_bounded() {
    raise_open_files();
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    daemon.client().event("a", "0");
    receiver.wait(1);
    let before = resident_kib(daemon.pid());
    let mut idle: Vec<Raw> = (0..IDLE).map(|_| Raw::to(&daemon)).collect();
    assert!(idle.iter_mut().step_by(2).all(Raw::ask), "every other one has asked something before");
    let mut slow: Vec<Raw> = (0..SLOW).map(|_| Raw::to(&daemon)).collect();
    for (n, raw) in slow.iter_mut().enumerate() {
        let begins = match n % 3 {
            0 => "POST /v1/events HTTP/1.1\r\nhost: localhost\r\nx: ".to_owned(),
            1 => {
                "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{"
                    .to_owned()
            }
            // It asks and asks, and never reads.
            _ => "GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(500),
        };
        raw.0.set_nonblocking(n % 3 == 2).unwrap();
        raw.send(begins);
    }
    let (mut posted, mut drips) = (1, 0);
    never(std::time::Duration::from_secs(3), "an honest client is not served", || {
        for raw in slow.iter_mut().filter(|_| drips % 20 == 0) {
            raw.send("x");
        }
        drips += 1;
        posted += 1;
        let body = format!(r#"{{"type":"a","data":{posted}}}"#);
        daemon.client().post("/v1/events", body).status != 202
    });
    receiver.wait(posted);
    assert!(metric(&daemon, "webhookd_connections{listener=\"api\"}") >= IDLE as u64);
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 96 << 10, "{grown} KiB for {} connections", IDLE + SLOW);
    drop((idle, slow));
    crate::kit::eventually("all places are free again", || {
        (metric(&daemon, "webhookd_connections{listener=\"api\"}") == 1).then_some(())
    });
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}
