//! Connections in all, and from one address.

use std::net::UdpSocket;

use rustix::process::Signal;

use super::raw::{Raw, metric};
use crate::kit::{Daemon, Setup, eventually};

fn places(all: usize) -> Daemon {
    Setup::new().api(&format!("max_connections = {all}")).start()
}

#[test]
fn who_finds_no_place_gets_503_at_once_and_a_place_that_is_left_is_taken_again() {
    let daemon = places(3);
    let mut seated: Vec<Raw> = eventually("three have places", || {
        let mut three: Vec<Raw> = (0..3).map(|_| Raw::to(&daemon)).collect();
        three.iter_mut().all(Raw::ask).then_some(three)
    });
    for _ in 0..100 {
        let mut late = Raw::to(&daemon);
        let answer = late.rest_text();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
        assert!(head.starts_with("HTTP/1.1 503 "), "{answer}");
        for line in ["content-type: application/problem+json", "retry-after: 5", "connection: close"] {
            assert!(head.lines().any(|found| found == line), "{line} is missing: {answer}");
        }
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["type"], "urn:webhookd:problem:too-many-connections");
    }
    assert!(seated.iter_mut().all(Raw::ask), "who has a place keeps it");
    let told = daemon.log().lines().filter(|line| line.contains("were turned away")).count();
    assert!((1..=3).contains(&told), "{told} lines:\n{}", daemon.log());
    drop(seated.pop());
    eventually("the place is taken again", || {
        daemon.client().try_send("GET", "/healthz", &[], "").ok().filter(|reply| reply.status == 200)
    });
    let refused = "webhookd_connections_refused_total{listener=\"api\",reason=\"max_connections\"}";
    assert!(metric(&daemon, refused) >= 100);
    eventually("two have places, and the one that asks", || {
        (metric(&daemon, "webhookd_connections{listener=\"api\"}") == 3).then_some(())
    });
}

#[test]
fn where_places_run_short_idle_connections_go_and_honest_clients_never_notice() {
    let daemon = places(40);
    let mut idle: Vec<Raw> = (0..35).map(|_| Raw::to(&daemon)).collect();
    assert!(idle.iter_mut().all(Raw::ask));
    let mut guests = Vec::new();
    eventually("idle connections are closed long before their time", || {
        // Places are taken one at a time by guests who stay, and have been idle for less long than all others.
        if guests.len() < 2 {
            let mut guest = Raw::to(&daemon);
            assert!(guest.ask());
            guests.push(guest);
        }
        daemon.client().get("/healthz").expect(200);
        idle.iter_mut().any(Raw::closed).then_some(())
    });
    let cut = metric(&daemon, "webhookd_connections_cut_total{listener=\"api\",reason=\"places_short\"}");
    assert!(cut >= 1, "{cut}");
}

#[test]
fn another_number_of_places_counts_after_a_reload() {
    let daemon = places(2);
    let mut seated: Vec<Raw> = eventually("two have places", || {
        let mut two: Vec<Raw> = (0..2).map(|_| Raw::to(&daemon)).collect();
        two.iter_mut().all(Raw::ask).then_some(two)
    });
    assert!(Raw::to(&daemon).rest_text().starts_with("HTTP/1.1 503 "));
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), config.replace("max_connections = 2", "max_connections = 50")).unwrap();
    daemon.signal(Signal::HUP);
    eventually("there are more places", || Raw::to(&daemon).ask().then_some(()));
    assert!(seated.iter_mut().all(Raw::ask));
    assert!(daemon.log().contains("api.max_connections"), "{}", daemon.log());
}

/// An address of this machine that is not loopback; asking the system for a way to somewhere sends nothing.
fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| ip.to_string())
}

#[test]
fn one_address_has_its_own_number_of_places_and_loopback_is_not_counted() {
    let lines = "max_connections_per_address = 2\ntoken.t = { secret = \"0123456789abcdef\", scope = \"admin\" }";
    let port = crate::kit::free_port();
    let listen = format!("0.0.0.0:{port}");
    let daemon = Setup::new().listen(&listen).token("0123456789abcdef").api(lines).start();
    let mut local: Vec<Raw> = (0..10).map(|_| Raw::to(&daemon)).collect();
    assert!(local.iter_mut().all(Raw::ask), "loopback is not counted");
    // A machine without a network has no other address; what counts as one is tested in `src/front/connections.rs`.
    let Some(address) = own_address() else { return };
    let connect = || {
        let stream = std::net::TcpStream::connect(format!("{address}:{port}")).unwrap();
        stream.set_read_timeout(Some(crate::kit::SOON)).unwrap();
        Raw(stream)
    };
    let (mut one, mut two) = (connect(), connect());
    assert!(one.ask() && two.ask());
    let answer = connect().rest_text();
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("from this address"), "{answer}");
    assert!(Raw::to(&daemon).ask(), "others are served");
    drop(one);
    eventually("the place is taken again", || connect().ask().then_some(()));
    let refused = "webhookd_connections_refused_total{listener=\"api\",reason=\"max_connections_per_address\"}";
    assert!(metric(&daemon, refused) >= 1);
}
