//! Which addresses are never dialled: those that lead into the operator's own network rather than to a stranger's
//! endpoint, and webhookd's own listeners.
//!
//! Whoever can choose an endpoint's URL could otherwise make webhookd talk to a metadata service, a database or itself
//! (server-side request forgery). The guard judges the address that is dialled, after DNS and on every connection, so a
//! name that resolves differently the second time gains nothing. `allow_networks` opens ranges one by one; a listener of
//! this daemon is refused even there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use thiserror::Error;

/// Why an address is not dialled.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It lies in a range that is closed by default.
    #[error("{ip} lies in {range} ({what}), which is dialled only where allow_networks lists it")]
    Range {
        /// The address.
        ip: IpAddr,
        /// The range.
        range: IpNet,
        /// What the range is for.
        what: &'static str,
    },
    /// It is a listener of this very daemon.
    #[error("{at} is a listener of this webhookd itself")]
    OwnListener {
        /// The address.
        at: SocketAddr,
    },
}

/// The daemon's own TCP listeners, which are never dialled. Cloning it is cheap.
#[derive(Clone, Debug, Default)]
pub struct OwnListeners(Arc<[SocketAddr]>);

impl FromIterator<SocketAddr> for OwnListeners {
    fn from_iter<T: IntoIterator<Item = SocketAddr>>(listeners: T) -> Self {
        Self(listeners.into_iter().collect())
    }
}

impl OwnListeners {
    /// Whether dialling `at` would reach one of them, as far as the address alone tells.
    fn reached_by(&self, at: SocketAddr) -> bool {
        let ip = unmapped(at.ip());
        self.0.iter().filter(|own| own.port() == at.port()).any(|own| {
            let own = unmapped(own.ip());
            // An unspecified destination means the loopback; an unspecified listener hears every local address.
            own == ip
                || (ip.is_unspecified() && own.is_loopback())
                || (own.is_unspecified() && (ip.is_loopback() || ip.is_unspecified()))
        })
    }

    /// Whether a connection reached one of them: it came from the address it went to, so the peer is this machine.
    fn reached_from(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        let here = unmapped(local.ip()) == unmapped(peer.ip());
        here && self.0.iter().any(|own| own.port() == peer.port() && own.ip().is_unspecified())
    }
}

/// The rules of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    allow: Vec<IpNet>,
    own: OwnListeners,
}

impl Guard {
    pub(super) fn new(allow_networks: &[IpNet], own: OwnListeners) -> Self {
        Self { allow: allow_networks.to_vec(), own }
    }

    /// Judges an address before it is dialled.
    pub(super) fn judge(&self, at: SocketAddr) -> Result<(), Refusal> {
        if self.own.reached_by(at) {
            return Err(Refusal::OwnListener { at });
        }
        match closed_range(at.ip()) {
            Some(_) if self.allows(at.ip()) => Ok(()),
            Some((range, what)) => Err(Refusal::Range { ip: at.ip(), range, what }),
            None => Ok(()),
        }
    }

    /// Judges a connection before a byte is sent on it: only now it is known which local address it leaves from, and
    /// with it whether a listener on `0.0.0.0` or `[::]` is at its other end.
    pub(super) fn judge_connected(&self, local: SocketAddr, peer: SocketAddr) -> Result<(), Refusal> {
        if self.own.reached_by(peer) || self.own.reached_from(local, peer) {
            return Err(Refusal::OwnListener { at: peer });
        }
        Ok(())
    }

    fn allows(&self, ip: IpAddr) -> bool {
        let inner = unmapped(ip);
        self.allow.iter().any(|net| net.contains(&ip) || net.contains(&inner))
    }
}

/// The address that an IPv4-mapped IPv6 address (`::ffff:0:0/96`, RFC 4291 section 2.5.5.2) stands for: the kernel dials
/// it over IPv4. Every other address stands for itself; the ranges that a gateway translates (NAT64, 6to4, Teredo) are
/// closed as ranges.
fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// The closed range that `ip` lies in.
fn closed_range(ip: IpAddr) -> Option<(IpNet, &'static str)> {
    match unmapped(ip) {
        IpAddr::V4(v4) => {
            CLOSED_V4.iter().find(|(range, _)| range.contains(&v4)).map(|&(range, what)| (range.into(), what))
        }
        IpAddr::V6(v6) => {
            CLOSED_V6.iter().find(|(range, _)| range.contains(&v6)).map(|&(range, what)| (range.into(), what))
        }
    }
}

const fn v4(a: u8, b: u8, c: u8, d: u8, len: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), len)
}

const fn v6(head: [u16; 3], len: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(head[0], head[1], head[2], 0, 0, 0, 0, 0), len)
}

