//! `[api]`: where it listens, and who may do what.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::keys::{API, API_TLS, TOKEN};
use super::reader::{Item, Reading, Table, named, shown};
use super::secrets::read_secret;
use super::{Api, Listen, Scope, Token, hosts, tls};
use crate::limits;
use crate::model::text::EndpointName;
use crate::signature::secret::Secret;

const WHAT: &str =
    "an address such as \"127.0.0.1:8400\" or \"[::1]:8400\", or a path such as \"unix:/run/webhookd/api.sock\"";

impl Default for Api {
    fn default() -> Self {
        let listen = Listen::Tcp(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8400));
        Self {
            listen,
            body_bytes_max: limits::MIB,
            connections_max: limits::CONNECTIONS_DEFAULT,
            connections_per_address_max: limits::CONNECTIONS_PER_ADDRESS_DEFAULT,
            hosts: Vec::new(),
            tls: None,
            tokens: Vec::new(),
        }
    }
}

impl Listen {
    /// Whether only this machine can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(addr) => addr.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

/// Reads `[api]`.
pub(super) fn read(reading: &mut Reading<'_>, item: Option<&Item<'_>>) -> Api {
    let default = Api::default();
    let Some(table) = item.and_then(|item| Table::open(reading, item, &API)) else { return default };
    let listen_item = table.get("listen");
    let listen = listen_item.as_ref().and_then(|item| read_listen(reading, item)).unwrap_or(default.listen);
    let bodies = limits::KIB as u64..=limits::MAX_BODY_BYTES_MAX as u64;
    let body_bytes = table.size_bytes(reading, "max_body", &bodies, default.body_bytes_max as u64);
    let mut connections = |key, default| read_connections(reading, &table, key, default);
    let connections_max = connections("max_connections", default.connections_max);
    let connections_per_address_max = connections("max_connections_per_address", default.connections_per_address_max);
    let hosts = table.get("hosts").map(|item| hosts::read(reading, &item)).unwrap_or_default();
    let token_item = table.get("token");
    let tokens = token_item.as_ref().map(|item| read_tokens(reading, item)).unwrap_or_default();
    let has_tokens = token_item.is_some_and(|item| item.value.as_table().is_some_and(|names| !names.is_empty()));
    let tls_item = table.get("tls");
    let tls = tls_item.as_ref().and_then(|item| tls::read_listener(reading, item, &API_TLS, &listen));
    if let Some(item) = listen_item.as_ref().filter(|_| !listen.is_local() && has_tokens && tls_item.is_none()) {
        reading.warn(
            item,
            "other machines reach this address without TLS: tokens and events travel in the clear, for everyone on the way \
             to read; add tls = { cert = \"cert.pem\", key = \"key.pem\" } to [api], or listen on a loopback address behind \
             a proxy that speaks TLS",
        );
    }
    if let Some(item) = listen_item.filter(|_| !listen.is_local() && !has_tokens) {
        reading.error(
            &item,
            "other machines can reach this address, and without a token everyone who does may send, read and replay; \
             add token.NAME = { secret = { file = \"…\" }, scope = \"send\" } to [api], or listen on a loopback \
             address or a unix socket",
        );
    }
    Api {
        listen,
        body_bytes_max: usize::try_from(body_bytes).unwrap_or(default.body_bytes_max),
        connections_max,
        connections_per_address_max,
        hosts,
        tls,
        tokens,
    }
}

/// Reads how many connections there may be.
pub(super) fn read_connections(
    reading: &mut Reading<'_>,
    table: &Table<'_>,
    key: &'static str,
    default: usize,
) -> usize {
    let range = 1..=limits::CONNECTIONS_MAX as u64;
    let number = table.get(key).and_then(|item| item.integer(reading, &range));
    number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

/// Reads `listen`.
pub(super) fn read_listen(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Listen> {
    let text = item.text(reading, WHAT)?;
    if let Some(path) = text.strip_prefix("unix:") {
        return read_unix(reading, item, path);
    }
    // The one name that is known without asking anybody.
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = port.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    if let Some(addr) = local.or_else(|| text.parse().ok()) {
        return Some(Listen::Tcp(addr));
    }
    let hint = if text.parse::<IpAddr>().is_ok() {
        "the port is missing"
    } else if text.starts_with('/') {
        "a unix socket is written \"unix:/path\""
    } else {
        "names are not looked up, write the IP address and a port up to 65535"
    };
    reading.error(item, format!("expected {WHAT}, found {}; {hint}", shown(text)));
    None
}

fn read_unix(reading: &mut Reading<'_>, item: &Item<'_>, path: &str) -> Option<Listen> {
    if path.is_empty() || path.contains('\0') {
        reading.expected(item, WHAT);
        return None;
    }
    let path = reading.resolve(path);
    let bytes = path.as_os_str().len();
    if bytes > limits::UNIX_PATH_BYTES_MAX {
        let max = limits::UNIX_PATH_BYTES_MAX;
        reading.error(
            item,
            format!(
                "the socket's path {} has {bytes} bytes, at most {max} are allowed; choose a shorter one",
                path.display()
            ),
        );
        return None;
    }
    Some(Listen::Unix(path))
}

fn read_tokens(reading: &mut Reading<'_>, item: &Item<'_>) -> Vec<Token> {
    let what = "a table of tokens, such as token.app = { secret = { file = \"…\" }, scope = \"send\" }";
    let entries = named(reading, item, what);
    if entries.len() > limits::TOKENS_MAX {
        reading.error(item, format!("has {} tokens, at most {} are allowed", entries.len(), limits::TOKENS_MAX));
        return Vec::new();
    }
    let mut tokens = Vec::new();
    let mut seen: Vec<(&str, Secret)> = Vec::new();
    for (name, item) in entries {
        if let Err(reason) = EndpointName::parse(name) {
            reading.error(&item, format!("the token's name {reason}"));
        }
        let Some(table) = Table::open(reading, &item, &TOKEN) else { continue };
        let scopes = [("send", Scope::Send), ("read", Scope::Read), ("admin", Scope::Admin)];
        let scope = match table.get("scope") {
            Some(item) => item.word(reading, &scopes),
            None => {
                table.error(reading, "scope", "missing; write scope = \"send\", \"read\" or \"admin\"");
                None
            }
        };
        let Some(secret_item) = table.get("secret") else {
            table.error(reading, "secret", "missing; write secret = { file = \"…\" }");
            continue;
        };
        let Some(secret) = read_secret(reading, &secret_item) else { continue };
        if !fits_a_header(reading, &secret_item, &secret) {
            continue;
        }
        if let Some((other, _)) = seen.iter().find(|(_, other)| other.expose() == secret.expose()) {
            let message =
                format!("has the same value as the token {other}; give each its own, so that it can be revoked alone");
            reading.error(&secret_item, message);
        }
        seen.push((name, secret.clone()));
        tokens.extend(scope.map(|scope| Token { name: name.to_owned(), secret, scope }));
    }
    tokens
}

/// A token is sent as `Authorization: Bearer …`, and must not be guessed.
fn fits_a_header(reading: &mut Reading<'_>, item: &Item<'_>, secret: &Secret) -> bool {
    let bytes = secret.expose();
    if bytes.len() < limits::TOKEN_BYTES_MIN {
        let min = limits::TOKEN_BYTES_MIN;
        let message =
            format!("the token has {} bytes, at least {min} are needed; `openssl rand -hex 32` makes one", bytes.len());
        reading.error(item, message);
        return false;
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        reading.error(
            item,
            "the token has a character that no Authorization header can carry; use visible ASCII without spaces",
        );
        return false;
    }
    true
}
