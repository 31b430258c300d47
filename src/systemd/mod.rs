//! What systemd and its services say to each other: readiness and status (`notify`), the watchdog (`watchdog`), sockets that
//! are handed over (`sockets`). Where webhookd was started by somebody else there is nobody to talk to, and nothing happens.
//!
//! The protocols are those of sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3). What the environment says is read by
//! functions that are given the environment, so that a test needs none of its own.

pub mod notify;
pub mod sockets;
pub mod watchdog;

use std::ffi::OsString;

use thiserror::Error;

use self::notify::Notifier;
use self::sockets::{HandedSocket, SocketsError};
use self::watchdog::Watchdog;

/// Looks up a variable of the environment.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// What systemd gave this process.
#[derive(Debug, Default)]
pub struct Service {
    /// Where it wants to be told how things stand.
    pub notifier: Notifier,
    /// How often it wants to hear that the service is alive; `None`: it does not watch.
    pub watchdog: Option<Watchdog>,
    /// Sockets that it listens on for this process.
    pub sockets: Vec<HandedSocket>,
}

/// Why what systemd gave cannot be used.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The sockets.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
}

impl Service {
    /// Takes what this process was given. To be called once, while there is one thread: the sockets' variables are removed from
    /// the environment, so that nobody takes them twice.
    ///
    /// # Errors
    /// See [`ServiceError`]. The notifier is handed out all the same, to tell of it.
    pub fn take() -> (Self, Result<(), ServiceError>) {
        let env = |name: &str| std::env::var_os(name);
        let pid = std::process::id();
        let notifier = Notifier::from_env(&env);
        let watchdog = Watchdog::from_env(&env, pid);
        match sockets::take(&env, pid) {
            Ok(sockets) => (Self { notifier, watchdog, sockets }, Ok(())),
            Err(error) => (Self { notifier, watchdog, sockets: Vec::new() }, Err(error.into())),
        }
    }
}
