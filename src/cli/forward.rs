//! `listen --forward`: a request passed on to an app, and the app's answer to whoever sent it.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{Method, Response, StatusCode, Uri};

use super::post::{Destination, PostError};
use crate::clock::SharedClock;
use crate::deliver::without_connection;

/// Where requests are passed on to.
pub(super) struct Forward {
    to: Destination,
    clock: SharedClock,
}

/// What became of a request that was passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forwarded {
    /// Where it went.
    pub(super) url: String,
    /// How long the answer took, in milliseconds.
    pub(super) duration_ms: u64,
    /// The app's status, or why there is none.
    pub(super) outcome: Result<StatusCode, String>,
}

impl Forward {
    /// Passes on to this destination.
    pub(super) fn new(to: Destination, clock: SharedClock) -> Self {
        Self { to, clock }
    }

    /// Passes a request on as it came, and makes the answer for its sender.
    pub(super) async fn pass(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        body: Bytes,
    ) -> (Response<Full<Bytes>>, Forwarded) {
        let url = self.to.url_with(uri.query());
        let begin = self.clock.mono();
        let answered = self.to.send(&url, method.clone(), passed_on(headers), body).await;
        let duration_ms = self.clock.mono().since(begin);
        let (response, outcome) = match answered {
            Ok((head, body)) => {
                let mut response = Response::new(Full::new(body));
                *response.status_mut() = head.status();
                for name in [CONTENT_TYPE, RETRY_AFTER] {
                    if let Some(value) = head.headers().get(&name) {
                        response.headers_mut().insert(name, value.clone());
                    }
                }
                (response, Ok(head.status()))
            }
            Err(error) => (in_its_place(&error), Err(error.to_string())),
        };
        (response, Forwarded { url: url.into(), duration_ms, outcome })
    }
}

/// What the sender gets where the app gave no answer.
fn in_its_place(error: &PostError) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{error}\n"))));
    *response.status_mut() = if error.is_late() { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY };
    response
}

/// The headers without those of the sender's connection, and without what would let the app answer in a coding that nobody here
/// reads.
fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in without_connection(headers).filter(|(name, _)| *name != ACCEPT_ENCODING) {
        passed.append(name, value.clone());
    }
    passed
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderName;

    use super::*;

    #[test]
    fn headers_of_the_connection_stay_here_and_all_others_go_on() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "a"),
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("transfer-encoding", "chunked"),
            ("accept-encoding", "gzip"),
            ("authorization", "Basic eA=="),
            ("x-twice", "1"),
            ("x-twice", "2"),
        ] {
            headers.append(name, value.parse().unwrap());
        }
        let kept = passed_on(&headers);
        let names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert_eq!(kept["authorization"], "Basic eA==");
        assert_eq!(kept.get_all("x-twice").iter().collect::<Vec<_>>(), ["1", "2"]);
    }
}
