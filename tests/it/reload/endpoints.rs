//! Endpoints that come, change and go.

use std::fs;
use std::time::Duration;

use serde_json::json;

use super::{append, endpoint, reload, rewrite};
use crate::kit::{Answer, Receiver, SECRET, SECRET_NEXT, Setup, hmac_fits, never};

#[test]
fn an_added_endpoint_gets_events_from_then_on() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/app"), "").start();
    let before = daemon.client().event("a", "1");
    append(&daemon, &endpoint("added", &receiver.url("/added")));
    assert_eq!(reload(&daemon)["endpoints"], json!({"added": ["added"], "changed": [], "removed": []}));
    let after = daemon.client().event("a", "2");
    daemon.client().await_state(&after, "added", "delivered");
    daemon.client().await_state(&after, "app", "delivered");
    assert_eq!(daemon.client().state(&before, "added"), "");
    let listed = daemon.client().get("/v1/endpoints").expect(200).json();
    let names: Vec<_> = listed["endpoints"].as_array().unwrap().iter().map(|e| e["name"].clone()).collect();
    assert!(names.contains(&json!("added")), "{listed}");
}

#[test]
fn a_removed_endpoint_leaves_its_deliveries_waiting_until_it_returns() {
    let receiver = Receiver::answering(|_| Answer::status(503));
    let mut daemon = Setup::new()
        .delivery("retry = [\"50ms\", \"50ms\", \"50ms\", \"50ms\", \"50ms\", \"50ms\", \"50ms\", \"1h\"]")
        .endpoint("app", &receiver.url("/app"), "breaker = \"off\"")
        .start();
    let usual = fs::read_to_string(daemon.config()).unwrap();
    let ids: Vec<_> = (0..20).map(|n| daemon.client().event("a", &n.to_string())).collect();
    receiver.wait(20);
    rewrite(&daemon, |config| config[..config.find("[endpoint.").unwrap()].to_owned());
    let answer = reload(&daemon);
    assert_eq!(answer["endpoints"]["removed"], json!(["app"]));
    assert!(answer["warnings"][0].as_str().unwrap().contains("no [endpoint.NAME]"), "{answer}");
    // Attempts under way have ended once the figure stands still; from then on none is made.
    let mut quiet = receiver.count();
    let mut since = std::time::Instant::now();
    while since.elapsed() < Duration::from_millis(300) {
        if receiver.count() != quiet {
            (quiet, since) = (receiver.count(), std::time::Instant::now());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let unheard = daemon.client().event("a", "\"for nobody\"");
    never(Duration::from_millis(300), "an attempt at an endpoint that is gone", || receiver.count() > quiet);
    let orphaned = |daemon: &crate::kit::Daemon| {
        let shown = daemon.client().get("/v1/endpoints/app").expect(200).json();
        assert_eq!((&shown["state"], &shown["backlog"], &shown["url"]), (&json!("orphaned"), &json!(20), &json!(null)));
    };
    orphaned(&daemon);
    daemon.client().post("/v1/endpoints/app/pause", "").problem(404);
    // They are kept over a restart as well.
    daemon.restart();
    orphaned(&daemon);
    for id in &ids {
        assert_eq!(daemon.client().state(id, "app"), "pending");
    }
    receiver.answer(|_| Answer::status(200));
    rewrite(&daemon, |_| usual);
    assert_eq!(reload(&daemon)["endpoints"]["added"], json!(["app"]));
    for id in &ids {
        daemon.client().await_state(id, "app", "delivered");
    }
    assert_eq!(daemon.client().state(&unheard, "app"), "");
}

#[test]
fn a_rotated_secret_signs_the_next_delivery() {
    let receiver = Receiver::start();
    let lines = format!("url = \"{}\"\nsecret = {{ file = \"secret\" }}\n", receiver.url("/"));
    let daemon = Setup::new().endpoint_alone("app", &lines).prepare();
    fs::write(daemon.dir().join("secret"), SECRET).unwrap();
    let mut daemon = daemon;
    daemon.run();
    daemon.client().event("a", "1");
    assert!(hmac_fits(&receiver.wait(1)[0], SECRET));
    fs::write(daemon.dir().join("secret"), SECRET_NEXT).unwrap();
    assert_eq!(reload(&daemon)["endpoints"]["changed"], json!(["app"]));
    daemon.client().event("a", "2");
    let second = &receiver.wait(2)[1];
    assert!(hmac_fits(second, SECRET_NEXT) && !hmac_fits(second, SECRET));
    // Nothing has changed since.
    assert_eq!(reload(&daemon)["endpoints"], json!({"added": [], "changed": [], "removed": []}));
    assert!(!daemon.log().contains("whsec_"), "{}", daemon.log());
}

#[test]
fn a_changed_endpoint_is_delivered_to_as_it_is_now() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/old"), "").start();
    daemon.client().event("a", "1");
    receiver.wait(1);
    rewrite(&daemon, |config| config.replace("/old", "/new") + "events = [\"b\"]\nheaders = { x-tenant = \"acme\" }\n");
    assert_eq!(reload(&daemon)["endpoints"]["changed"], json!(["app"]));
    let other = daemon.client().event("a", "2");
    daemon.client().event("b", "3");
    let requests = receiver.wait(2);
    assert_eq!((requests[1].path.as_str(), requests[1].header("x-tenant")), ("/new", "acme"));
    assert_eq!(daemon.client().state(&other, "app"), "", "it takes other types now");
}
