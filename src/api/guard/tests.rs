use hyper::header::HeaderValue;

use super::*;

fn loopback() -> ListensAt {
    ListensAt::tcp("127.0.0.1:8400".parse().unwrap())
}

fn network() -> ListensAt {
    ListensAt::tcp("0.0.0.0:8400".parse().unwrap())
}

const UNIX: ListensAt = ListensAt { place: Place::Unix, tls: false };

/// A request, as far as the guard looks at it.
struct Given {
    version: Version,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    page: bool,
}

impl Given {
    fn new(host: &'static [u8]) -> Self {
        let given = Self {
            version: Version::HTTP_11,
            method: Method::POST,
            uri: "/".parse().unwrap(),
            headers: HeaderMap::new(),
            page: false,
        };
        let mut given = given;
        given.headers.append(HOST, HeaderValue::from_bytes(host).unwrap());
        given
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.append(name, HeaderValue::from_static(value));
        self
    }

    fn status(&self, at: ListensAt, locked: bool, hosts: &[&str]) -> u16 {
        let hosts: Vec<_> = hosts.iter().map(|name| HostName::parse(name).unwrap()).collect();
        let door = Door { at, locked, hosts: &hosts };
        let Self { version, method, uri, headers, page } = self;
        let asked = Asked { version: *version, method, uri, headers, page: *page };
        door.admit(&asked).map_or_else(|problem| problem.kind.status().as_u16(), |()| 200)
    }
}

fn host_status(host: &'static str) -> u16 {
    Given::new(host.as_bytes()).status(loopback(), false, &["hooks.internal.example"])
}

#[test]
fn a_name_that_somebody_points_to_this_machine_is_refused() {
    for ours in [
        "127.0.0.1:8400",
        "127.0.0.1",
        "127.0.0.1:",
        "127.1.2.3:80",
        "192.0.2.7:8400",
        "[::1]",
        "[::1]:8400",
        "[::ffff:127.0.0.1]:8400",
        "localhost",
        "LocalHost:1",
        "localhost.",
        "localhost.:8400",
        "app.localhost:8400",
        "hooks.internal.example",
        "HOOKS.internal.example.:9999",
    ] {
        assert_eq!(host_status(ours), 200, "{ours}");
    }
    for other in [
        "evil.example",
        "evil.example:8400",
        "127.0.0.1.nip.io",
        "127.0.0.1.nip.io:8400",
        "localhost.evil.example",
        "evillocalhost",
        ".localhost",
        "..localhost",
        "localhost..",
        "hooks.internal.example.evil.example",
        "evil.hooks.internal.example",
        "hooks.internal.example:8400:80",
        // A browser writes these as 127.0.0.1 before it asks; who sends them as they are is none.
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.1%00.evil.example",
        "::1",
        "[::1",
        "[::1]evil.example",
        "[::1].evil.example",
        "[::1%25lo]",
        "[v1.x]",
        "[evil.example]",
        "",
        ":8400",
        ".",
        "user@127.0.0.1",
        "127.0.0.1@evil.example",
        "127.0.0.1:8400@evil.example",
        "evil.example#127.0.0.1",
        "evil.example\\127.0.0.1",
        "localhost:port",
        "localhost:+80",
        "localhost:65536",
        "localhost,evil.example",
        "local host",
        "*",
    ] {
        assert_eq!(host_status(other), 421, "{other}");
    }
    assert_eq!(Given::new(b"\xfcrl").status(loopback(), false, &[]), 421);
}

#[test]
fn hosts_are_looked_at_where_a_browser_gets_in_without_a_token() {
    let mapped = ListensAt::tcp("[::ffff:127.0.0.1]:8400".parse().unwrap());
    let six = ListensAt::tcp("[::1]:8400".parse().unwrap());
    // (listener, tokens, names of the config, status of a request for another name)
    let table: [(ListensAt, bool, &[&str], u16); 10] = [
        (loopback(), false, &[], 421),
        (loopback(), true, &[], 421),
        (mapped, true, &[], 421),
        (six, false, &[], 421),
        (six, false, &["evil.example"], 200),
        (network(), true, &[], 200),
        (network(), true, &["hooks.example"], 421),
        // The config allows none such; a listener that was handed over may be one.
        (network(), false, &[], 421),
        (UNIX, false, &[], 200),
        (UNIX, true, &["hooks.example"], 200),
    ];
    for (at, locked, hosts, expected) in table {
        assert_eq!(Given::new(b"evil.example").status(at, locked, hosts), expected, "{at:?} {locked} {hosts:?}");
        assert_eq!(Given::new(b"10.0.0.1:8400").status(at, locked, hosts), 200, "{at:?}");
    }
}

