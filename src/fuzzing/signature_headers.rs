//! `signature_headers`: a scheme's name and how it is used on the first line, headers on the next ones, a blank line, a body.
//!
//! The secret is a digest of the whole input, so that no input can hold a signature under its own secret. `{signature}` in a
//! header's value stands for what was truly signed. Words after the scheme's name:
//!
//! | word | meaning |
//! |---|---|
//! | `other` | another body was signed than the one that came |
//! | `late` | what came has an id and a time of its own, in its headers |
//! | `hashed` | the URL that Twilio signs has the hash of the body |
//!
//! The headers `option-header`, `option-content` and so on are the options of the scheme `hmac`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use url::form_urlencoded;

use super::message;
use crate::model::text::EventId;
use crate::signature::secret::Secret;
use crate::signature::{Options, Received, Scheme, SchemeKind, Signed, sign, twilio, verify};

const NOW_SECS: u64 = 1_614_265_330;
const URL: &str = "https://hooks.example.com/in/x?a=b";
const SIGNATURE: &str = "{signature}";
/// What was signed where it is not what came.
const OTHER_BODY: &[u8] = b"{\"amount\":1}";

/// What was signed is accepted, and nothing that was not.
pub fn signature_headers(data: &[u8]) {
    let (head, body) = message::split(data);
    let mut lines = message::lines(head);
    let first = lines.next().and_then(|line| str::from_utf8(line).ok()).unwrap_or_default();
    let mut words = first.split(' ');
    let Some(kind) = words.next().and_then(|word| word.parse().ok()) else { return };
    let words: Vec<&str> = words.collect();
    let given = message::headers(lines);
    let Some(scheme) = scheme(kind, data, &given) else { return };
    let schemes = [scheme];

    let signed_body = if words.contains(&"other") { OTHER_BODY } else { body };
    let hashed = kind == SchemeKind::Twilio && words.contains(&"hashed");
    let url = if hashed { twilio::url_with_body_hash(URL, signed_body) } else { URL.to_owned() };
    let id = given.get("webhook-id").and_then(|id| id.to_str().ok()).and_then(|id| EventId::parse(id).ok());
    let id = id.filter(|_| !words.contains(&"late"));
    let id = id.unwrap_or_else(|| EventId::parse("evt_1").expect("it keeps the rule of ids"));
    let signed = Signed { id: &id, timestamp_secs: NOW_SECS, body: signed_body, url: &url };
    let true_headers = as_delivered(&schemes, &signed);
    let check = |headers: &HeaderMap, body: &[u8]| {
        verify(&schemes, &Received { headers, body, now_secs: NOW_SECS, url: Some(&url) })
    };

    let fields = form_urlencoded::parse(signed_body).count();
    if kind != SchemeKind::Twilio || hashed || fields <= crate::limits::SIGNED_FIELDS_MAX {
        assert_eq!(check(&true_headers, signed_body), Ok(()), "what was signed is refused");
    }

    let forged = with_signature(&given, &true_headers, words.contains(&"late"));
    if check(&forged, body).is_ok() {
        let holds_it =
            given.values().any(|value| value.as_bytes().windows(SIGNATURE.len()).any(|w| w == SIGNATURE.as_bytes()));
        assert!(holds_it, "a forgery is accepted: {forged:?}");
        let (came, meant) = (content(kind, &given, &forged, body), content(kind, &given, &true_headers, signed_body));
        assert!(
            hashed && body == signed_body || came == meant,
            "a signature is accepted for another content: {forged:?}"
        );
    }
}

/// The scheme, under a secret that nobody who writes an input can know.
fn scheme(kind: SchemeKind, data: &[u8], given: &HeaderMap) -> Option<Scheme> {
    let digest = Sha256::digest(data);
    let secret = match kind {
        SchemeKind::Standard if data.last().is_some_and(|last| last % 4 == 0) => {
            let key = ed25519_dalek::SigningKey::from_bytes(&digest.into());
            format!("whsk_{}", STANDARD.encode(key.to_keypair_bytes()))
        }
        SchemeKind::Standard => format!("whsec_{}", STANDARD.encode(digest)),
        _ => hex::encode(digest),
    };
    let option = |name: &str| given.get(format!("option-{name}")).and_then(|value| value.to_str().ok());
    let options = match kind {
        SchemeKind::Hmac => Options {
            header: option("header").or(Some("x-signature")),
            algorithm: option("algorithm"),
            encoding: option("encoding"),
            prefix: option("prefix"),
            content: option("content"),
            timestamp_header: option("timestamp-header"),
            id_header: option("id-header"),
            ..Options::default()
        },
        SchemeKind::Token => Options { header: option("header"), prefix: option("prefix"), ..Options::default() },
        SchemeKind::Basic => {
            Options { header: option("header"), username: option("username").or(Some("user")), ..Options::default() }
        }
        _ => Options::default(),
    };
    Scheme::new(kind, &Secret::new(secret.into_bytes()), &options).ok()
}

