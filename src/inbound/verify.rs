//! Whether the signature holds.

use std::slice;

use hyper::Uri;
use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;

use crate::clock::UnixMs;
use crate::config::{Source, Verification};
use crate::limits;
use crate::signature::{Received, Refusal, SchemeKind, verify};

/// Refuses by the head alone what no body could make good, so that a large one is not held in memory for it. `body_bytes`: what
/// of the body may come, where that is known.
pub(super) fn foresee(source: &Source, head: &Parts, body_bytes: Option<u64>, now: UnixMs) -> Result<(), Refusal> {
    let Verification::Schemes(schemes) = &source.verify else { return Ok(()) };
    if body_bytes.is_some_and(|bytes| bytes <= limits::BODY_UNFORESEEN_BYTES_MAX) {
        return Ok(());
    }
    // None of these reasons depends on the body. A time that lies in the future may have come when the body has.
    let of_head = |refusal: &Refusal| {
        use Refusal::{DuplicateHeader, MalformedHeader, MissingHeader, Stale};
        matches!(refusal, MissingHeader | DuplicateHeader | MalformedHeader | Stale)
    };
    let received = Received { headers: &head.headers, body: b"", now_secs: now.secs(), url: None };
    let mut refusal = None;
    for scheme in schemes {
        match verify(slice::from_ref(scheme), &received) {
            Err(reason) if of_head(&reason) => refusal = refusal.or(Some(reason)),
            _ => return Ok(()),
        }
    }
    refusal.map_or(Ok(()), Err)
}

/// Verifies a whole request. `tls`: whether it came over TLS.
pub(super) fn check(source: &Source, head: &Parts, body: &[u8], now: UnixMs, tls: bool) -> Result<(), Refusal> {
    let Verification::Schemes(schemes) = &source.verify else { return Ok(()) };
    // Twilio alone signs where it posted to.
    let signs_url = schemes.first().is_some_and(|scheme| scheme.kind() == SchemeKind::Twilio);
    let url = if signs_url { called_url(source, &head.uri, &head.headers, tls) } else { None };
    verify(schemes, &Received { headers: &head.headers, body, now_secs: now.secs(), url: url.as_deref() })
}

/// The URL that the third party has called: as it is configured, with the request's query, or made of the request.
fn called_url(source: &Source, uri: &Uri, headers: &HeaderMap, tls: bool) -> Option<String> {
    if let Some(public) = &source.public_url {
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        return Some(format!("{public}{query}"));
    }
    let scheme = if tls { "https" } else { "http" };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Some(format!("{scheme}://{}{path}", host(uri, headers)?))
}

/// The host that the request is for: the authority of its target, which HTTP/2 has, or the one `Host`.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    if let Some(authority) = uri.authority() {
        return Some(authority.as_str());
    }
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() { None } else { host.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::super::tests::{headers, source, verified};
    use super::*;

    fn url(source: &Source, uri: &str, hosts: &[&'static str], tls: bool) -> Option<String> {
        let hosts: Vec<_> = hosts.iter().map(|host| ("host", host.as_bytes())).collect();
        called_url(source, &uri.parse().unwrap(), &headers(&hosts), tls)
    }

    #[test]
    fn the_url_is_made_of_the_request() {
        let url = |uri, hosts: &[&'static str], tls| url(&source(), uri, hosts, tls);
        let made = url("/in/twilio?x=1&y=%20", &["in.example.com:8443"], true);
        assert_eq!(made.as_deref(), Some("https://in.example.com:8443/in/twilio?x=1&y=%20"));
        assert_eq!(url("/in/twilio", &["a.example"], false).as_deref(), Some("http://a.example/in/twilio"));
        let http2 = url("https://b.example/in/twilio?x=1", &[], true);
        assert_eq!(http2.as_deref(), Some("https://b.example/in/twilio?x=1"));
        assert_eq!(url("/in/twilio", &[], true), None);
        assert_eq!(url("/in/twilio", &["a.example", "b.example"], true), None, "which of them, nobody knows");
    }

    #[test]
    fn behind_a_proxy_the_url_is_the_configured_one_with_the_requests_query() {
        let public_url = Some("https://hooks.example.com/twilio".parse().unwrap());
        let source = Source { public_url, ..source() };
        let made = url(&source, "/in/twilio?bodySHA256=ab", &["10.0.0.1"], false);
        assert_eq!(made.as_deref(), Some("https://hooks.example.com/twilio?bodySHA256=ab"));
        assert_eq!(url(&source, "/in/twilio", &[], false).as_deref(), Some("https://hooks.example.com/twilio"));
    }

    #[test]
    fn a_large_body_is_not_awaited_where_the_head_is_wrong_already() {
        let slack = Source { verify: verified(SchemeKind::Slack), ..source() };
        let now = UnixMs(1_700_000_000_000);
        let signature =
            ("x-slack-signature", &b"v0=0000000000000000000000000000000000000000000000000000000000000000"[..]);
        let time = |secs: &'static [u8]| ("x-slack-request-timestamp", secs);
        let foreseen = |fields: &[(&'static str, &[u8])], bytes| {
            let mut request = Request::new(());
            *request.headers_mut() = headers(fields);
            foresee(&slack, &request.into_parts().0, bytes, now).err()
        };
        for (fields, reason) in [
            (vec![], Some(Refusal::MissingHeader)),
            (vec![signature], Some(Refusal::MissingHeader)),
            (vec![signature, signature, time(b"1700000000")], Some(Refusal::DuplicateHeader)),
            (vec![("x-slack-signature", b"v0=xyz"), time(b"1700000000")], Some(Refusal::MalformedHeader)),
            (vec![signature, time(b"1699999000")], Some(Refusal::Stale)),
            (vec![signature, time(b"1700001000")], None),
            (vec![signature, time(b"1700000000")], None),
        ] {
            assert_eq!(foreseen(&fields, None), reason, "{fields:?}");
            assert_eq!(foreseen(&fields, Some(limits::BODY_UNFORESEEN_BYTES_MAX + 1)), reason, "{fields:?}");
            assert_eq!(foreseen(&fields, Some(limits::BODY_UNFORESEEN_BYTES_MAX)), None, "a small one is read first");
        }
        let open = source();
        assert_eq!(foresee(&open, &Request::new(()).into_parts().0, None, now), Ok(()));
    }
}
