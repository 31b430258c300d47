//! TLS towards endpoints, and HTTP/2 where it is agreed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, Version};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use super::fixture::{RESPONSE_BYTES_MAX, Receiver, Seen, Sender, TIMEOUT_MS, endpoint, event, raw, settle};
use crate::clock::{ManualClock, ManualHandle, UnixMs};
use crate::config::{Endpoint, EndpointTls};
use crate::deliver::Attempted;
use crate::limits;
use crate::model::attempt::AttemptError;
use crate::policy::answer::Verdict;

/// A certificate authority of our own.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(super) fn issue(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// A server for `name` that offers `alpn`, and asks clients for certificates of `clients`.
    pub(super) fn server(&self, name: &str, alpn: &[&str], clients: Option<&Authority>) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.certificate()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let (chain, key) = self.issue(name);
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    pub(super) fn trusted(&self, client: Option<Identity>) -> Option<EndpointTls> {
        Some(EndpointTls { ca: vec![self.certificate()], client })
    }
}

pub(super) fn ok(_: &Seen) -> Response<Full<Bytes>> {
    Response::new(Full::new(Bytes::from_static(b"thanks")))
}

/// The endpoint behind `receiver`, by the name `localhost`, wherever that resolves to.
fn sender(receiver: &Receiver, tls: Option<EndpointTls>) -> Sender {
    let url = format!("https://localhost:{}/hook", receiver.at.port());
    Sender::new(Endpoint { tls, ..endpoint(&url) })
}

pub(super) fn is_tls_failure(attempted: &Attempted) {
    assert_eq!((attempted.status, attempted.error), (None, Some(AttemptError::Tls)), "{:?}", attempted.detail);
}

#[tokio::test]
async fn http_2_is_spoken_where_the_server_offers_it() {
    let ca = Authority::new();
    let cases: [(&[&str], Version); 4] = [
        (&["h2", "http/1.1"], Version::HTTP_2),
        (&["h2"], Version::HTTP_2),
        (&["http/1.1"], Version::HTTP_11),
        (&[], Version::HTTP_11),
    ];
    for (alpn, version) in cases {
        let receiver = Receiver::start_tls(ca.server("localhost", alpn, None), ok).await;
        let attempted = sender(&receiver, ca.trusted(None)).send(event(&[b'1'; 100_000]), 7).await;
        assert_eq!(attempted.verdict, Verdict::Delivered, "{alpn:?}: {:?}", attempted.detail);
        assert_eq!(attempted.response, b"thanks");
        let [seen] = receiver.seen().try_into().unwrap();
        assert_eq!((seen.version, seen.body.len()), (version, 100_000), "{alpn:?}");
        assert_eq!(seen.headers["webhook-attempt"], "7");
        assert_eq!(seen.uri.path(), "/hook");
    }
}

