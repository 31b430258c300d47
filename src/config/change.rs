//! What another config changes while a daemon runs, and what it cannot change then.
//!
//! The parts of endpoints and sources are taken apart by name here, so that a key that is added to them is not forgotten: the
//! compiler asks.

use std::collections::BTreeMap;
use std::sync::Arc;

use hyper::header::{HeaderName, HeaderValue};
use subtle::ConstantTimeEq as _;

use super::{Api, Config, Endpoint, EndpointTls, Inbound, ListenerTls, Source, Storage, Token, Verification};
use crate::model::text::{EndpointName, SourceName};
use crate::signature::secret::Secret;
use crate::signature::{sign_alike, verify_alike};

/// What became of a config when another one took its place. Nothing in it is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Endpoints that are new.
    pub added: Vec<EndpointName>,
    /// Endpoints with other settings, another secret or another certificate.
    pub changed: Vec<EndpointName>,
    /// Endpoints that are gone.
    pub removed: Vec<EndpointName>,
    /// The sources that are other ones.
    pub sources: SourceChanges,
    /// Keys outside the endpoints and sources that have another value now.
    pub settings: Vec<&'static str>,
    /// Keys that have another value in the file and keep their old one until a restart.
    pub needs_restart: Vec<&'static str>,
}

/// What became of the sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceChanges {
    /// Those that are new.
    pub added: Vec<SourceName>,
    /// Those with other settings or another secret.
    pub changed: Vec<SourceName>,
    /// Those that are gone.
    pub removed: Vec<SourceName>,
}

impl Changes {
    /// Whether the value of a key, written in full, is another one, or belongs to an endpoint or a source that is.
    #[must_use]
    pub fn touch(&self, key: &str) -> bool {
        let inside = |table: &str| key.strip_prefix(table).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        self.settings.iter().any(|setting| inside(setting))
            || self.added.iter().chain(&self.changed).any(|name| inside(&format!("endpoint.{name}")))
            || self.sources.added.iter().chain(&self.sources.changed).any(|name| inside(&format!("source.{name}")))
    }

    /// Whether the config is as it was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Config {
    /// [`Config::renewed_while`], where something listens on `[inbound]` if there was a source from the start.
    #[must_use]
    pub fn renewed(&self, next: Self) -> (Self, Changes) {
        self.renewed_while(next, !self.sources.is_empty())
    }

    /// The config that is in force once `next` has been loaded in the place of this one, and what it changes; `inbound_listens`:
    /// whether the daemon has a listener for `[inbound]`, which it opens when it starts or not at all.
    ///
    /// A daemon keeps its listeners and its data folder while it runs. And whoever listens where other machines reach it
    /// keeps its tokens where the new config, which is for another listener, has none: else everyone could do everything
    /// until the restart. Other certificates count at once; whether there is TLS at all is part of where a listener is
    /// reached, so it changes with a restart.
    #[must_use]
    pub fn renewed_while(&self, next: Self, inbound_listens: bool) -> (Self, Changes) {
        let mut changes = Changes::default();
        let Self { api, inbound, storage, endpoints, sources, lapsed, warnings } = next;
        let api = self.api.renewed(api, &mut changes);
        let inbound = if inbound_listens {
            keep_listening(self.inbound.as_ref(), inbound, &mut changes)
        } else {
            compare_unheard(self.inbound.as_ref(), inbound.as_ref(), &mut changes);
            if !sources.is_empty() {
                changes.needs_restart.push("inbound");
            }
            inbound
        };
        let storage = self.storage.renewed(storage, &mut changes);
        let Changes { added, changed, removed, sources: named, .. } = &mut changes;
        (*added, *changed, *removed) = compare(&self.endpoints, &endpoints, Endpoint::is_like);
        (named.added, named.changed, named.removed) = compare(&self.sources, &sources, Source::is_like);
        (Self { api, inbound, storage, endpoints, sources, lapsed, warnings }, changes)
    }
}

impl Api {
    fn renewed(&self, next: Self, changes: &mut Changes) -> Self {
        let Self { listen, body_bytes_max, connections_max, connections_per_address_max, hosts, tls, mut tokens } =
            next;
        if listen != self.listen {
            changes.needs_restart.push("api.listen");
        }
        if body_bytes_max != self.body_bytes_max {
            changes.settings.push("api.max_body");
        }
        if connections_max != self.connections_max {
            changes.settings.push("api.max_connections");
        }
        if connections_per_address_max != self.connections_per_address_max {
            changes.settings.push("api.max_connections_per_address");
        }
        if hosts != self.hosts {
            changes.settings.push("api.hosts");
        }
        let tls = renew_tls("api.tls", self.tls.as_ref(), tls, changes);
        if !same_tokens(&self.tokens, &tokens) {
            if tokens.is_empty() && !self.listen.is_local() {
                changes.needs_restart.push("api.token");
                tokens.clone_from(&self.tokens);
            } else {
                changes.settings.push("api.token");
            }
        }
        let listen = self.listen.clone();
        Self { listen, body_bytes_max, connections_max, connections_per_address_max, hosts, tls, tokens }
    }
}

