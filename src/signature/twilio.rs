//! Twilio: `x-twilio-signature`, the base64 HMAC of the public URL and, for a form, of its fields. It is HMAC-SHA1 under an
//! account's auth token; under one of Twilio's shared keys `x-twilio-webhooks-signature-settings` names the hash.
//!
//! Two modes, told apart by the URL, which is signed in both:
//! - A form: the URL, then each field's name and value, decoded, sorted, equal pairs once.
//! - Any other body: the URL alone, whose `bodySHA256` query field is the hex SHA-256 of the body.
//!
//! Twilio's own side is not consistent about the port, so the URL is accepted with its port and without it.

use std::borrow::Cow;
use std::fmt::Write as _;

use hyper::header::{HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use url::form_urlencoded;

use super::mac::{Algorithm, Encoding, MacKey, Tag};
use super::received::Received;
use super::refusal::Refusal;
use super::{Signed, header_value};
use crate::limits;

static SIGNATURE: HeaderName = HeaderName::from_static("x-twilio-signature");
/// `key=…,algorithm=…`
static SETTINGS: HeaderName = HeaderName::from_static("x-twilio-webhooks-signature-settings");

const BODY_HASH: &str = "bodySHA256";

/// A Twilio auth token, or the secret of a shared key.
#[derive(Clone)]
pub(super) struct TwilioKey {
    sha1: MacKey,
    sha256: MacKey,
}

type Fields<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

impl TwilioKey {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self { sha1: MacKey::new(Algorithm::Sha1, secret), sha256: MacKey::new(Algorithm::Sha256, secret) }
    }

    /// The key under the hash that the request names. Nothing signs that name; no name of a hash lets anybody sign who has no
    /// secret.
    fn named_by(&self, received: &Received<'_>) -> Result<&MacKey, Refusal> {
        if !received.headers.contains_key(&SETTINGS) {
            return Ok(&self.sha1);
        }
        let settings = received.header(&SETTINGS)?;
        let named = settings.split(|byte| *byte == b',').find_map(|part| {
            let (name, value) = part.split_at(part.iter().position(|byte| *byte == b'=')?);
            let value = value[1..].trim_ascii();
            (name.trim_ascii() == b"algorithm" && !value.is_empty()).then_some(value)
        });
        match named {
            None => Ok(&self.sha1),
            Some(name) if name.eq_ignore_ascii_case(b"HMAC_SHA1") => Ok(&self.sha1),
            Some(name) if name.eq_ignore_ascii_case(b"HMAC_SHA256") => Ok(&self.sha256),
            Some(_) => Err(Refusal::MalformedHeader),
        }
    }

    pub(super) fn verify(&self, received: &Received<'_>) -> Result<(), Refusal> {
        let signature = received.header(&SIGNATURE)?;
        let key = self.named_by(received)?;
        let signature = Tag::parse(signature, key.algorithm(), Encoding::Base64).ok_or(Refusal::MalformedHeader)?;
        let url = received.url.and_then(PublicUrl::parse).ok_or(Refusal::UnknownUrl)?;
        let fields = match url.body_hash() {
            Some(hash) => {
                let actual = hex::encode(Sha256::digest(received.body));
                if !bool::from(hash.to_ascii_lowercase().as_bytes().ct_eq(actual.as_bytes())) {
                    return Err(Refusal::Mismatch);
                }
                Fields::new()
            }
            None => sorted_fields(received.body, limits::SIGNED_FIELDS_MAX).ok_or(Refusal::MalformedBody)?,
        };
        let port = url.port.unwrap_or(url.default_port);
        let with = tag(key, &[url.before_port, port, url.after_port], &fields);
        let without = tag(key, &[url.before_port, url.after_port], &fields);
        if with.fits(&signature) | without.fits(&signature) { Ok(()) } else { Err(Refusal::Mismatch) }
    }

    /// Signs the URL as it is written, with HMAC-SHA1, which Twilio's libraries take unless they are told otherwise. A body that is no form needs [`url_with_body_hash`] first.
    pub(super) fn sign(&self, signed: &Signed<'_>) -> (HeaderName, HeaderValue) {
        let hashed = PublicUrl::parse(signed.url).is_some_and(|url| url.body_hash().is_some());
        let fields = if hashed { None } else { sorted_fields(signed.body, usize::MAX) };
        let tag = tag(&self.sha1, &[signed.url], &fields.unwrap_or_default());
        let mut text = String::with_capacity(tag.written_len(Encoding::Base64));
        tag.write(Encoding::Base64, &mut text);
        (SIGNATURE.clone(), header_value(text))
    }
}

fn tag(key: &MacKey, url: &[&str], fields: &Fields<'_>) -> Tag {
    let fields = fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    key.tag(url.iter().map(|part| part.as_bytes()).chain(fields))
}

