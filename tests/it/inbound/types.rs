//! The type of an event, as far as its request has one.

use super::{events, github, metric};
use crate::kit::Setup;

const OPEN: &str = "verify = { scheme = \"none\" }";

#[test]
fn a_request_without_a_type_is_stored_all_the_same_and_told() {
    let daemon = Setup::new().source("open", &format!("{OPEN}\nevent_type = {{ header = \"x-event\" }}")).start();
    for _ in 0..100 {
        daemon.inbound().send("POST", "/in/open", &[], "{}").expect(200);
    }
    assert_eq!(events(&daemon).iter().filter(|event| event["type"] == "open.unknown").count(), 100);
    assert_eq!(metric(&daemon, "webhookd_inbound_untyped_total{source=\"open\"}"), 100);
    let log = daemon.log();
    let lines = log.lines().filter(|line| line.contains("has no type where event_type")).count();
    assert!((1..100).contains(&lines), "{lines} lines of 100");
}

#[test]
fn where_no_type_is_looked_for_every_request_is_an_event() {
    let daemon =
        Setup::new().source("open", OPEN).source("github", &format!("{}\nevent_type = []", github::SOURCE)).start();
    daemon.inbound().send("POST", "/in/open", &[("x-event", "a")], "{}").expect(200);
    github::post(&daemon, &[], b"{}").expect(200);
    let types: Vec<_> = events(&daemon).iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect();
    assert_eq!(types, ["github.event", "open.event"]);
    assert_eq!(metric(&daemon, "webhookd_inbound_untyped_total{source=\"open\"}"), 0);
    assert!(!daemon.log().contains("has no type"));
}

#[test]
fn no_request_is_refused_for_what_its_type_looks_like() {
    let lines = format!("{OPEN}\nevent_type = [{{ json = \"/kind\" }}, {{ form = \"command\" }}]");
    let daemon = Setup::new().source("open", &lines).start();
    let long = "x".repeat(5000);
    let (json, form) = ("application/json", "application/x-www-form-urlencoded");
    for (content_type, body, expected) in [
        (json, "{\"kind\":\"issue.opened\"}".to_owned(), "open.issue.opened".to_owned()),
        (json, "{\"kind\":\"Merge Request Hook\"}".to_owned(), "open.Merge_Request_Hook".to_owned()),
        (json, "{\"kind\":\"\\u0000ü*\"}".to_owned(), "open.___".to_owned()),
        (json, "{\"kind\":17}".to_owned(), "open.17".to_owned()),
        (json, "{\"kind\":{\"a\":1}}".to_owned(), "open.unknown".to_owned()),
        (json, "{\"kind\":\"broken\"".to_owned(), "open.unknown".to_owned()),
        (json, format!("{{\"kind\":\"{long}\"}}"), format!("open.{}", &long[..123])),
        (form, "command=%2Fdeploy&text=x".to_owned(), "open./deploy".to_owned()),
    ] {
        daemon.inbound().send("POST", "/in/open", &[("content-type", content_type)], body).expect(200);
        assert_eq!(events(&daemon)[0]["type"], expected);
    }
}

#[test]
fn the_ordering_key_is_read_from_where_the_config_says() {
    let daemon = Setup::new().source("open", &format!("{OPEN}\nkey = {{ json = \"/data/customer\" }}")).start();
    let body = r#"{"data":{"customer":"cus_1"}}"#;
    daemon.inbound().send("POST", "/in/open", &[("content-type", "application/json")], body).expect(200);
    assert_eq!(super::only_event(&daemon)["key"], "cus_1");
}
