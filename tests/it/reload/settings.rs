//! What changes beside the endpoints, and what cannot.

use serde_json::json;

use super::{reload, rewrite};
use crate::kit::{Receiver, Setup, free_port, never, within};
use std::time::Duration;

const OLD: &str = "old-token-0123456789";
const NEW: &str = "new-token-0123456789";

#[test]
fn changed_tokens_count_from_the_next_request_on() {
    let daemon = Setup::new()
        .api(&format!("token.ops = {{ secret = \"{OLD}\", scope = \"admin\" }}"))
        .api("token.app = { secret = \"app-token-0123456789\", scope = \"send\" }")
        .token(OLD)
        .start();
    let app = daemon.client().with_token("app-token-0123456789");
    app.post("/v1/reload", "").problem(403);
    rewrite(&daemon, |config| config.replace(OLD, NEW).replace("scope = \"send\"", "scope = \"read\""));
    assert_eq!(reload(&daemon)["settings"], json!(["api.token"]));
    daemon.client().get("/v1/events").problem(401);
    daemon.client().post("/v1/reload", "").problem(401);
    let ops = daemon.client().with_token(NEW);
    ops.post("/v1/reload", "").expect(200);
    app.get("/v1/events").expect(200);
    let log = daemon.log();
    assert!(![OLD, NEW, "app-token"].iter().any(|secret| log.contains(secret)), "{log}");
}

#[test]
fn what_needs_a_restart_is_named_and_stops_nothing_else() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/app"), "").start();
    let usual = std::fs::read_to_string(daemon.config()).unwrap();
    let elsewhere = daemon.dir().join("elsewhere");
    let listen = format!("listen = \"{}\"", daemon.listen());
    let other = format!("listen = \"127.0.0.1:{}\"\nmax_body = \"1KiB\"", free_port());
    let data = daemon.data().display().to_string();
    rewrite(&daemon, |config| {
        let config = config.replace(&listen, &other).replace(&data, &elsewhere.display().to_string());
        config.replace("/app", "/other")
    });
    for (settings, changed) in [(json!(["api.max_body"]), json!(["app"])), (json!([]), json!([]))] {
        let answer = reload(&daemon);
        assert_eq!(answer["needs_restart"], json!(["api.listen", "storage.dir"]), "{answer}");
        assert_eq!((&answer["settings"], &answer["endpoints"]["changed"]), (&settings, &changed), "{answer}");
    }
    let log = daemon.log();
    let warned = |line: &str| line.contains("WARN") && line.contains("api.listen") && line.contains("storage.dir");
    assert!(log.lines().any(warned), "{log}");
    let large = format!(r#"{{"type":"a","data":"{}"}}"#, "x".repeat(2000));
    daemon.client().post("/v1/events", large).problem(413);
    let id = daemon.client().event("a", "1");
    assert_eq!(receiver.wait(1)[0].path, "/other");
    assert!(!elsewhere.exists());
    // What it stored is where it was.
    rewrite(&daemon, |_| usual);
    daemon.restart();
    assert_eq!(daemon.client().state(&id, "app"), "delivered");
}

#[test]
fn storage_settings_count_at_once() {
    let daemon = Setup::new().storage("min_free = \"1KiB\"").start();
    daemon.client().event("a", "1");
    rewrite(&daemon, |config| config.replace("min_free = \"1KiB\"", "min_free = \"1000000GiB\"\nretention = \"1s\""));
    assert_eq!(reload(&daemon)["settings"], json!(["storage.retention", "storage.min_free"]));
    let refused = daemon.client().post("/v1/events", r#"{"type":"a","data":2}"#).problem(503);
    assert_eq!(refused["type"], "urn:webhookd:problem:storage-full");
    rewrite(&daemon, |config| config.replace("1000000GiB", "1KiB").replace("retention = \"1s\"", ""));
    reload(&daemon);
    daemon.client().event("a", "3");
    // The word that an interval is worth is said at a reload as well.
    rewrite(&daemon, |config| config.replace("min_free", "durability = \"interval\"\nmin_free"));
    let answer = reload(&daemon);
    assert_eq!(answer["settings"], json!(["storage.durability"]));
    assert!(answer["warnings"].to_string().contains("interval"), "{answer}");
    daemon.client().event("a", "4");
}

#[test]
fn a_shorter_retention_removes_what_is_older() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/"), "").start();
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "app", "delivered");
    never(Duration::from_millis(1500), "it is removed", || {
        daemon.client().get(&format!("/v1/events/{id}")).status == 404
    });
    rewrite(&daemon, |config| config.replace("[storage]\n", "[storage]\nretention = \"1s\"\n"));
    reload(&daemon);
    within(Duration::from_secs(20), "it is removed", || {
        (daemon.client().get(&format!("/v1/events/{id}")).status == 404).then_some(())
    });
}
