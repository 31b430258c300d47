//! Everything that can be wrong with a request: each gets its 4xx, and the daemon goes on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::kit::{Daemon, Receiver, Reply, Setup};

fn daemon(receiver: &Receiver) -> Daemon {
    Setup::new().endpoint("app", &receiver.url("/"), "").start()
}

/// The daemon is up, and takes and delivers an event.
#[track_caller]
fn healthy(daemon: &Daemon, receiver: &Receiver) {
    daemon.client().get("/healthz").expect(200);
    let before = receiver.count();
    daemon.client().event("still.well", "1");
    receiver.wait(before + 1);
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
}

/// It is a problem of the 4xx class, with a pointer where one is due.
#[track_caller]
fn refused(reply: &Reply, what: &str, pointer: Option<&str>) {
    assert!((400..500).contains(&reply.status), "{what}: {} {}", reply.status, reply.text());
    let problem = reply.any_problem();
    if let Some(pointer) = pointer {
        assert_eq!(problem["pointer"], pointer, "{what}: {problem}");
    }
}

#[test]
fn json_that_is_none_is_refused() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    for body in [
        "",
        " ",
        "{",
        "}",
        "null",
        "[]",
        "1",
        "\"text\"",
        r#"{"type":"a","data":1"#,
        r#"{"type":"a","data":1}}"#,
        r#"{"type":"a","data":1} trailing"#,
        r#"{"type":"a","data":}"#,
        r#"{"type":"a","data":01}"#,
        r#"{"type":"a","data":+1}"#,
        r#"{"type":"a","data":.5}"#,
        r#"{"type":"a","data":NaN}"#,
        r#"{"type":"a","data":undefined}"#,
        r#"{'type':'a','data':1}"#,
        r#"{"type":"a","data":1,}"#,
        "{\"type\":\"a\",\"data\":\"line\nbreak\"}",
        "{\"type\":\"a\",\"data\":\"\u{0}\"}",
        r#"{"type":"a","data":"\x"}"#,
        r#"{"type":"a","data":"\u12"}"#,
        "\u{feff}{\"type\":\"a\",\"data\":1}",
        "type=a&data=1",
    ] {
        refused(&daemon.client().post("/v1/events", body), body, None);
    }
    healthy(&daemon, &receiver);
}

#[test]
fn text_that_is_no_unicode_is_refused() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let bodies: [&[u8]; 7] = [
        b"{\"type\":\"a\",\"data\":\"\xff\"}",
        b"{\"type\":\"a\",\"data\":\"\xc3\"}",
        b"{\"type\":\"a\",\"data\":\"\xed\xa0\x80\"}",
        b"{\"type\":\"a\",\"data\":\"\xf8\x88\x80\x80\x80\"}",
        b"{\"type\":\"\xff\",\"data\":1}",
        b"{\"type\":\"a\",\"data\":1,\"\xff\":2}",
        b"\xff\xfe{\x00}\x00",
    ];
    for body in bodies {
        refused(&daemon.client().post("/v1/events", body), &String::from_utf8_lossy(body), None);
    }
    for body in [
        r#"{"type":"a","data":"\ud800"}"#,
        r#"{"type":"a","data":"\udc00\ud800"}"#,
        r#"{"type":"a","data":["\ud83d x"]}"#,
        r#"{"type":"a","data":{"\ud800":1}}"#,
        r#"{"type":"\ud800","data":1}"#,
        r#"{"id":"\ud800","type":"a","data":1}"#,
        r#"{"key":"\udfff","type":"a","data":1}"#,
    ] {
        refused(&daemon.client().post("/v1/events", body), body, None);
    }
    healthy(&daemon, &receiver);
}

