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

/// Reads `[inbound]`, which stands beside `api` and is there for `sources`. `None`: there is neither such a table nor a source.
pub(super) fn read(
    reading: &mut Reading<'_>,
    item: Option<&Item<'_>>,
    sources: Option<&Item<'_>>,
    api: &Api,
) -> Option<Inbound> {
    let sources = sources.filter(|item| item.value.as_table().is_some_and(|names| !names.is_empty()));
    let table = item.and_then(|item| Some((Table::open(reading, item, &INBOUND)?, item)));
    let Some((table, item)) = table else {
        let inbound = sources.map(|_| Inbound::default())?;
        if let Some(item) = sources.filter(|_| meet(&inbound.listen, &api.listen)) {
            let message = format!(
                "what is posted to a source comes in at {} by default, where [api] listens; give [inbound] a `listen` of its own",
                inbound.listen
            );
            reading.error(item, message);
        }
        return Some(inbound);
    };
    let inbound = read_table(reading, &table);
    if meet(&inbound.listen, &api.listen) {
        reading.error(
            table.get("listen").as_ref().unwrap_or(item),
            "[api] listens at this address; give [inbound] one of its own, for it is what others may reach",
        );
    }
    if sources.is_none() {
        reading.warn(item, "no source posts to it: nothing is taken there until there is a [source.NAME]");
    }
    Some(inbound)
}

fn read_table(reading: &mut Reading<'_>, table: &Table<'_>) -> Inbound {
    let default = Inbound::default();
    let listen = table.get("listen").and_then(|item| read_listen(reading, &item)).unwrap_or(default.listen);
    let bodies = limits::KIB as u64..=limits::MAX_BODY_BYTES_MAX as u64;
    let body_bytes = table.size_bytes(reading, "max_body", &bodies, default.body_bytes_max as u64);
    let mut connections = |key, default| read_connections(reading, table, key, default);
    let connections_max = connections("max_connections", default.connections_max);
    let connections_per_address_max = connections("max_connections_per_address", default.connections_per_address_max);
    let proxy_protocol = table.get("proxy_protocol").map(|item| proxies::read(reading, &item)).unwrap_or_default();
    let tls = table.get("tls").and_then(|item| tls::read_listener(reading, &item, &INBOUND_TLS, &listen));
    Inbound {
        listen,
        body_bytes_max: usize::try_from(body_bytes).unwrap_or(default.body_bytes_max),
        connections_max,
        connections_per_address_max,
        proxy_protocol,
        tls,
    }
}

/// Whether two listeners would want the same place; a port that is still to be chosen is never the same.
fn meet(one: &Listen, other: &Listen) -> bool {
    one == other && !matches!(one, Listen::Tcp(address) if address.port() == 0)
}
