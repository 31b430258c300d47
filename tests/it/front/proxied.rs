//! Connections through proxies that speak the PROXY protocol: whose they are, and what becomes of those that begin otherwise.

use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};

use super::raw::{Raw, metric, request};
use crate::kit::{Daemon, SOON, Setup, eventually};

const PROXIES: &str = "proxy_protocol = [\"127.0.0.0/8\", \"unix\"]";
const NETWORKS: [&str; 2] = ["192.0.2.0/24", "2001:db8::/32"];

/// A source that takes webhooks from [`NETWORKS`] alone, behind this machine as a proxy.
fn setup() -> Setup {
    let source = format!("verify = {{ scheme = \"none\" }}\nallow_networks = {NETWORKS:?}");
    Setup::new().source("app", &source).inbound(PROXIES)
}

/// Version 1.
fn text(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    format!("PROXY {family} {ip} {ip} {port} 443\r\n", ip = client.ip(), port = client.port()).into_bytes()
}

/// Version 2, with an extension.
fn binary(client: &str) -> Vec<u8> {
    let client: SocketAddr = client.parse().unwrap();
    let (family, ip) = match client.ip() {
        std::net::IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        std::net::IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let ports = [client.port().to_be_bytes(), 443_u16.to_be_bytes()].concat();
    framed(0x21, family, &[&ip[..], &ip, &ports, &[1, 0, 2, b'h', b'2']].concat())
}

fn framed(version_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let len = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[version_command, family][..], &len, block].concat()
}

/// The status of a request after this header, in one piece.
fn post(daemon: &Daemon, header: &[u8]) -> Option<u16> {
    let mut raw = Raw::at(daemon.inbound().address());
    raw.send([header, request("/in/app").as_bytes()].concat());
    raw.answer()
}

fn refused(daemon: &Daemon, reason: &str) -> u64 {
    metric(daemon, &format!("webhookd_proxy_headers_refused_total{{listener=\"inbound\",reason=\"{reason}\"}}"))
}

#[test]
fn the_client_is_who_the_header_says_in_either_version() {
    let daemon = setup().start();
    for header in [text, binary] {
        for (client, status) in [
            ("192.0.2.7:56324", 200),
            ("[2001:db8::7]:56324", 200),
            ("203.0.113.7:1", 403),
            ("[2001:db9::7]:1", 403),
            ("127.0.0.1:1", 403),
        ] {
            assert_eq!(post(&daemon, &header(client)), Some(status), "{client}");
        }
    }
    // A check of the proxy's health, and a client without an address: the connection's own, which may not post here.
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), framed(0x20, 0, &[]), framed(0x21, 0x31, &[b'/'; 216])] {
        assert_eq!(post(&daemon, &header), Some(403));
    }
    let log = daemon.log();
    let told = log.lines().find(|line| line.contains("203.0.113.7")).unwrap_or_else(|| panic!("{log}"));
    assert!(told.contains("127.0.0.1:"), "the proxy is named too: {told}");
}

#[test]
fn a_header_in_pieces_is_read_and_the_connection_stays_its_clients() {
    let daemon = setup().start();
    for header in [text("192.0.2.7:1"), binary("192.0.2.7:1")] {
        let mut raw = Raw::at(daemon.inbound().address());
        for piece in header.chunks(3) {
            assert!(raw.send(piece));
        }
        for _ in 0..3 {
            assert_eq!(raw.post("/in/app"), Some(200));
        }
        // A second header is no HTTP.
        raw.send(&header);
        raw.send("\r\n\r\n");
        assert_ne!(raw.answer(), Some(200));
    }
}

