//! Configs that are not put in force.

use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;
use webhookd::config::Config;
use webhookd::daemon::DaemonOptions;

use super::{append, command, endpoint, metric, reload, rewrite, text};
use crate::kit::{Client, Daemon, Receiver, SECRET, Setup, block_on, eventually};

/// Two faults, in a config that would otherwise change a lot.
fn spoil(daemon: &Daemon, receiver: &Receiver) {
    rewrite(daemon, |config| config.replace("/app", "/other").replace("jitter = 0", "jitter = 7"));
    append(daemon, &format!("{}colour = \"red\"\n", endpoint("added", &receiver.url("/added"))));
}

#[test]
fn a_bad_config_is_refused_with_every_fault_and_the_old_one_goes_on() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/app"), "").start();
    spoil(&daemon, &receiver);
    let problem = daemon.client().post("/v1/reload", "").problem(422);
    assert_eq!(problem["type"], "urn:webhookd:problem:invalid-config");
    let faults: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|e| e["detail"].as_str().unwrap()).collect();
    assert_eq!(faults.len(), 2, "{problem}");
    for (fault, key) in faults.iter().zip(["delivery.jitter", "endpoint.added.colour"]) {
        let place = fault.strip_prefix(&*daemon.config().display().to_string()).expect(fault);
        let [_, line, column, rest] = place.splitn(4, ':').collect::<Vec<_>>().try_into().unwrap();
        assert!(line.parse::<usize>().is_ok_and(|n| n > 1) && column.parse::<usize>().is_ok(), "{fault}");
        assert!(rest.starts_with(&format!(" {key}: ")), "{fault}");
    }
    // All of the old one is in force.
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "app", "delivered");
    assert_eq!(receiver.wait(1)[0].path, "/app");
    assert_eq!(daemon.client().look(&id)["deliveries"].as_array().unwrap().len(), 1);
    assert_eq!(metric(&daemon, "webhookd_config_reloads_total{outcome=\"refused\"}"), 1.0);
    assert_eq!(metric(&daemon, "webhookd_config_reloads_total{outcome=\"applied\"}"), 0.0);
    // A config that is no TOML, and one that is not there.
    rewrite(&daemon, |_| "[api\n".to_owned());
    daemon.client().post("/v1/reload", "").problem(422);
    std::fs::remove_file(daemon.config()).unwrap();
    let gone = daemon.client().post("/v1/reload", "").problem(422);
    assert!(gone["errors"][0]["detail"].as_str().unwrap().contains("cannot be read"), "{gone}");
    daemon.client().event("a", "2");
    receiver.wait(2);
}

#[test]
fn the_command_prints_every_fault_as_check_does() {
    let receiver = Receiver::start();
    let daemon = Setup::new().endpoint("app", &receiver.url("/app"), "").start();
    let api = daemon.api();
    let fine = command(&["reload", "--api", &api]);
    assert!(fine.status.success(), "{fine:?}");
    assert_eq!(text(&fine.stdout), "reloaded; nothing has changed\n");
    append(&daemon, &endpoint("added", &receiver.url("/added")));
    let told = command(&["reload", "--api", &api]);
    assert_eq!(text(&told.stdout), "reloaded\nendpoints added: added\n");
    let answer = command(&["reload", "--api", &api, "--json"]);
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["endpoints"]["added"], serde_json::json!([]));

    spoil_key(&daemon);
    for arguments in [&["reload", "--api", &api][..], &["reload", "--api", &api, "--json"]] {
        let refused = command(arguments);
        assert_eq!((refused.status.code(), text(&refused.stdout).as_str()), (Some(1), ""), "{refused:?}");
        let config = daemon.config().display().to_string();
        let check = text(&command(&["check", "--config", &config]).stderr);
        let faults: Vec<_> = check.lines().filter(|line| line.starts_with(&config)).collect();
        assert_eq!(faults.len(), 2, "{check}");
        let complaint = text(&refused.stderr);
        let printed: Vec<_> = complaint.lines().take(2).collect();
        assert_eq!(printed, faults);
        assert!(complaint.ends_with("error: 2 faults to mend; the config in force stays as it is\n"), "{complaint}");
    }
}

fn spoil_key(daemon: &Daemon) {
    rewrite(daemon, |config| config.replace("jitter = 0", "jitter = 7") + "colour = \"red\"\n");
}

#[test]
fn a_hangup_does_the_same_and_tells_the_log() {
    let receiver = Receiver::start();
    let mut daemon = Setup::new().endpoint("app", &receiver.url("/app"), "").start();
    let usual = std::fs::read_to_string(daemon.config()).unwrap();
    spoil_key(&daemon);
    daemon.signal(Signal::HUP);
    eventually("it is refused", || daemon.log().contains("stays in force").then_some(()));
    let log = daemon.log();
    for key in ["delivery.jitter", "endpoint.app.colour"] {
        assert!(log.lines().any(|line| line.contains("ERROR") && line.contains(key)), "{key}:\n{log}");
    }
    assert!(daemon.alive());
    rewrite(&daemon, |_| usual);
    append(&daemon, &endpoint("added", &receiver.url("/added")));
    daemon.signal(Signal::HUP);
    eventually("it is applied", || daemon.log().contains("config reloaded").then_some(()));
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("config reloaded")).unwrap();
    assert!(line.contains("INFO") && line.contains("added=1") && line.contains("removed=0"), "{line}");
    let id = daemon.client().event("a", "1");
    daemon.client().await_state(&id, "added", "delivered");
    assert!(!log.contains(SECRET), "{log}");
    assert!(daemon.stop().success());
}

#[test]
fn a_file_that_hangs_holds_up_no_stop() {
    let mut daemon = Setup::new().start();
    let pipe = daemon.dir().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    append(&daemon, "[endpoint.app]\nurl = \"https://example.com/\"\nsecret = { file = \"pipe\" }\n");
    daemon.signal(Signal::HUP);
    // It can be opened so once somebody reads; and while it is open and nothing is written, the reader waits.
    let open = || rustix::fs::open(&pipe, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).ok();
    let _held = eventually("the pipe is read", open);
    daemon.client().event("a", "1");
    let status = daemon.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn a_daemon_without_a_file_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("[api]\nlisten = \"127.0.0.1:0\"\n[storage]\ndir = \"{}\"\n", dir.path().display());
    let config = Arc::new(Config::parse(&text, "test.toml", dir.path(), &|_| None).unwrap());
    let daemon = block_on(webhookd::daemon::Daemon::start(config, DaemonOptions::default())).unwrap();
    let client = Client::tcp(daemon.api_address().strip_prefix("http://").unwrap());
    let problem = client.post("/v1/reload", "").problem(409);
    assert_eq!(problem["type"], "urn:webhookd:problem:no-config-file");
    block_on(daemon.stop(5_000));
}

#[test]
fn tls_files_that_do_not_fit_are_refused() {
    let daemon = Setup::new().start();
    std::fs::write(daemon.dir().join("ca.pem"), "no certificate").unwrap();
    append(&daemon, "[endpoint.app]\nurl = \"https://example.com/\"\nsign = \"none\"\ntls = { ca = \"ca.pem\" }\n");
    let problem = daemon.client().post("/v1/reload", "").problem(422);
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("endpoint.app.tls.ca"), "{problem}");
    rewrite(&daemon, |config| config.replace("tls = { ca = \"ca.pem\" }", ""));
    reload(&daemon);
}
