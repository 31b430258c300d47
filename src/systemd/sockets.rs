//! Sockets that systemd listens on and hands over: sd_listen_fds(3).
//!
//! They are bound before the daemon starts and stay while it restarts: whoever connects meanwhile waits and is served.

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use thiserror::Error;

use super::Env;
use crate::limits::HANDED_SOCKETS_MAX;

/// The first descriptor that is handed over.
const FIRST: usize = 3;

/// A socket that was handed over, with the name that its unit gives it.
#[derive(Debug)]
pub struct HandedSocket {
    /// `FileDescriptorName=` of its socket unit.
    pub name: String,
    /// The socket itself.
    pub socket: Handed,
}

/// A listening socket.
#[derive(Debug)]
pub enum Handed {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a unix path, or an abstract name.
    Unix(UnixListener),
}

impl Handed {
    /// Its TCP address; `None` for a unix socket.
    ///
    /// # Errors
    /// Where the system does not tell.
    pub fn tcp_address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }
}

impl fmt::Display for HandedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.name)
    }
}

/// Why sockets that were handed over cannot be taken.
#[derive(Debug, Error)]
pub enum SocketsError {
    /// The environment makes no sense.
    #[error("LISTEN_FDS is {given:?}: expected a number of sockets, at most {HANDED_SOCKETS_MAX}")]
    Count {
        /// What it says.
        given: OsString,
    },
    /// It is no stream socket.
    #[error(
        "what systemd handed over as {name:?} (descriptor {fd}) is no TCP or unix stream socket ({source}); its socket unit is \
         to use ListenStream="
    )]
    Kind {
        /// Its name.
        name: String,
        /// Which.
        fd: usize,
        /// What is wrong.
        source: io::Error,
    },
    /// It is a connection.
    #[error(
        "the socket that systemd handed over as {name:?} (descriptor {fd}) does not listen; its socket unit is to use Accept=no"
    )]
    Connection {
        /// Its name.
        name: String,
        /// Which.
        fd: usize,
    },
}

/// The names of the sockets that the environment tells of; none where it means another process.
fn names(env: Env<'_>, pid: u32) -> Result<Vec<String>, SocketsError> {
    let meant = |text: OsString| text.to_str().and_then(|text| text.parse().ok()) == Some(pid);
    // Whoever inherits the variables of another process has not been handed its sockets.
    if !env("LISTEN_PID").is_some_and(meant) {
        return Ok(Vec::new());
    }
    let Some(given) = env("LISTEN_FDS") else { return Ok(Vec::new()) };
    let count = given.to_str().and_then(|text| text.parse::<usize>().ok()).filter(|count| *count <= HANDED_SOCKETS_MAX);
    let Some(count) = count else { return Err(SocketsError::Count { given }) };
    let text = env("LISTEN_FDNAMES").unwrap_or_default();
    let text = text.to_string_lossy();
    let mut given = text.split(':').map(str::to_owned);
    // sd_listen_fds_with_names(3) calls those without a name so.
    Ok((0..count).map(|_| given.next().filter(|name| !name.is_empty()).unwrap_or("unknown".to_owned())).collect())
}

/// Takes the sockets of this process.
pub(super) fn take(env: Env<'_>, pid: u32) -> Result<Vec<HandedSocket>, SocketsError> {
    let names = names(env, pid)?;
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut given = ListenFd::from_env();
    names.into_iter().enumerate().map(|(at, name)| take_one(&mut given, at, name)).collect()
}

fn take_one(given: &mut ListenFd, at: usize, name: String) -> Result<HandedSocket, SocketsError> {
    let fd = FIRST + at;
    let unix = given.take_unix_listener(at);
    let socket = match unix {
        Ok(Some(listener)) => Handed::Unix(listener),
        // It is left in its place where it is of another kind.
        Ok(None) | Err(_) => match given.take_tcp_listener(at) {
            Ok(Some(listener)) => Handed::Tcp(listener),
            Ok(None) => return Err(SocketsError::Kind { name, fd, source: io::ErrorKind::NotFound.into() }),
            Err(source) => return Err(SocketsError::Kind { name, fd, source }),
        },
    };
    let listens = match &socket {
        Handed::Tcp(listener) => socket_acceptconn(listener.as_fd()),
        Handed::Unix(listener) => socket_acceptconn(listener.as_fd()),
    };
    match listens {
        Ok(true) => Ok(HandedSocket { name, socket }),
        Ok(false) => Err(SocketsError::Connection { name, fd }),
        Err(error) => Err(SocketsError::Kind { name, fd, source: error.into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Vec<String>, SocketsError> {
        let env = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        names(&env, 7)
    }

    #[test]
    fn sockets_are_of_the_process_that_is_named() {
        let none: [String; 0] = [];
        assert_eq!(read(&[]).unwrap(), none);
        assert_eq!(read(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "8")]).unwrap(), none);
        assert_eq!(read(&[("LISTEN_FDS", "1")]).unwrap(), none);
        assert_eq!(read(&[("LISTEN_PID", "7")]).unwrap(), none);
        assert_eq!(read(&[("LISTEN_FDS", "0"), ("LISTEN_PID", "7")]).unwrap(), none);
    }

    #[test]
    fn each_has_the_name_of_its_unit() {
        let two = [("LISTEN_FDS", "2"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "api:inbound")];
        assert_eq!(read(&two).unwrap(), ["api", "inbound"]);
        let fewer = [("LISTEN_FDS", "3"), ("LISTEN_PID", "7"), ("LISTEN_FDNAMES", "api:")];
        assert_eq!(read(&fewer).unwrap(), ["api", "unknown", "unknown"]);
        assert_eq!(read(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "7")]).unwrap(), ["unknown"]);
    }

    #[test]
    fn nonsense_is_refused_before_any_descriptor_is_touched() {
        for count in ["", "x", "-1", "17", "1000000000000"] {
            let error = read(&[("LISTEN_FDS", count), ("LISTEN_PID", "7")]).unwrap_err();
            assert!(matches!(error, SocketsError::Count { .. }), "{count:?}: {error:?}");
        }
    }
}
