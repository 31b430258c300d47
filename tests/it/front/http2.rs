//! HTTP/2, frame by frame (RFC 9113): each known way to make a server work or remember without end.

use super::framing::resident_kib;
use super::raw::Raw;
use crate::kit::{Daemon, Receiver, Setup};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;
/// `GET /healthz` for `a`, in HPACK (RFC 7541) without tables of its own.
const HEAD: &[u8] = b"\x82\x86\x41\x01a\x04\x08/healthz";
/// `POST /v1/raw/a` for `a`.
const POST: &[u8] = b"\x83\x86\x41\x01a\x04\x09/v1/raw/a";

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

struct Frame {
    kind: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let len = usize::from(bytes[0]) << 16 | usize::from(bytes[1]) << 8 | usize::from(bytes[2]);
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        let end = (9 + len).min(bytes.len());
        frames.push(Frame { kind: bytes[3], stream, payload: bytes[9..end].to_vec() });
        bytes = &bytes[end..];
    }
    frames
}

fn code(payload: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(payload.get(at..at + 4)?.try_into().ok()?))
}

fn hello(daemon: &Daemon) -> Raw {
    let mut raw = Raw::to(daemon);
    raw.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    raw
}

/// Sends a flood while somebody reads, until the daemon hangs up or the flood is over; returns the code of its GOAWAY. It may take
/// in more than it looks at: it reads on for a moment after it, so that the GOAWAY is not lost.
fn flood(daemon: &Daemon, rounds: usize, round: impl Fn(usize) -> Vec<u8>) -> Option<u32> {
    let mut raw = hello(daemon);
    let mut reading = Raw(raw.0.try_clone().unwrap());
    let reader = std::thread::spawn(move || reading.rest());
    let _ = (0..rounds).take_while(|n| raw.send(round(*n))).count();
    let _ = raw.0.shutdown(std::net::Shutdown::Write);
    let came = frames(&reader.join().unwrap());
    let goaway = came.iter().find(|frame| frame.kind == GOAWAY);
    goaway.and_then(|frame| code(&frame.payload, 4))
}

/// The daemon is well, and has taken no more than this since `before`.
#[track_caller]
fn unharmed(daemon: &Daemon, before: u64, what: &str) {
    daemon.client().get("/healthz").expect(200);
    let grown = resident_kib(daemon.pid()).saturating_sub(before);
    assert!(grown < 24 << 10, "{what}: {grown} KiB");
    assert!(!daemon.log().contains("panicked"), "{what}: {}", daemon.log());
}

fn stream(n: usize) -> u32 {
    u32::try_from(2 * n + 1).unwrap()
}

#[test]
fn rapid_resets_end_the_connection() {
    let daemon = Setup::new().start();
    let before = resident_kib(daemon.pid());
    // CVE-2023-44487: a request and its reset, again and again, many in one write.
    let goaway = flood(&daemon, 10_000, |n| {
        let both = |m: usize| {
            let stream = stream(n * 100 + m);
            let request = frame(HEADERS, END_STREAM | END_HEADERS, stream, HEAD);
            [request, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        };
        (0..100).flat_map(both).collect()
    });
    assert_eq!(goaway, Some(ENHANCE_YOUR_CALM));
    unharmed(&daemon, before, "rapid resets");
}

#[test]
fn resets_that_the_daemon_is_made_to_send_end_the_connection() {
    let daemon = Setup::new().start();
    let before = resident_kib(daemon.pid());
    // CVE-2025-8671: the client provokes the reset, here by a window past its end (RFC 9113, section 6.9.1).
    let goaway = flood(&daemon, 100_000, |n| {
        let request = frame(HEADERS, END_HEADERS, stream(n), POST);
        let past = frame(WINDOW_UPDATE, 0, stream(n), &[0x7f, 0xff, 0xff, 0xff]);
        [request, past].concat()
    });
    assert_eq!(goaway, Some(ENHANCE_YOUR_CALM));
    unharmed(&daemon, before, "provoked resets");
}

#[test]
fn a_head_in_continuations_without_end_ends_the_connection() {
    let daemon = Setup::new().start();
    let before = resident_kib(daemon.pid());
    for piece in [vec![], vec![0x82], [b"\x00\x01x\x7f\x81\x7e".as_slice(), &vec![b'y'; 255]].concat()] {
        let goaway = flood(&daemon, 100_000, |n| match n {
            0 => frame(HEADERS, END_STREAM, 1, HEAD),
            _ => frame(CONTINUATION, 0, 1, &piece),
        });
        let fits = matches!(goaway, Some(ENHANCE_YOUR_CALM | PROTOCOL_ERROR));
        assert!(fits, "{goaway:?} after pieces of {} bytes", piece.len());
    }
    unharmed(&daemon, before, "continuations");
}

#[test]
fn floods_of_pings_settings_and_empty_frames_cost_no_memory() {
    let daemon = Setup::new().start();
    let before = resident_kib(daemon.pid());
    let ping = frame(PING, 0, 0, &[1; 8]).repeat(100);
    let settings = frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100);
    let window = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(100);
    let empty = frame(DATA, 0, 1, &[]).repeat(100);
    for (what, piece) in [("pings", ping), ("settings", settings), ("windows", window), ("empty data", empty)] {
        let goaway = flood(&daemon, 500, |n| match n {
            0 => frame(HEADERS, END_HEADERS, 1, POST),
            _ => piece.clone(),
        });
        unharmed(&daemon, before, &format!("{what}: {goaway:?}"));
    }
}

