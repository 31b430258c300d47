//! `proxy_header`: what a proxy sends first on a connection.

use std::net::{IpAddr, SocketAddr};

use crate::front::proxy_header::{Header, Seen, look};
use crate::limits::PROXY_HEADER_BYTES_MAX;

/// A header is read to its end and no further, however it is cut, within bounds; and who it names is named by both versions
/// alike.
pub fn proxy_header(data: &[u8]) {
    let (mut taken, mut whole_at) = (0, 0);
    let header = loop {
        match look(&data[..taken]) {
            Ok(Seen::Whole(header)) => break header,
            Ok(Seen::More(more)) => {
                assert!(more > 0, "it asks for nothing");
                assert!(taken + more >= whole_at, "it asked for more than belongs to it");
                whole_at = taken + more;
                assert!(whole_at <= PROXY_HEADER_BYTES_MAX, "it asks for more than is read");
                if whole_at > data.len() {
                    return;
                }
                taken = whole_at;
            }
            Err(_) => return,
        }
    };
    for cut in 0..taken {
        assert!(matches!(look(&data[..cut]), Ok(Seen::More(more)) if cut + more <= taken), "cut at {cut}");
    }
    if let Header::Client(address) = header {
        for written in [text(address), binary(address)] {
            assert_eq!(look(&written), Ok(Seen::Whole(header)), "{}", written.escape_ascii());
        }
    }
}

fn text(client: SocketAddr) -> Vec<u8> {
    let (ip, family) = (client.ip(), if client.is_ipv4() { 4 } else { 6 });
    format!("PROXY TCP{family} {ip} {ip} {} 0\r\n", client.port()).into_bytes()
}

fn binary(client: SocketAddr) -> Vec<u8> {
    let (family, ip) = match client.ip() {
        IpAddr::V4(ip) => (0x11, ip.octets().to_vec()),
        IpAddr::V6(ip) => (0x21, ip.octets().to_vec()),
    };
    let len = u8::try_from(2 * ip.len() + 4).expect("two addresses and two ports");
    let ports = [client.port().to_be_bytes(), [0, 0]].concat();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x21, family, 0, len][..], &ip, &ip, &ports].concat()
}
