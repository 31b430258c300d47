//! Where the API is served: on the sockets that systemd hands over for it, and else where `[api] listen` says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::StartError;
use crate::api::{self, Snapshots};
use crate::clock::SharedClock;
use crate::config::{Api, Listen};
use crate::front::{Listener, Serving};
use crate::limits::HANDED_WAIT_MS_MAX;
use crate::systemd::sockets::HandedSocket;

/// `FileDescriptorName=` of sockets for the API.
const API: &str = "api";
/// `FileDescriptorName=` of sockets for what third parties send.
const INBOUND: &str = "inbound";

/// Why a socket that was handed over is not served.
#[derive(Debug, Error)]
pub enum HandedError {
    /// Nobody would be asked who they are.
    #[error(
        "the socket {address} that systemd hands over as \"api\" can be reached by other machines, and without a token everyone \
         who does may send, read and replay; add token.NAME = {{ secret = {{ file = \"…\" }}, scope = \"send\" }} to [api], or \
         have its socket unit listen on a loopback address or a unix socket"
    )]
    Unguarded {
        /// Where it listens.
        address: SocketAddr,
    },
    /// It is for nothing that is known.
    #[error(
        "systemd hands over a socket with the name {name}, and webhookd knows \"api\" and \"inbound\" only; write \
         FileDescriptorName=api into its socket unit"
    )]
    Name {
        /// Its name.
        name: String,
    },
    /// The system does not let it be used.
    #[error("the socket that systemd hands over as {name} cannot be served: {source}")]
    System {
        /// Its name.
        name: String,
        /// Why not.
        source: io::Error,
    },
}

/// Where the API listens.
#[derive(Debug)]
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// Whether systemd listens on them, also while there is no daemon.
    handed: bool,
}

impl Listeners {
    /// Takes the sockets that were handed over, or binds what the config names.
    pub(super) async fn open(api: &Api, handed: Vec<HandedSocket>) -> Result<Self, StartError> {
        let mut all = Vec::new();
        for one in handed {
            let name = one.to_string();
            match one.name.as_str() {
                API => {
                    guard(api, &one)?;
                    let system = |source| HandedError::System { name, source };
                    all.push(Listener::handed(one.socket).map_err(system)?);
                }
                INBOUND => tracing::warn!(
                    "systemd hands over a socket with the name \"inbound\", and this version of webhookd does not take what third \
                     parties send yet: whoever connects to it waits; stop its socket unit"
                ),
                _ => return Err(HandedError::Name { name }.into()),
            }
        }
        let handed = !all.is_empty();
        if !handed {
            all.push(Listener::bind(&api.listen).await?);
        }
        Ok(Self { all, handed })
    }

    /// Where they stand, as `--api` takes each, with commas between.
    pub(super) fn address(&self, tls: bool) -> String {
        let address = |listener: &Listener| {
            let address = listener.address();
            match address.strip_prefix("http://") {
                Some(authority) if tls => format!("https://{authority}"),
                _ => address,
            }
        };
        self.all.iter().map(address).collect::<Vec<_>>().join(", ")
    }

    /// Those of TCP.
    pub(super) fn tcp_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.all.iter().filter_map(Listener::tcp_address)
    }

    /// Whether other machines reach one of them.
    pub(super) fn are_public(&self) -> bool {
        self.tcp_addresses().any(|address| !Listen::Tcp(address).is_local())
    }

    /// Serves the API on all of them. Sockets that were handed over wait until the storage is `opened`, within a limit: whoever
    /// has waited over a restart is not to be turned away only because the daemon is not ready yet.
    pub(super) fn serve(self, api: &Arc<Snapshots>, on_api: &Serving, clock: &SharedClock, opened: &CancellationToken) {
        let patience_ms = if self.handed { HANDED_WAIT_MS_MAX } else { 0 };
        for listener in self.all {
            let patience = clock.sleep_until(clock.mono().plus_ms(patience_ms));
            let (opened, api, serving) = (opened.clone(), Arc::clone(api), on_api.clone());
            on_api.tracker.spawn(async move {
                tokio::select! {
                    () = opened.cancelled() => {}
                    () = serving.shutdown.cancelled() => {}
                    () = patience => {}
                }
                api::serve(listener, api, serving).await;
            });
        }
    }
}

/// As the config itself refuses a `listen` without tokens.
fn guard(api: &Api, one: &HandedSocket) -> Result<(), HandedError> {
    let system = |source| HandedError::System { name: one.to_string(), source };
    let address = one.socket.tcp_address().map_err(system)?;
    match address {
        Some(address) if api.tokens.is_empty() && !Listen::Tcp(address).is_local() => {
            Err(HandedError::Unguarded { address })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::systemd::sockets::Handed;

    fn api(lines: &str) -> Api {
        let text = format!("[api]\nlisten = \"127.0.0.1:0\"\n{lines}\n[storage]\ndir = \"/nonexistent\"\n");
        Config::parse(&text, "webhookd.toml", Path::new("/"), &|_| None).unwrap().api
    }

    fn tcp(name: &str, at: &str) -> HandedSocket {
        HandedSocket { name: name.to_owned(), socket: Handed::Tcp(std::net::TcpListener::bind(at).unwrap()) }
    }

    const TOKEN: &str = "token.app = { secret = \"0123456789abcdef\", scope = \"send\" }";

    #[tokio::test]
    async fn a_socket_that_other_machines_reach_wants_tokens_as_the_config_does() {
        for at in ["0.0.0.0:0", "[::]:0"] {
            let error = Listeners::open(&api(""), vec![tcp("api", at)]).await.unwrap_err();
            assert!(matches!(error, StartError::Handed(HandedError::Unguarded { .. })), "{error:?}");
            assert!(error.to_string().contains("token.NAME = { secret"), "{error}");
            let taken = Listeners::open(&api(TOKEN), vec![tcp("api", at)]).await.unwrap();
            assert!(taken.are_public());
        }
        let local = Listeners::open(&api(""), vec![tcp("api", "127.0.0.1:0"), tcp("api", "[::1]:0")]).await.unwrap();
        assert_eq!((local.tcp_addresses().count(), local.are_public()), (2, false));
        let address = local.address(false);
        assert!(address.contains(", http://[::1]:"), "{address}");
        assert!(local.address(true).starts_with("https://127.0.0.1:"));
    }

    #[tokio::test]
    async fn an_unknown_name_is_an_error_and_inbound_is_left_alone() {
        let error = Listeners::open(&api(""), vec![tcp("webhookd.socket", "127.0.0.1:0")]).await.unwrap_err();
        assert!(error.to_string().contains("FileDescriptorName=api"), "{error}");
        let bound = Listeners::open(&api(""), vec![tcp("inbound", "127.0.0.1:0")]).await.unwrap();
        assert_eq!(bound.all.len(), 1, "what the config names");
    }
}
