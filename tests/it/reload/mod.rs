//! A config that changes while the daemon runs: over the API, by signal and from the command line.

mod certificates;
mod endpoints;
mod flow;
mod refused;
mod settings;
mod sources;

use std::fs;
use std::process::{Command, Output};

use serde_json::Value;

use crate::kit::{Daemon, binary};

/// Writes the daemon's config anew, all at once, as a careful operator does.
fn rewrite(daemon: &Daemon, edit: impl FnOnce(String) -> String) {
    let before = fs::read_to_string(daemon.config()).unwrap();
    let after = edit(before.clone());
    assert_ne!(before, after, "the edit changes something");
    let beside = daemon.dir().join("next.toml");
    fs::write(&beside, after).unwrap();
    fs::rename(beside, daemon.config()).unwrap();
}

/// Puts lines at the end of the daemon's config.
fn append(daemon: &Daemon, lines: &str) {
    rewrite(daemon, |config| config + "\n" + lines + "\n");
}

/// An endpoint of a config, unsigned.
fn endpoint(name: &str, url: &str) -> String {
    format!("[endpoint.{name}]\nurl = \"{url}\"\nsign = \"none\"\n")
}

/// Reloads, which must succeed; the answer.
#[track_caller]
fn reload(daemon: &Daemon) -> Value {
    daemon.client().post("/v1/reload", "").expect(200).json()
}

/// Runs the command line.
fn command(arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("WEBHOOKD_API").env_remove("WEBHOOKD_TOKEN_FILE").env("NO_COLOR", "1");
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output in UTF-8")
}

/// The value of a metric without other labels than these.
fn metric(daemon: &Daemon, name: &str) -> f64 {
    let metrics = daemon.client().get("/metrics").expect(200).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{metrics}")).parse().unwrap()
}
