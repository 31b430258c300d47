//! TLS of a listener: versions 1.2 and 1.3, HTTP/2 or HTTP/1.1 as the client likes, and certificates of clients where the config
//! asks for them.
//!
//! The settings are exchanged while connections go on: each handshake takes those that are in force when it begins, and a
//! connection keeps what it began with. Everything that could be resumed belongs to the settings and is forgotten with them.
//! Where clients show certificates nothing is resumed at all: each connection is judged anew.
//!
//! Who speaks plain HTTP to such a listener is told so, in plain HTTP, and hung up on. A handshake that fails is counted by its
//! reason and otherwise told to those alone who log at level debug: the internet knocks at every door, all day.

use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::server::{NoServerSessionStorage, VerifierBuilderError, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Peer;
use super::problem::{Problem, ProblemKind};
use super::pulse::Pulse;
use super::tally::HandshakeFailed;
use super::wire::Wire;
use crate::clock::UnixMs;
use crate::config::{ListenerTls, subject_of};
use crate::limits;
use crate::observe::Metrics;

/// The first byte of a TLS connection (RFC 8446, section 5.1: a record of type handshake).
const HANDSHAKE: u8 = 22;

/// Why a certificate cannot be served, though its files were right by themselves.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The certificate or its key.
    #[error("the certificate cannot be served: {0}")]
    Certificate(#[from] rustls::Error),
    /// The roots of the clients.
    #[error("the roots of client_ca cannot be used: {0}")]
    ClientCa(#[from] VerifierBuilderError),
}

/// What a handshake needs, ready made.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    config: Arc<ServerConfig>,
    expires: UnixMs,
}

impl TlsSettings {
    /// Makes them of what stands in a config.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn new(tls: &ListenerTls) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[&TLS13, &TLS12])?;
        let builder = if tls.client_ca.is_empty() {
            builder.with_no_client_auth()
        } else {
            builder.with_client_cert_verifier(verifier(tls, provider)?)
        };
        let mut config = builder.with_single_cert(tls.chain.clone(), tls.key.clone_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if tls.client_ca.is_empty() {
            config.ticketer = Ticketer::new()?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self { config: Arc::new(config), expires: tls.expires })
    }
}

fn verifier(
    tls: &ListenerTls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in &tls.client_ca {
        roots.add(root.clone())?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder =
        if tls.client_ca.len() > limits::CLIENT_CA_HINTS_MAX { builder.clear_root_hint_subjects() } else { builder };
    Ok(builder.build()?)
}

/// TLS of one listener.
#[derive(Debug)]
pub struct Tls {
    /// The listener's table in the config.
    listener: &'static str,
    /// Held for as long as it takes to count a reference.
    current: RwLock<TlsSettings>,
    metrics: Arc<Metrics>,
}

/// A client whose handshake is done.
#[derive(Debug)]
pub(super) struct Welcomed {
    /// Its connection.
    pub(super) stream: TlsStream<TcpStream>,
    /// Whom its certificate is of, where it was asked for one.
    pub(super) certificate: Option<String>,
}

impl Tls {
    /// TLS of the listener of the table `listener`.
    #[must_use]
    pub fn new(listener: &'static str, settings: TlsSettings, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.tls_certificate_expires(listener, settings.expires);
        Arc::new(Self { listener, current: RwLock::new(settings), metrics })
    }

    /// Serves the connections that come from now on with other settings.
    pub fn adopt(&self, settings: TlsSettings) {
        self.metrics.tls_certificate_expires(self.listener, settings.expires);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config)
    }

    /// Shakes hands with a client, which was accepted when it had `begun`; `None` where it came to nothing, which was told and
    /// answered.
    pub(super) async fn welcome(&self, socket: TcpStream, from: &Peer, begun: Instant) -> Option<Welcomed> {
        let limit = Duration::from_millis(limits::TLS_HANDSHAKE_MS_MAX);
        let failed = |reason, error: Option<&io::Error>| {
            HandshakeFailed { listener: self.listener, from, reason, error }.tell(&self.metrics);
        };
        match timeout_at(begun + limit, self.shake(socket)).await {
            Ok(Ok(welcomed)) => Some(welcomed),
            Ok(Err(failure)) => {
                let Failure { reason, error, socket } = *failure;
                failed(reason, error.as_ref());
                part(socket, reason).await;
                None
            }
            Err(_) => {
                failed(HandshakeFailure::Timeout, None);
                None
            }
        }
    }

    async fn shake(&self, socket: TcpStream) -> Result<Welcomed, Box<Failure>> {
        let mut first = [0];
        let ended = match socket.peek(&mut first).await {
            Ok(0) => Some(HandshakeFailure::Closed),
            Ok(_) if first[0] == HANDSHAKE => None,
            // Every method of HTTP begins so, and so does HTTP/2.
            Ok(_) if first[0].is_ascii_uppercase() => Some(HandshakeFailure::PlainHttp),
            Ok(_) => Some(HandshakeFailure::NotTls),
            Err(error) => {
                return Err(Box::new(Failure { reason: HandshakeFailure::Closed, error: Some(error), socket }));
            }
        };
        if let Some(reason) = ended {
            return Err(Box::new(Failure { reason, error: None, socket }));
        }
        match TlsAcceptor::from(self.current()).accept(socket).into_fallible().await {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
                let certificate = shown.map(subject_of);
                Ok(Welcomed { stream, certificate })
            }
            Err((error, socket)) => {
                Err(Box::new(Failure { reason: HandshakeFailure::of(&error), error: Some(error), socket }))
            }
        }
    }
}