#[tokio::test]
async fn an_unknown_authority_is_tls() {
    let (ca, other) = (Authority::new(), Authority::new());
    let receiver = Receiver::start_tls(ca.server("localhost", &[], None), ok).await;
    is_tls_failure(&sender(&receiver, None).attempt().await);
    is_tls_failure(&sender(&receiver, other.trusted(None)).attempt().await);
    assert!(receiver.seen().is_empty());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_tls() {
    let ca = Authority::new();
    let receiver = Receiver::start_tls(ca.server("elsewhere.test", &[], None), ok).await;
    is_tls_failure(&sender(&receiver, ca.trusted(None)).attempt().await);
}

#[tokio::test]
async fn a_server_that_speaks_no_tls_is_tls() {
    let receiver = Receiver::start(ok).await;
    is_tls_failure(&sender(&receiver, None).attempt().await);
}

#[tokio::test]
async fn an_address_is_checked_against_the_certificate() {
    let ca = Authority::new();
    let receiver = Receiver::start_tls(ca.server("127.0.0.1", &["h2"], None), ok).await;
    let url = format!("https://{}/", receiver.at);
    let attempted = Sender::new(Endpoint { tls: ca.trusted(None), ..endpoint(&url) }).attempt().await;
    assert_eq!(attempted.verdict, Verdict::Delivered, "{:?}", attempted.detail);
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_it_is_asked_for() {
    let (ca, clients) = (Authority::new(), Authority::new());
    for alpn in ["h2", "http/1.1"] {
        let receiver = Receiver::start_tls(ca.server("localhost", &[alpn], Some(&clients)), ok).await;
        let known = sender(&receiver, ca.trusted(Some(clients.issue("webhookd")))).attempt().await;
        assert_eq!(known.verdict, Verdict::Delivered, "{:?}", known.detail);
        is_tls_failure(&sender(&receiver, ca.trusted(None)).attempt().await);
        is_tls_failure(&sender(&receiver, ca.trusted(Some(ca.issue("stranger")))).attempt().await);
        assert_eq!(receiver.seen().len(), 1);
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_tls_when_connecting_is_out_of_time() {
    let reached = Arc::new(tokio::sync::Notify::new());
    let arrived = Arc::clone(&reached);
    let (at, _tasks) = raw(move |_, mut tcp| {
        let arrived = Arc::clone(&arrived);
        async move {
            let _ = tcp.read(&mut [0; 16]).await;
            arrived.notify_one();
            std::future::pending::<()>().await;
        }
    })
    .await;
    let clock = ManualClock::at(UnixMs(0));
    let ca = Authority::new();
    let endpoint = Endpoint {
        tls: ca.trusted(None),
        timeout_ms: 2 * limits::CONNECT_MS_MAX,
        ..endpoint(&format!("https://{at}/"))
    };
    let sender = Sender::with_clock(endpoint, Arc::new(ManualHandle(Arc::clone(&clock))));
    let time = async {
        reached.notified().await;
        clock.advance_ms(limits::CONNECT_MS_MAX);
    };
    let (attempted, ()) = tokio::join!(sender.attempt(), time);
    is_tls_failure(&attempted);
    assert_eq!(u64::from(attempted.duration_ms), limits::CONNECT_MS_MAX);
}

#[tokio::test]
async fn all_attempts_share_one_http_2_connection() {
    let ca = Authority::new();
    let receiver = Receiver::start_tls(ca.server("localhost", &["h2"], None), ok).await;
    let sender = Arc::new(sender(&receiver, ca.trusted(None)));
    sender.attempt().await;
    let mut attempts = tokio::task::JoinSet::new();
    for n in 2..=20 {
        let sender = Arc::clone(&sender);
        attempts.spawn(async move { sender.send(event(b"1"), n).await.verdict });
    }
    assert!(attempts.join_all().await.into_iter().all(|verdict| verdict == Verdict::Delivered));
    let seen = receiver.seen();
    assert_eq!(seen.len(), 20);
    assert!(seen.iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn attempts_that_race_to_open_http_2_all_arrive() {
    let ca = Authority::new();
    let receiver = Receiver::start_tls(ca.server("localhost", &["h2"], None), ok).await;
    let sender = Arc::new(sender(&receiver, ca.trusted(None)));
    let mut attempts = tokio::task::JoinSet::new();
    for n in 1..=32 {
        let sender = Arc::clone(&sender);
        attempts.spawn(async move { sender.send(event(b"1"), n).await });
    }
    for attempted in attempts.join_all().await {
        assert_eq!(attempted.verdict, Verdict::Delivered, "{:?}", attempted.detail);
    }
}

#[tokio::test]
async fn a_long_http_2_body_costs_its_stream_and_not_the_connection() {
    let ca = Authority::new();
    let long = |_: &Seen| Response::new(Full::new(Bytes::from(vec![b'x'; 4 * 1024 * 1024])));
    let receiver = Receiver::start_tls(ca.server("localhost", &["h2"], None), long).await;
    let sender = sender(&receiver, ca.trusted(None));
    for n in 1..=5 {
        let attempted = sender.send(event(b"1"), n).await;
        assert_eq!(attempted.verdict, Verdict::Delivered, "{:?}", attempted.detail);
        assert_eq!(attempted.response, [b'x'; RESPONSE_BYTES_MAX]);
    }
    assert!(receiver.seen().iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn a_server_that_breaks_http_2_is_protocol() {
    let ca = Authority::new();
    let acceptor = ca.server("localhost", &["h2"], None);
    let dials = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dials);
    let (at, _tasks) = raw(move |_, tcp| {
        count.fetch_add(1, Ordering::Relaxed);
        let acceptor = acceptor.clone();
        async move {
            let mut tls = acceptor.accept(tcp).await.unwrap();
            let _ = tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = tls.shutdown().await;
            let _ = tls.read(&mut [0; 1024]).await;
        }
    })
    .await;
    let url = format!("https://localhost:{}/", at.port());
    let sender = Sender::new(Endpoint { tls: ca.trusted(None), timeout_ms: TIMEOUT_MS, ..endpoint(&url) });
    let attempted = sender.attempt().await;
    assert_eq!((attempted.status, attempted.error), (None, Some(AttemptError::Protocol)), "{:?}", attempted.detail);
    settle().await;
    assert_eq!(dials.load(Ordering::Relaxed), 1, "one attempt is one connection");
}
