//! Headers of one connection, which no request that is passed on keeps.

use hyper::header::{self, HeaderMap, HeaderName};

/// Headers that speak about one connection or one message's framing (RFC 9110 section 7.6.1) and are never passed on;
/// hyper writes those that the next connection needs.
#[must_use]
pub(super) fn belongs_to_connection(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::CONTENT_LENGTH
            | header::EXPECT
            | header::HOST
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// The headers of a request that has come in, in their order, less those of its connection, also by their names in `Connection`.
pub fn without_connection(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &header::HeaderValue)> {
    let options =
        headers.get_all(header::CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let named: Vec<_> = options.filter_map(|option| HeaderName::from_bytes(option.trim_ascii()).ok()).collect();
    headers.iter().filter(move |(name, _)| !belongs_to_connection(name) && !named.contains(name))
}
