//! What is kept of a request: the body byte for byte, and the headers.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use memchr::memmem;
use serde_json::Value;

use super::{events, github, only_event};
use crate::kit::{Daemon, Received, Receiver, SOON, Setup};

/// Takes whatever comes.
const OPEN: &str = "verify = { scheme = \"none\" }";

/// A daemon that takes everything and passes it on as it came.
fn open(app: &Receiver) -> Daemon {
    let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"", app.url("/"));
    Setup::new().endpoint_alone("app", &endpoint).source("open", OPEN).start()
}

/// Posts these header lines, byte for byte, and a body.
fn post(daemon: &Daemon, lines: &[&[u8]], body: &[u8]) {
    let mut stream = TcpStream::connect(daemon.inbound().address()).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let mut request = b"POST /in/open HTTP/1.1\r\nHost: in.example.com\r\n".to_vec();
    for line in lines {
        request.extend_from_slice(line);
        request.extend_from_slice(b"\r\n");
    }
    write!(request, "Content-Length: {}\r\n\r\n", body.len()).unwrap();
    request.extend_from_slice(body);
    stream.write_all(&request).unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}

fn values<'a>(request: &'a Received, name: &str) -> Vec<&'a [u8]> {
    request.headers.get_all(name).iter().map(|value| value.as_bytes()).collect()
}

#[test]
fn headers_go_on_in_the_order_in_which_they_came() {
    let app = Receiver::start();
    let daemon = open(&app);
    let names: Vec<String> = (0..12).map(|n| format!("x-no-{}", (n * 7) % 12)).collect();
    let mut lines: Vec<Vec<u8>> = names.iter().map(|name| format!("{name}: v").into_bytes()).collect();
    // What is replaced or dropped on the way moves nothing else.
    lines.insert(3, b"user-agent: Vendor/1.0".to_vec());
    lines.insert(5, b"accept-encoding: gzip".to_vec());
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    post(&daemon, &lines, b"{}");
    let [request] = <[Received; 1]>::try_from(app.wait(1)).unwrap();
    let went_on: Vec<_> =
        request.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-no-")).collect();
    assert_eq!(went_on, names);
}

#[test]
fn all_headers_go_on_with_repeats_and_in_any_bytes() {
    let app = Receiver::start();
    let daemon = open(&app);
    let lines: [&[u8]; 9] = [
        b"X-Vendor: one",
        b"Content-Type: application/vnd.vendor+json; v=\"2\"",
        b"x-vendor: two",
        b"X-Bytes: \xff\xfea\x80",
        b"X-Empty:",
        b"X-Vendor: three",
        b"Accept: */*",
        b"X-Forwarded-For: 192.0.2.1",
        b"User-Agent: Vendor/1.0",
    ];
    post(&daemon, &lines, b"{}");
    let [request] = <[Received; 1]>::try_from(app.wait(1)).unwrap();
    assert_eq!(values(&request, "x-vendor"), [b"one".as_slice(), b"two", b"three"]);
    assert_eq!(values(&request, "x-bytes"), [b"\xff\xfea\x80"]);
    assert_eq!(values(&request, "x-empty"), [b""]);
    assert_eq!(values(&request, "accept"), [b"*/*"]);
    assert_eq!(values(&request, "x-forwarded-for"), [b"192.0.2.1"]);
    assert_eq!(request.header("content-type"), "application/vnd.vendor+json; v=\"2\"");
    assert!(request.header("user-agent").starts_with("webhookd/"), "ours wins");
}

