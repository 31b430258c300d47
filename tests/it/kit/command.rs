//! The command line, as a user types it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use super::{SOON, binary};

pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).env_remove("WEBHOOKD_API").env_remove("WEBHOOKD_TOKEN_FILE").env("NO_COLOR", "1");
    command
}

/// Runs a command to its end with this on its standard input.
pub(crate) fn run(arguments: &[&str], input: &str) -> Output {
    let mut child =
        command(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(!text(&output.stderr).contains("panicked"), "{arguments:?}: {}", text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output in UTF-8")
}

/// Runs a command that must succeed; what it printed.
#[track_caller]
pub(crate) fn well(arguments: &[&str]) -> String {
    well_with(arguments, "")
}

#[track_caller]
pub(crate) fn well_with(arguments: &[&str], input: &str) -> String {
    let output = run(arguments, input);
    assert!(output.status.success(), "{arguments:?} ended with {}: {}", output.status, text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must fail with this exit code; what it complained of.
#[track_caller]
pub(crate) fn ill(arguments: &[&str], input: &str, code: i32) -> String {
    let output = run(arguments, input);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    let complaint = text(&output.stderr);
    assert!(!complaint.trim().is_empty(), "{arguments:?} fails silently");
    complaint
}

#[track_caller]
pub(crate) fn json(arguments: &[&str]) -> Value {
    let out = well(arguments);
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
}

/// A command that stays; killed when dropped.
pub(crate) struct Background {
    child: Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Background {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Its next line.
    pub(crate) fn line(&mut self) -> String {
        self.lines.recv_timeout(SOON).expect("another line")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