/// What a receiver gets: the headers of the signature and those that every delivery carries.
fn as_delivered(schemes: &[Scheme], signed: &Signed<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_str(signed.id.as_str()).expect("an id can be a header"));
    headers.insert("webhook-timestamp", HeaderValue::from(signed.timestamp_secs));
    for (name, value) in sign(schemes, signed) {
        assert!(headers.insert(name, value).is_none_or(|old| old == signed.timestamp_secs.to_string().as_str()));
    }
    headers
}

/// The given headers with the true signature where one is asked for; the others of `true_headers` too unless it is `late`.
fn with_signature(given: &HeaderMap, true_headers: &HeaderMap, late: bool) -> HeaderMap {
    let mut headers = if late { HeaderMap::new() } else { true_headers.clone() };
    for name in given.keys() {
        headers.remove(name);
    }
    if !late {
        // Else the true signature would stand there without having been asked for.
        let kept = |name: &HeaderName| {
            matches!(name.as_str(), "webhook-id" | "webhook-timestamp") || name.as_str().ends_with("timestamp")
        };
        let names: Vec<HeaderName> = headers.keys().filter(|name| !kept(name)).cloned().collect();
        for name in names {
            headers.remove(name);
        }
    }
    for (name, value) in given {
        let truth = true_headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        let value = replaced(value.as_bytes(), truth);
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.append(name, value);
        }
    }
    headers
}

fn replaced(value: &[u8], truth: &[u8]) -> Vec<u8> {
    let Some(at) = value.windows(SIGNATURE.len()).position(|window| window == SIGNATURE.as_bytes()) else {
        return value.to_vec();
    };
    [&value[..at], truth, &value[at + SIGNATURE.len()..]].concat()
}

/// The bytes that a scheme signs, put together by the book, out of headers and a body.
fn content(kind: SchemeKind, given: &HeaderMap, headers: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let option = |name: &str| given.get(format!("option-{name}")).and_then(|value| value.to_str().ok());
    match kind {
        SchemeKind::Standard => [header("webhook-id"), b".", header("webhook-timestamp"), b".", body].concat(),
        SchemeKind::Slack => [header("x-slack-request-timestamp"), b":", body].concat(),
        SchemeKind::Zendesk => [header("x-zendesk-webhook-signature-timestamp"), body].concat(),
        SchemeKind::Stripe => {
            let items = header("stripe-signature").split(|byte| *byte == b',');
            let time = items.filter_map(|item| item.strip_prefix(b"t=")).next().unwrap_or_default();
            [time, b".", body].concat()
        }
        SchemeKind::Twilio => {
            let mut fields: Vec<_> = form_urlencoded::parse(body).collect();
            fields.sort_unstable();
            fields.dedup();
            fields.iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]).collect::<Vec<_>>().concat()
        }
        SchemeKind::Hmac => {
            let timestamp = header(option("timestamp-header").unwrap_or("webhook-timestamp"));
            let id = header(option("id-header").unwrap_or("webhook-id"));
            filled(option("content").unwrap_or("{body}"), timestamp, id, body)
        }
        SchemeKind::Github | SchemeKind::Shopify => body.to_vec(),
        // These sign nothing: whoever has the secret may send anything.
        SchemeKind::Token | SchemeKind::Basic | SchemeKind::Gitlab => Vec::new(),
    }
}

fn filled(template: &str, timestamp: &[u8], id: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some(first) = rest.chars().next() {
        let names = [("{timestamp}", timestamp), ("{id}", id), ("{body}", body)];
        match names.into_iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                out.extend_from_slice(value);
                rest = &rest[name.len()..];
            }
            None => {
                out.extend_from_slice(first.to_string().as_bytes());
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    out
}
