//! Where a request ends: two servers that do not agree on it can be made to see different requests (request smuggling). Each
//! of these is refused, or read one way and the connection closed behind it.

use super::raw::Raw;
use crate::kit::{Daemon, Receiver, Setup};

fn daemon() -> Daemon {
    Setup::new().start()
}

/// The statuses in what came, in order.
fn statuses(answer: &str) -> Vec<u16> {
    answer.split("HTTP/1.1 ").skip(1).filter_map(|rest| rest.get(..3)?.parse().ok()).collect()
}

/// What is sent behind a request: if it is answered, the request before it ended where the client said.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[test]
fn framing_that_can_be_read_two_ways_is_refused_or_ends_the_connection() {
    let daemon = daemon();
    let post = |headers: &str, body: &str| format!("POST /v1/raw/a HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n{body}");
    let chunk = "3\r\nabc\r\n0\r\n\r\n";
    let both = "content-length: 3\r\ntransfer-encoding: chunked\r\n";
    let turned = "transfer-encoding: chunked\r\ncontent-length: 3\r\n";
    let long_extension = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(40_000));
    let many_trailers = format!("3\r\nabc\r\n0\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    let long_trailer = format!("3\r\nabc\r\n0\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let table = [
        ("both lengths, chunks count", post(both, chunk), 202),
        ("both lengths, turned", post(turned, chunk), 202),
        ("two content-lengths", post("content-length: 3\r\ncontent-length: 4\r\n", "abcd"), 400),
        ("a list of content-lengths", post("content-length: 3, 4\r\n", "abcd"), 400),
        ("a signed content-length", post("content-length: +3\r\n", "abc"), 400),
        ("a negative content-length", post("content-length: -3\r\n", "abc"), 400),
        ("a hexadecimal content-length", post("content-length: 0x3\r\n", "abc"), 400),
        ("an endless content-length", post("content-length: 99999999999999999999\r\n", "abc"), 400),
        ("an empty content-length", post("content-length: \r\n", "abc"), 400),
        ("a blank before the colon", post("content-length : 3\r\n", "abc"), 400),
        ("a folded header", post("x: a\r\n b\r\ncontent-length: 3\r\n", "abc"), 400),
        ("a folded length", post("content-length:\r\n 3\r\n", "abc"), 400),
        ("a bare CR", post("x: a\rcontent-length: 3\r\n", "abc"), 400),
        ("a NUL in a value", post("x: a\0b\r\ncontent-length: 3\r\n", "abc"), 400),
        ("a header without a name", post(": a\r\ncontent-length: 3\r\n", "abc"), 400),
        ("an encoding that is not chunked", post("transfer-encoding: gzip\r\n", chunk), 400),
        ("chunked, and then another", post("transfer-encoding: chunked, identity\r\n", chunk), 400),
        ("chunked spelt otherwise", post("transfer-encoding: xchunked\r\n", chunk), 400),
        ("chunks of HTTP/1.0", post("transfer-encoding: chunked\r\n", chunk).replace("HTTP/1.1", "HTTP/1.0"), 400),
        ("a chunk size that is none", post("transfer-encoding: chunked\r\n", "g\r\nabc\r\n0\r\n\r\n"), 400),
        ("a chunk size with a sign", post("transfer-encoding: chunked\r\n", "+3\r\nabc\r\n0\r\n\r\n"), 400),
        ("a chunk size past all", post("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\nabc\r\n"), 400),
        ("a chunk longer than it says", post("transfer-encoding: chunked\r\n", "3\r\nabcd\r\n0\r\n\r\n"), 400),
        ("a chunk extension without end", post("transfer-encoding: chunked\r\n", &long_extension), 400),
        ("trailers without end", post("transfer-encoding: chunked\r\n", &many_trailers), 400),
        ("a trailer without end", post("transfer-encoding: chunked\r\n", &long_trailer), 400),
        ("two hosts", post("host: b\r\ncontent-length: 3\r\nconnection: close\r\n", "abc"), 400),
    ];
    for (what, request, expected) in table {
        let mut raw = Raw::to(&daemon);
        raw.send(request + SMUGGLED);
        let answer = raw.rest_text();
        assert_eq!(statuses(&answer), [expected], "{what}: {answer}");
    }
    daemon.client().get("/healthz").expect(200);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

#[test]
fn heads_past_their_limits_are_told_which() {
    let daemon = daemon();
    let get = |target: &str, headers: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n")
    };
    let header = |n: usize| format!("x-{n}: y\r\n");
    let most: String = (0..98).map(header).collect();
    let one_more = format!("{most}x: y\r\n");
    let table = [
        ("100 headers", get("/healthz", &most), 200),
        ("101 headers", get("/healthz", &one_more), 431),
        ("a header of 60 KiB", get("/healthz", &format!("x: {}\r\n", "y".repeat(60 << 10))), 200),
        ("a header of 65 KiB", get("/healthz", &format!("x: {}\r\n", "y".repeat(65 << 10))), 431),
        ("a name of 65 KiB", get("/healthz", &format!("{}: y\r\n", "x".repeat(65 << 10))), 431),
        ("a line of 65,535 bytes and more", get(&format!("/{}", "x".repeat(65_535)), ""), 414),
    ];
    for (what, request, expected) in table {
        let mut raw = Raw::to(&daemon);
        raw.send(&request);
        let answer = raw.rest_text();
        let found = statuses(&answer);
        // What is longer than what is read at once is told by its size alone.
        let fits = found == [expected] || (expected == 414 && found == [431]);
        assert!(fits, "{what}: {answer}");
        if expected > 400 {
            assert!(answer.contains("application/problem+json"), "{what}: {answer}");
        }
    }
}

#[test]
fn a_thousand_requests_at_once_are_answered_in_order() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let mut requests = String::new();
    for n in 0..1000 {
        let body = format!(r#"{{"id":"e{n}","type":"a","data":{n}}}"#);
        let last = if n == 999 { "connection: close\r\n" } else { "" };
        requests += &format!(
            "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{last}content-length: {}\r\n\r\n{body}",
            body.len()
        );
    }
    let mut raw = Raw::to(&daemon);
    assert!(raw.send(requests));
    let answer = raw.rest_text();
    let found: Vec<_> = statuses(&answer);
    assert!(found.len() == 1000 && found.iter().all(|status| *status == 202), "{} answers", found.len());
    let places: Vec<_> = (0..1000).map(|n| answer.find(&format!("\"e{n}\""))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "in the order of the requests");
    receiver.wait(1000);
}

#[test]
fn requests_without_end_and_an_answer_that_nobody_reads_take_little_memory() {
    let daemon = daemon();
    let mut raw = Raw::to(&daemon);
    raw.0.set_nonblocking(true).unwrap();
    let requests = "GET /nothing HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
    let before = resident_kib(daemon.pid());
    let mut sent = 0;
    // What can be sent without reading ends where both sides' socket buffers are full, and the daemon reads no more.
    crate::kit::eventually("the daemon stops reading", || {
        use std::io::Write as _;
        match raw.0.write(requests.as_bytes()) {
            Ok(len) => sent += len,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
                let rested = (0..20).all(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    raw.0.write(b"G").is_err()
                });
                return rested.then_some(());
            }
        }
        assert!(sent < 1 << 30, "the daemon reads on and on");
        None
    });
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 16 << 10, "{grown} KiB for {sent} bytes of requests");
    daemon.client().get("/healthz").expect(200);
}

/// Resident memory of a process.
pub(super) fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it runs");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
