//! PEM files: certificates and private keys, each fault in words that say what to do. No key is ever shown.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::super::secrets::{read_file_bounded, seen_by_all};
use crate::limits;

/// What is said of a file that cannot be read.
const ADVICE: &str = "give the path of a PEM file that this user may read";

/// The certificates of a file, one at least.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    // Certificates are public: everyone may read them.
    let (pem, _) = read_file_bounded(path, limits::PEM_BYTES_MAX, ADVICE)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(none_in(&pem)),
        Ok(certificates) if certificates.len() > limits::CERTIFICATES_MAX => Err(format!(
            "the file holds {} certificates, at most {} are allowed",
            certificates.len(),
            limits::CERTIFICATES_MAX
        )),
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("the file is not valid PEM; expected -----BEGIN CERTIFICATE----- and base64".to_owned()),
    }
}

fn none_in(pem: &[u8]) -> String {
    let hint = if Kind::of(pem).is_some() {
        ", found a private key: are cert and key the wrong way round?"
    } else if pem.first() == Some(&0x30) {
        "; this looks like DER, which `openssl x509 -inform der -in FILE` writes as PEM"
    } else {
        ""
    };
    format!("the file holds no certificate; expected PEM with -----BEGIN CERTIFICATE-----{hint}")
}

/// What kind of private key a PEM text holds.
enum Kind {
    Plain,
    Encrypted,
}

impl Kind {
    fn of(pem: &[u8]) -> Option<Self> {
        let has = |words: &str| pem.windows(words.len()).any(|window| window == words.as_bytes());
        // PKCS #8 says so in its label (RFC 7468, section 11), the older kinds in a header (RFC 1421, section 4.6.1.1).
        if has("-----BEGIN ENCRYPTED PRIVATE KEY-----") || has("Proc-Type: 4,ENCRYPTED") {
            return Some(Self::Encrypted);
        }
        has("PRIVATE KEY-----").then_some(Self::Plain)
    }
}

/// The private key of a file, and a sentence where everyone on the machine may read it.
///
/// # Errors
/// What is wrong with the file, and what to do.
pub fn private_key(path: &Path) -> Result<(PrivateKeyDer<'static>, Option<String>), String> {
    let (pem, mode) = read_file_bounded(path, limits::PEM_BYTES_MAX, ADVICE)?;
    let pem = Zeroizing::new(pem);
    if matches!(Kind::of(&pem), Some(Kind::Encrypted)) {
        return Err(
            "the private key is encrypted, and webhookd knows no passphrase; `openssl pkey -in FILE -out NEW` \
                    writes it without one, then `chmod 600 NEW`"
                .to_owned(),
        );
    }
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        "the file holds no usable private key; expected PEM with -----BEGIN PRIVATE KEY-----, not encrypted".to_owned()
    })?;
    Ok((key, seen_by_all(path, mode)))
}

/// Whether each certificate can be a root.
///
/// # Errors
/// Which one cannot, and why.
pub fn check_roots(certificates: &[CertificateDer<'static>]) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    for (n, certificate) in certificates.iter().enumerate() {
        roots
            .add(certificate.clone())
            .map_err(|error| format!("certificate {} of the file cannot be a root: {error}", n + 1))?;
    }
    Ok(())
}

/// Whether the key is of a kind that can sign, and belongs to the first certificate of a chain.
///
/// # Errors
/// Why not, and what to do.
pub fn check_pair(chain: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<(), String> {
    let signer = any_supported_type(key).map_err(|_| {
        "the private key is of no supported kind; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more"
            .to_owned()
    })?;
    let fits = |chain: Vec<CertificateDer<'static>>| CertifiedKey::new(chain, Arc::clone(&signer)).keys_match();
    let Err(error) = fits(chain.to_vec()) else { return Ok(()) };
    let other = chain.iter().skip(1).position(|certificate| fits(vec![certificate.clone()]).is_ok());
    Err(match other {
        Some(n) => format!(
            "the private key fits certificate {} of the file, but the first must be the one it belongs to; put that one \
             first, then the one that issued it, and so on",
            n + 2
        ),
        None => format!("the private key does not fit the certificate: {error}"),
    })
}
