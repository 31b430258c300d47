//! Telling systemd how things stand: sd_notify(3).

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::Env;
use crate::limits::{NOTIFY_MS_MAX, NOTIFY_STATUS_BYTES_MAX};

/// Where systemd wants to be told.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// One thing to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'a> {
    /// The start, or a reload, is complete.
    Ready,
    /// A reload begins. The moment goes with it, by which systemd knows that it is the one it waits for.
    Reloading,
    /// The stop begins.
    Stopping,
    /// What is going on, in one line for people.
    Status(&'a str),
    /// The service is alive.
    Watchdog,
    /// Starting or stopping takes this much longer from now on, in milliseconds.
    ExtendTimeout(u64),
}

/// The way to systemd, if there is one. Cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<Way>>);

#[derive(Debug)]
struct Way {
    socket: UnixDatagram,
    to: SocketAddr,
}

impl Notifier {
    /// The way that `$NOTIFY_SOCKET` names. One that cannot be used is worth a warning and no more: the service works without.
    #[must_use]
    pub fn from_env(env: Env<'_>) -> Self {
        let Some(place) = env(NOTIFY_SOCKET).filter(|place| !place.is_empty()) else { return Self(None) };
        match Way::open(&place) {
            Ok(way) => Self(Some(Arc::new(way))),
            Err(error) => {
                tracing::warn!(?place, %error, "systemd cannot be told how things stand: {NOTIFY_SOCKET} is of no use");
                Self(None)
            }
        }
    }

    /// Whether anybody is told.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.0.is_some()
    }

    /// Tells these things at once, so that systemd sees them together.
    ///
    /// systemd reads as it comes, so this waits for [`NOTIFY_MS_MAX`] at most. What cannot be told is not told again.
    pub fn tell(&self, notices: &[Notice<'_>]) {
        let Some(way) = &self.0 else { return };
        let text = message(notices, monotonic_usec());
        if let Err(error) = way.socket.send_to_addr(text.as_bytes(), &way.to) {
            tracing::debug!(%error, ?notices, "systemd could not be told");
        }
    }
}

impl Way {
    fn open(place: &OsString) -> io::Result<Self> {
        let to = match place.as_bytes() {
            // "@" stands for the NUL of the abstract name space: unix(7).
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(place)?,
            _ => return Err(io::Error::other("expected a path, or @ and an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(Duration::from_millis(NOTIFY_MS_MAX)))?;
        Ok(Self { socket, to })
    }
}

/// `CLOCK_MONOTONIC`, in microseconds: what systemd compares with its own. The injected clock counts from the start of the
/// process.
fn monotonic_usec() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let secs = u64::try_from(now.tv_sec).unwrap_or(0);
    secs.saturating_mul(1_000_000).saturating_add(u64::try_from(now.tv_nsec / 1000).unwrap_or(0))
}

/// The datagram: a `KEY=value` a line.
fn message(notices: &[Notice<'_>], monotonic_usec: u64) -> String {
    let mut text = String::new();
    for notice in notices {
        // A string takes everything.
        let _ = match notice {
            Notice::Ready => writeln!(text, "READY=1"),
            Notice::Reloading => writeln!(text, "RELOADING=1\nMONOTONIC_USEC={monotonic_usec}"),
            Notice::Stopping => writeln!(text, "STOPPING=1"),
            Notice::Status(status) => writeln!(text, "STATUS={}", one_line(status)),
            Notice::Watchdog => writeln!(text, "WATCHDOG=1"),
            Notice::ExtendTimeout(ms) => writeln!(text, "EXTEND_TIMEOUT_USEC={}", ms.saturating_mul(1000)),
        };
    }
    text
}

/// A status may quote a config or an error, and a second line of it would be a message of its own.
fn one_line(status: &str) -> String {
    let mut line = String::with_capacity(status.len().min(NOTIFY_STATUS_BYTES_MAX));
    for c in status.trim().chars() {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > NOTIFY_STATUS_BYTES_MAX - '…'.len_utf8() {
            line.push('…');
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(way: &str, read: &UnixDatagram) -> String {
        let notifier = Notifier::from_env(&|name| (name == NOTIFY_SOCKET).then(|| way.into()));
        assert!(notifier.is_heard());
        notifier.tell(&[Notice::Ready, Notice::Status("ready")]);
        let mut bytes = [0; 1024];
        read.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let len = read.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..len].to_vec()).unwrap()
    }

    #[test]
    fn sockets_at_a_path_and_in_the_abstract_name_space_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let read = UnixDatagram::bind(&path).unwrap();
        assert_eq!(told(path.to_str().unwrap(), &read), "READY=1\nSTATUS=ready\n");
        let name = format!("webhookd-test-{}", std::process::id());
        let read = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        assert_eq!(told(&format!("@{name}"), &read), "READY=1\nSTATUS=ready\n");
    }

    #[test]
    fn where_nobody_listens_nothing_happens() {
        for place in [None, Some(""), Some("relative"), Some("vsock:2:1"), Some("/nonexistent/notify")] {
            let notifier = Notifier::from_env(&|_| place.map(OsString::from));
            assert_eq!(notifier.is_heard(), place == Some("/nonexistent/notify"), "{place:?}");
            notifier.tell(&[Notice::Ready]);
        }
    }

    #[test]
    fn each_notice_is_a_line_of_the_protocol() {
        let all = [Notice::Reloading, Notice::Stopping, Notice::Watchdog, Notice::ExtendTimeout(30_000)];
        let expected = "RELOADING=1\nMONOTONIC_USEC=42\nSTOPPING=1\nWATCHDOG=1\nEXTEND_TIMEOUT_USEC=30000000\n";
        assert_eq!(message(&all, 42), expected);
        let one = monotonic_usec();
        assert!(one > 0 && monotonic_usec() >= one);
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        assert_eq!(message(&[Notice::Status("refused: a\nREADY=1\r\n")], 0), "STATUS=refused: a READY=1\n");
        let long = one_line(&"ä".repeat(NOTIFY_STATUS_BYTES_MAX));
        assert!(long.len() <= NOTIFY_STATUS_BYTES_MAX && long.ends_with("ä…"), "{} bytes", long.len());
    }
}