#[test]
fn fields_that_are_missing_or_wrong_are_pointed_at() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let long = "x".repeat(5000);
    let cases = [
        (r#"{"data":1}"#.to_owned(), "/type"),
        (r#"{"type":"a"}"#.to_owned(), "/data"),
        (r#"{"type":"","data":1}"#.to_owned(), "/type"),
        (r#"{"type":1,"data":1}"#.to_owned(), "/type"),
        (r#"{"type":null,"data":1}"#.to_owned(), "/type"),
        (r#"{"type":"a b","data":1}"#.to_owned(), "/type"),
        (r#"{"type":"a\n","data":1}"#.to_owned(), "/type"),
        (format!(r#"{{"type":"{long}","data":1}}"#), "/type"),
        (r#"{"id":"","type":"a","data":1}"#.to_owned(), "/id"),
        (r#"{"id":7,"type":"a","data":1}"#.to_owned(), "/id"),
        (r#"{"id":"a.b","type":"a","data":1}"#.to_owned(), "/id"),
        (r#"{"id":"a\u0000b","type":"a","data":1}"#.to_owned(), "/id"),
        (r#"{"id":"a\r\nx-evil: 1","type":"a","data":1}"#.to_owned(), "/id"),
        (r#"{"id":"a\u007f","type":"a","data":1}"#.to_owned(), "/id"),
        (r#"{"id":"naïve","type":"a","data":1}"#.to_owned(), "/id"),
        (format!(r#"{{"id":"{long}","type":"a","data":1}}"#), "/id"),
        (r#"{"key":"","type":"a","data":1}"#.to_owned(), "/key"),
        (r#"{"key":"\u0001","type":"a","data":1}"#.to_owned(), "/key"),
        (r#"{"key":{},"type":"a","data":1}"#.to_owned(), "/key"),
        (format!(r#"{{"key":"{long}","type":"a","data":1}}"#), "/key"),
        (r#"{"type":"a","data":1,"timestamp":"yesterday"}"#.to_owned(), "/timestamp"),
        (r#"{"type":"a","data":1,"timestamp":1700000000}"#.to_owned(), "/timestamp"),
        (r#"{"type":"a","data":1,"timestamp":"2022-11-03T20:26:10"}"#.to_owned(), "/timestamp"),
        (r#"{"type":"a","data":1,"deliver_at":"soon"}"#.to_owned(), "/deliver_at"),
        (r#"{"type":"a","data":1,"deliver_at":5}"#.to_owned(), "/deliver_at"),
        (r#"{"type":"a","data":1,"deliver_at":"9999-01-01T00:00:00Z"}"#.to_owned(), "/deliver_at"),
        (r#"{"type":"a","data":1,"endpoints":"app"}"#.to_owned(), "/endpoints"),
        (r#"{"type":"a","data":1,"endpoints":["nobody"]}"#.to_owned(), "/endpoints/0"),
        (r#"{"type":"a","data":1,"endpoints":["app",7]}"#.to_owned(), "/endpoints/1"),
    ];
    for (body, pointer) in &cases {
        refused(&daemon.client().post("/v1/events", body.clone()), body, Some(pointer));
        // The same within a batch, where the pointer leads through the list.
        let batch = format!(r#"[{{"type":"a","data":1}},{body}]"#);
        refused(&daemon.client().post("/v1/events/batch", batch), body, Some(&format!("/1{pointer}")));
    }
    let receipts = receiver.count();
    assert_eq!(receipts, 0, "nothing of a refused batch goes out");
    healthy(&daemon, &receiver);
}

#[test]
fn idempotency_keys_have_their_rule() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let long = "k".repeat(300);
    for key in ["", &long, "tab\tin it", "é"] {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        let reply = daemon.client().send("POST", "/v1/events", &headers, r#"{"type":"a","data":1}"#);
        refused(&reply, key, None);
    }
    healthy(&daemon, &receiver);
}

#[test]
fn batches_have_their_bounds() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let events = vec![r#"{"type":"a","data":1}"#; 1001].join(",");
    for body in ["[]", "{}", "", "[1]", "[[]]", r#"{"type":"a","data":1}"#, &format!("[{events}]")] {
        refused(&daemon.client().post("/v1/events/batch", body.to_owned()), &body[..body.len().min(40)], None);
    }
    healthy(&daemon, &receiver);
}

#[test]
fn cloud_events_have_their_rules() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let structured = [("content-type", "application/cloudevents+json")];
    for body in [
        "{}",
        r#"{"specversion":"1.0","source":"/s","type":"a"}"#,
        r#"{"specversion":"1.0","id":"1","type":"a"}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s"}"#,
        r#"{"specversion":"0.3","id":"1","source":"/s","type":"a"}"#,
        r#"{"specversion":"2.0","id":"1","source":"/s","type":"a"}"#,
        r#"{"specversion":"1.0","id":"","source":"/s","type":"a"}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"a","data":1,"data_base64":"AA=="}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"a","data_base64":"*"}"#,
        r#"{"specversion":"1.0","id":"1","source":"/s","type":"a","time":"noon"}"#,
    ] {
        refused(&daemon.client().send("POST", "/v1/events", &structured, body), body, None);
    }
    let binary = [("content-type", "application/json"), ("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-type", "a")];
    refused(&daemon.client().send("POST", "/v1/events", &binary, "1"), "binary mode without a source", None);
    let batch = [("content-type", "application/cloudevents-batch+json")];
    refused(&daemon.client().send("POST", "/v1/events", &batch, "{}"), "a batch that is no list", None);
    healthy(&daemon, &receiver);
}

#[test]
fn a_hundred_thousand_brackets_are_refused() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let brackets = "[".repeat(100_000);
    let closed = format!("{brackets}{}", "]".repeat(100_000));
    let braces = r#"{"a":"#.repeat(100_000);
    for nested in [&brackets, &closed, &braces] {
        refused(&daemon.client().post("/v1/events", nested.clone()), "as the event", None);
        refused(&daemon.client().post("/v1/events/batch", nested.clone()), "as the batch", None);
        let event = format!(r#"{{"type":"a","data":{nested}}}"#);
        refused(&daemon.client().post("/v1/events", event), "as the data", None);
        let unknown = format!(r#"{{"type":"a","data":1,"more":{nested}}}"#);
        refused(&daemon.client().post("/v1/events", unknown), "as an unknown field", None);
        let cloud = [("content-type", "application/cloudevents+json")];
        let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"a","data":{nested}}}"#);
        refused(&daemon.client().send("POST", "/v1/events", &cloud, event), "as a cloud event's data", None);
    }
    // A depth that people do use is fine.
    let fine = format!(r#"{{"type":"a","data":{}1{}}}"#, "[".repeat(50), "]".repeat(50));
    daemon.client().post("/v1/events", fine).expect(202);
    healthy(&daemon, &receiver);
}

#[test]
fn paths_methods_and_content_types_are_checked() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let client = daemon.client();
    for path in ["/nothing", "/v1", "/v1/", "/v2/events", "/v1/events/", "/v1/events/a/b/c", "//v1/events", "/v1/raw/"]
    {
        let reply = client.get(path);
        assert!(matches!(reply.status, 400 | 404 | 405), "{path}: {}", reply.status);
        reply.any_problem();
    }
    for (method, path, allowed) in [
        ("DELETE", "/v1/events", "POST"),
        ("PUT", "/v1/events/batch", "POST"),
        ("GET", "/v1/raw/a", "POST"),
        ("POST", "/v1/endpoints", "GET"),
        ("POST", "/healthz", "GET"),
        ("POST", "/metrics", "GET"),
        ("BREW", "/v1/events", "GET"),
    ] {
        let reply = client.send(method, path, &[], "");
        reply.problem(405);
        assert!(
            reply.header("allow").is_some_and(|allow| allow.contains(allowed)),
            "RFC 9110, 15.5.6: {method} {path}"
        );
    }
    let event = r#"{"type":"a","data":1}"#;
    for content_type in ["application/cloudevents+xml", "application/cloudevents-batch+avro"] {
        client.send("POST", "/v1/events", &[("content-type", content_type)], event).problem(415);
    }
    let packed = [("content-type", "application/json"), ("content-encoding", "gzip")];
    client.send("POST", "/v1/events", &packed, event).problem(415);
    for path in ["/v1/raw/a%20b", "/v1/raw/a%00", "/v1/raw/%ff", "/v1/raw/a?id=a.b", "/v1/raw/a?key=%01"] {
        refused(&client.send("POST", path, &[], "x"), path, None);
    }
    let long = format!("/v1/raw/{}", "a".repeat(2000));
    refused(&client.send("POST", &long, &[], "x"), "a long type", None);
    healthy(&daemon, &receiver);
}

/// Sends these bytes as they are; what came back until the other side closed, or until `limit`.
fn exchange(daemon: &Daemon, parts: &[&[u8]], limit: Duration) -> String {
    let mut stream = TcpStream::connect(daemon.listen()).unwrap();
    stream.set_write_timeout(Some(limit)).unwrap();
    for part in parts {
        // The other side may have answered and closed before it has read all.
        if stream.write_all(part).is_err() {
            break;
        }
    }
    let _ = stream.flush();
    let (mut answer, mut buffer) = (Vec::new(), [0_u8; 4096]);
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&buffer[..n]),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if !answer.is_empty() {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn status_of(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
    status.unwrap_or_else(|| panic!("no HTTP answer: {:?}", &answer[..answer.len().min(200)]))
}

/// The status of an answer that is a problem, whose body is whole and names the same status.
#[track_caller]
fn problem_of(answer: &str) -> u16 {
    let status = status_of(answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("half an answer: {answer}"));
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"));
    assert_eq!(problem["status"], status, "{answer}");
    status
}

#[test]
fn broken_http_gets_a_4xx() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let event = r#"{"type":"a","data":1}"#;
    let smuggled = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\ntransfer-encoding: chunked\r\nx: \u{1}\r\n\r\n{event}",
        event.len()
    );
    let cases: Vec<Vec<u8>> = vec![
        b"\r\n\r\nGARBAGE\r\n\r\n".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/9.9\r\nhost: localhost\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/1.1\r\nhost x\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/1.1\r\nbad header: x\r\n\r\n".to_vec(),
        b"GET /healthz HTTP/1.1\r\nx: \x00\r\n\r\n".to_vec(),
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".to_vec(),
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 99999999999999999999999\r\n\r\n".to_vec(),
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_vec(),
        smuggled.into_bytes(),
        b"POST /v1/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nxx\r\n0\r\n\r\n"
            .to_vec(),
        vec![0_u8; 4096],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
    ];
    for case in cases {
        let answer = exchange(&daemon, &[&case], Duration::from_secs(15));
        let status = problem_of(&answer);
        assert!((400..500).contains(&status), "{:?}: {answer}", String::from_utf8_lossy(&case));
    }
    healthy(&daemon, &receiver);
}

#[test]
fn a_request_line_of_200_kb_gets_a_4xx() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let line = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "a".repeat(200_000));
    let status = problem_of(&exchange(&daemon, &[line.as_bytes()], Duration::from_secs(15)));
    assert!((400..500).contains(&status), "{status}");
    let header = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "a".repeat(200_000));
    let status = problem_of(&exchange(&daemon, &[header.as_bytes()], Duration::from_secs(15)));
    assert!((400..500).contains(&status), "{status}");
    let many = (0..5000).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let many = format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
    let status = problem_of(&exchange(&daemon, &[many.as_bytes()], Duration::from_secs(15)));
    assert!((400..500).contains(&status), "{status}");
    healthy(&daemon, &receiver);
}

#[test]
fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    for path in ["/v1/events", "/v1/events/batch", "/v1/raw/a"] {
        // The length is told beforehand: the answer comes although hardly anything of the body was sent.
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n"
        );
        let answer = exchange(&daemon, &[head.as_bytes(), b"[1,"], Duration::from_secs(10));
        assert_eq!(status_of(&answer), 413, "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{answer}");

        // It is not told: the answer comes once the limit is passed, long before the end.
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        );
        let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
        let mut parts = vec![head.as_bytes()];
        parts.extend(std::iter::repeat_n(chunk.as_bytes(), 40));
        let answer = exchange(&daemon, &parts, Duration::from_secs(10));
        assert_eq!(status_of(&answer), 413, "{path}: {answer}");
    }
    // The limit itself is allowed.
    let frame = r#"{"type":"a","data":""}"#.len();
    let largest = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(1024 * 1024 - frame));
    daemon.client().post("/v1/events", largest).expect(202);
    healthy(&daemon, &receiver);
}

#[test]
fn a_smaller_limit_is_kept_too() {
    let receiver = Receiver::start();
    let daemon = Setup::new().api("max_body = \"1KiB\"").endpoint("app", &receiver.url("/"), "").start();
    daemon.client().send("POST", "/v1/raw/a", &[], vec![b'x'; 1024]).expect(202);
    daemon.client().send("POST", "/v1/raw/a", &[], vec![b'x'; 1025]).problem(413);
}

#[test]
fn clients_that_stall_or_leave_hold_nothing_up() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let mut stalled = Vec::new();
    for n in 0..200 {
        let mut stream = TcpStream::connect(daemon.listen()).unwrap();
        let part = match n % 3 {
            0 => "",
            1 => "POST /v1/events HTTP/1.1\r\nhost:",
            _ => {
                "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
            }
        };
        stream.write_all(part.as_bytes()).unwrap();
        if n % 2 == 0 {
            stalled.push(stream);
        }
    }
    healthy(&daemon, &receiver);
    drop(stalled);
    healthy(&daemon, &receiver);
}