impl Storage {
    fn renewed(&self, next: Self, changes: &mut Changes) -> Self {
        let Self { dir, retention_ms, size_bytes_max, free_bytes_min, durability } = &next;
        if *dir != self.dir {
            changes.needs_restart.push("storage.dir");
        }
        let differ = [
            ("storage.retention", *retention_ms != self.retention_ms),
            ("storage.max_size", *size_bytes_max != self.size_bytes_max),
            ("storage.min_free", *free_bytes_min != self.free_bytes_min),
            ("storage.durability", *durability != self.durability),
        ];
        changes.settings.extend(differ.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key));
        Self { dir: self.dir.clone(), ..next }
    }
}

impl Inbound {
    fn renewed(&self, next: Self, changes: &mut Changes) -> Self {
        let Self { listen, body_bytes_max, connections_max, connections_per_address_max, proxy_protocol, tls } = next;
        if listen != self.listen {
            changes.needs_restart.push("inbound.listen");
        }
        let differ = [
            ("inbound.max_body", body_bytes_max != self.body_bytes_max),
            ("inbound.max_connections", connections_max != self.connections_max),
            ("inbound.max_connections_per_address", connections_per_address_max != self.connections_per_address_max),
            // A load balancer more is no reason to restart.
            ("inbound.proxy_protocol", proxy_protocol != self.proxy_protocol),
        ];
        changes.settings.extend(differ.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key));
        let tls = renew_tls("inbound.tls", self.tls.as_ref(), tls, changes);
        let listen = self.listen.clone();
        Self { listen, body_bytes_max, connections_max, connections_per_address_max, proxy_protocol, tls }
    }
}

/// A listener stays as long as the daemon runs, also when the table and all the sources have gone.
fn keep_listening(now: Option<&Inbound>, next: Option<Inbound>, changes: &mut Changes) -> Option<Inbound> {
    match (now, next) {
        (Some(now), Some(next)) => Some(now.renewed(next, changes)),
        (None, Some(next)) => Some(Inbound::default().renewed(next, changes)),
        (now, None) => now.cloned(),
    }
}

/// Nothing listens there, so everything about it counts at once.
fn compare_unheard(now: Option<&Inbound>, next: Option<&Inbound>, changes: &mut Changes) {
    let default = Inbound::default();
    let (now, next) = (now.unwrap_or(&default), next.unwrap_or(&default));
    let Inbound { listen, body_bytes_max, connections_max, connections_per_address_max, proxy_protocol, tls } = next;
    let differ = [
        ("inbound.listen", *listen != now.listen),
        ("inbound.max_body", *body_bytes_max != now.body_bytes_max),
        ("inbound.max_connections", *connections_max != now.connections_max),
        ("inbound.max_connections_per_address", *connections_per_address_max != now.connections_per_address_max),
        ("inbound.proxy_protocol", *proxy_protocol != now.proxy_protocol),
        ("inbound.tls", !same_tls(now.tls.as_ref(), tls.as_ref())),
    ];
    changes.settings.extend(differ.iter().filter(|(_, differs)| *differs).map(|(key, _)| *key));
}

fn renew_tls(
    key: &'static str,
    now: Option<&Arc<ListenerTls>>,
    next: Option<Arc<ListenerTls>>,
    changes: &mut Changes,
) -> Option<Arc<ListenerTls>> {
    match (now, next) {
        (Some(now), Some(next)) => {
            if !now.is_like(&next) {
                changes.settings.push(key);
            }
            Some(next)
        }
        (None, None) => None,
        (now, _) => {
            changes.needs_restart.push(key);
            now.cloned()
        }
    }
}

fn same_tls(now: Option<&Arc<ListenerTls>>, next: Option<&Arc<ListenerTls>>) -> bool {
    match (now, next) {
        (None, None) => true,
        (Some(now), Some(next)) => now.is_like(next),
        _ => false,
    }
}