/// The URL with the `bodySHA256` query field under which Twilio signs a body that is no form. A request signed with the scheme
/// `twilio` must be sent to this URL.
#[must_use]
pub fn url_with_body_hash(url: &str, body: &[u8]) -> String {
    let (base, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let joint = if base.contains('?') { '&' } else { '?' };
    let mut text = String::with_capacity(url.len() + BODY_HASH.len() + 66);
    let hash = hex::encode(Sha256::digest(body));
    write!(text, "{base}{joint}{BODY_HASH}={hash}{fragment}").expect("writing to a String does not fail");
    text
}

/// The fields of a form, decoded, sorted by name and then by value, equal pairs once; `None` past `max` of them.
fn sorted_fields(body: &[u8], max: usize) -> Option<Fields<'_>> {
    let mut fields = Fields::new();
    for field in form_urlencoded::parse(body) {
        if fields.len() == max {
            return None;
        }
        fields.push(field);
    }
    fields.sort_unstable();
    fields.dedup();
    Some(fields)
}

/// An http(s) URL cut around its port, every other byte as it was written: a parsed and rewritten URL could differ from the
/// one that was signed.
struct PublicUrl<'a> {
    before_port: &'a str,
    /// With its colon.
    port: Option<&'a str>,
    after_port: &'a str,
    default_port: &'static str,
}

