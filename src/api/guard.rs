//! Keeps web pages away: a page that someone looks at on this machine must not post events to the API on loopback.
//!
//! A browser sends `Origin` with every cross-origin `POST`, and a page cannot forge it. A request whose `Origin` is not
//! the host it is sent to is refused. Programs send no `Origin`.

use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::{Uri, Version};

use crate::front::problem::{Problem, ProblemKind};

/// Lets pass what a program, or a page of the API itself, has sent.
///
/// # Errors
/// 400 for an HTTP/1.1 request without exactly one `Host` (RFC 9112, section 3.2), 403 for a request of another origin.
pub(super) fn admit(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || (version == Version::HTTP_11 && host.is_none()) {
        return Err(Problem::new(ProblemKind::BadRequest, "the request must have one Host header"));
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let host = match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => host.and_then(|host| host.to_str().ok()),
    };
    let same = origin.to_str().ok().zip(host).is_some_and(|(origin, host)| is_same(origin, host));
    if same {
        return Ok(());
    }
    let detail = "the request has the Origin of another web page; the API is for programs and for its own pages";
    Err(Problem::new(ProblemKind::CrossOrigin, detail))
}

fn is_same(origin: &str, host: &str) -> bool {
    let (origin, port) = match origin.split_once("://") {
        Some(("http", rest)) => (rest, ":80"),
        Some(("https", rest)) => (rest, ":443"),
        _ => return false,
    };
    let bare = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    !origin.is_empty() && bare(origin) == bare(host)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn status(version: Version, uri: &str, hosts: &[&'static str], origin: Option<&'static str>) -> u16 {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_static(host));
        }
        headers.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
        let result = admit(version, &uri.parse().unwrap(), &headers);
        result.map_or_else(|problem| problem.kind.status().as_u16(), |()| 200)
    }

    #[test]
    fn other_origins_are_refused() {
        let table = [
            ("127.0.0.1:8400", None, 200),
            ("127.0.0.1:8400", Some("http://127.0.0.1:8400"), 200),
            ("LOCALHOST", Some("http://localhost:80"), 200),
            ("hooks.example.com:443", Some("https://hooks.example.com"), 200),
            ("127.0.0.1:8400", Some("http://127.0.0.1:3000"), 403),
            ("127.0.0.1:8400", Some("http://localhost:8400"), 403),
            ("127.0.0.1:8400", Some("https://evil.example"), 403),
            ("127.0.0.1:8400", Some("null"), 403),
            ("127.0.0.1:8400", Some(""), 403),
            ("", Some("http://"), 403),
            ("x", Some("file://x"), 403),
        ];
        for (host, origin, expected) in table {
            assert_eq!(status(Version::HTTP_11, "/v1/events", &[host], origin), expected, "{host} {origin:?}");
        }
    }

    #[test]
    fn http_1_1_needs_one_host_and_http_2_has_its_authority() {
        assert_eq!(status(Version::HTTP_11, "/", &[], None), 400);
        assert_eq!(status(Version::HTTP_11, "/", &["a", "b"], None), 400);
        assert_eq!(status(Version::HTTP_10, "/", &[], None), 200);
        assert_eq!(status(Version::HTTP_2, "http://a:1/", &[], Some("http://a:1")), 200);
        assert_eq!(status(Version::HTTP_2, "http://a:1/", &[], Some("http://b:1")), 403);
    }
}
