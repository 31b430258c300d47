//! The address of the client: the connection's, or what trusted proxies say of it.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{HeaderMap, HeaderValue};

use crate::config::Proxies;
use crate::front::Origin;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// The client's address; `None`: it is not known.
///
/// Each proxy appends the address that it was called from to `X-Forwarded-For`, so the list is read from its end, and only for
/// as long as what wrote it is trusted: the first entry that is no proxy of ours is the client. What stands before it, the client
/// may have made up.
pub(super) fn address(origin: Origin, headers: &HeaderMap, trusted: &Proxies) -> Option<IpAddr> {
    let connected = match origin {
        Origin::Tcp(address) => Some(address.ip().to_canonical()),
        Origin::Unix { .. } => None,
    };
    if !trusted.trusts(connected) {
        return connected;
    }
    let values = headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes);
    let entries = values.flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let entries: Vec<_> = entries.filter(|entry| !entry.is_empty()).collect();
    let mut client = connected;
    for entry in entries.iter().rev() {
        client = Some(read(entry)?);
        if !trusted.trusts(client) {
            break;
        }
    }
    client
}

/// An entry: an address, as some proxies write it with a port or, of IPv6, in brackets.
fn read(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(address: &str) -> Origin {
        Origin::Tcp(format!("{address}:4000").parse().unwrap())
    }

    fn seen(origin: Origin, lines: &[&str], proxies: &Proxies) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        }
        address(origin, &headers, proxies).map(|address| address.to_string())
    }

    fn ours() -> Proxies {
        Proxies { networks: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], unix: false }
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let shown = |lines: &[&str]| seen(tcp("192.0.2.7"), lines, &ours());
        for lines in [&[][..], &["10.0.0.1"], &["198.51.100.1, 10.0.0.1"], &["junk"]] {
            assert_eq!(shown(lines).as_deref(), Some("192.0.2.7"), "{lines:?}");
        }
    }

    #[test]
    fn the_last_entry_that_is_no_proxy_of_ours_is_the_client() {
        for (lines, client) in [
            (&["198.51.100.1"][..], "198.51.100.1"),
            (&["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            (&["1.1.1.1,198.51.100.1 , 10.2.2.2,fd00::1"], "198.51.100.1"),
            (&["1.1.1.1", "198.51.100.1", "10.2.2.2"], "198.51.100.1"),
            (&["junk, 198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1:4711"], "198.51.100.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, ::ffff:10.0.0.9"], "198.51.100.1"),
            (&["198.51.100.1,, ,"], "198.51.100.1"),
            (&["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
            (&[], "10.0.0.1"),
            (&[" , "], "10.0.0.1"),
        ] {
            assert_eq!(seen(tcp("10.0.0.1"), lines, &ours()).as_deref(), Some(client), "{lines:?}");
            assert_eq!(seen(tcp("[::ffff:10.0.0.1]"), lines, &ours()).as_deref(), Some(client), "{lines:?}, mapped");
        }
    }

    #[test]
    fn an_entry_that_is_no_address_hides_the_client() {
        for line in ["unknown", "_hidden", "198.51.100.1, unknown", "1.2.3", "1.1.1.1, 198.51.100.1;10.0.0.2", "ü"] {
            assert_eq!(seen(tcp("10.0.0.1"), &[line], &ours()), None, "{line}");
        }
    }

    #[test]
    fn a_unix_socket_has_no_address_unless_who_connects_over_it_is_believed() {
        let unix = Origin::Unix { uid: Some(0) };
        assert_eq!(seen(unix, &["198.51.100.1"], &ours()), None);
        let trusted = Proxies { unix: true, ..ours() };
        assert_eq!(seen(unix, &["198.51.100.1, 10.0.0.1"], &trusted).as_deref(), Some("198.51.100.1"));
        assert_eq!(seen(unix, &[], &trusted), None);
    }
}