/// A handshake that came to nothing.
#[derive(Debug)]
struct Failure {
    reason: HandshakeFailure,
    error: Option<io::Error>,
    socket: TcpStream,
}

/// Hangs up gently, so that an alert or an answer arrives though the client went on sending.
async fn part(socket: TcpStream, reason: HandshakeFailure) {
    if reason == HandshakeFailure::Closed {
        return;
    }
    let mut wire = Wire::new(socket, Arc::new(Pulse::new()));
    if reason == HandshakeFailure::PlainHttp && wire.write_all(&plain_answer()).await.is_err() {
        return;
    }
    // How it ended is the client's affair.
    let _ = wire.shutdown().await;
}

/// What is answered in the clear to who speaks plain HTTP.
fn plain_answer() -> Vec<u8> {
    let detail = "this port speaks TLS: ask again with https:// instead of http:// in the address; nothing was done";
    Problem::new(ProblemKind::TlsNeeded, detail).by_hand()
}

macro_rules! failures {
    ($($(#[$doc:meta])* $name:ident = $word:literal,)*) => {
        /// Why a handshake came to nothing: a closed set, each with its word.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum HandshakeFailure {
            $($(#[$doc])* $name,)*
        }

        impl HandshakeFailure {
            /// The label of the metric.
            pub(super) fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }
        }
    };
}

failures! {
    /// It took too long.
    Timeout = "timeout",
    /// The client went away.
    Closed = "closed",
    /// The client spoke plain HTTP.
    PlainHttp = "plain_http",
    /// What came was neither TLS nor HTTP.
    NotTls = "not_tls",
    /// What came was broken TLS, or against its rules.
    Malformed = "malformed",
    /// The client knows no version, cipher, key exchange or protocol that is spoken here.
    Incompatible = "incompatible",
    /// The client showed no certificate, and had to.
    NoClientCertificate = "no_client_certificate",
    /// The client's certificate does not hold.
    BadClientCertificate = "bad_client_certificate",
    /// The client broke off with an alert: mostly, it does not trust the certificate it saw.
    RefusedByClient = "refused_by_client",
    /// Anything else.
    Other = "other",
}

impl HandshakeFailure {
    fn of(error: &io::Error) -> Self {
        use rustls::Error as E;
        let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<E>()) else {
            return Self::Closed;
        };
        match cause {
            E::PeerIncompatible(_) | E::NoApplicationProtocol => Self::Incompatible,
            E::NoCertificatesPresented => Self::NoClientCertificate,
            E::InvalidCertificate(_) => Self::BadClientCertificate,
            E::AlertReceived(_) => Self::RefusedByClient,
            E::InvalidMessage(_)
            | E::InappropriateMessage { .. }
            | E::InappropriateHandshakeMessage { .. }
            | E::PeerMisbehaved(_)
            | E::PeerSentOversizedRecord
            | E::DecryptError => Self::Malformed,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests;
