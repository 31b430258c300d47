//! The tables of the config that name a listener, and what they have in common.

use std::sync::Arc;

use crate::config::{Config, Inbound, Listen, ListenerTls, Proxies};

/// A table that names a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// `[api]`
    Api,
    /// `[inbound]`
    Inbound,
}

/// What a table says of its listener.
#[derive(Debug)]
pub(super) struct Terms {
    /// Where it is, unless systemd hands over sockets.
    pub(super) listen: Listen,
    pub(super) connections_max: usize,
    pub(super) connections_per_address_max: usize,
    /// Whose connections begin with a PROXY header.
    pub(super) proxies: Proxies,
}

impl Table {
    /// Every table.
    pub(super) const ALL: [Self; 2] = [Self::Api, Self::Inbound];

    /// The table as it is written, which is what metrics and systemd's sockets call it too.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Inbound => "inbound",
        }
    }

    /// The table of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.word() == name)
    }

    /// What it says; the defaults where it is not there.
    pub(super) fn terms(self, config: &Config) -> Terms {
        match self {
            Self::Api => {
                let api = &config.api;
                Terms {
                    listen: api.listen.clone(),
                    connections_max: api.connections_max,
                    connections_per_address_max: api.connections_per_address_max,
                    proxies: Proxies::default(),
                }
            }
            Self::Inbound => {
                let inbound = config.inbound.clone().unwrap_or_default();
                let Inbound { listen, connections_max, connections_per_address_max, proxy_protocol, .. } = inbound;
                Terms { listen, connections_max, connections_per_address_max, proxies: proxy_protocol }
            }
        }
    }

    /// The certificate that it names.
    pub(super) fn tls(self, config: &Config) -> Option<&Arc<ListenerTls>> {
        match self {
            Self::Api => config.api.tls.as_ref(),
            Self::Inbound => config.inbound.as_ref()?.tls.as_ref(),
        }
    }

    /// The same config with another certificate here.
    pub(super) fn with_tls(self, config: &Config, tls: Arc<ListenerTls>) -> Config {
        let mut config = config.clone();
        match self {
            Self::Api => config.api.tls = Some(tls),
            Self::Inbound => config.inbound.get_or_insert_default().tls = Some(tls),
        }
        config
    }
}
