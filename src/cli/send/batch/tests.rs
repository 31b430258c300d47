use std::convert::Infallible;
use std::io::Cursor;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::super::super::client::Address;
use super::super::super::screen::Screen;
use super::*;
use crate::clock::SystemClock;

fn lines(text: &str) -> Lines {
    Lines::new(Box::new(Cursor::new(text.as_bytes().to_vec())), "stdin".to_owned(), None)
}

/// A daemon that takes batches: of at most `room` bytes, and none that holds the type `bad`. A `busy` one answers 503 at first.
struct Daemon {
    api: Api,
    batches: Arc<Mutex<Vec<Vec<Value>>>>,
    _tasks: JoinSet<()>,
}

async fn daemon(room: usize) -> Daemon {
    daemon_that_is(false, room).await
}

async fn daemon_that_is(busy: bool, room: usize) -> Daemon {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let batches = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&batches);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut first = busy;
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let busy = std::mem::replace(&mut first, false);
            let taken = Arc::clone(&taken);
            let service = service_fn(move |request: Request<Incoming>| {
                let taken = Arc::clone(&taken);
                async move {
                    assert_eq!(request.uri().path(), "/v1/events/batch");
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (status, answer) = answer(busy, room, &body, &taken);
                    let response = Response::builder().status(status).header("retry-after", "1");
                    Ok::<_, Infallible>(response.body(Full::new(Bytes::from(answer.to_string()))).unwrap())
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    let api = Api::new(Address::parse(&address.to_string()).unwrap(), None);
    Daemon { api, batches, _tasks: tasks }
}

fn answer(busy: bool, room: usize, body: &[u8], taken: &Mutex<Vec<Vec<Value>>>) -> (u16, Value) {
    if busy {
        return (503, json!({"title": "Busy"}));
    }
    if body.len() > room {
        return (413, json!({"title": "Too large"}));
    }
    let events: Vec<Value> = serde_json::from_slice(body).unwrap();
    if let Some(at) = events.iter().position(|event| event["type"] == "bad") {
        return (400, json!({"title": "Invalid event", "detail": "bad type", "pointer": format!("/{at}/type")}));
    }
    let accepted = events
        .iter()
        .map(|event| json!({"id": event["id"].as_str().unwrap_or("e"), "endpoints": [], "duplicate": false}));
    let answer = json!({"events": accepted.collect::<Vec<_>>()});
    taken.lock().unwrap().push(events);
    (202, answer)
}

async fn sent(daemon: &Daemon, text: &str, default_type: Option<&str>) -> (Result<(), String>, String) {
    let buffer = Arc::new(Mutex::new(Vec::new()));
    let screen = Screen::into_buffer(Arc::clone(&buffer), None);
    let mut stage = Stage { screen, clock: SystemClock::shared() };
    let default_type = default_type.map(|text| EventType::parse(text).unwrap());
    let outcome = send(&daemon.api, lines(text), default_type.as_ref(), false, &mut stage).await;
    let said = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
    (outcome.map_err(|failure| failure.message().unwrap()), said)
}

#[tokio::test]
async fn every_line_arrives_in_order_in_pieces_that_the_daemon_takes() {
    let daemon = daemon(2000).await;
    let text = (0..2500).map(|n| format!("{{\"type\":\"t\",\"id\":\"{n}\",\"data\":1.10}}\n")).collect::<String>();
    let (outcome, said) = sent(&daemon, &text, None).await;
    assert_eq!((outcome, said.as_str()), (Ok(()), "2500 events accepted\n"));
    let batches = daemon.batches.lock().unwrap();
    let ids = batches.iter().flatten().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids, (0..2500).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_batch_has_at_most_as_many_events_as_the_contract_allows() {
    let daemon = daemon(usize::MAX).await;
    let text = "{\"type\":\"t\"}\n".repeat(2001);
    assert!(sent(&daemon, &text, None).await.0.is_ok());
    let sizes = daemon.batches.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(sizes, [1000, 1000, 1]);
}

#[tokio::test]
async fn a_line_that_is_no_event_is_named_after_those_before_it_were_sent() {
    let daemon = daemon(usize::MAX).await;
    let (outcome, _) = sent(&daemon, "{\"type\":\"a\"}\n\n{\"type\":\"b\"}\nnonsense\n{\"type\":\"c\"}\n", None).await;
    let message = outcome.unwrap_err();
    assert!(message.starts_with("line 4 of stdin is no event: "), "{message}");
    assert!(message.contains("lines 1 to 3 were accepted; go on with `tail -n +4 FILE"), "{message}");
    assert_eq!(daemon.batches.lock().unwrap().iter().map(Vec::len).sum::<usize>(), 2);
}

#[tokio::test]
async fn a_line_that_the_daemon_refuses_is_named() {
    let daemon = daemon(usize::MAX).await;
    let text = "{\"type\":\"a\"}\n".repeat(1003) + "{\"type\":\"bad\"}\n{\"type\":\"c\"}\n";
    let message = sent(&daemon, &text, None).await.0.unwrap_err();
    assert!(message.starts_with("line 1004: Invalid event: bad type (at /3/type) [HTTP 400]\n"), "{message}");
    assert!(message.contains("lines 1 to 1000 were accepted"), "{message}");
}

#[tokio::test]
async fn a_line_larger_than_the_daemon_takes_is_named() {
    let daemon = daemon(100).await;
    let text = format!("{{\"type\":\"a\"}}\n{{\"type\":\"b\",\"data\":\"{}\"}}\n", "x".repeat(200));
    let message = sent(&daemon, &text, None).await.0.unwrap_err();
    assert!(message.starts_with("line 2: Too large [HTTP 413]"), "{message}");
}

#[tokio::test]
async fn a_daemon_that_is_busy_is_waited_for() {
    let daemon = daemon_that_is(true, usize::MAX).await;
    assert!(sent(&daemon, "{\"type\":\"a\"}\n", None).await.0.is_ok());
    assert_eq!(daemon.batches.lock().unwrap().len(), 1);
}

#[test]
fn a_type_for_all_lines_is_put_where_there_is_none() {
    let default = EventType::parse("log.line").unwrap();
    let text = |line: &str| lines(line).next(Some(&default)).unwrap().unwrap().text;
    assert_eq!(text(r#" {"data":1.10} "#), r#"{"type":"log.line","data":1.10}"#);
    assert_eq!(text("{ }"), r#"{"type":"log.line" }"#);
    assert_eq!(text(r#"{"type":"a"}"#), r#"{"type":"a"}"#);
}

#[test]
fn a_line_that_cannot_be_an_event_says_why() {
    let why = |line: &[u8]| {
        let mut lines = Lines::new(Box::new(Cursor::new(line.to_vec())), "f".to_owned(), None);
        lines.next(None).unwrap_err().message().unwrap()
    };
    assert!(why(b"[1]").contains("line 1 of f is no event"));
    assert!(why(b"[\"a\"]").contains("line 1 of f is no event"), "an array is no object");
    assert!(why(b"{}").contains("has no \"type\""));
    assert!(why(b"{\"type\":\"a\"} x").contains("is no event"));
    assert!(why(b"\xff\n").contains("is no UTF-8 text"));
}
