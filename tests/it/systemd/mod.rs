//! What webhookd and systemd say to each other, and the units: the real daemon, driven through the protocols.
//!
//! No systemd runs here. Its end of the notify socket is a datagram socket of the test, and sockets are handed over as it does,
//! by number and environment.

mod confined;
mod notify;
mod sockets;
mod units;

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tempfile::TempDir;

use crate::kit::SOON;

/// systemd's end of a service's notify socket.
pub(crate) struct Manager {
    dir: TempDir,
    socket: UnixDatagram,
}

/// One datagram: some things that are told at once.
#[derive(Clone, Debug)]
pub(crate) struct Told(String);

impl Told {
    /// Whether this line is in it.
    pub(crate) fn says(&self, line: &str) -> bool {
        self.0.lines().any(|one| one == line)
    }

    /// The value of a key.
    pub(crate) fn value(&self, key: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
    }

    pub(crate) fn status(&self) -> &str {
        self.value("STATUS").unwrap_or_default()
    }
}

impl Manager {
    pub(crate) fn new() -> Self {
        let dir = TempDir::with_prefix("webhookd-notify-").unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        Self { dir, socket }
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(crate) fn place(&self) -> String {
        self.dir.path().join("notify").to_str().unwrap().to_owned()
    }

    /// The next thing that is told; `None` where nothing is within `limit`.
    pub(crate) fn next_within(&self, limit: Duration) -> Option<Told> {
        self.socket.set_read_timeout(Some(limit.max(Duration::from_millis(1)))).unwrap();
        let mut bytes = [0; 4096];
        match self.socket.recv(&mut bytes) {
            Ok(len) => Some(Told(String::from_utf8(bytes[..len].to_vec()).unwrap())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The next thing that is told.
    #[track_caller]
    pub(crate) fn next(&self) -> Told {
        self.next_within(SOON).expect("something is told")
    }

    /// Everything that is told until something is that `wanted` is true of; that is the last one.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Told) -> bool) -> Vec<Told> {
        let (start, mut all) = (Instant::now(), Vec::new());
        loop {
            let left = SOON.saturating_sub(start.elapsed());
            let Some(told) = self.next_within(left) else { panic!("waited in vain for: {what}; told was {all:#?}") };
            let found = wanted(&told);
            all.push(told);
            if found {
                return all;
            }
        }
    }

    /// Waits until this line is told, and gives what it came with.
    #[track_caller]
    pub(crate) fn until_says(&self, line: &str) -> Told {
        self.until(line, |told| told.says(line)).pop().expect("it was told")
    }
}

/// `CLOCK_MONOTONIC`, in microseconds.
fn monotonic_usec() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap() * 1_000_000 + u64::try_from(now.tv_nsec).unwrap() / 1000
}

/// The units as they are shipped.
fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd")
}

/// Whether a program is there; where it is not, that is said, and the test that needs it is left out.
fn have(program: &str, package: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    if !found {
        println!("LEFT OUT: {program} is missing (Debian: apt-get install {package})");
    }
    found
}
