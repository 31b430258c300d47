//! The header of a proxy as `crate::fuzzing` sees it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use tokio::time::Instant;

use super::Origin;
use super::proxies::ProxyHeaders;
use super::proxy_header::{Fault, Header, Seen, look};
use crate::config::Proxies;
use crate::limits::PROXY_HEADER_BYTES_MAX;
use crate::observe::Metrics;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

static HEADERS: LazyLock<Arc<ProxyHeaders>> =
    LazyLock::new(|| ProxyHeaders::new("inbound", Proxies { networks: Vec::new(), unix: true }, Metrics::shared()));

/// What a proxy sends, and what follows it: the header ends where the document says, nothing of what follows is taken, and the
/// client is the one that is written there.
pub fn proxy_header(data: &[u8]) {
    let (judged, taken) = step_by_step(data);
    let rest = read(data, judged.ok());
    assert!(judged.is_err() || rest == &data[taken..], "bytes behind the header are lost");
    let Ok(header) = judged else { return };
    assert!(taken <= PROXY_HEADER_BYTES_MAX);
    assert_eq!(taken, length(data), "it ends elsewhere");
    assert_eq!(look(data), Ok(Seen::Whole(header)), "what follows it makes a difference");
    if let Header::Client(client) = header {
        assert_eq!(Some(client), written(&data[..taken]), "another client than is written there");
        for again in [text(client), binary(client)] {
            assert_eq!(look(&again), Ok(Seen::Whole(header)), "{}", again.escape_ascii());
        }
    }
    // Whoever has less of it is told to read on, and never past its end.
    for cut in (0..taken).step_by(taken / 200 + 1) {
        match look(&data[..cut]) {
            Ok(Seen::More(more)) => assert!((1..=taken - cut).contains(&more), "{more} more after {cut} of {taken}"),
            other => panic!("{other:?} after {cut} of {taken}"),
        }
    }
}

/// Looks at as many bytes as it asks for; the header or why it is none (nothing where more were needed), and how many bytes it
/// took.
fn step_by_step(data: &[u8]) -> (Result<Header, Option<Fault>>, usize) {
    let mut taken = 0;
    loop {
        match look(&data[..taken]) {
            Ok(Seen::Whole(header)) => return (Ok(header), taken),
            Err(fault) => return (Err(Some(fault)), taken),
            Ok(Seen::More(more)) => {
                assert!(more > 0 && taken + more <= PROXY_HEADER_BYTES_MAX, "{more} more after {taken}");
                if taken + more > data.len() {
                    return (Err(None), taken);
                }
                taken += more;
            }
        }
    }
}

/// Reads the header off a stream, as a listener does; what is left of it.
fn read(data: &[u8], expected: Option<Header>) -> &[u8] {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without threads and sockets");
    let mut stream = data;
    let from = Origin::Tcp(SocketAddr::from(([10, 0, 0, 2], 40_000)));
    let header = runtime.block_on(async { HEADERS.read(&mut stream, from, Instant::now()).await });
    assert_eq!(header, expected, "a listener reads it otherwise");
    stream
}

/// Where a header ends, by the document alone.
fn length(data: &[u8]) -> usize {
    if data.starts_with(SIGNATURE) {
        return 16 + usize::from(u16::from_be_bytes([data[14], data[15]]));
    }
    data.windows(2).position(|pair| pair == b"\r\n").expect("a line has an end") + 2
}

/// The client that a header names, by the document alone.
fn written(header: &[u8]) -> Option<SocketAddr> {
    if !header.starts_with(SIGNATURE) {
        let fields: Vec<&str> = str::from_utf8(header).ok()?.trim_end().split(' ').collect();
        return Some(SocketAddr::new(fields.get(2)?.parse().ok()?, fields.get(4)?.parse().ok()?));
    }
    let port = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    match header[13] >> 4 {
        1 => Some(SocketAddr::from((<[u8; 4]>::try_from(&header[16..20]).ok()?, port(24)))),
        2 => Some(SocketAddr::from((<[u8; 16]>::try_from(&header[16..32]).ok()?, port(48)))),
        _ => None,
    }
}

/// A header of version 1 that names this client.
fn text(client: SocketAddr) -> Vec<u8> {
    let (ip, family) = (client.ip(), if client.is_ipv4() { 4 } else { 6 });
    format!("PROXY TCP{family} {ip} {ip} {} 0\r\n", client.port()).into_bytes()
}

/// The same of version 2.
fn binary(client: SocketAddr) -> Vec<u8> {
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let len = u8::try_from(2 * ip.len() + 4).expect("two addresses and two ports");
    let ports = [client.port().to_be_bytes(), [0, 0]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, family, 0, len][..], &ip, &ip, &ports].concat()
}
