//! `[source.NAME]`: a third party that posts, how its requests are verified and what is read from them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderName;

use super::keys::{PICK, RESPOND, SOURCE, VERIFY};
use super::pick::{JsonPointer, Pick};
use super::reader::{Item, Reading, Table, named};
use super::secrets::read_secrets;
use super::{Respond, Source, Verification, networks, proxies};
use crate::limits;
use crate::model::text::SourceName;
use crate::signature::{Options, Scheme, SchemeKind};

impl Default for Respond {
    fn default() -> Self {
        Self { status: StatusCode::OK, content_type: None, body: Bytes::new() }
    }
}

impl Source {
    /// Whether a client at this address may post; `None`: it is not known which one it has.
    #[must_use]
    pub fn admits(&self, address: Option<IpAddr>) -> bool {
        self.allow_networks.is_empty() || address.is_some_and(|address| networks::hold(&self.allow_networks, address))
    }
}

/// Reads every `[source.*]`.
pub(super) fn read_all(reading: &mut Reading<'_>, item: &Item<'_>) -> BTreeMap<SourceName, Arc<Source>> {
    let entries = named(reading, item, "tables such as [source.github]");
    if entries.len() > limits::SOURCES_MAX {
        reading.error(item, format!("has {} sources, at most {} are allowed", entries.len(), limits::SOURCES_MAX));
        return BTreeMap::new();
    }
    let mut sources = BTreeMap::new();
    for (name, item) in entries {
        let name = SourceName::parse(name);
        if let Err(reason) = &name {
            reading.error(&item, format!("the source's name {reason}"));
        }
        if let Some(source) = read(reading, &item, name.ok()) {
            sources.insert(source.name.clone(), Arc::new(source));
        }
    }
    sources
}

fn read(reading: &mut Reading<'_>, item: &Item<'_>, name: Option<SourceName>) -> Option<Source> {
    let table = Table::open(reading, item, &SOURCE)?;
    let Some(verify) = table.get("verify") else {
        table.error(reading, "verify", "missing; write verify = { scheme = \"…\", secret = { file = \"…\" } }");
        return None;
    };
    let verify = read_verify(reading, &verify)?;
    let event_type = table.get("event_type").map(|item| read_picks(reading, &item)).unwrap_or_default();
    let dedup = table.get("dedup").map(|item| read_picks(reading, &item)).unwrap_or_default();
    let respond = table.get("respond").and_then(|item| read_respond(reading, &item)).unwrap_or_default();
    let allow_networks =
        table.get("allow_networks").and_then(|item| networks::read(reading, &item)).unwrap_or_default();
    let trusted_proxies = table.get("trusted_proxies").map(|item| proxies::read(reading, &item)).unwrap_or_default();
    Some(Source {
        name: name?,
        verify,
        event_type,
        dedup,
        key: Vec::new(),
        allow_networks,
        trusted_proxies,
        respond,
        rate_limit: None,
        public_url: None,
        verify_token: None,
    })
}

fn read_verify(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Verification> {
    let table = Table::open(reading, item, &VERIFY)?;
    let kinds = SchemeKind::ALL.iter().map(|kind| (kind.as_str(), Some(*kind)));
    let names: Vec<_> = kinds.chain([("none", None)]).collect();
    let Some(kind) = table.get("scheme")?.word(reading, &names)? else { return Some(Verification::Unverified) };
    let secrets = read_secrets(reading, &table.get("secret")?)?;
    let mut schemes = Vec::new();
    for (item, secret) in secrets {
        match Scheme::new(kind, &secret, &Options::default()) {
            Ok(scheme) => schemes.push(scheme),
            Err(error) => reading.error(&item, error.to_string()),
        }
    }
    Some(Verification::Schemes(schemes))
}

fn read_picks(reading: &mut Reading<'_>, item: &Item<'_>) -> Vec<Pick> {
    let Some(table) = Table::open(reading, item, &PICK) else { return Vec::new() };
    let header = table.get("header").and_then(|item| item.text(reading, "a header's name").map(str::to_owned));
    let header = header.and_then(|name| HeaderName::from_bytes(name.as_bytes()).ok()).map(Pick::Header);
    let json = table.get("json").and_then(|item| item.text(reading, "a JSON pointer").map(str::to_owned));
    let json = json.and_then(|text| JsonPointer::parse(&text).ok()).map(Pick::Json);
    header.into_iter().chain(json).collect()
}

fn read_respond(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Respond> {
    let table = Table::open(reading, item, &RESPOND)?;
    let status = table.get("status").and_then(|item| item.integer(reading, &(200..=299)));
    let status =
        status.and_then(|status| u16::try_from(status).ok()).and_then(|status| StatusCode::from_u16(status).ok());
    Some(Respond { status: status.unwrap_or(StatusCode::OK), content_type: None, body: Bytes::new() })
}
