//! TLS of the command line: whom it trusts, what it shows, and what to do where that does not suffice.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};

use super::failure::Failure;
use crate::config::pem;
use crate::deliver::usual_roots;

/// Whom to trust.
#[derive(Debug)]
pub(super) enum Trust {
    /// Those whom everyone trusts.
    Usual,
    /// The authorities of a file.
    Authorities(RootCertStore),
    /// This one certificate, whatever names stand in it: it comes from the daemon's own config.
    Exactly(CertificateDer<'static>),
}

/// A client certificate with its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Trust {
    /// The authorities of a PEM file.
    pub(super) fn authorities(file: &Path) -> Result<Self, Failure> {
        let certificates = read(file, pem::certificates)?;
        pem::check_roots(&certificates).map_err(|why| of_file(file, &why))?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        Ok(Self::Authorities(roots))
    }

    /// The first certificate of a PEM file, and no other.
    pub(super) fn exactly(file: &Path) -> Result<Self, Failure> {
        let mut certificates = read(file, pem::certificates)?;
        Ok(Self::Exactly(certificates.swap_remove(0)))
    }

    /// The settings to connect with.
    pub(super) fn settings(self, identity: Option<Identity>) -> Result<Arc<ClientConfig>, Failure> {
        let provider = Arc::new(ring::default_provider());
        let unusable = |error: Error| Failure::usage(format!("the client certificate cannot be used: {error}"));
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(unusable)?;
        let builder = match self {
            Self::Usual => builder.with_root_certificates(usual_roots()),
            Self::Authorities(roots) => builder.with_root_certificates(roots),
            Self::Exactly(certificate) => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Exactly { certificate, provider }))
            }
        };
        let mut settings = match identity {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(unusable)?,
            None => builder.with_no_client_auth(),
        };
        settings.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(settings))
    }
}

/// A client certificate and its key, of two PEM files.
pub(super) fn identity(cert: &Path, key: &Path) -> Result<Identity, Failure> {
    let chain = read(cert, pem::certificates)?;
    let (private, _) = read(key, pem::private_key)?;
    pem::check_pair(&chain, &private).map_err(|why| of_file(key, &why))?;
    Ok((chain, private))
}

fn read<T>(file: &Path, reader: impl FnOnce(&Path) -> Result<T, String>) -> Result<T, Failure> {
    reader(file).map_err(|why| of_file(file, &why))
}

fn of_file(file: &Path, why: &str) -> Failure {
    let shown = file.display().to_string();
    // Some faults name the file themselves.
    Failure::usage(if why.contains(&shown) { why.to_owned() } else { format!("{shown}: {why}") })
}

/// Takes one certificate and no other. That the server has its key is proved by the signatures of the handshake.
#[derive(Debug)]
struct Exactly {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What TLS met, and what to do, for somebody who typed a command.
#[derive(Debug)]
pub(super) struct Met(Error);

impl Met {
    /// What TLS met, if it is at the bottom of this.
    pub(super) fn below(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut cause = Some(error);
        while let Some(error) = cause {
            let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
            if let Some(met) = inner.and_then(|inner| inner.downcast_ref::<Error>()) {
                return Some(Self(met.clone()));
            }
            cause = error.source();
        }
        None
    }

    /// Whether the server has turned the client away.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.0, Error::AlertReceived(_))
    }
}

impl fmt::Display for Met {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use CertificateError as C;
        match &self.0 {
            Error::InvalidCertificate(C::UnknownIssuer) => f.write_str(
                "its certificate comes from an authority that is not trusted here; name that authority's certificate with \
                 --ca FILE, or the daemon's own config with --config FILE in the place of --api",
            ),
            Error::InvalidCertificate(C::NotValidForNameContext { expected, presented }) => {
                let names: Vec<String> = presented.iter().map(|name| name_in(name).to_owned()).collect();
                let names = if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") };
                write!(f, "its certificate is for {names}, not for {}; name it so with --api", expected.to_str())
            }
            Error::InvalidCertificate(C::ApplicationVerificationFailure) => f.write_str(
                "it shows another certificate than the one in the config; a daemon takes a changed file within some \
                 seconds, unless it says in its log what is wrong with it",
            ),
            Error::InvalidCertificate(why) => write!(f, "its certificate is not accepted: {why}"),
            Error::AlertReceived(AlertDescription::CertificateRequired) => {
                f.write_str("it wants a client certificate; give one with --cert FILE --cert-key FILE")
            }
            Error::AlertReceived(
                alert @ (AlertDescription::UnknownCA
                | AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError),
            ) => write!(
                f,
                "it does not accept the client certificate ({alert:?}); give one that its client_ca has issued and that has \
                 not expired, with --cert FILE --cert-key FILE"
            ),
            Error::InvalidMessage(_) => f.write_str("what answers there is not TLS; is it http:// instead of https://?"),
            other => write!(f, "{other}"),
        }
    }
}

/// The name in what the TLS library shows as `DnsName("a.example.com")`.
fn name_in(shown: &str) -> &str {
    shown.split('"').nth(1).unwrap_or(shown)
}
