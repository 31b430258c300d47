//! Sources to try things on.

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::config::{JsonPointer, Pick, Proxies, Respond, Source, Verification};
use crate::model::text::SourceName;
use crate::signature::secret::Secret;
use crate::signature::{Options, Scheme, SchemeKind};

/// A source that anybody may post to, and that reads nothing from a request.
pub(super) fn source() -> Source {
    Source {
        name: SourceName::parse("vendor").unwrap(),
        verify: Verification::Unverified,
        event_type: Vec::new(),
        dedup: Vec::new(),
        key: Vec::new(),
        allow_networks: Vec::new(),
        trusted_proxies: Proxies::default(),
        respond: Respond::default(),
        rate_limit: None,
        public_url: None,
        verify_token: None,
    }
}

/// Verified by this scheme, with the secret `secret`.
pub(super) fn verified(kind: SchemeKind) -> Verification {
    let secret = Secret::new(b"secret".to_vec());
    Verification::Schemes(vec![Scheme::new(kind, &secret, &Options::default()).unwrap()])
}

pub(super) fn json(pointer: &str) -> Pick {
    Pick::Json(JsonPointer::parse(pointer).unwrap())
}

pub(super) fn header(name: &'static str) -> Pick {
    Pick::Header(HeaderName::from_static(name))
}

pub(super) fn headers(fields: &[(&'static str, &[u8])]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &[u8])| {
        (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in fields.iter().map(field) {
        headers.append(name, value);
    }
    headers
}
