//! What a certificate says of itself: until when it holds, for whom, and who issued it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::clock::UnixMs;
use crate::limits;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// The parts of a certificate that are looked at here; the rest is the TLS library's affair.
#[derive(Debug)]
pub(super) struct Facts {
    /// From when on it holds.
    pub(super) not_before: UnixMs,
    /// Until when.
    pub(super) not_after: UnixMs,
    /// Whether it may issue others.
    pub(super) is_ca: bool,
    /// Whether it names the hosts it is for (subjectAltName); clients look nowhere else.
    pub(super) has_names: bool,
    /// The names as they stand in it, so that one may be compared with the other.
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

/// How a certificate stands to the present time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// It holds, and will for a while.
    Holds,
    /// It holds, and has to be renewed soon.
    EndsSoon(String),
    /// It does not hold.
    Invalid(String),
}

impl Facts {
    pub(super) fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| error.to_string())?;
        let names = parsed.subject_alternative_name().map_err(|error| error.to_string())?;
        let usable = |name: &GeneralName<'_>| matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_));
        Ok(Self {
            not_before: unix_ms(parsed.validity().not_before.timestamp()),
            not_after: unix_ms(parsed.validity().not_after.timestamp()),
            is_ca: parsed.is_ca(),
            has_names: names.is_some_and(|names| names.value.general_names.iter().any(usable)),
            subject: parsed.subject().as_raw().to_vec(),
            issuer: parsed.issuer().as_raw().to_vec(),
        })
    }

    /// Whether `other` carries the name of the one that issued this.
    pub(super) fn is_issued_by(&self, other: &Self) -> bool {
        self.issuer == other.subject
    }

    /// How it stands to the time `now`. Its last second counts as valid (RFC 5280, section 4.1.2.5).
    pub(super) fn at(&self, now: UnixMs) -> Validity {
        if now < self.not_before {
            return Validity::Invalid(format!(
                "is not valid before {}, and it is {} now; check this machine's clock, or give a certificate that is valid",
                shown(self.not_before),
                shown(now)
            ));
        }
        let end = self.not_after.plus_ms(999);
        if now > end {
            return Validity::Invalid(format!("has been expired since {}; renew it", shown(self.not_after)));
        }
        let left_ms = self.not_after.since(now);
        if left_ms <= limits::CERTIFICATE_CHECK_MS {
            let left = match left_ms / DAY_MS {
                0 => "less than a day".to_owned(),
                1 => "1 day".to_owned(),
                days => format!("{days} days"),
            };
            return Validity::EndsSoon(format!("expires on {}, {left} from now; renew it", shown(self.not_after)));
        }
        Validity::Holds
    }
}

/// Whom a certificate is of, in a short text without control characters: its subject, or the first of its names where it has
/// none.
#[must_use]
pub fn subject_of(certificate: &CertificateDer<'_>) -> String {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return "unreadable".to_owned() };
    let subject = parsed.subject().to_string();
    if !subject.is_empty() {
        return bounded(&subject);
    }
    let names = parsed.subject_alternative_name().ok().flatten();
    let first = names.and_then(|names| names.value.general_names.iter().find_map(named));
    first.map_or_else(|| "unnamed".to_owned(), |name| bounded(&name))
}

fn named(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into())).ok()
}

/// A text of somebody else's for the log: bounded, and whatever could forge or disturb a line is escaped.
fn bounded(text: &str) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == limits::CERTIFICATE_SUBJECT_CHARS_MAX {
            out.push('…');
            break;
        }
        let disturbs = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
        if disturbs {
            // Writing to a string cannot fail.
            let _ = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

fn unix_ms(seconds: i64) -> UnixMs {
    UnixMs(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

/// To the second, as certificates are dated.
fn shown(at: UnixMs) -> String {
    at.to_string().replace(".000Z", "Z")
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};

    use super::*;

    fn of_name(name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn a_subject_is_short_and_cannot_forge_a_line() {
        assert_eq!(subject_of(&of_name("app-1")), "CN=app-1");
        let forged = subject_of(&of_name("a\nERROR b\u{202e}c\u{1b}[2J"));
        assert_eq!(forged, "CN=a\\nERROR b\\u{202e}c\\u{1b}[2J");
        let long = subject_of(&of_name(&"ü".repeat(5000)));
        assert_eq!(long.chars().count(), limits::CERTIFICATE_SUBJECT_CHARS_MAX + 1);
        assert_eq!(subject_of(&CertificateDer::from(vec![1, 2, 3])), "unreadable");
    }

    #[test]
    fn without_a_subject_the_first_name_tells_whom_it_is_of() {
        let named = |names: Vec<SanType>| {
            let mut params = CertificateParams::new(Vec::new()).unwrap();
            params.distinguished_name = DistinguishedName::new();
            params.subject_alt_names = names;
            subject_of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der())
        };
        let uri = SanType::URI("spiffe://example.org/app".try_into().unwrap());
        assert_eq!(named(vec![uri]), "spiffe://example.org/app");
        assert_eq!(named(vec![SanType::IpAddress("192.0.2.1".parse().unwrap())]), "192.0.2.1");
        assert_eq!(named(Vec::new()), "unnamed");
    }

    #[test]
    fn the_first_and_the_last_second_are_valid() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 6, 1);
        let facts = Facts::of(params.self_signed(&KeyPair::generate().unwrap()).unwrap().der()).unwrap();
        let at = |text: &str| facts.at(UnixMs::parse_rfc3339(text).unwrap());
        let invalid = |text: &str, words: &str| match at(text) {
            Validity::Invalid(why) => assert!(why.contains(words), "{why}"),
            other => panic!("{text}: {other:?}"),
        };
        invalid("2025-12-31T23:59:59.999Z", "is not valid before 2026-01-01T00:00:00Z");
        assert_eq!(at("2026-01-01T00:00:00Z"), Validity::Holds);
        assert_eq!(at("2026-05-01T00:00:00Z"), Validity::Holds, "31 days");
        let soon =
            |left: &str| Validity::EndsSoon(format!("expires on 2026-06-01T00:00:00Z, {left} from now; renew it"));
        assert_eq!(at("2026-05-02T12:00:00Z"), soon("29 days"));
        assert_eq!(at("2026-05-30T12:00:00Z"), soon("1 day"));
        assert_eq!(at("2026-06-01T00:00:00Z"), soon("less than a day"));
        invalid("2026-06-01T00:00:01Z", "expired since 2026-06-01T00:00:00Z");
    }
}