/// What was added, changed and removed.
fn compare<N: Ord + Clone, T>(
    now: &BTreeMap<N, Arc<T>>,
    next: &BTreeMap<N, Arc<T>>,
    alike: fn(&T, &T) -> bool,
) -> (Vec<N>, Vec<N>, Vec<N>) {
    let (mut added, mut changed) = (Vec::new(), Vec::new());
    for (name, one) in next {
        match now.get(name) {
            None => added.push(name.clone()),
            Some(before) if !alike(before, one) => changed.push(name.clone()),
            Some(_) => {}
        }
    }
    let removed = now.keys().filter(|name| !next.contains_key(*name)).cloned().collect();
    (added, changed, removed)
}

fn same_tokens(now: &[Token], next: &[Token]) -> bool {
    let same = |one: &Token, other: &Token| {
        one.name == other.name && one.scope == other.scope && same_secret(&one.secret, &other.secret)
    };
    now.len() == next.len() && now.iter().zip(next).all(|(one, other)| same(one, other))
}

impl Endpoint {
    /// Whether a delivery to `other` is one to this endpoint in every respect. Secrets are compared in constant time.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let Self {
            name,
            url,
            events,
            signing,
            format,
            headers,
            permanent,
            tls: _,
            timeout_ms,
            in_flight_max: _,
            retry,
            allow_networks: _,
            response_bytes_max,
            order,
            on_dead,
            rate_limit,
            breaker,
            disable_after_ms,
        } = self;
        self.connects_like(other)
            && (name, url, events) == (&other.name, &other.url, &other.events)
            && (format, permanent) == (&other.format, &other.permanent)
            && (timeout_ms, response_bytes_max) == (&other.timeout_ms, &other.response_bytes_max)
            && (order, on_dead, rate_limit) == (&other.order, &other.on_dead, &other.rate_limit)
            && (breaker, disable_after_ms) == (&other.breaker, &other.disable_after_ms)
            && *retry == other.retry
            && same_headers(headers, &other.headers)
            && sign_alike(signing, &other.signing)
    }

    /// Whether a connection that was made to this endpoint may serve `other`: it goes to the same place under the same
    /// rules.
    #[must_use]
    pub fn connects_like(&self, other: &Self) -> bool {
        self.url.origin() == other.url.origin()
            && self.in_flight_max == other.in_flight_max
            && self.allow_networks == other.allow_networks
            && match (&self.tls, &other.tls) {
                (None, None) => true,
                (Some(one), Some(other)) => one.is_like(other),
                _ => false,
            }
    }
}

impl Source {
    /// Whether a request to `other` is one to this source in every respect. Secrets are compared in constant time.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let Self {
            name,
            verify,
            event_type,
            dedup,
            key,
            allow_networks,
            trusted_proxies,
            respond,
            rate_limit,
            public_url,
            verify_token,
        } = self;
        let same_verification = match (verify, &other.verify) {
            (Verification::Unverified, Verification::Unverified) => true,
            (Verification::Schemes(one), Verification::Schemes(other)) => verify_alike(one, other),
            _ => false,
        };
        let same_token = match (verify_token, &other.verify_token) {
            (None, None) => true,
            (Some(one), Some(other)) => same_secret(one, other),
            _ => false,
        };
        same_verification
            && same_token
            && (name, public_url) == (&other.name, &other.public_url)
            && (event_type, dedup, key) == (&other.event_type, &other.dedup, &other.key)
            && (allow_networks, trusted_proxies) == (&other.allow_networks, &other.trusted_proxies)
            && (respond, rate_limit) == (&other.respond, &other.rate_limit)
    }
}

fn same_secret(one: &Secret, other: &Secret) -> bool {
    one.ct_eq(other.expose())
}

/// The values may hold credentials.
fn same_headers(now: &[(HeaderName, HeaderValue)], next: &[(HeaderName, HeaderValue)]) -> bool {
    let same = |one: &(HeaderName, HeaderValue), other: &(HeaderName, HeaderValue)| {
        one.0 == other.0 && bool::from(one.1.as_bytes().ct_eq(other.1.as_bytes()))
    };
    now.len() == next.len() && now.iter().zip(next).all(|(one, other)| same(one, other))
}

impl EndpointTls {
    fn is_like(&self, other: &Self) -> bool {
        let Self { ca, client } = self;
        *ca == other.ca
            && match (client, &other.client) {
                (None, None) => true,
                (Some((chain, key)), Some((other_chain, other_key))) => {
                    chain == other_chain && bool::from(key.secret_der().ct_eq(other_key.secret_der()))
                }
                _ => false,
            }
    }
}
