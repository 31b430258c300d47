//! `[source.NAME]`: a third party that posts, how its requests are verified and what is read from them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use url::Url;

use super::keys::SOURCE;
use super::reader::{Item, Reading, Table, named};
use super::secrets::read_secret;
use super::{Inbound, Source, Verification, networks, pick, presets, proxies, rates, respond, verifying};
use crate::limits;
use crate::model::text::SourceName;
use crate::signature::SchemeKind;

/// The first part of the types of webhookd's own events.
const RESERVED: &str = "webhookd";

impl Source {
    /// Whether a client at this address may post; `None`: it is not known which one it has.
    #[must_use]
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        self.allow_networks.is_empty() || address.is_some_and(|address| networks::hold(&self.allow_networks, address))
    }
}

/// Reads every `[source.*]`. They are reached at `inbound`.
pub(super) fn read_all(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    inbound: &Inbound,
) -> BTreeMap<SourceName, Arc<Source>> {
    let entries = named(reading, item, "tables such as [source.github]");
    if entries.len() > limits::SOURCES_MAX {
        reading.error(item, format!("has {} sources, at most {} are allowed", entries.len(), limits::SOURCES_MAX));
        return BTreeMap::new();
    }
    let mut sources = BTreeMap::new();
    for (name, item) in entries {
        let name = read_name(reading, &item, name);
        if let Some(source) = read(reading, &item, name, inbound) {
            sources.insert(source.name.clone(), Arc::new(source));
        }
    }
    sources
}

fn read_name(reading: &mut Reading<'_>, item: &Item<'_>, name: &str) -> Option<SourceName> {
    if name == RESERVED {
        let message = format!(
            "the name {RESERVED} is taken: the types of a source's events begin with its name, and {RESERVED}.* are the \
             events that webhookd tells of itself; choose another"
        );
        reading.error(item, message);
        return None;
    }
    let name = SourceName::parse(name);
    if let Err(reason) = &name {
        reading.error(item, format!("the source's name {reason}"));
    }
    name.ok()
}

/// Reads one source. Every key is looked at, whatever the others hold.
fn read(reading: &mut Reading<'_>, item: &Item<'_>, name: Option<SourceName>, inbound: &Inbound) -> Option<Source> {
    let table = Table::open(reading, item, &SOURCE)?;
    let allow_item = table.get("allow_networks");
    let allow_networks = allow_item.as_ref().and_then(|item| networks::read(reading, item)).unwrap_or_default();
    let verify = verifying::read(reading, &table, inbound, allow_networks.is_empty());
    let kind = verify.as_ref().and_then(Verification::kind);
    let carrier = verify.as_ref().and_then(Verification::carrier);
    let mut picks = |key, preset: fn(SchemeKind) -> Vec<_>| match table.get(key) {
        Some(item) => pick::read(reading, &item, carrier.as_ref()),
        None => kind.map(preset).unwrap_or_default(),
    };
    let event_type = picks("event_type", presets::event_type);
    let dedup = picks("dedup", presets::dedup);
    let key = picks("key", |_| Vec::new());
    let trusted_proxies = table.get("trusted_proxies").map(|item| proxies::read(reading, &item)).unwrap_or_default();
    let respond = table.get("respond").and_then(|item| respond::read(reading, &item)).unwrap_or_default();
    let rate_limit = table.get("rate_limit");
    let rate_limit = rate_limit.and_then(|item| rates::read(reading, &item, rates::with_a_second_of_burst));
    let public_url = table.get("public_url").and_then(|item| read_public_url(reading, &item, verify.as_ref()));
    let verify_token = table.get("verify_token").and_then(|item| read_secret(reading, &item));
    Some(Source {
        name: name?,
        verify: verify?,
        event_type,
        dedup,
        key,
        allow_networks,
        trusted_proxies,
        respond,
        rate_limit,
        public_url,
        verify_token,
    })
}

/// The URL as Twilio signs it, so one that is not written anew by being read. It is never shown: its path may be meant to be
/// known to few.
fn read_public_url(reading: &mut Reading<'_>, item: &Item<'_>, verify: Option<&Verification>) -> Option<Url> {
    let what = "a URL such as \"https://hooks.example.com/in/twilio\"";
    let elsewhere = |verify: &&Verification| verify.kind() != Some(SchemeKind::Twilio) && item.value.is_str();
    if let Some(verify) = verify.filter(elsewhere) {
        let scheme = verify.kind().map_or("none", SchemeKind::as_str);
        reading.error(
            item,
            format!("has no effect with the scheme {scheme}: only twilio signs the URL that it calls; remove it"),
        );
    }
    let (text, url) = item.url_unseen(reading, what)?;
    let fault = if !matches!(url.scheme(), "http" | "https") {
        "expected a URL that starts with https:// or http://, found another scheme"
    } else if !url.username().is_empty() || url.password().is_some() {
        "the URL holds a user name or password, which no request to it shows; remove them"
    } else if url.fragment().is_some() {
        "the URL has a fragment (#…), which is never sent; remove it"
    } else if url.query().is_some() {
        "the URL has a query (?…); remove it: the one of each request is put in its place"
    } else if !is_written_so(&url, text) {
        "the URL could be written in another way, and its signature depends on how it is written: write the host in lower \
         case, a path (at least /), and %-codes for what is not ASCII or a space, and give Twilio the URL in the same way"
    } else {
        return Some(url);
    };
    reading.error(item, fault);
    None
}

/// Whether reading the URL has left every byte as it was, less the port that goes without saying: Twilio signs with it or
/// without it, and both are tried.
fn is_written_so(url: &Url, text: &str) -> bool {
    let port = if url.scheme() == "https" { ":443/" } else { ":80/" };
    url.as_str() == text || (url.port().is_none() && url.as_str() == text.replacen(port, "/", 1))
}
