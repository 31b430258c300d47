//! The headers of a request that are kept with its event, so that the app can look at them, and verify the vendor's signature
//! itself.

use hyper::header::{AUTHORIZATION, COOKIE, HeaderMap};

use crate::deliver::without_connection;
use crate::model::event::KeptHeader;

/// All but those that speak about the connection, and those that hold what is for webhookd alone.
pub(super) fn kept(headers: &HeaderMap) -> Vec<KeptHeader> {
    without_connection(headers)
        .filter(|(name, _)| ![AUTHORIZATION, COOKIE].contains(name))
        .map(|(name, value)| KeptHeader { name: name.as_str().into(), value: value.as_bytes().into() })
        .collect()
}

#[cfg(test)]
mod tests {
    use hyper::header::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn all_is_kept_but_what_is_the_connections_or_ours_alone() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-a", &b"1"[..]),
            ("content-type", b"text/plain"),
            ("x-b", b"\xff\x80"),
            ("x-a", b"2"),
            ("x-empty", b""),
            ("connection", b"close, X-Hop"),
            ("connection", b"x-other , ,"),
            ("x-hop", b"h"),
            ("x-other", b"h"),
            ("keep-alive", b"timeout=5"),
            ("proxy-authorization", b"Basic eA=="),
            ("te", b"trailers"),
            ("trailer", b"x"),
            ("transfer-encoding", b"chunked"),
            ("upgrade", b"h2c"),
            ("host", b"in.example.com"),
            ("content-length", b"3"),
            ("authorization", b"Basic eA=="),
            ("cookie", b"a=b"),
            ("x-forwarded-for", b"192.0.2.1"),
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap());
        }
        let kept: Vec<_> = kept(&headers).into_iter().map(|kept| (kept.name, kept.value)).collect();
        let expected: [(&str, &[u8]); 6] = [
            ("x-a", b"1"),
            ("x-a", b"2"),
            ("content-type", b"text/plain"),
            ("x-b", b"\xff\x80"),
            ("x-empty", b""),
            ("x-forwarded-for", b"192.0.2.1"),
        ];
        assert_eq!(kept, expected.map(|(name, value)| (name.into(), value.into())));
    }
}
