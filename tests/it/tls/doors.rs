//! Who knocks without knowing how: plain HTTP at the TLS port, TLS at the plain one, handshakes that never end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Secure, all, s_client, text};
use crate::kit::Setup;

fn knock(port: u16, bytes: &[u8]) -> String {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    text(&answer)
}

#[test]
fn plain_http_at_the_tls_port_is_told_so_in_plain_http() {
    let secure = Secure::start();
    let request = b"POST /v1/events HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nsecret-data".to_vec();
    // With more than the daemon will ever read.
    let long = [&request[..], &vec![b'x'; 3_000_000]].concat();
    for bytes in [&b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"[..], &request, &long, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let answer = knock(secure.port(), bytes);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nconnection: close\r\n"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["type"], "urn:webhookd:problem:tls-needed");
        assert!(problem["detail"].as_str().unwrap().contains("https://"), "{problem}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
    let plain = std::process::Command::new("curl")
        .args(["-sS", "--noproxy", "*", "-w", "%{http_code}", &format!("http://127.0.0.1:{}/readyz", secure.port())])
        .output()
        .unwrap();
    assert!(text(&plain.stdout).ends_with("400"), "{}", all(&plain));
    assert_eq!(secure.metric("webhookd_tls_handshakes_failed_total{listener=\"api\",reason=\"plain_http\"}"), 5.0);
    let log = secure.daemon.log();
    assert!(!log.contains("secret-data") && !log.contains("handshake"), "not a line for each: {log}");
}

#[test]
fn noise_at_the_tls_port_is_hung_up_on() {
    let secure = Secure::start();
    for noise in [&b"\0\0\0\0\0\0\0\0"[..], b"\xff\xff\xff\xff", b"hello", b"\x80\x2e\x01\0\x02"] {
        assert_eq!(knock(secure.port(), noise), "");
    }
    // It begins like a handshake, and is none: an alert.
    for noise in
        [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16\x03\x01\xff\xffxxxxxxxxx", b"\x16\x16\x16\x16\x16\x16\x16\x16"]
    {
        assert!(knock(secure.port(), noise).starts_with('\x15'), "{noise:?}");
    }
    assert_eq!(secure.metric("webhookd_tls_handshakes_failed_total{listener=\"api\",reason=\"not_tls\"}"), 4.0);
    assert_eq!(secure.metric("webhookd_tls_handshakes_failed_total{listener=\"api\",reason=\"malformed\"}"), 3.0);
    assert_eq!(secure.connect().get("/readyz"), Ok(200));
}

#[test]
fn tls_at_the_plain_port_ends_at_once() {
    let daemon = Setup::new().start();
    let port = super::port(&daemon);
    let started = Instant::now();
    for version in ["-tls1_2", "-tls1_3"] {
        let output = s_client(port, &[version], "");
        assert!(!output.status.success() && all(&output).contains("wrong version number"), "{}", all(&output));
    }
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

#[test]
fn a_handshake_that_never_ends_is_cut_off_and_harms_nobody() {
    let secure = Secure::start();
    let started = Instant::now();
    let hello = [&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 20]].concat();
    let stall = |bytes: Vec<u8>, trickles: bool| {
        let port = secure.port();
        std::thread::spawn(move || {
            let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
            socket.write_all(&bytes).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            loop {
                match socket.read(&mut [0; 64]) {
                    Ok(0) => return started.elapsed(),
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return started.elapsed(),
                    _ => assert!(started.elapsed() < Duration::from_secs(25), "still not cut off"),
                }
                if trickles {
                    let _ = socket.write_all(&[7]);
                }
            }
        })
    };
    let mut stalled = vec![stall(Vec::new(), false), stall(hello.clone(), true)];
    stalled.extend((0..100).map(|_| stall(hello.clone(), false)));
    // Meanwhile others are served at once.
    let honest = Instant::now();
    assert_eq!(secure.connect().get("/readyz"), Ok(200));
    assert!(honest.elapsed() < Duration::from_secs(5), "{:?}", honest.elapsed());
    let count = stalled.len();
    for thread in stalled {
        let took = thread.join().unwrap();
        assert!(took > Duration::from_secs(9) && took < Duration::from_secs(20), "{took:?}");
    }
    let timeouts = secure.metric("webhookd_tls_handshakes_failed_total{listener=\"api\",reason=\"timeout\"}");
    assert_eq!(timeouts, count as f64);
}
