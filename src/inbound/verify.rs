//! Whether the signature holds.

use hyper::Uri;
use hyper::header::{HOST, HeaderMap};
use hyper::http::request::Parts;

use crate::clock::UnixMs;
use crate::config::{Source, Verification};
use crate::signature::{Received, Refusal, SchemeKind, verify};

/// Verifies a whole request. `tls`: whether the listener speaks it.
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
    use super::super::tests::{headers, source};
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
}
