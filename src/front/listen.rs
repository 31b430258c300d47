//! Listeners: TCP and unix sockets, bound with one clear line when it does not work, or handed over by systemd.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::config::Listen;
use crate::systemd::sockets::Handed;

/// Owner and group may connect to a unix socket, nobody else.
const SOCKET_MODE: u32 = 0o660;

/// Why a listener could not be bound: one line that says what to do.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody listens there already.
    #[error("{place} is in use by another process; stop it, or choose another [{table}] listen")]
    InUse {
        /// The table of the config that names it.
        table: &'static str,
        /// Where.
        place: Place,
    },
    /// The system does not allow it.
    #[error("{place} may not be listened on: {source}; ports below 1024 and other users' folders need more rights")]
    Denied {
        /// Where.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
    /// The address is none of this machine's.
    #[error("{place} is no address of this machine; choose another [{table}] listen")]
    NotOurs {
        /// The table of the config that names it.
        table: &'static str,
        /// Where.
        place: Place,
    },
    /// The socket's folder does not exist.
    #[error("the folder of {place} does not exist; make it, or choose another [{table}] listen")]
    NoFolder {
        /// The table of the config that names it.
        table: &'static str,
        /// Where.
        place: Place,
    },
    /// Something that is no socket stands at the path.
    #[error("at {place} stands something that is no socket; remove it, or choose another [{table}] listen")]
    NoSocket {
        /// The table of the config that names it.
        table: &'static str,
        /// Where.
        place: Place,
    },
    /// Anything else.
    #[error("{place} could not be listened on: {source}")]
    Other {
        /// Where.
        place: Place,
        /// What the system said.
        source: io::Error,
    },
}

/// Where a listener stands, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place(pub Listen);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl BindError {
    fn new(table: &'static str, listen: &Listen, source: io::Error) -> Self {
        let place = Place(listen.clone());
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse { table, place },
            io::ErrorKind::PermissionDenied => Self::Denied { place, source },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { table, place },
            io::ErrorKind::NotFound => Self::NoFolder { table, place },
            _ => Self::Other { place, source },
        }
    }
}

/// A listener that is bound.
#[derive(Debug)]
pub enum Listener {
    /// On a TCP address.
    Tcp(TcpListener),
    /// On a unix socket. The file is removed with it; `None` for a socket that somebody else has bound and keeps.
    Unix(UnixListener, Option<SocketFile>),
}

impl Listener {
    /// Binds a listener where this `table` of the config says.
    ///
    /// At a unix path, a socket on which nobody answers is taken for the rest of a process that died, and replaced.
    ///
    /// # Errors
    /// See [`BindError`].
    pub async fn bind(table: &'static str, listen: &Listen) -> Result<Self, BindError> {
        match listen {
            Listen::Tcp(address) => {
                let listener =
                    TcpListener::bind(address).await.map_err(|error| BindError::new(table, listen, error))?;
                Ok(Self::Tcp(listener))
            }
            Listen::Unix(path) => {
                remove_stale(table, path, listen).await?;
                let (listener, file) = bind_unix(path).map_err(|error| BindError::new(table, listen, error))?;
                Ok(Self::Unix(listener, Some(file)))
            }
        }
    }

    /// Takes a socket that systemd has bound, and keeps: a unix socket's file is left where it is.
    ///
    /// # Errors
    /// Where the system does not let it be waited for.
    pub fn handed(socket: Handed) -> io::Result<Self> {
        match socket {
            Handed::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(listener)?))
            }
            Handed::Unix(listener) => {
                listener.set_nonblocking(true)?;
                Ok(Self::Unix(UnixListener::from_std(listener)?, None))
            }
        }
    }

    /// Where it stands, as `--api` takes it: `http://127.0.0.1:8400`, with the port that was really bound, or
    /// `unix:/run/webhookd/api.sock`.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(_) => {
                self.tcp_address().map_or_else(|| "http://?".to_owned(), |address| format!("http://{address}"))
            }
            Self::Unix(_, Some(file)) => format!("unix:{}", file.path.display()),
            Self::Unix(listener, None) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                format!("unix:{}", path.unwrap_or(Path::new("?")).display())
            }
        }
    }

    /// The TCP address; `None` for a unix socket.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }
}

async fn remove_stale(table: &'static str, path: &Path, listen: &Listen) -> Result<(), BindError> {
    let place = || Place(listen.clone());
    let failed = |error| BindError::new(table, listen, error);
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(BindError::NoSocket { table, place: place() }),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(failed(error)),
        // It answers, or is too busy to.
        Ok(_) | Err(_) => Err(BindError::InUse { table, place: place() }),
    }
}

fn bind_unix(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(path)?;
    let made = std::fs::symlink_metadata(path)?;
    let file = SocketFile { path: path.to_owned(), device: made.dev(), inode: made.ino() };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    Ok((listener, file))
}

/// The file of a unix socket, removed when dropped, unless another one stands there by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode));
        if still_ours {
            // Where it cannot be removed, the next start finds it stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_one_clear_line() {
        let first = Listener::bind("api", &Listen::Tcp("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let taken = first.tcp_address().unwrap();
        assert_eq!(first.address(), format!("http://{taken}"));
        let error = Listener::bind("api", &Listen::Tcp(taken)).await.unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{taken} is in use")) && text.ends_with("another [api] listen"), "{text}");
        assert!(!text.contains('\n'));
        let elsewhere = Listener::bind("api", &Listen::Tcp("192.0.2.1:1".parse().unwrap())).await.unwrap_err();
        assert!(matches!(elsewhere, BindError::NotOurs { .. }), "{elsewhere:?}");
    }

    #[tokio::test]
    async fn a_unix_socket_is_private_replaces_a_dead_one_and_leaves_a_live_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let listen = Listen::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead process leaves its socket behind");

        let live = Listener::bind("api", &listen).await.unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert_eq!(live.address(), format!("unix:{}", path.display()));
        let error = Listener::bind("api", &listen).await.unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert!(UnixStream::connect(&path).await.is_ok(), "still there");
        drop(live);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        let error = Listener::bind("api", &Listen::Unix(path.clone())).await.unwrap_err();
        assert!(matches!(error, BindError::NoSocket { .. }), "{error:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "data");
        let error = Listener::bind("api", &Listen::Unix(folder.path().join("none/api.sock"))).await.unwrap_err();
        assert!(matches!(error, BindError::NoFolder { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn the_socket_of_a_successor_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api.sock");
        let first = Listener::bind("api", &Listen::Unix(path.clone())).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        let _second = Listener::bind("api", &Listen::Unix(path.clone())).await.unwrap();
        drop(first);
        assert!(path.exists());
    }
}
