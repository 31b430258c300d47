//! Where a table is served: on the sockets that systemd hands over for it, and else where its `listen` says.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::table::Table;
use crate::clock::SharedClock;
use crate::config::{Api, Listen};
use crate::front::{Listener, Serving};
use crate::limits::HANDED_WAIT_MS_MAX;
use crate::systemd::sockets::HandedSocket;

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
         FileDescriptorName=api or FileDescriptorName=inbound into its socket unit"
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

/// Sorts sockets that were handed over by the table that each is for, in the order of [`Table::ALL`].
pub(super) fn sorted(handed: Vec<HandedSocket>) -> Result<[Vec<HandedSocket>; 2], HandedError> {
    let (mut api, mut inbound) = (Vec::new(), Vec::new());
    for one in handed {
        match Table::named(&one.name) {
            Some(Table::Api) => api.push(one),
            Some(Table::Inbound) => inbound.push(one),
            None => return Err(HandedError::Name { name: one.to_string() }),
        }
    }
    Ok([api, inbound])
}

/// Judges sockets for the API as the config itself does a `listen` without tokens. Whoever posts to a source is verified, so
/// sockets for third parties need no such judge.
pub(super) fn guard(api: &Api, handed: &[HandedSocket]) -> Result<(), HandedError> {
    for one in handed {
        let system = |source| HandedError::System { name: one.to_string(), source };
        match one.socket.tcp_address().map_err(system)? {
            Some(address) if api.tokens.is_empty() && !Listen::Tcp(address).is_local() => {
                return Err(HandedError::Unguarded { address });
            }
            _ => {}
        }
    }
    Ok(())
}

/// What clients on sockets that were handed over wait for.
#[derive(Debug)]
pub(super) struct Opening {
    clock: SharedClock,
    opened: CancellationToken,
}

impl Opening {
    /// The storage is about to be opened.
    pub(super) fn begins(clock: &SharedClock) -> Self {
        Self { clock: Arc::clone(clock), opened: CancellationToken::new() }
    }

    /// It is open.
    pub(super) fn ends(&self) {
        self.opened.cancel();
    }
}

/// Where a table listens.
#[derive(Debug)]
pub(super) struct Listeners {
    /// Those that nobody serves yet.
    waiting: Vec<Listener>,
    /// Where they stand.
    addresses: Vec<String>,
    /// Those of TCP.
    tcp_addresses: Vec<SocketAddr>,
    /// Whether systemd listens on them, also while there is no daemon.
    handed: bool,
}

impl Listeners {
    /// Takes the sockets that were handed over for a table, or binds where it says that it listens.
    pub(super) async fn open(table: Table, listen: &Listen, handed: Vec<HandedSocket>) -> Result<Self, StartError> {
        let mut waiting = Vec::new();
        for one in handed {
            let name = one.to_string();
            waiting.push(Listener::handed(one.socket).map_err(|source| HandedError::System { name, source })?);
        }
        let handed = !waiting.is_empty();
        if !handed {
            waiting.push(Listener::bind(table.word(), listen).await?);
        }
        let addresses = waiting.iter().map(Listener::address).collect();
        let tcp_addresses = waiting.iter().filter_map(Listener::tcp_address).collect();
        Ok(Self { waiting, addresses, tcp_addresses, handed })
    }

    /// Where they stand, as `--api` takes each, with commas between.
    pub(super) fn address(&self, tls: bool) -> String {
        let address = |address: &String| match address.strip_prefix("http://") {
            Some(authority) if tls => format!("https://{authority}"),
            _ => address.clone(),
        };
        self.addresses.iter().map(address).collect::<Vec<_>>().join(", ")
    }

    /// Those of TCP.
    pub(super) fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.tcp_addresses
    }

    /// Whether other machines reach one of them.
    pub(super) fn are_public(&self) -> bool {
        self.tcp_addresses.iter().any(|address| !Listen::Tcp(*address).is_local())
    }

    /// Serves all of them. Sockets that were handed over wait until the storage is open, within a limit: whoever has waited over
    /// a restart is not to be turned away only because the daemon is not ready yet.
    pub(super) fn serve<F>(&mut self, serving: &Serving, opening: &Opening, serve: impl Fn(Listener, Serving) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Opening { clock, opened } = opening;
        let patience_ms = if self.handed { HANDED_WAIT_MS_MAX } else { 0 };
        for listener in self.waiting.drain(..) {
            let patience = clock.sleep_until(clock.mono().plus_ms(patience_ms));
            let (opened, shutdown) = (opened.clone(), serving.shutdown.clone());
            let served = serve(listener, serving.clone());
            serving.tracker.spawn(async move {
                tokio::select! {
                    () = opened.cancelled() => {}
                    () = shutdown.cancelled() => {}
                    () = patience => {}
                }
                served.await;
            });
        }
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

    async fn open(api: &Api, handed: Vec<HandedSocket>) -> Result<Listeners, StartError> {
        guard(api, &handed)?;
        Listeners::open(Table::Api, &api.listen, handed).await
    }

    const TOKEN: &str = "token.app = { secret = \"0123456789abcdef\", scope = \"send\" }";

    #[tokio::test]
    async fn a_socket_that_other_machines_reach_wants_tokens_as_the_config_does() {
        for at in ["0.0.0.0:0", "[::]:0"] {
            let error = open(&api(""), vec![tcp("api", at)]).await.unwrap_err();
            assert!(matches!(error, StartError::Handed(HandedError::Unguarded { .. })), "{error:?}");
            assert!(error.to_string().contains("token.NAME = { secret"), "{error}");
            assert!(open(&api(TOKEN), vec![tcp("api", at)]).await.unwrap().are_public());
        }
        let local = open(&api(""), vec![tcp("api", "127.0.0.1:0"), tcp("api", "[::1]:0")]).await.unwrap();
        assert_eq!((local.tcp_addresses().len(), local.are_public()), (2, false));
        let address = local.address(false);
        assert!(address.contains(", http://[::1]:"), "{address}");
        assert!(local.address(true).starts_with("https://127.0.0.1:"));
    }

    #[test]
    fn sockets_are_sorted_by_their_names_and_an_unknown_name_is_an_error() {
        let at = "127.0.0.1:0";
        let [api, inbound] = sorted(vec![tcp("inbound", at), tcp("api", at), tcp("inbound", at)]).unwrap();
        assert_eq!((api.len(), inbound.len()), (1, 2));
        for name in ["webhookd.socket", "unknown", "API", ""] {
            let error = sorted(vec![tcp("api", at), tcp(name, at)]).unwrap_err();
            assert!(error.to_string().contains("FileDescriptorName=inbound"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_place_that_is_taken_is_named_with_the_table_that_asks_for_it() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = Listen::Tcp(taken.local_addr().unwrap());
        for table in Table::ALL {
            let error = Listeners::open(table, &listen, Vec::new()).await.unwrap_err();
            assert!(error.to_string().ends_with(&format!("choose another [{}] listen", table.word())), "{error}");
        }
    }
}