impl<'a> PublicUrl<'a> {
    fn parse(url: &'a str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let default_port = if scheme.eq_ignore_ascii_case("https") {
            ":443"
        } else if scheme.eq_ignore_ascii_case("http") {
            ":80"
        } else {
            return None;
        };
        let authority_start = url.len() - rest.len();
        let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let authority = &rest[..authority_len];
        let host_start = authority.rfind('@').map_or(0, |at| at + 1);
        if authority.len() == host_start {
            return None;
        }
        // The colons of an IPv6 address stand within its brackets.
        let address_end = authority.rfind(']').map_or(host_start, |at| at + 1);
        let port_start = authority[address_end..].find(':').map_or(authority.len(), |at| address_end + at);
        let (before_port, _) = url.split_at(authority_start + port_start);
        let (_, after_port) = url.split_at(authority_start + authority_len);
        let port = &authority[port_start..];
        // A colon without digits names no port.
        let port = (port.len() > 1).then_some(port);
        Some(Self { before_port, port, after_port, default_port })
    }

    /// The first `bodySHA256` of the query.
    fn body_hash(&self) -> Option<Cow<'a, str>> {
        let (_, query) = self.after_port.split_once('?')?;
        let query = query.split_once('#').map_or(query, |(query, _)| query);
        form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == BODY_HASH).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderMap;

    use super::*;

    const URL: &str = "https://mycompany.com/myapp.php?foo=1&bar=2";
    const FORM: &str =
        "CallSid=CA1234567890ABCDE&Digits=1234&From=%2B14158675309&To=%2B18005551212&Caller=%2B14158675309";
    // What Twilio's own Python library is tested with, under the token 12345.
    const SIGNATURE_OF_FORM: &str = "RSOYDt4T1cUTdK1PDd93/VVr8B8=";

    fn answer(url: Option<&str>, body: &str, signature: &str) -> Result<(), Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(&SIGNATURE, signature.parse().unwrap());
        TwilioKey::new(b"12345").verify(&Received { headers: &headers, body: body.as_bytes(), now_secs: 0, url })
    }

    #[test]
    fn a_form_is_signed_with_its_fields_sorted() {
        assert_eq!(answer(Some(URL), FORM, SIGNATURE_OF_FORM), Ok(()));
        let turned = FORM.split('&').rev().collect::<Vec<_>>().join("&");
        assert_eq!(answer(Some(URL), &turned, SIGNATURE_OF_FORM), Ok(()));
        assert_eq!(answer(Some(URL), &FORM.replace("1234&", "1235&"), SIGNATURE_OF_FORM), Err(Refusal::Mismatch));
        assert_eq!(answer(Some(&URL.replace("foo=1", "foo=2")), FORM, SIGNATURE_OF_FORM), Err(Refusal::Mismatch));
        let repeated = "Sid=CA123&SidAccount=AC123&Digits=5678&Digits=1234&Digits=1234";
        assert_eq!(answer(Some(URL), repeated, "IK+Dwps556ElfBT0I3Rgjkr1wJU="), Ok(()));
    }

    #[test]
    fn the_port_may_be_signed_or_not() {
        for (url, signature) in [
            ("https://mycompany.com:1234/myapp.php?foo=1&bar=2", SIGNATURE_OF_FORM),
            ("https://mycompany.com/myapp.php?foo=1&bar=2", "kvajT1Ptam85bY51eRf/AJRuM3w="),
            ("http://mycompany.com:1234/myapp.php?foo=1&bar=2", "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
            ("http://mycompany.com/myapp.php?foo=1&bar=2", "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        ] {
            assert_eq!(answer(Some(url), FORM, signature), Ok(()), "{url}");
        }
        let other_port = Some("http://mycompany.com:1235/myapp.php?foo=1&bar=2");
        assert_eq!(answer(other_port, FORM, "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="), Err(Refusal::Mismatch));
    }

    #[test]
    fn another_body_is_signed_by_its_hash_in_the_url() {
        const BODY: &str = r#"{"property": "value", "boolean": true}"#;
        const SIGNATURE_OF_URL: &str = "a9nBmqA0ju/hNViExpshrM61xv4=";
        let url = url_with_body_hash(URL, BODY.as_bytes());
        assert_eq!(url, format!("{URL}&bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"));
        assert_eq!(answer(Some(&url), BODY, SIGNATURE_OF_URL), Ok(()));
        assert_eq!(answer(Some(&url), &BODY.replace("true", "false"), SIGNATURE_OF_URL), Err(Refusal::Mismatch));
        assert_eq!(answer(Some(&url), "", SIGNATURE_OF_URL), Err(Refusal::Mismatch));
        assert_eq!(answer(Some(&url.replace("0a1ff", "0a1f")), BODY, SIGNATURE_OF_URL), Err(Refusal::Mismatch));
        assert_eq!(url_with_body_hash("https://a/#f", b"").split('=').next(), Some("https://a/?bodySHA256"));
        assert!(url_with_body_hash("https://a/#f", b"").ends_with("855#f"));
    }

    #[test]
    fn the_hash_is_the_one_that_the_settings_name() {
        // The same form under the token 12345, signed by Twilio's Python library.
        const SHA256: &str = "033hgUJA9M/hXIZsYjwkerEP/DBm35nEri5FhCYjA5s=";
        let answer = |settings: &[&str], signature: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&SIGNATURE, signature.parse().unwrap());
            settings.iter().for_each(|value| _ = headers.append(&SETTINGS, value.parse().unwrap()));
            let received = Received { headers: &headers, body: FORM.as_bytes(), now_secs: 0, url: Some(URL) };
            TwilioKey::new(b"12345").verify(&received)
        };
        for settings in ["key=k,algorithm=HMAC_SHA256", "algorithm=hmac_sha256", "key=k, algorithm = HMAC_SHA256 ,x"] {
            assert_eq!(answer(&[settings], SHA256), Ok(()), "{settings}");
            assert_eq!(answer(&[settings], SIGNATURE_OF_FORM), Err(Refusal::MalformedHeader), "{settings}");
        }
        for settings in ["", "key=k", "algorithm=", "algorithm", "algorithm=HMAC_SHA1", "Algorithm=HMAC_SHA256"] {
            assert_eq!(answer(&[settings], SIGNATURE_OF_FORM), Ok(()), "{settings}");
            assert_eq!(answer(&[settings], SHA256), Err(Refusal::MalformedHeader), "{settings}");
        }
        assert_eq!(answer(&[], SHA256), Err(Refusal::MalformedHeader));
        assert_eq!(answer(&["algorithm=HMAC_MD5"], SIGNATURE_OF_FORM), Err(Refusal::MalformedHeader));
        assert_eq!(answer(&["algorithm=HMAC_SHA256"; 2], SHA256), Err(Refusal::DuplicateHeader));
    }

    #[test]
    fn urls_are_cut_around_their_port() {
        for (url, before, port, after) in [
            ("https://a.b", "https://a.b", None, ""),
            ("https://a.b:8/c:9", "https://a.b", Some(":8"), "/c:9"),
            ("HTTP://a.b?x=:1", "HTTP://a.b", None, "?x=:1"),
            ("https://u:p@a.b/", "https://u:p@a.b", None, "/"),
            ("https://u:p@a.b:1#f", "https://u:p@a.b", Some(":1"), "#f"),
            ("https://[::1]/", "https://[::1]", None, "/"),
            ("https://[::1]:80/", "https://[::1]", Some(":80"), "/"),
            ("https://a.b:/", "https://a.b", None, "/"),
        ] {
            let cut = PublicUrl::parse(url).unwrap();
            assert_eq!((cut.before_port, cut.port, cut.after_port), (before, port, after), "{url}");
        }
    }

    #[test]
    fn without_a_public_url_nothing_fits() {
        for url in [None, Some(""), Some("/path"), Some("ftp://a/"), Some("https://"), Some("https://u@/")] {
            assert_eq!(answer(url, FORM, SIGNATURE_OF_FORM), Err(Refusal::UnknownUrl), "{url:?}");
        }
    }

    #[test]
    fn a_flood_of_fields_is_refused_unsorted() {
        let many = "a=b&".repeat(limits::SIGNED_FIELDS_MAX + 1);
        assert_eq!(answer(Some(URL), &many, SIGNATURE_OF_FORM), Err(Refusal::MalformedBody));
        assert_eq!(answer(Some(URL), &many[4..], SIGNATURE_OF_FORM), Err(Refusal::Mismatch));
    }
}
