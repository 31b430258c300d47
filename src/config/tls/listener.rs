//! `tls` of a listener: its files, read and judged. This is done when a config is read, and again whenever one of the files
//! has changed while a daemon runs.

use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use subtle::ConstantTimeEq as _;

use super::certificate::{Facts, Validity};
use super::pem;
use crate::clock::UnixMs;

/// Where the PEM files of a listener stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that issued it, in this order.
    pub cert: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
    /// Who issues the certificates that clients have to show; `None`: they show none.
    pub client_ca: Option<PathBuf>,
}

/// `tls` of a listener: what stood in its files, checked.
#[derive(Debug)]
pub struct ListenerTls {
    /// Where it stood.
    pub files: TlsFiles,
    /// The certificate and those that issued it.
    pub chain: Vec<CertificateDer<'static>>,
    /// The private key.
    pub key: PrivateKeyDer<'static>,
    /// Who issues the certificates that clients have to show; empty: they show none.
    pub client_ca: Vec<CertificateDer<'static>>,
    /// When the certificate expires.
    pub expires: UnixMs,
}

/// One of the keys of `tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsKey {
    /// `cert`
    Cert,
    /// `key`
    Key,
    /// `client_ca`
    ClientCa,
}

impl TlsKey {
    /// The key as it is written.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cert => "cert",
            Self::Key => "key",
            Self::ClientCa => "client_ca",
        }
    }
}

/// What is to be said of one of the files: what is wrong with it, or worth a word. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsNote {
    /// Which one.
    pub key: TlsKey,
    /// What, and what to do.
    pub text: String,
}

impl fmt::Display for TlsNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key.word(), self.text)
    }
}

/// What came of reading the files.
#[derive(Debug)]
pub struct ReadTls {
    /// What is in them; or everything that is wrong.
    pub tls: Result<ListenerTls, Vec<TlsNote>>,
    /// What is wrong with it now, and with nothing but the passing of time was not, or will not be.
    pub lapsed: Vec<TlsNote>,
    /// What is worth a word though it is not wrong.
    pub warnings: Vec<TlsNote>,
}

impl ListenerTls {
    /// Reads and judges the files at the time `now`. It blocks.
    #[must_use]
    pub fn read(files: TlsFiles, now: UnixMs) -> ReadTls {
        let mut notes = Notes::default();
        let chain = notes.wrong(TlsKey::Cert, pem::certificates(&files.cert));
        let expires = chain.as_ref().and_then(|chain| judge_chain(&mut notes, chain, now));
        let key = notes.wrong(TlsKey::Key, pem::private_key(&files.key)).map(|(key, open)| {
            notes.warn(TlsKey::Key, open);
            key
        });
        if let (Some(chain), Some(key)) = (&chain, &key) {
            notes.wrong(TlsKey::Key, pem::check_pair(chain, key));
        }
        let client_ca = files.client_ca.as_ref().map_or(Some(Vec::new()), |path| {
            let roots = notes.wrong(TlsKey::ClientCa, pem::certificates(path))?;
            notes.wrong(TlsKey::ClientCa, pem::check_roots(&roots))?;
            judge_roots(&roots, now).into_iter().for_each(|text| notes.warn(TlsKey::ClientCa, Some(text)));
            Some(roots)
        });
        let Notes { errors, lapsed, warnings } = notes;
        let tls = match (chain, key, client_ca, expires) {
            (Some(chain), Some(key), Some(client_ca), Some(expires)) if errors.is_empty() => {
                Ok(Self { files, chain, key, client_ca, expires })
            }
            _ => Err(errors),
        };
        ReadTls { tls, lapsed, warnings }
    }

    /// Whether the two are the same in every respect. Keys are compared in constant time.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let Self { files, chain, key, client_ca, expires: _ } = self;
        (files, chain, client_ca) == (&other.files, &other.chain, &other.client_ca)
            && bool::from(key.secret_der().ct_eq(other.key.secret_der()))
    }
}

