//! Networks of addresses, wherever a config lists some.
//!
//! An IPv6 socket shows an IPv4 client as `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2). Addresses are judged as what they mean, so
//! networks that are written in that way are kept as what they mean too.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::reader::{Item, Reading, shown};
use crate::limits;

/// Bits before the IPv4 address in one that is written as IPv6.
const MAPPED_BITS: u8 = 96;

/// Whether one of the networks holds the address.
pub(super) fn hold(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// Reads `allow_networks`.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Vec<IpNet>> {
    let what = "a list of networks such as [\"10.1.0.0/16\", \"::1\"]";
    let items = item.list(reading, what, limits::ALLOW_NETWORKS_MAX)?;
    let what = "a network such as \"10.1.0.0/16\", or an address";
    Some(items.iter().filter_map(|item| read_network(reading, item, what)).collect())
}

/// Reads one network.
pub(super) fn read_network(reading: &mut Reading<'_>, item: &Item<'_>, what: &str) -> Option<IpNet> {
    let text = item.text(reading, what)?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(IpNet::from(address.to_canonical()));
    }
    let Ok(network) = text.parse::<IpNet>() else {
        reading.expected(item, what);
        return None;
    };
    if network.trunc() != network {
        let (found, network) = (shown(text), network.trunc());
        reading.error(
            item,
            format!("{found} names an address inside a network; write \"{network}\" for the whole network"),
        );
        return None;
    }
    Some(unmapped(network))
}

fn unmapped(network: IpNet) -> IpNet {
    let (IpAddr::V4(inner), Some(bits)) =
        (network.network().to_canonical(), network.prefix_len().checked_sub(MAPPED_BITS))
    else {
        return network;
    };
    match network {
        IpNet::V6(_) => Ipv4Net::new(inner, bits).map_or(network, IpNet::from),
        IpNet::V4(_) => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_mapped_addresses_are_those_of_ipv4() {
        let unmapped = |text: &str| unmapped(text.parse().unwrap()).to_string();
        assert_eq!(unmapped("::ffff:10.0.0.0/104"), "10.0.0.0/8");
        assert_eq!(unmapped("::ffff:10.1.2.3/128"), "10.1.2.3/32");
        assert_eq!(unmapped("::ffff:0:0/96"), "0.0.0.0/0");
        for other in ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.1/32", "fd00::/8", "::/0", "::1/128", "2001:db8::/96"] {
            assert_eq!(unmapped(other), other);
        }
    }

    #[test]
    fn addresses_are_judged_as_what_they_mean() {
        let networks = ["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
        for (address, held) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("11.1.2.3", false),
            ("::10.1.2.3", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(hold(&networks, address.parse().unwrap()), held, "{address}");
        }
        assert!(!hold(&[], IpAddr::from([127, 0, 0, 1])));
    }
}
