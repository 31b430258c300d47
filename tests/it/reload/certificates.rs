//! Certificates towards endpoints, renewed in place.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::reload;
use crate::kit::{Setup, block_on, eventually, runtime};

/// An authority of our own.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    (CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, authority).unwrap(), key)
}

/// Puts a new client certificate of the authority where the config has it; the certificate.
fn renew(dir: &Path, authority: &Authority) -> CertificateDer<'static> {
    let (certificate, key) = issue(authority, "webhookd");
    fs::write(dir.join("client.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("client.key"), key.serialize_pem()).unwrap();
    certificate.der().clone()
}

type Shown = Arc<Mutex<Vec<(usize, CertificateDer<'static>)>>>;

/// A TLS server that takes everything, from clients with a certificate of the authority, and remembers for each request its
/// connection and the certificate that was shown on it.
struct Server {
    port: u16,
    shown: Shown,
    task: JoinHandle<()>,
}

impl Server {
    fn start(authority: &Authority) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let (certificate, key) = issue(authority, "localhost");
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let listener = block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown = Shown::default();
        let task = runtime().spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), Arc::clone(&shown)));
        Self { port, shown, task }
    }

    fn shown(&self) -> Vec<(usize, CertificateDer<'static>)> {
        self.shown.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shown: Shown) {
    let mut connections = tokio::task::JoinSet::new();
    for n in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, shown) = (acceptor.clone(), Arc::clone(&shown));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            let service = service_fn(move |_: Request<hyper::body::Incoming>| {
                shown.lock().unwrap().push((n, certificate.clone()));
                async { Ok::<_, std::convert::Infallible>(Response::new(Full::<bytes::Bytes>::default())) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

#[test]
fn a_renewed_client_certificate_is_shown_on_the_next_connection() {
    let authority = authority();
    let server = Server::start(&authority);
    let url = format!("https://localhost:{}/", server.port);
    let lines = "tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }";
    let mut daemon =
        Setup::new().endpoint("app", &url, lines).endpoint("idle", "http://127.0.0.1:9/", "events = []").prepare();
    fs::write(daemon.dir().join("ca.pem"), authority.pem()).unwrap();
    let old = renew(daemon.dir(), &authority);
    daemon.run();
    let deliver = |n: usize| {
        let id = daemon.client().event("a", &n.to_string());
        daemon.client().await_state(&id, "app", "delivered");
        eventually("it came", || (server.shown().len() == n).then(|| server.shown()[n - 1].clone()))
    };
    assert_eq!(deliver(1), (0, old.clone()));
    // Nothing has changed: the connection stays.
    assert_eq!(reload(&daemon)["endpoints"]["changed"], json!([]));
    assert_eq!(deliver(2), (0, old.clone()));
    let new = renew(daemon.dir(), &authority);
    assert_eq!(reload(&daemon)["endpoints"]["changed"], json!(["app"]));
    assert_eq!(deliver(3), (1, new.clone()));
    assert_ne!(old, new);
    // A key that does not fit its certificate is refused, and the connections stay.
    fs::write(daemon.dir().join("client.key"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let problem = daemon.client().post("/v1/reload", "").problem(422);
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("does not fit the certificate"), "{problem}");
    assert_eq!(deliver(4), (1, new));
    let log = daemon.log();
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}