#[test]
fn a_proxy_without_a_header_or_with_a_broken_one_is_hung_up_on_and_told() {
    let daemon = setup().start();
    for (bytes, reason) in [
        (request("/in/app").into_bytes(), "missing"),
        (b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec(), "missing"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.7 1 2\n".to_vec(), "malformed"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.7 1 65536\r\n".to_vec(), "malformed"),
        (framed(0x21, 0x11, &[192, 0, 2, 7]), "malformed"),
        ([&b"PROXY TCP4 "[..], &[b'1'; 200]].concat(), "too_long"),
        (framed(0x21, 0x11, &[0; 5000]), "too_long"),
    ] {
        let before = refused(&daemon, reason);
        assert_eq!(post(&daemon, &bytes), None, "{}", bytes.escape_ascii());
        assert_eq!(refused(&daemon, reason), before + 1, "{reason}");
    }
    let log = daemon.log();
    let told = log.lines().filter(|line| line.contains("must begin with a PROXY header")).count();
    assert_eq!(told, 1, "one line, whoever knocks how often: {log}");
    assert_eq!(post(&daemon, &text("192.0.2.7:1")), Some(200));
    assert_eq!(daemon.client().get("/v1/events").json()["events"].as_array().unwrap().len(), 1);
    // The API speaks it with nobody.
    daemon.client().get("/readyz").expect(200);
    let mut api = Raw::to(&daemon);
    api.send([&text("192.0.2.7:1")[..], b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"].concat());
    assert_eq!(api.answer(), Some(400));
}

#[test]
fn who_is_no_proxy_speaks_for_nobody_else() {
    let source = "verify = { scheme = \"none\" }";
    let daemon = Setup::new().source("app", source).inbound("proxy_protocol = [\"192.0.2.0/24\", \"unix\"]").start();
    assert_eq!(post(&daemon, b""), Some(200));
    assert_eq!(post(&daemon, &text("192.0.2.7:1")), Some(400));
    assert_eq!(post(&daemon, &binary("192.0.2.7:1")), Some(400));
    assert_eq!(daemon.client().get("/v1/events").json()["events"].as_array().unwrap().len(), 1);
}

#[test]
fn the_connections_of_each_client_are_counted_and_those_of_the_proxy_are_not() {
    let daemon = setup().inbound("max_connections_per_address = 2").start();
    let open = |client: &str| {
        let mut raw = Raw::at(daemon.inbound().address());
        raw.send(text(client));
        raw
    };
    let mut seated: Vec<Raw> =
        ["192.0.2.7:1", "192.0.2.7:2", "192.0.2.8:1", "[2001:db8::1]:1", "[2001:db8::2]:1"].map(open).into();
    assert!(seated.iter_mut().all(|raw| raw.post("/in/app") == Some(200)));
    for client in ["192.0.2.7:3", "[2001:db8::3]:1"] {
        let answer = open(client).rest_text();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("from this address"), "{answer}");
    }
    let limit = "webhookd_connections_refused_total{listener=\"inbound\",reason=\"max_connections_per_address\"}";
    assert_eq!(metric(&daemon, limit), 2);
    seated.remove(0);
    eventually("its place is taken again", || (open("192.0.2.7:4").post("/in/app") == Some(200)).then_some(()));
}

#[test]
fn a_load_balancer_more_counts_after_a_reload() {
    let source = "verify = { scheme = \"none\" }";
    let daemon = Setup::new().source("app", source).inbound("proxy_protocol = []").start();
    assert_eq!(post(&daemon, b""), Some(200));
    let config = std::fs::read_to_string(daemon.config()).unwrap();
    std::fs::write(daemon.config(), config.replace("proxy_protocol = []", PROXIES)).unwrap();
    let answer = daemon.client().post("/v1/reload", "").expect(200).json();
    assert_eq!(answer["settings"], serde_json::json!(["inbound.proxy_protocol"]), "{answer}");
    assert_eq!(post(&daemon, b""), None);
    assert_eq!(post(&daemon, &binary("192.0.2.7:1")), Some(200));
}

#[test]
fn a_proxy_on_this_machine_names_clients_over_a_unix_socket() {
    let mut daemon = setup().prepare();
    let path = daemon.dir().join("inbound.sock");
    let socket = UnixListener::bind(&path).unwrap();
    daemon.spawn_with_sockets("inbound", vec![socket.into()], &[]);
    eventually("it is ready", || daemon.ready_or_ended()).unwrap();
    let ask = |header: &[u8]| {
        use std::io::{Read, Write};
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let request = request("/in/app").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n");
        // The daemon may have hung up by then.
        let _ = stream.write_all(&[header, request.as_bytes()].concat());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap().get(9..12).map(str::to_owned)
    };
    assert_eq!(ask(&text("192.0.2.7:1")).as_deref(), Some("200"));
    assert_eq!(ask(&binary("203.0.113.7:1")).as_deref(), Some("403"));
    assert_eq!(ask(b""), None);
}
