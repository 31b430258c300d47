//! `tls` of an endpoint: PEM files, read and parsed here so that a broken one is found before the first delivery.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::EndpointTls;
use super::keys::ENDPOINT_TLS;
use super::reader::{Item, Reading, Table, marked_secret};
use super::secrets::{read_bounded, read_private};
use crate::limits;

/// Reads `tls`.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<EndpointTls> {
    let table = Table::open(reading, item, &ENDPOINT_TLS)?;
    let (ca, cert, key) = (table.get("ca"), table.get("cert"), table.get("key"));
    match (&ca, &cert, &key) {
        (None, None, None) => reading.error(item, "expected ca, or cert and key, found an empty table"),
        (_, Some(cert), None) => {
            reading.error(cert, "a client certificate needs its private key; add key = \"client.key\"")
        }
        (_, None, Some(key)) => reading.error(key, "a client key needs its certificate; add cert = \"client.pem\""),
        _ => {}
    }
    let roots = ca.map(|item| read_roots(reading, &item));
    let chain = cert.as_ref().map(|item| read_certs(reading, item));
    let private = key.as_ref().map(|item| read_key(reading, item));
    let client = match (chain.flatten(), private.flatten(), key) {
        (Some(chain), Some(private), Some(item)) => {
            check_pair(reading, &item, &chain, &private);
            Some((chain, private))
        }
        _ => None,
    };
    Some(EndpointTls { ca: roots.flatten().unwrap_or_default(), client })
}

/// What is said of a file that cannot be read.
const ADVICE: &str = "give the path of a PEM file";

fn path(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<PathBuf> {
    let path = item.text(reading, "the path of a PEM file")?;
    if marked_secret(path) {
        reading.error(item, "expected the path of a PEM file, found something with a secret in it");
        return None;
    }
    Some(reading.resolve(path))
}

fn read_certs(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Vec<CertificateDer<'static>>> {
    // Certificates are public: everyone may read them.
    let path = path(reading, item)?;
    let (pem, _) = read_bounded(reading, item, &path, limits::PEM_BYTES_MAX, ADVICE)?;
    let certs: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certs {
        Ok(certs) if certs.is_empty() => {
            reading.error(item, "the file holds no certificate; expected PEM with -----BEGIN CERTIFICATE-----");
            None
        }
        Ok(certs) => Some(certs),
        Err(_) => {
            reading.error(item, "the file is not valid PEM; expected -----BEGIN CERTIFICATE----- and base64");
            None
        }
    }
}

fn read_roots(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let certs = read_certs(reading, item)?;
    let mut store = rustls::RootCertStore::empty();
    for (n, cert) in certs.iter().enumerate() {
        if let Err(error) = store.add(cert.clone()) {
            reading.error(item, format!("certificate {} of the file cannot be a root: {error}", n + 1));
            return None;
        }
    }
    Some(certs)
}

fn read_key(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<PrivateKeyDer<'static>> {
    let path = path(reading, item)?;
    let pem = zeroize::Zeroizing::new(read_private(reading, item, &path, limits::PEM_BYTES_MAX, ADVICE)?);
    let key = PrivateKeyDer::from_pem_slice(&pem).ok();
    if key.is_none() {
        reading.error(
            item,
            "the file holds no usable private key; expected PEM with -----BEGIN PRIVATE KEY-----, not encrypted",
        );
    }
    key
}

fn check_pair(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
) {
    let Ok(signer) = any_supported_type(key) else {
        reading.error(
            item,
            "the private key is of no supported kind; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 bits or more",
        );
        return;
    };
    if let Err(error) = CertifiedKey::new(chain.to_vec(), Arc::clone(&signer)).keys_match() {
        reading.error(item, format!("the private key does not fit the certificate: {error}"));
    }
}
