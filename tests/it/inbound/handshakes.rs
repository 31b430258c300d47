//! What vendors ask before they send.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{events, github, refused};
use crate::kit::{Daemon, Reply, Setup};

const SLACK: &str = "verify = { scheme = \"slack\", secret = \"signing-secret\" }";
const CHALLENGE: &str = r#"{"token":"Jhj5dZrVaK7","challenge":"3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P","type":"url_verification"}"#;

/// Posts a body as Slack signs it.
fn slack(daemon: &Daemon, path: &str, body: &str) -> Reply {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"signing-secret").unwrap();
    mac.update(format!("v0:{now}:{body}").as_bytes());
    let signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
    let headers = [
        ("content-type", "application/json"),
        ("x-slack-request-timestamp", now.as_str()),
        ("x-slack-signature", signature.as_str()),
    ];
    daemon.inbound().send("POST", path, &headers, body.to_owned())
}

#[test]
fn slack_is_answered_its_challenge_and_no_event_comes_of_it() {
    let daemon = Setup::new().source("slack", SLACK).start();
    let reply = slack(&daemon, "/in/slack", CHALLENGE).expect(200);
    assert_eq!(reply.text(), "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P");
    assert_eq!(reply.header("content-type"), Some("text/plain"));
    assert!(events(&daemon).is_empty());
    slack(&daemon, "/in/slack", r#"{"type":"event_callback","event_id":"Ev1","event":{"type":"message"}}"#).expect(200);
    assert_eq!(events(&daemon)[0]["type"], "slack.message");
}

#[test]
fn a_challenge_that_slack_has_not_signed_is_refused() {
    let daemon = Setup::new().source("slack", SLACK).start();
    let json = [("content-type", "application/json")];
    let reply = daemon.inbound().send("POST", "/in/slack", &json, CHALLENGE);
    reply.problem(401);
    assert!(!reply.text().contains("3eZbrw1aBm2"));
}

#[test]
fn a_challenge_to_another_source_is_an_event() {
    let daemon = Setup::new().source("github", github::SOURCE).start();
    assert_eq!(github::post(&daemon, &[], CHALLENGE.as_bytes()).expect(200).text(), "");
    assert_eq!(events(&daemon).len(), 1);
}

#[test]
fn cloudevents_are_consented_to_with_the_rate_of_the_source() {
    let daemon = Setup::new()
        .source("any", github::SOURCE)
        .source("paced", &format!("{}\nrate_limit = \"5/s\"", github::SOURCE))
        .start();
    let asks = [("webhook-request-origin", "eventemitter.example.com"), ("webhook-request-rate", "120")];
    for (path, rate) in [("/in/any", "*"), ("/in/paced", "300")] {
        let reply = daemon.inbound().send("OPTIONS", path, &asks, "").expect(200);
        assert_eq!(reply.header("webhook-allowed-origin"), Some("eventemitter.example.com"));
        assert_eq!(reply.header("webhook-allowed-rate"), Some(rate));
        assert_eq!(reply.header("allow"), Some("POST, OPTIONS"));
    }
    let reply = daemon.inbound().send("OPTIONS", "/in/any", &[("origin", "https://page.example")], "").expect(204);
    assert_eq!(reply.header("allow"), Some("POST, OPTIONS"));
    for name in ["webhook-allowed-origin", "webhook-allowed-rate", "access-control-allow-origin"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
}

#[test]
fn meta_is_answered_its_challenge_where_it_shows_the_token() {
    let daemon = Setup::new()
        .source("meta", &format!("{}\nverify_token = \"agreed on/ü\"", github::SOURCE))
        .source("other", github::SOURCE)
        .start();
    let ask = |source: &str, token: &str| {
        let query = format!("hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token={token}");
        daemon.inbound().get(&format!("/in/{source}?{query}"))
    };
    let reply = ask("meta", "agreed+on%2F%C3%BC").expect(200);
    assert_eq!((reply.text().as_str(), reply.header("content-type")), ("1158201444", Some("text/plain")));
    for wrong in ["", "agreed+on", "agreed+on%2F%C3%BCx", "AGREED+ON%2F%C3%BC"] {
        let reply = ask("meta", wrong);
        reply.problem(403);
        assert!(!reply.text().contains("1158201444"));
    }
    daemon.inbound().get("/in/meta").problem(403);
    assert_eq!(refused(&daemon, "meta", "challenge-refused"), 5);
    ask("other", "agreed+on%2F%C3%BC").problem(405);
    assert!(events(&daemon).is_empty());
}