/// The IANA special-purpose registry for IPv4 (RFC 6890), with multicast and the reserved block.
const CLOSED_V4: [(Ipv4Net, &str); 15] = [
    (v4(0, 0, 0, 0, 8), "this network"),
    (v4(10, 0, 0, 0, 8), "private"),
    (v4(100, 64, 0, 0, 10), "carrier-grade NAT"),
    (v4(127, 0, 0, 0, 8), "loopback"),
    (v4(169, 254, 0, 0, 16), "link-local"),
    (v4(172, 16, 0, 0, 12), "private"),
    (v4(192, 0, 0, 0, 24), "protocol assignments"),
    (v4(192, 0, 2, 0, 24), "documentation"),
    (v4(192, 88, 99, 0, 24), "6to4 relays"),
    (v4(192, 168, 0, 0, 16), "private"),
    (v4(198, 18, 0, 0, 15), "benchmarks"),
    (v4(198, 51, 100, 0, 24), "documentation"),
    (v4(203, 0, 113, 0, 24), "documentation"),
    (v4(224, 0, 0, 0, 4), "multicast"),
    (v4(240, 0, 0, 0, 4), "reserved and broadcast"),
];

/// The same for IPv6; the narrower ranges stand before the wider ones that hold them. `::ffff:0:0/96` is missing because
/// it is unwrapped first.
const CLOSED_V6: [(Ipv6Net, &str); 16] = [
    (Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128), "unspecified"),
    (Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), "loopback"),
    (v6([0, 0, 0], 96), "IPv4-compatible"),
    (v6([0x64, 0xff9b, 0], 96), "NAT64"),
    (v6([0x64, 0xff9b, 1], 48), "local NAT64"),
    (v6([0x100, 0, 0], 64), "discard"),
    (v6([0x2001, 0, 0], 32), "Teredo"),
    (v6([0x2001, 2, 0], 48), "benchmarks"),
    (v6([0x2001, 0xdb8, 0], 32), "documentation"),
    (v6([0x3fff, 0, 0], 20), "documentation"),
    (v6([0x2002, 0, 0], 16), "6to4"),
    (v6([0x5f00, 0, 0], 16), "segment routing"),
    (v6([0xfc00, 0, 0], 7), "unique local"),
    (v6([0xfe80, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0], 10), "site-local"),
    (v6([0xff00, 0, 0], 8), "multicast"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(allow: &[&str], own: &[&str]) -> Guard {
        let allow: Vec<IpNet> = allow.iter().map(|net| net.parse().unwrap()).collect();
        Guard::new(&allow, own.iter().map(|at| at.parse::<SocketAddr>().unwrap()).collect())
    }

    fn at(ip: &str, port: u16) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), port)
    }

    fn refused_range(ip: &str) -> Option<String> {
        match guard(&[], &[]).judge(at(ip, 443)) {
            Ok(()) => None,
            Err(Refusal::Range { range, .. }) => Some(range.to_string()),
            Err(other) => panic!("{ip}: {other}"),
        }
    }

    /// Range, its first and last address, and the neighbours outside with the range that refuses them ("" = dialled).
    /// Written out by hand, so that a slip in the table above does not repeat itself here.
    #[rustfmt::skip]
    const EDGES: [(&str, &str, &str, &str, &str, &str, &str); 31] = [
        ("0.0.0.0/8", "0.0.0.0", "0.255.255.255", "", "", "1.0.0.0", ""),
        ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "9.255.255.255", "", "11.0.0.0", ""),
        ("100.64.0.0/10", "100.64.0.0", "100.127.255.255", "100.63.255.255", "", "100.128.0.0", ""),
        ("127.0.0.0/8", "127.0.0.0", "127.255.255.255", "126.255.255.255", "", "128.0.0.0", ""),
        ("169.254.0.0/16", "169.254.0.0", "169.254.255.255", "169.253.255.255", "", "169.255.0.0", ""),
        ("172.16.0.0/12", "172.16.0.0", "172.31.255.255", "172.15.255.255", "", "172.32.0.0", ""),
        ("192.0.0.0/24", "192.0.0.0", "192.0.0.255", "191.255.255.255", "", "192.0.1.0", ""),
        ("192.0.2.0/24", "192.0.2.0", "192.0.2.255", "192.0.1.255", "", "192.0.3.0", ""),
        ("192.88.99.0/24", "192.88.99.0", "192.88.99.255", "192.88.98.255", "", "192.88.100.0", ""),
        ("192.168.0.0/16", "192.168.0.0", "192.168.255.255", "192.167.255.255", "", "192.169.0.0", ""),
        ("198.18.0.0/15", "198.18.0.0", "198.19.255.255", "198.17.255.255", "", "198.20.0.0", ""),
        ("198.51.100.0/24", "198.51.100.0", "198.51.100.255", "198.51.99.255", "", "198.51.101.0", ""),
        ("203.0.113.0/24", "203.0.113.0", "203.0.113.255", "203.0.112.255", "", "203.0.114.0", ""),
        ("224.0.0.0/4", "224.0.0.0", "239.255.255.255", "223.255.255.255", "", "240.0.0.0", "240.0.0.0/4"),
        ("240.0.0.0/4", "240.0.0.0", "255.255.255.255", "239.255.255.255", "224.0.0.0/4", "", ""),
        ("::/128", "::", "::", "", "", "::1", "::1/128"),
        ("::1/128", "::1", "::1", "::", "::/128", "::2", "::/96"),
        ("::/96", "::2", "::ffff:ffff", "::1", "::1/128", "::1:0:0", ""),
        ("64:ff9b::/96", "64:ff9b::", "64:ff9b::ffff:ffff", "64:ff9a:ffff:ffff:ffff:ffff:ffff:ffff", "", "64:ff9b::1:0:0", ""),
        ("64:ff9b:1::/48", "64:ff9b:1::", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff", "64:ff9b:0:ffff:ffff:ffff:ffff:ffff", "", "64:ff9b:2::", ""),
        ("100::/64", "100::", "100::ffff:ffff:ffff:ffff", "ff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "100:0:0:1::", ""),
        ("2001::/32", "2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2001:1::", ""),
        ("2001:2::/48", "2001:2::", "2001:2:0:ffff:ffff:ffff:ffff:ffff", "2001:1:ffff:ffff:ffff:ffff:ffff:ffff", "", "2001:2:1::", ""),
        ("2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "", "2001:db9::", ""),
        ("3fff::/20", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "3fff:1000::", ""),
        ("2002::/16", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "2003::", ""),
        ("5f00::/16", "5f00::", "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "5eff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "5f01::", ""),
        ("fc00::/7", "fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fbff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "fe00::", ""),
        ("fe80::/10", "fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", "fec0::", "fec0::/10"),
        ("fec0::/10", "fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::/10", "ff00::", "ff00::/8"),
        ("ff00::/8", "ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fec0::/10", "", ""),
    ];

    #[test]
    fn every_range_is_closed_from_its_first_to_its_last_address_and_no_further() {
        assert_eq!(EDGES.len(), CLOSED_V4.len() + CLOSED_V6.len());
        for (range, first, last, before, before_in, after, after_in) in EDGES {
            for inside in [first, last] {
                assert_eq!(refused_range(inside).as_deref(), Some(range), "{inside}");
            }
            for (outside, expected) in [(before, before_in), (after, after_in)] {
                if !outside.is_empty() {
                    assert_eq!(refused_range(outside).unwrap_or_default(), expected, "{outside}, next to {range}");
                }
            }
        }
    }

    #[test]
    fn an_ipv4_mapped_address_is_judged_as_the_address_inside() {
        for (range, first, last, ..) in EDGES.iter().filter(|edge| edge.1.contains('.')) {
            for inside in [first, last] {
                assert_eq!(refused_range(&format!("::ffff:{inside}")).as_deref(), Some(*range), "::ffff:{inside}");
            }
        }
        assert_eq!(refused_range("::ffff:8.8.8.8"), None);
        assert!(guard(&["127.0.0.0/8"], &[]).judge(at("::ffff:127.0.0.1", 80)).is_ok());
        assert!(guard(&["::ffff:127.0.0.0/104"], &[]).judge(at("::ffff:127.0.0.1", 80)).is_ok());
    }

    #[test]
    fn addresses_that_embed_an_ipv4_address_are_closed_whatever_they_embed() {
        for public in ["::8.8.8.8", "64:ff9b::8.8.8.8", "64:ff9b:1::8.8.8.8", "2002:808:808::1", "2001:0:808:808::1"] {
            assert!(refused_range(public).is_some(), "{public}");
        }
    }

    #[test]
    fn public_addresses_are_dialled() {
        for public in ["1.1.1.1", "8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450:4001:81b::200e"] {
            assert_eq!(refused_range(public), None, "{public}");
        }
    }

    #[test]
    fn allow_networks_opens_what_it_lists_and_nothing_else() {
        let guard = guard(&["10.1.0.0/16", "fd00:1::/32"], &[]);
        assert!(guard.judge(at("10.1.2.3", 80)).is_ok());
        assert!(guard.judge(at("10.2.0.0", 80)).is_err());
        assert!(guard.judge(at("fd00:1:2::3", 80)).is_ok());
        assert!(guard.judge(at("fd00:2::3", 80)).is_err());
        assert!(guard.judge(at("127.0.0.1", 80)).is_err());
    }

    #[test]
    fn own_listeners_are_refused_even_where_their_network_is_allowed() {
        let all = ["0.0.0.0/0", "::/0"];
        let cases: [(&str, &[&str], &[&str]); 4] = [
            ("127.0.0.1:8400", &["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::"], &["127.0.0.2", "::1", "10.0.0.1"]),
            ("0.0.0.0:8400", &["127.0.0.1", "127.9.9.9", "0.0.0.0", "::ffff:127.0.0.1", "::1", "::"], &["10.0.0.1"]),
            ("[::]:8400", &["127.0.0.1", "::1", "0.0.0.0", "::"], &["10.0.0.1", "fd00::1"]),
            ("10.0.0.1:8400", &["10.0.0.1", "::ffff:10.0.0.1"], &["127.0.0.1", "10.0.0.2", "0.0.0.0"]),
        ];
        for (own, refused, dialled) in cases {
            let guard = guard(&all, &[own]);
            for ip in refused {
                assert_eq!(guard.judge(at(ip, 8400)), Err(Refusal::OwnListener { at: at(ip, 8400) }), "{own} {ip}");
                assert!(guard.judge(at(ip, 8401)).is_ok(), "{own} {ip}, another port");
            }
            for ip in dialled {
                assert!(guard.judge(at(ip, 8400)).is_ok(), "{own} {ip}");
            }
        }
    }

    #[test]
    fn a_wildcard_listener_is_recognised_once_the_local_address_is_known() {
        let guard = guard(&["0.0.0.0/0"], &["0.0.0.0:8400"]);
        let here = at("10.0.0.1", 50_000);
        assert!(guard.judge_connected(here, at("10.0.0.1", 8400)).is_err(), "from an address to itself");
        assert!(guard.judge_connected(at("::ffff:10.0.0.1", 50_000), at("10.0.0.1", 8400)).is_err());
        assert!(guard.judge_connected(here, at("10.0.0.1", 8401)).is_ok(), "another port");
        assert!(guard.judge_connected(here, at("10.0.0.2", 8400)).is_ok(), "another machine");
        let bound = super::tests::guard(&["0.0.0.0/0"], &["127.0.0.1:8400"]);
        assert!(bound.judge_connected(here, at("10.0.0.1", 8400)).is_ok(), "bound to the loopback alone");
        assert!(bound.judge_connected(at("127.0.0.1", 50_000), at("127.0.0.1", 8400)).is_err());
    }

    /// What the URL parser makes of a literal is what gets dialled, so it is judged as what it means.
    #[test]
    fn every_spelling_of_a_literal_is_judged_as_what_it_means() {
        let spellings = [
            ("127.1", "127.0.0.1"),
            ("2130706433", "127.0.0.1"),
            ("0x7f.1", "127.0.0.1"),
            ("0x7f000001", "127.0.0.1"),
            ("0177.0.0.1", "127.0.0.1"),
            ("127.0.0.1.", "127.0.0.1"),
            ("127.0.1", "127.0.0.1"),
            ("%31%32%37.0.0.1", "127.0.0.1"),
            ("１２７.0.0.1", "127.0.0.1"),
            ("127。0。0。1", "127.0.0.1"),
            ("0xa9fea9fe", "169.254.169.254"),
            ("0", "0.0.0.0"),
            ("[::1]", "::1"),
            ("[0:0:0:0:0:0:0:1]", "::1"),
            ("[::ffff:7f00:1]", "::ffff:127.0.0.1"),
            ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
            ("[FE80::1]", "fe80::1"),
        ];
        for (spelling, meaning) in spellings {
            let url = url::Url::parse(&format!("http://{spelling}/hook")).unwrap();
            let host = url.host_str().unwrap();
            let dialled = super::super::resolve::literal(host).unwrap_or_else(|| panic!("{spelling} became {host}"));
            assert_eq!(dialled, meaning.parse::<IpAddr>().unwrap(), "{spelling}");
            assert!(guard(&[], &[]).judge(SocketAddr::new(dialled, 80)).is_err(), "{spelling}");
        }
    }

    #[test]
    fn a_zone_or_a_broken_literal_is_no_url_at_all() {
        for bad in ["[fe80::1%eth0]", "[fe80::1%25eth0]", "256.0.0.1", "127.0.0.1.1.1", "0x1ffffffff", "1.2.3.4.5"] {
            assert!(url::Url::parse(&format!("http://{bad}/hook")).is_err(), "{bad}");
        }
    }
}
