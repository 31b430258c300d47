//! `[inbound]`: what the internet may reach. Nothing listens there as long as there is no source.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::api::{read_connections, read_listen};
use super::keys::{INBOUND, INBOUND_TLS};
use super::reader::{Item, Reading, Table};
use super::{Api, Inbound, Listen, Proxies, proxies, tls};
use crate::limits;

impl Default for Inbound {
    fn default() -> Self {
        let listen = Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8401));
        Self {
            listen,
            body_bytes_max: limits::MIB,
            connections_max: limits::CONNECTIONS_DEFAULT,
            connections_per_address_max: limits::CONNECTIONS_PER_ADDRESS_DEFAULT,
            proxy_protocol: Proxies::default(),
            tls: None,
        }
    }
}

/// Reads `[inbound]`, which stands beside `api`.
pub(super) fn read(reading: &mut Reading<'_>, item: &Item<'_>, api: &Api) -> Option<Inbound> {
    let table = Table::open(reading, item, &INBOUND)?;
    let default = Inbound::default();
    let listen_item = table.get("listen");
    let listen = listen_item.as_ref().and_then(|item| read_listen(reading, item)).unwrap_or(default.listen.clone());
    let bodies = limits::KIB as u64..=limits::MAX_BODY_BYTES_MAX as u64;
    let body_bytes = table.size_bytes(reading, "max_body", &bodies, default.body_bytes_max as u64);
    let mut connections = |key, default| read_connections(reading, &table, key, default);
    let connections_max = connections("max_connections", default.connections_max);
    let connections_per_address_max = connections("max_connections_per_address", default.connections_per_address_max);
    let proxy_protocol = table.get("proxy_protocol").map(|item| proxies::read(reading, &item)).unwrap_or_default();
    let tls_item = table.get("tls");
    let tls = tls_item.as_ref().and_then(|item| tls::read_listener(reading, item, &INBOUND_TLS, &listen));
    let any_port = matches!(listen, Listen::Tcp(address) if address.port() == 0);
    if listen == api.listen && !any_port {
        reading.error(
            listen_item.as_ref().unwrap_or(item),
            "[api] listens at this address; give [inbound] one of its own, for it is what others may reach",
        );
    }
    let body_bytes_max = usize::try_from(body_bytes).unwrap_or(default.body_bytes_max);
    Some(Inbound { listen, body_bytes_max, connections_max, connections_per_address_max, proxy_protocol, tls })
}