#[test]
fn a_client_that_pings_and_does_not_read_is_not_remembered() {
    let daemon = Setup::new().start();
    let before = resident_kib(daemon.pid());
    for piece in [frame(PING, 0, 0, &[1; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut raw = hello(&daemon);
        raw.0.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
        let piece = piece.repeat(1000);
        // It ends where the answers fill the sockets, and the daemon reads no more.
        let sent = (0..100_000).take_while(|_| raw.send(&piece)).count();
        assert!(sent < 100_000, "the daemon reads on and on");
        unharmed(&daemon, before, "unread answers");
    }
}

#[test]
fn more_requests_at_once_than_there_may_be_are_refused_one_by_one() {
    let daemon = Setup::new().start();
    let mut raw = hello(&daemon);
    // Their bodies do not come, so that they are all under way.
    for n in 0..300 {
        assert!(raw.send(frame(HEADERS, END_HEADERS, stream(n), POST)));
    }
    raw.send(frame(GOAWAY, 0, 0, &[0; 8]));
    let _ = raw.0.shutdown(std::net::Shutdown::Write);
    let came = frames(&raw.rest());
    let settings = came.iter().find(|frame| frame.kind == SETTINGS).unwrap();
    assert!(settings.payload.chunks(6).any(|setting| setting == [0, 3, 0, 0, 1, 0]), "256 streams are announced");
    let refused: Vec<u32> = came
        .iter()
        .filter(|frame| frame.kind == RST_STREAM && code(&frame.payload, 0) == Some(REFUSED_STREAM))
        .map(|frame| frame.stream)
        .collect();
    assert_eq!(refused.len(), 300 - 256, "{refused:?}");
    assert!(refused.iter().all(|found| *found >= stream(256)), "{refused:?}");
    daemon.client().get("/healthz").expect(200);
}

#[test]
fn frames_and_heads_past_their_size_are_refused() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let mut raw = hello(&daemon);
    raw.send(frame(DATA, 0, 1, &vec![0; 20_000]));
    assert!(frames(&raw.rest()).iter().any(|frame| frame.kind == GOAWAY), "a frame above 16 KiB");
    // A head of 80 KiB, which is more than the 64 KiB that are announced.
    let mut raw = hello(&daemon);
    let large = [b"\x00\x01x\x7f\x81\x7e".as_slice(), &vec![b'y'; 255]].concat();
    raw.send(frame(HEADERS, END_STREAM, 1, HEAD));
    for _ in 0..5 {
        raw.send(frame(CONTINUATION, 0, 1, &large.repeat(61)));
    }
    raw.send(frame(CONTINUATION, END_HEADERS, 1, &large));
    raw.send(frame(GOAWAY, 0, 0, &[0; 8]));
    let _ = raw.0.shutdown(std::net::Shutdown::Write);
    let came = frames(&raw.rest());
    // 431 in HPACK, or the stream or the connection is ended.
    let told = |frame: &Frame| {
        frame.kind == HEADERS && frame.payload.windows(3).any(|window| window == b"431") || frame.kind == RST_STREAM
    };
    assert!(came.iter().any(|frame| told(frame) || frame.kind == GOAWAY));
    assert!(!came.iter().any(|frame| frame.kind == HEADERS && frame.payload.first() == Some(&0x88)), "no 200");
    daemon.client().event("still.well", "1");
    receiver.wait(1);
}
