//! Log lines of the daemon on stderr: for people, or JSON on request.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use clap::ValueEnum;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::{Directive, filter_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt};

use super::failure::Failure;
use crate::observe::audit;

/// The variables that say how much is logged, the first that is set counts.
const LEVEL_VARIABLES: [&str; 2] = ["WEBHOOKD_LOG", "RUST_LOG"];
/// What is logged when nothing says otherwise.
const LEVEL_DEFAULT: &str = "info";

/// What log lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// For reading
    Human,
    /// One JSON object a line
    Json,
}

/// Sets up logging for the whole process.
///
/// # Errors
/// When the level is not understood; a daemon that logs other things than it was told to is worse than one that says so.
pub(super) fn start(format: LogFormat) -> Result<(), Failure> {
    let filter = match LEVEL_VARIABLES.iter().find_map(|name| Some((*name, std::env::var(name).ok()?))) {
        Some((name, text)) => {
            let wrong = |error| Failure::usage(format!("{name} is {text:?}, which is no log level: {error}"));
            EnvFilter::builder().parse(&text).map_err(wrong)?
        }
        None => EnvFilter::new(LEVEL_DEFAULT),
    };
    let filter = filter.add_directive(audit());
    // The journal stamps each line itself.
    let stamped = !stderr_is_journal();
    // A line that cannot be written is lost. Telling of it on that same stderr, which is the default, would panic.
    let lines = fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let open = filter_fn(shows_no_payload);
    let started = match (format, stamped) {
        (LogFormat::Human, true) => lines.with_ansi(colours()).with_target(false).finish().with(open).try_init(),
        (LogFormat::Human, false) => {
            lines.with_ansi(false).with_target(false).without_time().finish().with(open).try_init()
        }
        (LogFormat::Json, true) => lines.json().flatten_event(true).finish().with(open).try_init(),
        (LogFormat::Json, false) => lines.json().flatten_event(true).without_time().finish().with(open).try_init(),
    };
    started.map_err(|error| Failure::failed(format!("logging could not be set up: {error}")))
}

/// The audit log is written whatever the level is.
fn audit() -> Directive {
    let directive = format!("{}=info", audit::TARGET);
    directive.parse().expect("a target and a level are a directive")
}

/// Other crates' finest lines hold what they were given, byte by byte: the storage engine's show every row that it writes. Whoever
/// asks for `trace` gets it of this program alone.
fn shows_no_payload(line: &Metadata<'_>) -> bool {
    let ours = line.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"));
    *line.level() != Level::TRACE || ours
}

fn colours() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether stderr goes to journald: systemd then names the device and inode of the socket in `JOURNAL_STREAM` (systemd.exec(5)).
fn stderr_is_journal() -> bool {
    let Some((device, inode)) = std::env::var("JOURNAL_STREAM").ok().as_deref().and_then(journal_stream) else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from).and_then(|file| file.metadata());
    stderr.is_ok_and(|meta| meta.dev() == device && meta.ino() == inode)
}

fn journal_stream(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_is_known_by_device_and_inode() {
        assert_eq!(journal_stream("8:12345"), Some((8, 12345)));
        for bad in ["", "8", "8:", ":5", "a:b", "8:1:2"] {
            assert_eq!(journal_stream(bad), None, "{bad:?}");
        }
    }
}
