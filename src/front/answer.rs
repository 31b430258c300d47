//! Answers: JSON built by serde, with the few headers that every answer has.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};
use serde::{Serialize, Serializer};

use crate::clock::UnixMs;

/// An answer of the API. All of them are small enough to stand in memory.
pub type Answer = Response<Full<Bytes>>;

/// An answer with a body of this content type. Nothing the API says may be kept by a cache.
#[must_use]
pub fn with_body(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
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
    fn answers_are_kept_by_no_cache() {
        let answer = json(StatusCode::ACCEPTED, &"x");
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.headers()[CACHE_CONTROL], "no-store");
        assert_eq!(answer.headers()[CONTENT_TYPE], "application/json");
    }
}
