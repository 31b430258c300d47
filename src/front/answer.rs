//! Answers: JSON built by serde, with the few headers that every answer has.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};

use crate::clock::UnixMs;

/// An answer of the API. All of them are small enough to stand in memory.
pub type Answer = Response<Full<Bytes>>;

/// What every answer says to browsers and caches: it is kept by no cache, it is of the type that it names, and a browser that is
/// made to show it runs nothing in it, shows it in no frame, and hands it to no page of another origin.
///
/// A page that brings scripts of its own puts another `content-security-policy` in the place of this one.
pub static ON_EVERY_ANSWER: [(HeaderName, HeaderValue); 7] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"),
    ),
    (X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// These as they stand in a head that is written by hand, each with the end of its line.
pub(super) fn fields_by_hand() -> String {
    let field =
        |(name, value): &(HeaderName, HeaderValue)| format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
    ON_EVERY_ANSWER.iter().map(field).collect()
}

/// Room for these, the content type, and what an answer or hyper adds.
const HEADERS: usize = ON_EVERY_ANSWER.len() + 5;

/// An answer with a body of this content type.
#[must_use]
pub fn with_body(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.extend(ON_EVERY_ANSWER.iter().cloned());
    *response.headers_mut() = headers;
    response
}

/// An answer in JSON.
///
/// # Panics
/// When `value` has a map with keys that are no strings, which none of the API's types has.
#[must_use]
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).expect("the API's own types are always writable as JSON");
    with_body(status, "application/json", text.into())
}

/// A moment, written as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Moment(pub UnixMs);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rfc_3339() {
        let text = serde_json::to_string(&Moment(UnixMs(1_614_265_330_007))).unwrap();
        assert_eq!(text, r#""2021-02-25T15:02:10.007Z""#);
    }

    #[test]
    fn every_answer_tells_browsers_and_caches_what_they_may_not() {
        let answer = json(StatusCode::ACCEPTED, &"x");
        for (name, value) in &ON_EVERY_ANSWER {
            assert_eq!(answer.headers().get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
        assert!(answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().starts_with("default-src 'none';"));
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    }
}
