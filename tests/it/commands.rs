//! The command line against a running daemon, as a user types it.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::kit::command::{Background, command, ill, json, run, well, well_with};
use crate::kit::{Answer, Client, Daemon, Receiver, SECRET, Setup, eventually, free_port};

fn daemon(receiver: &Receiver) -> Daemon {
    Setup::new().delivery("retry = [\"20ms\"]").endpoint("app", &receiver.url("/"), "").start()
}

/// `2>&1 | head` closes both outputs early. That is no reason to end with another exit code, or to panic.
#[test]
fn a_closed_stderr_changes_no_exit_code() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("webhookd.toml");
    std::fs::write(&config, "bogus = 1\n").unwrap();
    let config = config.to_str().unwrap();
    for arguments in [&["check", "--config", config][..], &["run", "--config", config], &["listen", "--verify", "x"]] {
        let status = command(arguments).stdin(Stdio::null()).stdout(full()).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
    // A daemon that loses its log goes on.
    let daemon = Setup::new().prepare();
    let mut child =
        command(&["run", "--config", daemon.config().to_str().unwrap()]).stdout(full()).stderr(full()).spawn().unwrap();
    eventually("it is ready", || {
        let reply = daemon.client().try_send("GET", "/readyz", &[], "").ok()?;
        (reply.status == 200).then_some(())
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn every_command_has_help() {
    for name in [
        "run",
        "check",
        "demo",
        "send",
        "events",
        "event",
        "endpoints",
        "endpoint",
        "replay",
        "reload",
        "store",
        "listen",
        "sign",
        "verify",
        "secret",
    ] {
        let help = well(&[name, "--help"]);
        assert!(help.contains("Usage:"), "{name}: {help}");
    }
    assert!(well(&["--version"]).contains(env!("CARGO_PKG_VERSION")));
    ill(&["dance"], "", 2);
}

#[test]
fn an_event_is_sent_and_looked_at() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let api = daemon.api();
    let sent = json(&[
        "send",
        "invoice.paid",
        "--data",
        r#"{"n": 1.10}"#,
        "--id",
        "inv-1",
        "--key",
        "c-7",
        "--api",
        &api,
        "--json",
    ]);
    assert_eq!(sent["id"], "inv-1");
    assert_eq!(sent["duplicate"], false);
    daemon.client().await_state("inv-1", "app", "delivered");
    assert!(receiver.requests()[0].text().ends_with(r#""data":{"n": 1.10}}"#), "{}", receiver.requests()[0].text());

    let event = json(&["event", "inv-1", "--api", &api, "--json"]);
    assert_eq!(event["type"], "invoice.paid");
    assert_eq!(event["key"], "c-7");
    assert_eq!(event["deliveries"][0]["attempts"][0]["status"], 200);
    let shown = well(&["event", "inv-1", "--api", &api]);
    assert!(shown.contains("invoice.paid") && shown.contains("app") && shown.contains("delivered"), "{shown}");

    let listed = json(&["events", "--api", &api, "--json"]);
    assert_eq!(listed["events"][0]["id"], "inv-1");
    let listed = well(&["events", "--api", &api, "--type", "invoice.*", "--state", "delivered"]);
    assert!(listed.contains("inv-1"), "{listed}");
    let none = json(&["events", "--api", &api, "--json", "--state", "dead"]);
    assert_eq!(none["events"].as_array().unwrap().len(), 0);

    let endpoints = json(&["endpoints", "--api", &api, "--json"]);
    assert_eq!(endpoints["endpoints"][0]["name"], "app");
    assert!(well(&["endpoints", "--api", &api]).contains("app"));

    // Again: the same event is said to be known.
    let again = json(&[
        "send",
        "invoice.paid",
        "--data",
        r#"{"n": 1.10}"#,
        "--id",
        "inv-1",
        "--key",
        "c-7",
        "--api",
        &api,
        "--json",
    ]);
    assert_eq!(again["duplicate"], true);
    // A conflict, an unknown event and an unknown type of command are failures.
    ill(&["send", "invoice.paid", "--data", "2", "--id", "inv-1", "--api", &api], "", 1);
    ill(&["event", "nothing", "--api", &api], "", 1);
    ill(&["send", "invoice.paid", "--data", "{", "--api", &api], "", 2);
}

#[test]
fn data_comes_from_stdin_and_from_files() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let api = daemon.api();
    well_with(&["send", "a", "--data", "-", "--api", &api], "{\"from\":\"stdin\"}");
    receiver.wait(1);
    let file = daemon.dir().join("data.json");
    std::fs::write(&file, "{\"from\":\"file\"}\n").unwrap();
    well(&["send", "a", "--file", file.to_str().unwrap(), "--api", &api]);
    let requests = receiver.wait(2);
    assert!(requests[0].text().contains(r#"{"from":"stdin"}"#));
    assert!(requests[1].text().contains(r#"{"from":"file"}"#));
}

#[test]
fn a_batch_of_lines_is_sent() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let lines: String = (0..2500).map(|n| format!("{{\"type\":\"a\",\"id\":\"l-{n}\",\"data\":{n}}}\n")).collect();
    let out = well_with(&["send", "--batch", "--api", &daemon.api(), "--json"], &lines);
    assert_eq!(out.lines().count(), 2500);
    for line in out.lines() {
        let accepted: Value = serde_json::from_str(line).unwrap();
        assert_eq!(accepted["duplicate"], false, "{line}");
    }
    receiver.wait(2500);
}

#[test]
fn a_dash_reads_stdin_in_every_place() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let api = daemon.api();
    for (n, arguments) in [["send", "a", "-"], ["send", "a", "--data=-"], ["send", "a", "--file=-"]].iter().enumerate()
    {
        well_with(&[&arguments[..], &["--api", &api]].concat(), "{\"n\":1.10}\n");
        let sent = receiver.wait(n + 1).pop().unwrap();
        assert!(sent.text().ends_with("\"data\":{\"n\":1.10}}"), "{arguments:?}: {}", sent.text());
    }
    for arguments in [&["send", "--batch", "-"][..], &["send", "a", "--batch", "-"], &["send", "--batch"]] {
        let line = "{\"type\":\"b\",\"data\":2}\n";
        let out = well_with(&[arguments, &["--json", "--api", &api]].concat(), line);
        assert_eq!(out.lines().count(), 1, "{arguments:?}: {out}");
    }
    // The dash is no type.
    let untyped = ill(&["send", "--batch", "-", "--api", &api], "{\"data\":2}\n", 1);
    assert!(untyped.contains("has no \"type\""), "{untyped}");
    assert!(ill(&["send", "-", "--api", &api], "1", 2).contains("send TYPE -"));
    ill(&["send", "a", "-", "--data", "1", "--api", &api], "1", 2);
    ill(&["send", "--batch", "-", "--file", "x", "--api", &api], "1", 2);
}

#[test]
fn the_address_comes_from_the_config_and_the_token_from_a_file() {
    let receiver = Receiver::start();
    let daemon = Setup::new()
        .api("token.ops = { secret = \"admin-token-0123456789\", scope = \"admin\" }")
        .token("admin-token-0123456789")
        .endpoint("app", &receiver.url("/"), "")
        .start();
    let config = daemon.config().display().to_string();
    let token = daemon.dir().join("token");
    std::fs::write(&token, "admin-token-0123456789\n").unwrap();
    let token = token.to_str().unwrap();
    well(&["send", "a", "--data", "1", "--config", &config, "--token-file", token]);
    receiver.wait(1);
    let complaint = ill(&["events", "--config", &config], "", 1);
    assert!(complaint.contains("token"), "{complaint}");
}

#[test]
fn what_is_typed_counts_more_than_what_is_set() {
    let daemon = Setup::new().start();
    let config = daemon.config().display().to_string();
    let (api, nobody) = (daemon.api(), "http://127.0.0.1:1");
    let code = |variable: &str, arguments: &[&str]| {
        let arguments = [&["events"], arguments].concat();
        command(&arguments).env("WEBHOOKD_API", variable).output().unwrap().status.code()
    };
    assert_eq!(code(&api, &[]), Some(0));
    assert_eq!(code(nobody, &[]), Some(1));
    assert_eq!(code("ftp://x", &[]), Some(2));
    assert_eq!(code(nobody, &["--api", &api]), Some(0));
    assert_eq!(code(nobody, &["--config", &config]), Some(0));
    assert_eq!(code(&api, &["--config", "/nowhere/webhookd.toml"]), Some(2));
}

#[test]
fn a_unix_socket_does_too() {
    let daemon = Setup::new().listen("unix:api.sock").start();
    let sent = json(&["send", "a", "--data", "1", "--api", &daemon.api(), "--json"]);
    assert_eq!(sent["endpoints"], serde_json::json!([]));
}

#[test]
fn no_daemon_is_said_plainly() {
    let complaint = ill(&["events", "--api", &format!("http://127.0.0.1:{}", free_port())], "", 1);
    assert!(complaint.lines().count() <= 3, "{complaint}");
}

#[test]
fn the_dead_are_replayed() {
    let receiver = Receiver::answering(|_| Answer::status(500));
    let daemon = daemon(&receiver);
    let api = daemon.api();
    let ids: Vec<String> = (0..3).map(|n| daemon.client().event("a", &n.to_string())).collect();
    for id in &ids {
        daemon.client().await_state(id, "app", "dead");
    }
    receiver.answer(|_| Answer::status(200));
    well(&["replay", "--event", &ids[0], "--api", &api]);
    daemon.client().await_state(&ids[0], "app", "delivered");
    let replayed = json(&["replay", "--endpoint", "app", "--state", "dead", "--api", &api, "--json"]);
    assert!(replayed.to_string().contains('2'), "{replayed}");
    for id in &ids {
        daemon.client().await_state(id, "app", "delivered");
    }
    ill(&["replay", "--api", &api], "", 2);
}

#[test]
fn endpoints_are_paused_and_resumed() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let api = daemon.api();
    well(&["endpoint", "pause", "app", "--api", &api]);
    assert_eq!(daemon.client().get("/v1/endpoints/app").expect(200).json()["state"], "paused");
    well(&["endpoint", "resume", "app", "--api", &api]);
    assert_eq!(daemon.client().get("/v1/endpoints/app").expect(200).json()["state"], "active");
    ill(&["endpoint", "pause", "nobody", "--api", &api], "", 1);
}

#[test]
fn events_are_followed() {
    let receiver = Receiver::start();
    let daemon = daemon(&receiver);
    let mut child = Background::start(&["events", "--follow", "--json", "--api", &daemon.api()]);
    let early = daemon.client().event("a", "1");
    let late = daemon.client().event("a", "2");
    let mut seen = String::new();
    while !(seen.contains(&early) && seen.contains(&late)) {
        seen.push_str(&child.line());
    }
}

#[test]
fn listen_receives_verifies_and_misbehaves() {
    let port = free_port();
    let _listener = Background::start(&["listen", "--port", &port.to_string(), "--verify", SECRET, "--fail", "2"]);
    let url = format!("http://127.0.0.1:{port}/hook");
    let probe = Client::tcp(format!("127.0.0.1:{port}"));
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let lines = "retry = [\"20ms\", \"20ms\", \"20ms\"]";
    let daemon = Setup::new().endpoint("app", &url, lines).start();
    let id = daemon.client().event("a", "1");
    let delivery = daemon.client().await_state(&id, "app", "delivered");
    assert_eq!(delivery["attempts"].as_array().unwrap().len(), 3, "two failures, then success: {delivery}");
    // What is signed wrongly is refused.
    let now = jiff::Timestamp::now().as_second().to_string();
    let headers = [("webhook-id", "x"), ("webhook-timestamp", now.as_str()), ("webhook-signature", "v1,AAAA")];
    let statuses: Vec<u16> = (0..3).map(|_| probe.send("POST", "/hook", &headers, "{}").status).collect();
    assert!((400..500).contains(&statuses[2]), "each delivery fails twice first: {statuses:?}");
}

#[test]
fn a_config_is_checked() {
    let daemon = Setup::new().endpoint("app", "http://127.0.0.1:9/", "").prepare();
    let good = daemon.config().display().to_string();
    well(&["check", "--config", &good]);
    assert_eq!(json(&["check", "--config", &good, "--json"])["valid"], true);
    let bad = daemon.dir().join("bad.toml");
    let text = "[api]\nlisten = \"nowhere\"\ncolour = \"red\"\n[delivery]\ntimeout = \"5 parsecs\"\n\
        [endpoint.app]\nurl = \"ftp://example.com\"\nevents = \"*\"\n";
    std::fs::write(&bad, text).unwrap();
    let complaint = ill(&["check", "--config", bad.to_str().unwrap()], "", 2);
    // Every error at once, each with file, line and key.
    for (line, word) in [(2, "listen"), (3, "colour"), (5, "timeout"), (7, "url")] {
        let told = complaint.lines().any(|told| told.contains(&format!("bad.toml:{line}")) && told.contains(word));
        assert!(told, "line {line}, {word}:\n{complaint}");
    }
    ill(&["check", "--config", "/nowhere.toml"], "", 2);
}

#[test]
fn the_example_config_is_right() {
    let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("webhookd.toml.example");
    let result = run(&["check", "--config", example.to_str().unwrap(), "--json"], "");
    let result: Value = serde_json::from_slice(&result.stdout).unwrap();
    // The secret files that it names exist on no test machine; nothing else may be wrong.
    for error in result["errors"].as_array().unwrap() {
        let message = error["message"].as_str().unwrap();
        assert!(error["key"].as_str().is_some_and(|key| key.contains("secret")), "{error}");
        assert!(message.contains("/"), "{error}");
    }
}

#[test]
fn signatures_are_made_and_verified() {
    let fresh = well(&["secret", "new"]);
    let secret = fresh.split_whitespace().find(|word| word.starts_with("whsec_")).expect("a secret").to_owned();
    let other = well(&["secret", "new"]);
    assert!(!other.contains(&secret), "each secret is new");
    let pair = well(&["secret", "new", "--ed25519"]);
    assert!(pair.contains("whsk_") && pair.contains("whpk_"), "{}", pair.replace("whsk_", "whsk_…"));
}

#[test]
fn the_demo_tells_its_story() {
    let start = Instant::now();
    let story = well(&["demo", "--once"]);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    let story = story.to_lowercase();
    for word in ["delivered", "next attempt in", "attempt 3", "dead", "127.0.0.1"] {
        assert!(story.contains(word), "{word} is missing:\n{story}");
    }
}
