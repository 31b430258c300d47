//! Handshakes, from the inside: whom the peer is told to be, and that every failure has its word.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::Request;
use hyper::body::Incoming;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::*;
use crate::config::{Listen, Proxies, TlsFiles};
use crate::front::{Connections, Listener, Places, ProxyHeaders, Serving, answer, serve};

type Authority = CertifiedIssuer<'static, KeyPair>;
type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &Authority, name: &str) -> Identity {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap().der().clone();
    (vec![certificate], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
}

fn listener_tls(authority: &Authority, clients: Vec<CertificateDer<'static>>) -> ListenerTls {
    let (chain, key) = issue(authority, "server");
    let files = TlsFiles { cert: "cert.pem".into(), key: "key.pem".into(), client_ca: None };
    ListenerTls { files, chain, key, client_ca: clients, expires: UnixMs(5_000) }
}

struct Served {
    address: SocketAddr,
    root: Authority,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Served {
    /// A listener whose answer is the peer's name.
    async fn start(clients: Vec<CertificateDer<'static>>) -> Self {
        let (root, metrics) = (authority(), Metrics::shared());
        let tls = Tls::new("inbound", TlsSettings::new(&listener_tls(&root, clients)).unwrap(), Arc::clone(&metrics));
        let listener = Listener::bind("api", &Listen::Tcp("127.0.0.1:0".parse().unwrap())).await.unwrap();
        let address = listener.tcp_address().unwrap();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let connections = Connections::new("inbound", Places { all: 10, per_address: 10 }, Arc::clone(&metrics));
        let proxies = ProxyHeaders::new("inbound", Proxies::default(), Arc::clone(&metrics));
        let (shutdown, tls) = (stop.clone(), Some(tls));
        let serving = Serving { shutdown, tracker: tracker.clone(), connections, tls, proxies };
        let told = |peer: Arc<Peer>, _: Request<Incoming>| async move {
            answer::json(hyper::StatusCode::OK, &peer.to_string())
        };
        tracker.spawn(serve(listener, told, serving));
        Self { address, root, metrics, stop, tracker }
    }

    async fn ask(&self, client: Option<Identity>) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.der().clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match client {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let socket = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, socket).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.split_once("\r\n\r\n").unwrap().1.to_owned())
    }

    fn failed(&self, reason: HandshakeFailure) -> u64 {
        self.metrics.tls_handshakes_failed.with_label_values(&["inbound", reason.word()]).get()
    }
}

#[tokio::test]
async fn a_peer_is_known_by_the_certificate_that_it_showed() {
    let clients = authority();
    let served = Served::start(vec![clients.der().clone()]).await;
    let peer = served.ask(Some(issue(&clients, "billing\nadmin"))).await.unwrap();
    assert!(peer.starts_with("\"127.0.0.1:") && peer.ends_with(" (CN=billing\\\\nadmin)\""), "{peer}");
    assert!(served.ask(None).await.is_err());
    assert!(served.ask(Some(issue(&authority(), "stranger"))).await.is_err());
    assert_eq!(served.failed(HandshakeFailure::NoClientCertificate), 1);
    assert_eq!(served.failed(HandshakeFailure::BadClientCertificate), 1);
    let text = served.metrics.text();
    assert!(text.contains("webhookd_tls_certificate_expiry_timestamp_seconds{listener=\"inbound\"} 5\n"), "{text}");
}

#[tokio::test]
async fn without_roots_for_clients_nobody_is_asked_for_a_certificate() {
    let served = Served::start(Vec::new()).await;
    let peer = served.ask(Some(issue(&authority(), "anybody"))).await.unwrap();
    assert!(!peer.contains("CN="), "{peer}");
}

#[tokio::test]
async fn a_client_that_distrusts_the_certificate_is_counted_as_that() {
    let served = Served::start(Vec::new()).await;
    let stranger = Served { root: authority(), ..served };
    assert!(stranger.ask(None).await.is_err());
    while stranger.failed(HandshakeFailure::RefusedByClient) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stop_waits_for_no_handshake() {
    let served = Served::start(Vec::new()).await;
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    // The listener has taken it once a later one was served.
    served.ask(None).await.unwrap();
    let started = Instant::now();
    served.stop.cancel();
    served.tracker.close();
    served.tracker.wait().await;
    assert!(started.elapsed() < Duration::from_millis(limits::TLS_HANDSHAKE_MS_MAX / 2));
    assert_eq!(silent.read(&mut [0; 8]).await.unwrap(), 0);
}

#[test]
fn many_roots_are_taken_without_their_names_being_sent() {
    let root = authority();
    let many = |count: usize| (0..count).map(|_| authority().der().clone()).collect::<Vec<_>>();
    let hints = |count: usize| {
        let verifier = verifier(&listener_tls(&root, many(count)), Arc::new(default_provider())).unwrap();
        verifier.root_hint_subjects().len()
    };
    assert_eq!(hints(2), 2);
    assert_eq!(hints(limits::CLIENT_CA_HINTS_MAX + 1), 0);
}
