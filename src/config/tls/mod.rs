//! `tls` of a listener and of an endpoint: PEM files, read and judged here, so that a broken one is found before the first
//! connection.
//!
//! | file | job |
//! |---|---|
//! | `pem` | files to certificates and keys |
//! | `certificate` | what a certificate says of itself |
//! | `listener` | the files of a listener, together |

mod certificate;
mod listener;
pub mod pem;

use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

pub use self::certificate::subject_of;
pub use self::listener::{ListenerTls, ReadTls, TlsFiles, TlsKey, TlsNote};

use self::certificate::{Facts, Validity};
use super::keys::{ENDPOINT_TLS, Keys};
use super::reader::{Item, Reading, Table, marked_secret};
use super::{EndpointTls, Listen};

/// Reads `tls` of a listener.
pub(super) fn read_listener(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    keys: &'static Keys,
    listen: &Listen,
) -> Option<Arc<ListenerTls>> {
    let table = Table::open(reading, item, keys)?;
    if matches!(listen, Listen::Unix(_)) {
        reading.error(
            item,
            "a unix socket needs no TLS: nobody listens in between, and its file says who may connect; remove tls, or \
             listen on a TCP address",
        );
        return None;
    }
    for (key, file) in [("cert", "cert.pem"), ("key", "key.pem")] {
        if table.find(key).is_none() {
            table.error(reading, key, format!("missing; write {key} = \"{file}\""));
        }
    }
    let (cert, key, client_ca) = (table.get("cert"), table.get("key"), table.get("client_ca"));
    // All three are looked at before any is missed, so that each fault is told.
    let [cert_path, key_path, client_ca_path] =
        [&cert, &key, &client_ca].map(|item| item.as_ref().and_then(|item| path(reading, item)));
    if client_ca.is_some() != client_ca_path.is_some() {
        return None;
    }
    let files = TlsFiles { cert: cert_path?, key: key_path?, client_ca: client_ca_path };
    let ReadTls { tls, lapsed, warnings } = ListenerTls::read(files, reading.now);
    let item_of = |at: TlsKey| match at {
        TlsKey::Cert => cert.as_ref(),
        TlsKey::Key => key.as_ref(),
        TlsKey::ClientCa => client_ca.as_ref(),
    };
    for note in &warnings {
        reading.warn(item_of(note.key).unwrap_or(item), &note.text);
    }
    for note in lapsed {
        reading.lapse(item_of(note.key).unwrap_or(item), note.text);
    }
    let tls = tls.map_err(|notes| {
        notes.into_iter().for_each(|note| reading.error(item_of(note.key).unwrap_or(item), note.text));
    });
    tls.ok().map(Arc::new)
}

/// Reads `tls` of an endpoint.
pub(super) fn read_endpoint(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<EndpointTls> {
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
    let roots = ca.and_then(|item| {
        let roots = read_certificates(reading, &item)?;
        told(reading, &item, pem::check_roots(&roots))?;
        for sentence in listener::judge_roots(&roots, reading.now) {
            reading.warn(&item, &sentence);
        }
        Some(roots)
    });
    let chain = cert.as_ref().and_then(|item| {
        let chain = read_certificates(reading, item)?;
        judge_client(reading, item, &chain);
        Some(chain)
    });
    let private = key.as_ref().and_then(|item| {
        let path = path(reading, item)?;
        let (key, open) = told(reading, item, pem::private_key(&path))?;
        open.iter().for_each(|sentence| reading.warn(item, sentence));
        Some(key)
    });
    let client = match (chain, private, key) {
        (Some(chain), Some(private), Some(item)) => {
            told(reading, &item, pem::check_pair(&chain, &private));
            Some((chain, private))
        }
        _ => None,
    };
    Some(EndpointTls { ca: roots.unwrap_or_default(), client })
}

/// Judges the certificate that is shown to an endpoint.
fn judge_client(reading: &mut Reading<'_>, item: &Item<'_>, chain: &[CertificateDer<'static>]) {
    let Some(Ok(facts)) = chain.first().map(Facts::of) else {
        reading.error(item, "the first certificate of the file cannot be read; give an X.509 certificate");
        return;
    };
    match facts.at(reading.now) {
        Validity::Holds => {}
        Validity::EndsSoon(text) => reading.warn(item, &format!("the certificate {text}")),
        Validity::Invalid(text) => reading.lapse(item, format!("the certificate {text}")),
    }
}

fn read_certificates(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Vec<CertificateDer<'static>>> {
    let path = path(reading, item)?;
    told(reading, item, pem::certificates(&path))
}

fn path(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<PathBuf> {
    let path = item.text(reading, "the path of a PEM file")?;
    if marked_secret(path) {
        reading.error(item, "expected the path of a PEM file, found something with a secret in it");
        return None;
    }
    Some(reading.resolve(path))
}

fn told<T>(reading: &mut Reading<'_>, item: &Item<'_>, outcome: Result<T, String>) -> Option<T> {
    outcome.map_err(|text| reading.error(item, text)).ok()
}
