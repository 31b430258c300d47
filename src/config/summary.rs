//! A config in a few lines, for `check`.

use super::units::{show_duration_ms, show_size_bytes};
use super::{Api, Config, Durability, Inbound, Listen, ListenerTls, Source, Verification};
use crate::signature::SchemeKind;

impl Config {
    /// What the config says, in a few lines without secrets; URLs are shortened to scheme and host, since their paths
    /// may hold credentials.
    #[must_use]
    pub fn summary(&self) -> String {
        let tls = tls_in_words(self.api.tls.as_deref());
        let mut lines = vec![format!("listens on {}{tls}, {}", self.api.address(), self.tokens_in_words())];
        if let Some(inbound) = &self.inbound {
            let tls = tls_in_words(inbound.tls.as_deref());
            let takes = if self.sources.is_empty() { "would take" } else { "takes" };
            lines.push(format!("{takes} webhooks of others on {}{tls}", inbound.address()));
            lines.extend(self.sources.values().map(|source| format!("  {}", source.in_words())));
        }
        let storage = &self.storage;
        let durability = match storage.durability {
            Durability::Fsync => "each event on the disk before it is acknowledged",
            Durability::Interval => "events acknowledged before they are on the disk",
        };
        lines.push(format!(
            "stores in {}, up to {}, finished events for {}, {durability}",
            storage.dir.display(),
            show_size_bytes(storage.size_bytes_max),
            show_duration_ms(storage.retention_ms),
        ));
        lines.push(match self.endpoints.len() {
            0 => "no endpoints".to_owned(),
            1 => "1 endpoint:".to_owned(),
            n => format!("{n} endpoints:"),
        });
        for endpoint in self.endpoints.values() {
            let signed = match endpoint.signing.len() {
                0 => "unsigned",
                1 => "signed",
                _ => "signed with several secrets",
            };
            lines.push(format!("  {} -> {}, {signed}", endpoint.name, endpoint.url.origin().ascii_serialization()));
        }
        lines.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        lines.join("\n")
    }

    fn tokens_in_words(&self) -> String {
        match self.api.tokens.len() {
            0 => "no token: whoever reaches it may do everything".to_owned(),
            1 => "1 token".to_owned(),
            n => format!("{n} tokens"),
        }
    }
}

impl Api {
    /// Where it listens: `http://…`, `https://…` or `unix:…`.
    #[must_use]
    pub fn address(&self) -> String {
        with_scheme(&self.listen, self.tls.is_some())
    }
}

impl Source {
    /// Where it is posted to and how that is verified.
    fn in_words(&self) -> String {
        let verified = match &self.verify {
            Verification::Unverified if self.allow_networks.is_empty() => "NOT VERIFIED: anybody may post".to_owned(),
            Verification::Unverified => "NOT VERIFIED: anybody of its allow_networks may post".to_owned(),
            Verification::Schemes(schemes) => {
                let scheme = self.verify.kind().map_or("", SchemeKind::as_str);
                let secrets = if schemes.len() == 1 { "secret" } else { "secrets" };
                format!("verified by {scheme} with {} {secrets}", schemes.len())
            }
        };
        format!("{name}: POST /in/{name}, {verified}", name = self.name)
    }
}

impl Inbound {
    /// Where it is to listen: `http://…`, `https://…` or `unix:…`.
    #[must_use]
    pub fn address(&self) -> String {
        with_scheme(&self.listen, self.tls.is_some())
    }
}

fn with_scheme(listen: &Listen, tls: bool) -> String {
    match listen {
        Listen::Tcp(address) if tls => format!("https://{address}"),
        _ => listen.to_string(),
    }
}

fn tls_in_words(tls: Option<&ListenerTls>) -> String {
    let Some(tls) = tls else { return String::new() };
    let clients = if tls.client_ca.is_empty() { "" } else { ", for clients with a certificate of client_ca" };
    format!(" with a certificate until {}{clients}", tls.expires)
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addr) => write!(f, "http://{addr}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
