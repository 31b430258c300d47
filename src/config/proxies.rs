//! `trusted_proxies` of a source and `proxy_protocol` of `[inbound]`: whose word about the address of a client counts.

use std::net::IpAddr;

use super::reader::{Item, Reading};
use super::{Proxies, networks};
use crate::limits;

/// The word for whoever connects over a unix socket, which has no address.
const UNIX: &str = "unix";

impl Proxies {
    /// Whether whoever connects from this address is one; `None`: over a unix socket.
    ///
    /// An IPv4 address that is written as IPv6 is judged as IPv4.
    #[must_use]
    pub fn trusts(&self, address: Option<IpAddr>) -> bool {
        address.map_or(self.unix, |address| networks::hold(&self.networks, address))
    }

    /// Whether nobody is one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

/// Reads networks, and the word `"unix"`.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>) -> Proxies {
    let what =
        "a list of networks such as [\"10.1.0.0/16\", \"::1\"], with \"unix\" for whoever connects over a unix socket";
    let mut proxies = Proxies::default();
    for item in item.list(reading, what, limits::ALLOW_NETWORKS_MAX).unwrap_or_default() {
        if item.value.as_str() == Some(UNIX) {
            proxies.unix = true;
            continue;
        }
        let what = "a network such as \"10.1.0.0/16\", an address, or \"unix\"";
        proxies.networks.extend(networks::read_network(reading, &item, what));
    }
    proxies
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_is_trusted_by_its_word_and_addresses_by_their_network() {
        let networks = vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        let tcp = Proxies { networks, unix: false };
        let address = |text: &str| Some(text.parse().unwrap());
        assert!(
            tcp.trusts(address("10.9.9.9")) && tcp.trusts(address("::ffff:10.9.9.9")) && tcp.trusts(address("::1"))
        );
        assert!(!tcp.trusts(address("192.168.0.1")) && !tcp.trusts(None) && !tcp.is_empty());
        let unix = Proxies { networks: Vec::new(), unix: true };
        assert!(unix.trusts(None) && !unix.trusts(address("127.0.0.1")) && !unix.is_empty());
        let nobody = Proxies::default();
        assert!(nobody.is_empty() && !nobody.trusts(None) && !nobody.trusts(address("127.0.0.1")));
    }
}