#[test]
fn what_speaks_of_the_connection_or_is_for_webhookd_alone_goes_nowhere() {
    let app = Receiver::start();
    let mut daemon = open(&app);
    let lines: [&[u8]; 11] = [
        b"Connection: keep-alive, X-Hop",
        b"X-Hop: dropped-hop-value",
        b"Keep-Alive: timeout=5",
        b"TE: trailers",
        b"Proxy-Connection: keep-alive",
        b"Proxy-Authorization: Basic dropped-proxy-value",
        b"Authorization: Bearer dropped-authorization-value",
        b"Cookie: session=dropped-cookie-value",
        b"Accept-Encoding: gzip",
        b"X-Kept: kept-header-value",
        b"Content-Type: text/plain",
    ];
    post(&daemon, &lines, b"kept-body-value");
    let [request] = <[Received; 1]>::try_from(app.wait(1)).unwrap();
    assert_eq!(request.header("x-kept"), "kept-header-value");
    for name in ["x-hop", "keep-alive", "te", "proxy-connection", "proxy-authorization", "authorization", "cookie"] {
        assert!(!request.headers.contains_key(name), "{name} went on");
    }
    assert!(!request.headers.contains_key("accept-encoding"), "nobody here could show a compressed answer");
    assert_ne!(request.header("host"), "in.example.com");
    assert!(daemon.stop().success());
    let stored: Vec<u8> = files(&daemon.data()).iter().flat_map(|file| fs::read(file).unwrap()).collect();
    for kept in ["kept-header-value", "kept-body-value"] {
        assert!(memmem::find(&stored, kept.as_bytes()).is_some(), "the search finds what is stored");
    }
    for dropped in ["dropped-", "in.example.com"] {
        assert_eq!(memmem::find(&stored, dropped.as_bytes()), None, "{dropped} is on the disk");
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn bodies_go_on_byte_for_byte() {
    let app = Receiver::start();
    let daemon = open(&app);
    let every_byte: Vec<u8> = (0..=255).collect();
    let mebibyte: Vec<u8> = (0..1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let json = b"{ \"n\": 1.10, \"n\": 1e400,\r\n\t\"s\": \"\\u0041\" }".as_slice();
    let bodies: [&[u8]; 5] = [b"", &every_byte, &mebibyte, json, b"\xef\xbb\xbf{}"];
    for (n, body) in bodies.into_iter().enumerate() {
        for content_type in ["application/json", "application/octet-stream"] {
            post(&daemon, &[format!("Content-Type: {content_type}").as_bytes()], body);
        }
        let requests = app.wait_for("both", |requests| requests.len() == 2 * n + 2);
        for request in &requests[2 * n..] {
            assert!(request.body == body, "body {n} came as {:?}", &request.body[..request.body.len().min(100)]);
        }
    }
}

#[test]
fn an_event_is_shown_as_every_other() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    github::post(&daemon, &[], b"{ \"n\": 1.10 }").expect(200);
    let reply = daemon.client().get(&format!("/v1/events/{}", events(&daemon)[0]["id"].as_str().unwrap()));
    assert!(reply.text().contains("\"data\":{ \"n\": 1.10 }"), "{}", reply.text());
    let event = only_event(&daemon);
    assert_eq!(event["type"], "github.push");
    assert_eq!(event["content_type"], "application/json");
    assert_eq!((&event["body_base64"], &event["deliveries"]), (&Value::Null, &Value::Array(Vec::new())));
}

#[test]
fn what_is_no_json_is_shown_in_base64_and_any_content_type_is_taken() {
    let daemon = Setup::new().source("open", OPEN).start();
    let unknown = "application/octet-stream";
    for (n, (line, body, shown)) in [
        (Some(&b"Content-Type: application/json"[..]), &b"{\"broken\""[..], "application/json"),
        (Some(b"Content-Type: application/x-www-form-urlencoded"), b"a=b", "application/x-www-form-urlencoded"),
        (None, b"{}", unknown),
        (Some(b"Content-Type: no type at all"), b"{}", unknown),
        (Some(b"Content-Type: \xff\xff"), b"{}", unknown),
        (Some(b"Content-Type:"), b"", unknown),
    ]
    .into_iter()
    .enumerate()
    {
        post(&daemon, &line.into_iter().collect::<Vec<_>>(), body);
        let events = events(&daemon);
        assert_eq!(events.len(), n + 1);
        let event = daemon.client().look(events[0]["id"].as_str().unwrap());
        assert_eq!(event["content_type"], shown);
        assert!(event["data"].is_null() && event["body_base64"].is_string(), "{event}");
    }
}