#[derive(Default)]
struct Notes {
    errors: Vec<TlsNote>,
    lapsed: Vec<TlsNote>,
    warnings: Vec<TlsNote>,
}

impl Notes {
    fn wrong<T>(&mut self, key: TlsKey, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|text| self.errors.push(TlsNote { key, text })).ok()
    }

    fn warn(&mut self, key: TlsKey, text: Option<String>) {
        self.warnings.extend(text.map(|text| TlsNote { key, text }));
    }
}

/// Judges the certificate that a listener shows, and those that lead to its root; when the first expires, unless it is unfit.
fn judge_chain(notes: &mut Notes, chain: &[CertificateDer<'static>], now: UnixMs) -> Option<UnixMs> {
    let mut all = Vec::new();
    for (n, certificate) in chain.iter().enumerate() {
        let facts = Facts::of(certificate)
            .and_then(|facts| {
                ParsedCertificate::try_from(certificate).map(|_| facts).map_err(|error| error.to_string())
            })
            .map_err(|why| format!("certificate {} of the file cannot be read: {why}", n + 1));
        all.push(notes.wrong(TlsKey::Cert, facts)?);
    }
    let (leaf, issuers) = all.split_first()?;
    let mut fit = vec![judge_order(notes, &all)];
    match leaf.at(now) {
        Validity::Holds => {}
        Validity::EndsSoon(text) => notes.warn(TlsKey::Cert, Some(format!("the certificate {text}"))),
        Validity::Invalid(text) => {
            notes.lapsed.push(TlsNote { key: TlsKey::Cert, text: format!("the certificate {text}") });
        }
    }
    for (n, issuer) in issuers.iter().enumerate() {
        if let Validity::EndsSoon(text) | Validity::Invalid(text) = issuer.at(now) {
            notes.warn(TlsKey::Cert, Some(format!("certificate {} of the file, which issued another, {text}", n + 2)));
        }
    }
    if leaf.is_ca {
        fit.push(Err(
            "the certificate is one of an authority (CA:TRUE), which clients refuse from a server; issue one for \
             the server with it, or make a self-signed one with `-addext basicConstraints=critical,CA:FALSE`"
                .to_owned(),
        ));
    }
    if !leaf.has_names {
        fit.push(Err(
            "the certificate names no host (it has no subjectAltName), and clients look nowhere else; issue it \
             with one, for example `-addext subjectAltName=DNS:hooks.example.com`"
                .to_owned(),
        ));
    }
    let faults = fit.into_iter().filter(|outcome| notes.wrong(TlsKey::Cert, outcome.clone()).is_none()).count();
    (faults == 0).then_some(leaf.not_after)
}

/// Each certificate is to be followed by the one that issued it.
fn judge_order(notes: &mut Notes, all: &[Facts]) -> Result<(), String> {
    let Some(n) = all.windows(2).position(|pair| !pair[0].is_issued_by(&pair[1])) else { return Ok(()) };
    let elsewhere = all.iter().enumerate().any(|(at, other)| at != n && all[n].is_issued_by(other));
    if elsewhere {
        return Err(
            "the certificates stand in the wrong order; put the server's own first, then the one that issued it, \
                    and so on"
                .to_owned(),
        );
    }
    let text = format!(
        "certificate {} of the file did not issue certificate {}: clients may not find the way to a root they know; give \
         the server's own, then the one that issued it, and so on",
        n + 2,
        n + 1
    );
    notes.warn(TlsKey::Cert, Some(text));
    Ok(())
}

/// Sentences about roots that are out of date. They still count: TLS libraries do not look at a root's dates.
pub(super) fn judge_roots(roots: &[CertificateDer<'static>], now: UnixMs) -> Vec<String> {
    let facts = roots.iter().enumerate().filter_map(|(n, root)| Some((n + 1, Facts::of(root).ok()?)));
    let of = |(n, facts): (usize, Facts)| match facts.at(now) {
        Validity::Holds => None,
        Validity::EndsSoon(text) | Validity::Invalid(text) => Some(format!("certificate {n} of the file {text}")),
    };
    facts.filter_map(of).collect()
}
