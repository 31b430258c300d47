//! Nothing is lost or refused while configs come and go.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{append, endpoint, metric, reload, rewrite};
use crate::kit::{Answer, Receiver, SECRET, SECRET_NEXT, Setup, eventually, hmac_fits};

/// Posts an event on a connection that stays open; the status line.
fn post_on(stream: &mut TcpStream) -> String {
    let body = r#"{"type":"kept","data":1}"#;
    write!(stream, "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .unwrap();
    let mut answer = String::new();
    while !answer.ends_with('}') {
        let mut buffer = [0; 1024];
        let read = stream.read(&mut buffer).unwrap();
        assert_ne!(read, 0, "the connection was closed: {answer}");
        answer.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    answer.lines().next().unwrap().to_owned()
}

#[test]
fn events_flow_while_the_config_is_reloaded_fifty_times() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/app"), "").start();
    let usual = std::fs::read_to_string(daemon.config()).unwrap();
    let extra = format!("{usual}\n{}", endpoint("extra", &receiver.url("/extra")));
    let rotated = extra.replace(SECRET, SECRET_NEXT).replace("/app", "/app?v=2");
    let mut kept = TcpStream::connect(daemon.listen()).unwrap();
    assert!(post_on(&mut kept).contains("202"));

    let (done, posted) = (AtomicBool::new(false), AtomicUsize::new(0));
    let ids: Vec<String> = thread::scope(|scope| {
        let post = || {
            let mut ids = Vec::new();
            // `event` panics at everything but a 202.
            while !done.load(Ordering::Relaxed) {
                ids.push(daemon.client().event("flow", &ids.len().to_string()));
                posted.fetch_add(1, Ordering::Relaxed);
            }
            ids
        };
        let posting = [scope.spawn(post), scope.spawn(post)];
        for round in 0..50 {
            let (config, added, removed) = match round % 3 {
                0 => (&extra, 1, 0),
                1 => (&rotated, 0, 0),
                _ => (&usual, 0, 1),
            };
            rewrite(&daemon, |_| config.clone());
            let answer = reload(&daemon);
            let count = |what: &str| answer["endpoints"][what].as_array().unwrap().len();
            assert_eq!((count("added"), count("removed")), (added, removed), "round {round}: {answer}");
            let before = posted.load(Ordering::Relaxed);
            eventually("events go on", || (posted.load(Ordering::Relaxed) > before + 2).then_some(()));
        }
        done.store(true, Ordering::Relaxed);
        posting.into_iter().flat_map(|posting| posting.join().unwrap()).collect()
    });
    // The last round left `extra` in the config, so what waited for it goes too.
    for id in &ids {
        let deliveries = daemon.client().look(id)["deliveries"].as_array().unwrap().clone();
        assert!(deliveries.iter().any(|delivery| delivery["endpoint"] == "app"), "{deliveries:?}");
        for delivery in deliveries {
            let delivery = daemon.client().await_state(id, delivery["endpoint"].as_str().unwrap(), "delivered");
            assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1, "none failed: {delivery}");
        }
    }
    let requests = receiver.requests();
    for request in requests.iter().filter(|request| request.path == "/app") {
        assert!(hmac_fits(request, SECRET) || hmac_fits(request, SECRET_NEXT));
    }
    for path in ["/app", "/extra"] {
        let mut came: Vec<_> = requests.iter().filter(|r| r.path == path).map(|r| r.id().to_owned()).collect();
        let all = came.len();
        came.sort();
        came.dedup();
        assert_eq!(came.len(), all, "nothing is delivered twice to {path}");
    }
    assert!(requests.iter().any(|request| request.path == "/extra"));
    assert!(post_on(&mut kept).contains("202"), "a connection outlives them all");
}

#[test]
fn reloads_at_once_take_turns() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    append(&daemon, &endpoint("added", &receiver.url("/added")));
    let answers: Vec<Value> = thread::scope(|scope| {
        let asks: Vec<_> = (0..24).map(|_| scope.spawn(|| reload(&daemon))).collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    });
    // One of them found the change, all others nothing.
    let found: Vec<_> = answers.iter().filter(|answer| answer["endpoints"]["added"][0] == "added").collect();
    assert_eq!(found.len(), 1, "{answers:?}");
    assert_eq!(metric(&daemon, "webhookd_config_reloads_total{outcome=\"applied\"}"), 24.0);
    let now = jiff::Timestamp::now().as_second() as f64;
    let since = now - metric(&daemon, "webhookd_config_loaded_timestamp_seconds");
    assert!((0.0..60.0).contains(&since), "{since}");
}

#[test]
fn an_attempt_under_way_ends_though_its_endpoint_is_gone() {
    let receiver = Receiver::answering(|_| Answer::status(200).after(Duration::from_millis(500)));
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let usual = std::fs::read_to_string(daemon.config()).unwrap();
    let id = daemon.client().event("a", "1");
    receiver.wait(1);
    rewrite(&daemon, |config| config[..config.find("[endpoint.").unwrap()].to_owned());
    reload(&daemon);
    reload(&daemon);
    let delivery = daemon.client().await_state(&id, "app", "delivered");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 1, "{delivery}");
    rewrite(&daemon, |_| usual);
    reload(&daemon);
    daemon.client().event("a", "2");
    assert_eq!(receiver.wait(2).len(), 2);
}
