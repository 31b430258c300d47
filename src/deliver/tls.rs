//! TLS towards endpoints: whom to trust and what to show.
//!
//! The usual roots (Mozilla's, compiled in, and the system's) are read once, at the first connection that needs them,
//! and shared: a daemon whose endpoints are plain HTTP or name their own CA never pays for them.

use std::collections::HashSet;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use crate::config::EndpointTls;

/// TLS sessions kept for resumption by the settings that many endpoints share, in tickets; rustls keeps up to eight for
/// each host.
const SHARED_TICKETS_MAX: usize = 8 * 64;
/// The same for an endpoint with settings of its own: one host.
const OWN_TICKETS_MAX: usize = 8;

/// What all endpoints share.
#[derive(Debug)]
pub(super) struct SharedTls {
    provider: Arc<CryptoProvider>,
    roots: OnceCell<Arc<RootCertStore>>,
    usual: OnceCell<Arc<ClientConfig>>,
    tasks: TaskTracker,
}

/// One endpoint's way to its TLS settings.
#[derive(Debug)]
pub(super) enum TlsSettings {
    /// The usual roots, no client certificate.
    Usual(Arc<SharedTls>),
    /// Ready made: the endpoint's own CA.
    Own(Arc<ClientConfig>),
    /// The usual roots and a client certificate.
    Client {
        shared: Arc<SharedTls>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        made: OnceCell<Arc<ClientConfig>>,
    },
}

impl SharedTls {
    /// Nothing is read yet. `tasks` runs the reading, which blocks.
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self {
            provider: Arc::new(rustls::crypto::ring::default_provider()),
            roots: OnceCell::new(),
            usual: OnceCell::new(),
            tasks,
        }
    }

    async fn roots(&self) -> Arc<RootCertStore> {
        let roots = self.roots.get_or_init(|| async {
            // Reading the system's certificates is file work, so it happens off the runtime's threads. If it fails as
            // a whole, the compiled-in roots still stand.
            let read = self.tasks.spawn_blocking(usual_roots).await;
            Arc::new(read.unwrap_or_else(|_| compiled_in_roots()))
        });
        Arc::clone(roots.await)
    }

    fn settings(
        &self,
        roots: Arc<RootCertStore>,
        client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
        tickets_max: usize,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut settings = match client {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        settings.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        settings.resumption = Resumption::in_memory_sessions(tickets_max);
        Ok(Arc::new(settings))
    }
}

impl TlsSettings {
    /// The settings that `tls` asks for. A CA or a client certificate that does not hold is found here, at the start,
    /// rather than at the first delivery.
    pub(super) fn new(shared: &Arc<SharedTls>, tls: Option<&EndpointTls>) -> Result<Self, rustls::Error> {
        let Some(tls) = tls else {
            return Ok(Self::Usual(Arc::clone(shared)));
        };
        let client = || tls.client.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key()));
        if tls.ca.is_empty() {
            let Some((chain, key)) = client() else {
                return Ok(Self::Usual(Arc::clone(shared)));
            };
            // Whether key and certificate belong together does not depend on the roots, which are not read yet.
            shared.settings(Arc::new(RootCertStore::empty()), client(), OWN_TICKETS_MAX)?;
            return Ok(Self::Client { shared: Arc::clone(shared), chain, key, made: OnceCell::new() });
        }
        let mut roots = RootCertStore::empty();
        for ca in &tls.ca {
            roots.add(ca.clone())?;
        }
        Ok(Self::Own(shared.settings(Arc::new(roots), client(), OWN_TICKETS_MAX)?))
    }

    /// The settings to connect with.
    pub(super) async fn get(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        match self {
            Self::Own(settings) => Ok(Arc::clone(settings)),
            Self::Usual(shared) => {
                let make = || async { shared.settings(shared.roots().await, None, SHARED_TICKETS_MAX) };
                shared.usual.get_or_try_init(make).await.map(Arc::clone)
            }
            Self::Client { shared, chain, key, made } => {
                let client = || Some((chain.clone(), key.clone_key()));
                let make = || async { shared.settings(shared.roots().await, client(), OWN_TICKETS_MAX) };
                made.get_or_try_init(make).await.map(Arc::clone)
            }
        }
    }
}

fn compiled_in_roots() -> RootCertStore {
    RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// Mozilla's roots and those of the system that are not among them. `SSL_CERT_FILE` and `SSL_CERT_DIR` name other
/// places for the system's.
#[must_use]
pub fn usual_roots() -> RootCertStore {
    let mut roots = compiled_in_roots();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some of the system's root certificates could not be read; the others are used");
    }
    roots.add_parsable_certificates(system.certs);
    // The system's are mostly Mozilla's again.
    let mut known = HashSet::new();
    let mut unique = Vec::with_capacity(webpki_roots::TLS_SERVER_ROOTS.len());
    for root in roots.roots {
        if known.insert((root.subject.to_vec(), root.subject_public_key_info.to_vec())) {
            unique.push(root);
        }
    }
    unique.shrink_to_fit();
    RootCertStore { roots: unique }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_roots_hold_the_compiled_in_ones_once() {
        let roots = usual_roots().roots;
        for root in webpki_roots::TLS_SERVER_ROOTS {
            let same = |known: &&rustls::pki_types::TrustAnchor<'_>| {
                known.subject == root.subject && known.subject_public_key_info == root.subject_public_key_info
            };
            assert_eq!(roots.iter().filter(same).count(), 1);
        }
    }

    #[tokio::test]
    async fn the_usual_settings_are_made_once_and_shared() {
        let shared = Arc::new(SharedTls::new(TaskTracker::new()));
        let one = TlsSettings::new(&shared, None).unwrap();
        let no_wishes = EndpointTls { ca: Vec::new(), client: None };
        let other = TlsSettings::new(&shared, Some(&no_wishes)).unwrap();
        assert!(!shared.roots.initialized(), "nothing is read before the first connection");
        assert!(Arc::ptr_eq(&one.get().await.unwrap(), &other.get().await.unwrap()));
    }

    #[test]
    fn a_client_key_that_fits_no_certificate_is_found_at_the_start() {
        let shared = Arc::new(SharedTls::new(TaskTracker::new()));
        let certificate = rcgen::generate_simple_self_signed(["client".to_owned()]).unwrap();
        let stranger = rcgen::generate_simple_self_signed(["other".to_owned()]).unwrap();
        let tls = EndpointTls {
            ca: Vec::new(),
            client: Some((
                vec![certificate.cert.der().clone()],
                PrivateKeyDer::try_from(stranger.signing_key.serialize_der()).unwrap(),
            )),
        };
        assert!(TlsSettings::new(&shared, Some(&tls)).is_err());
    }

    #[test]
    fn a_ca_that_is_no_certificate_is_found_at_the_start() {
        let shared = Arc::new(SharedTls::new(TaskTracker::new()));
        let tls = EndpointTls { ca: vec![CertificateDer::from(vec![1, 2, 3])], client: None };
        assert!(TlsSettings::new(&shared, Some(&tls)).is_err());
    }
}
