//! A repeat is acknowledged and not stored again.

use std::thread;

use super::{events, github, metric, only_event};
use crate::kit::{Receiver, Setup};

fn delivery(id: &str) -> [(&str, &str); 1] {
    [("x-github-delivery", id)]
}

#[test]
fn the_same_id_again_is_acknowledged_and_not_stored_whatever_the_body_says() {
    let app = Receiver::start();
    let endpoint = format!("url = \"{}\"\nsign = \"none\"\nformat = \"raw\"", app.url("/"));
    let daemon = Setup::new().endpoint_alone("app", &endpoint).source("github", github::SOURCE).start();
    github::post(&daemon, &delivery("d1"), b"{\"n\":1}").expect(200);
    for body in [&b"{\"n\":1}"[..], b"{\"n\":2}", b""] {
        github::post(&daemon, &delivery("d1"), body).expect(200);
    }
    assert_eq!(only_event(&daemon)["data"]["n"], 1, "the first counts");
    assert_eq!(metric(&daemon, "webhookd_inbound_duplicates_total{source=\"github\"}"), 3);
    github::post(&daemon, &delivery("d2"), b"{\"n\":1}").expect(200);
    assert_eq!(events(&daemon).len(), 2);
    app.wait(2);
    assert_eq!(app.count(), 2);
}

#[test]
fn fifty_at_once_are_stored_once() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    thread::scope(|scope| {
        for n in 0..50 {
            let daemon = &daemon;
            scope.spawn(move || github::post(daemon, &delivery("d1"), format!("{{\"n\":{n}}}").as_bytes()).expect(200));
        }
    });
    only_event(&daemon);
    assert_eq!(metric(&daemon, "webhookd_inbound_accepted_total{source=\"github\"}"), 1);
    assert_eq!(metric(&daemon, "webhookd_inbound_duplicates_total{source=\"github\"}"), 49);
}

#[test]
fn after_sigkill_a_repeat_is_known() {
    let mut daemon = Setup::new().source("github", github::SOURCE).start();
    for id in ["d1", "d2"] {
        github::post(&daemon, &delivery(id), b"{}").expect(200);
    }
    daemon.kill();
    daemon.run();
    for id in ["d1", "d2", "d1"] {
        github::post(&daemon, &delivery(id), b"{}").expect(200);
    }
    assert_eq!(events(&daemon).len(), 2);
    github::post(&daemon, &delivery("d3"), b"{}").expect(200);
    assert_eq!(events(&daemon).len(), 3);
}

#[test]
fn ids_are_those_of_their_source() {
    let daemon = Setup::new().source("github", github::SOURCE).source("fork", github::SOURCE).start();
    github::post(&daemon, &delivery("d1"), b"{}").expect(200);
    github::post_to(&daemon, "/in/fork", &delivery("d1"), b"{}").expect(200);
    assert_eq!(events(&daemon).len(), 2);
}

#[test]
fn a_producer_who_has_taken_the_key_costs_no_event() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    let headers = [("content-type", "application/json"), ("idempotency-key", "in/github/d1")];
    let posted = daemon.client().send("POST", "/v1/events", &headers, r#"{"type":"other","data":1}"#);
    posted.expect(202);
    github::post(&daemon, &delivery("d1"), b"{}").expect(200);
    let types: Vec<_> = events(&daemon).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["github.push", "other"]);
    assert!(daemon.log().contains("a producer has used an Idempotency-Key of this source"), "{}", daemon.log());
    assert!(!daemon.log().contains("in/github/d1"));
}

#[test]
fn without_one_id_every_request_is_an_event() {
    let daemon =
        Setup::new().source("github", github::SOURCE).source("off", &format!("{}\ndedup = []", github::SOURCE)).start();
    let twice = [delivery("d1"), delivery("d1")].concat();
    let cases: [(&str, &[(&str, &str)]); 4] =
        [("/in/github", &[]), ("/in/github", &delivery("")), ("/in/github", &twice), ("/in/off", &delivery("d1"))];
    for (n, (path, headers)) in cases.into_iter().enumerate() {
        for _ in 0..2 {
            github::post_to(&daemon, path, headers, b"{}").expect(200);
        }
        assert_eq!(events(&daemon).len(), 2 * (n + 1), "{path} {headers:?}");
    }
}

#[test]
fn ids_of_any_length_and_alphabet_are_known_again() {
    let picking = "verify = { scheme = \"none\" }\ndedup = [{ json = \"/id\" }, { form = \"id\" }]";
    let daemon = Setup::new().source("any", picking).start();
    let long = "x".repeat(10_000);
    let json = |id: &str| (vec![("content-type", "application/json")], format!("{{\"id\":{id}}}"));
    let requests = [
        json("\"ü€𝄞\""),
        json(&format!("\"{long}\"")),
        json(&format!("\"{long}y\"")),
        json("12345678901234567890.5"),
        json("\"\\u0000\""),
        (vec![("content-type", "application/x-www-form-urlencoded")], "a=b&id=x%00%FF".to_owned()),
    ];
    for (n, (headers, body)) in requests.iter().enumerate() {
        for _ in 0..2 {
            daemon.inbound().send("POST", "/in/any", headers, body.clone()).expect(200);
        }
        assert_eq!(events(&daemon).len(), n + 1, "{body:.40}");
    }
}