#[test]
fn other_origins_are_refused() {
    let table: [(&'static str, Option<&'static str>, u16); 17] = [
        ("127.0.0.1:8400", None, 200),
        ("127.0.0.1:8400", Some("http://127.0.0.1:8400"), 200),
        ("LOCALHOST", Some("http://localhost:80"), 200),
        ("hooks.example.com:443", Some("https://hooks.example.com"), 200),
        ("hooks.example.com", Some("https://hooks.example.com"), 200),
        ("127.0.0.1:8400", Some("http://127.0.0.1:3000"), 403),
        ("127.0.0.1:8400", Some("https://127.0.0.1:8400"), 403),
        ("127.0.0.1", Some("https://127.0.0.1"), 403),
        ("localhost:8400", Some("https://localhost:8400"), 403),
        ("127.0.0.1:8400", Some("http://localhost:8400"), 403),
        ("127.0.0.1:8400", Some("https://evil.example"), 403),
        ("127.0.0.1:8400", Some("http://127.0.0.1:8400.evil.example"), 403),
        ("127.0.0.1:8400", Some("null"), 403),
        ("127.0.0.1:8400", Some(""), 403),
        ("127.0.0.1:8400", Some("http://"), 403),
        ("hooks.example.com", Some("file://hooks.example.com"), 403),
        ("hooks.example.com", Some("HTTP://hooks.example.com"), 403),
    ];
    for (host, origin, expected) in table {
        let mut given = Given::new(host.as_bytes());
        given = origin.into_iter().fold(given, |given, origin| given.with("origin", origin));
        assert_eq!(given.status(loopback(), false, &["hooks.example.com"]), expected, "{host} {origin:?}");
    }
    let two = Given::new(b"127.0.0.1").with("origin", "http://127.0.0.1").with("origin", "https://evil.example");
    assert_eq!(two.status(loopback(), false, &[]), 403);
    assert_eq!(Given::new(b"").with("origin", "http://").status(UNIX, false, &[]), 403);
}

#[test]
fn where_tls_is_spoken_a_page_without_it_is_another_one() {
    let secure =
        |origin| Given::new(b"127.0.0.1:8400").with("origin", origin).status(loopback().with_tls(true), true, &[]);
    assert_eq!(secure("https://127.0.0.1:8400"), 200);
    assert_eq!(secure("http://127.0.0.1:8400"), 403);
    let behind_proxy = Given::new(b"localhost").with("origin", "https://localhost").status(UNIX, true, &[]);
    assert_eq!(behind_proxy, 200);
}

#[test]
fn a_page_of_another_site_may_only_link_to_pages() {
    type Headers = &'static [(&'static str, &'static str)];
    let link: Headers = &[(SITE, "cross-site"), (MODE, "navigate"), (DEST, "document")];
    let table: [(Headers, Method, bool, u16); 15] = [
        (&[], Method::POST, false, 200),
        (&[(SITE, "none")], Method::POST, false, 200),
        (&[(SITE, "same-origin")], Method::POST, false, 200),
        (&[(SITE, "cross-site")], Method::GET, false, 403),
        (&[(SITE, "cross-site"), (MODE, "no-cors")], Method::GET, true, 403),
        (&[(SITE, "same-site"), (MODE, "cors")], Method::POST, false, 403),
        (&[(SITE, "same-origin"), (SITE, "cross-site")], Method::GET, false, 403),
        (&[(SITE, "whatever")], Method::GET, false, 403),
        (link, Method::GET, true, 200),
        (link, Method::GET, false, 403),
        (link, Method::POST, true, 403),
        (&[(SITE, "same-site"), (MODE, "navigate")], Method::GET, true, 200),
        (&[(SITE, "cross-site"), (MODE, "navigate"), (DEST, "iframe")], Method::GET, true, 403),
        (&[(SITE, "cross-site"), (MODE, "navigate"), (DEST, "document"), (DEST, "iframe")], Method::GET, true, 403),
        (&[(SITE, "cross-site")], Method::GET, true, 403),
    ];
    for (headers, method, page, expected) in table {
        let mut given = Given { method: method.clone(), page, ..Given::new(b"127.0.0.1:8400") };
        given = headers.iter().fold(given, |given, (name, value)| given.with(name, value));
        assert_eq!(given.status(loopback(), false, &[]), expected, "{method} {headers:?} {page}");
    }
}

#[test]
fn a_request_has_one_host_and_where_it_has_two_names_both_must_fit() {
    let given = |version, uri: &str, hosts: &[&'static str], origin: Option<&'static str>| {
        let mut given = Given::new(b"x");
        given.headers.clear();
        (given.version, given.uri) = (version, uri.parse().unwrap());
        given = hosts.iter().fold(given, |given, host| given.with("host", host));
        given = origin.into_iter().fold(given, |given, origin| given.with("origin", origin));
        given.status(loopback(), false, &["a.example"])
    };
    assert_eq!(given(Version::HTTP_11, "/", &[], None), 400);
    assert_eq!(given(Version::HTTP_11, "http://localhost/", &[], None), 400);
    assert_eq!(given(Version::HTTP_11, "/", &["localhost", "localhost"], None), 400);
    assert_eq!(given(Version::HTTP_10, "/", &[], None), 200);
    assert_eq!(given(Version::HTTP_10, "/", &["evil.example"], None), 421);
    assert_eq!(given(Version::HTTP_10, "/", &[], Some("http://localhost")), 403);
    assert_eq!(given(Version::HTTP_2, "/", &[], None), 400);
    for version in [Version::HTTP_11, Version::HTTP_2] {
        assert_eq!(given(version, "http://localhost:1/", &["localhost:1"], Some("http://localhost:1")), 200);
        assert_eq!(given(version, "http://localhost:1/", &["localhost:1"], Some("http://localhost:2")), 403);
        assert_eq!(given(version, "http://localhost/", &["evil.example"], None), 421, "{version:?}");
        assert_eq!(given(version, "http://evil.example/", &["localhost"], None), 421, "{version:?}");
        assert_eq!(given(version, "http://user@localhost/", &["localhost"], None), 421, "{version:?}");
        assert_eq!(given(version, "http://localhost/", &["a.example"], Some("http://a.example")), 403);
    }
}
