//! `[endpoint.*]`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::Uri;
use url::{Host, Url};

use super::delivery::{self, Delivery};
use super::keys::{BREAKER, ENDPOINT};
use super::reader::{Item, Reading, Table, named};
use super::{Endpoint, Format, headers, rates, signing, tls};
use crate::limits;
use crate::model::text::EndpointName;
use crate::policy::breaker::BreakerRules;
use crate::policy::order::{OnDead, Order};
use crate::policy::rate::RateLimit;
use crate::policy::routing::TypeFilter;

const DAY_MS: u64 = 24 * 3600 * 1000;
/// `breaker` where the config says nothing.
const BREAKER_DEFAULT: BreakerRules =
    BreakerRules { failures: 20, cooldown_ms: 30_000, cooldown_ms_max: COOLDOWN_MAX_MS_DEFAULT };
/// The longest time between two probes where the config says nothing, in milliseconds.
const COOLDOWN_MAX_MS_DEFAULT: u64 = 10 * 60 * 1000;
/// `disable_after` where the config says nothing, in milliseconds.
const DISABLE_AFTER_MS_DEFAULT: u64 = 5 * DAY_MS;

impl Endpoint {
    /// An endpoint that takes every event, unsigned, with the defaults of the contract for all else.
    #[must_use]
    pub fn new(name: EndpointName, url: Url, delivery: &Delivery) -> Self {
        Self {
            name,
            url,
            events: TypeFilter::default(),
            signing: Vec::new(),
            format: Format::Standard,
            headers: Vec::new(),
            permanent: Vec::new(),
            tls: None,
            timeout_ms: delivery.timeout_ms,
            in_flight_max: delivery.in_flight_max,
            retry: delivery.retry.clone(),
            allow_networks: delivery.allow_networks.clone(),
            response_bytes_max: delivery.response_bytes_max,
            order: Order::None,
            on_dead: OnDead::Skip,
            rate_limit: None,
            breaker: Some(BREAKER_DEFAULT),
            disable_after_ms: Some(DISABLE_AFTER_MS_DEFAULT),
        }
    }
}

/// Reads every `[endpoint.*]`.
pub(super) fn read_all(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    defaults: &Delivery,
) -> BTreeMap<EndpointName, Arc<Endpoint>> {
    let entries = named(reading, item, "tables such as [endpoint.billing]");
    if entries.len() > limits::ENDPOINTS_MAX {
        reading.error(item, format!("has {} endpoints, at most {} are allowed", entries.len(), limits::ENDPOINTS_MAX));
        return BTreeMap::new();
    }
    let mut endpoints = BTreeMap::new();
    for (name, item) in entries {
        let name = EndpointName::parse(name);
        if let Err(reason) = &name {
            reading.error(&item, format!("the endpoint's name {reason}"));
        }
        if let Some(endpoint) = read(reading, &item, name.ok(), defaults) {
            endpoints.insert(endpoint.name.clone(), Arc::new(endpoint));
        }
    }
    endpoints
}

/// Reads one endpoint. Every key is looked at, whatever the others hold.
fn read(
    reading: &mut Reading<'_>,
    item: &Item<'_>,
    name: Option<EndpointName>,
    defaults: &Delivery,
) -> Option<Endpoint> {
    let table = Table::open(reading, item, &ENDPOINT)?;
    let delivery = delivery::read(reading, &table, defaults);
    let url_item = table.get("url");
    if url_item.is_none() {
        table.error(reading, "url", "missing; write url = \"https://…\"");
    }
    let url = url_item.as_ref().and_then(|item| read_url(reading, item));
    let tls_item = table.get("tls");
    if let (Some(item), Some("http")) = (&tls_item, url.as_ref().map(Url::scheme)) {
        reading.error(item, "the url is http, which has no TLS; write https in the url, or remove tls");
    }
    if let (Some(item), Some(url)) = (&url_item, &url) {
        warn_of_refused_address(reading, item, url, &delivery);
    }
    let formats = [("standard", Format::Standard), ("raw", Format::Raw), ("cloudevents", Format::CloudEvents)];
    let orders = [("none", Order::None), ("key", Order::Key), ("strict", Order::Strict)];
    let headers = table.get("headers").map(|item| (headers::read(reading, &item), item));
    let events = table.get("events").and_then(|item| read_events(reading, &item));
    let signing = signing::read(reading, &table, headers.as_ref());
    let format = table.word(reading, "format", &formats, Format::Standard);
    let permanent = table.get("permanent").map(|item| read_permanent(reading, &item)).unwrap_or_default();
    let tls = tls_item.and_then(|item| tls::read_endpoint(reading, &item));
    let order = table.word(reading, "order", &orders, Order::None);
    let on_dead_words = [("skip", OnDead::Skip), ("block", OnDead::Block)];
    let on_dead = table.word(reading, "on_dead", &on_dead_words, OnDead::Skip);
    if let (Some(item), OnDead::Block, Order::None) = (table.get("on_dead"), on_dead, order) {
        reading.error(
            &item,
            "it needs order = \"key\" or \"strict\": without an order nothing waits behind a dead delivery",
        );
    }
    let rate_limit = table.get("rate_limit").and_then(|item| rates::read(reading, &item, RateLimit::smooth));
    let breaker = table.get("breaker").map_or(Some(BREAKER_DEFAULT), |item| read_breaker(reading, &item));
    let disable_after_ms = read_disable_after(reading, &table);
    Some(Endpoint {
        events: events.unwrap_or_default(),
        signing,
        format,
        headers: headers.map(|(headers, _)| headers).unwrap_or_default(),
        permanent,
        tls,
        order,
        on_dead,
        rate_limit,
        breaker,
        disable_after_ms,
        ..Endpoint::new(name?, url?, &delivery)
    })
}

/// The URL is never shown: its path and query may hold credentials.
fn read_url(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<Url> {
    let what = "a URL such as \"https://billing.example.com/hooks\"";
    let (_, url) = item.url_unseen(reading, what)?;
    let fault = if !matches!(url.scheme(), "http" | "https") {
        "expected a URL that starts with https:// or http://, found another scheme"
    } else if url.host().is_none() {
        "the URL has no host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "the URL holds a user name or password; put them in sign = { scheme = \"basic\", username = \"…\" } and secret"
    } else if url.fragment().is_some() {
        "the URL has a fragment (#…), which is never sent; remove it"
    } else if url.port() == Some(0) {
        "the URL has port 0, to which nothing can connect"
    } else if !url.as_str().parse::<Uri>().is_ok_and(|uri| uri.host() == url.host_str()) {
        "no HTTP request can be sent to this URL; its host may have letters, digits, - and . in it"
    } else {
        return Some(url);
    };
    reading.error(item, fault);
    None
}

/// A literal address that the address guard would refuse makes every delivery fail; better said now than then.
fn warn_of_refused_address(reading: &mut Reading<'_>, item: &Item<'_>, url: &Url, delivery: &Delivery) {
    let addr = match url.host() {
        Some(Host::Ipv4(addr)) => IpAddr::V4(addr),
        Some(Host::Ipv6(addr)) => IpAddr::V6(addr).to_canonical(),
        Some(Host::Domain("localhost")) => IpAddr::from([127, 0, 0, 1]),
        _ => return,
    };
    let refused = match addr {
        IpAddr::V4(addr) => addr.is_loopback() || addr.is_private() || addr.is_link_local() || addr.is_unspecified(),
        IpAddr::V6(addr) => {
            addr.is_loopback() || addr.is_unique_local() || addr.is_unicast_link_local() || addr.is_unspecified()
        }
    };
    if refused && !delivery.allow_networks.iter().any(|network| network.contains(&addr)) {
        let sentence = format!(
            "{addr} is loopback or private, so every delivery will be refused; if you mean it, add allow_networks = \
             [\"{addr}\"]"
        );
        reading.warn(item, &sentence);
    }
}

fn read_events(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<TypeFilter> {
    let what = "a list of types such as [\"invoice.*\", \"!invoice.draft\"]";
    let items = item.list(reading, what, limits::TYPE_PATTERNS_MAX)?;
    if items.is_empty() {
        reading.warn(item, "the list is empty, so the endpoint takes no events; leave the key out to take all");
    }
    let mut patterns = Vec::with_capacity(items.len());
    for item in &items {
        let Some(pattern) = item.text(reading, "a type or pattern such as \"invoice.*\"") else { continue };
        match TypeFilter::parse(&[pattern]) {
            Ok(_) => patterns.push(pattern),
            Err(reason) => reading.error(item, format!("the pattern {}", reason.fault)),
        }
    }
    TypeFilter::parse(&patterns).ok()
}

fn read_permanent(reading: &mut Reading<'_>, item: &Item<'_>) -> Vec<u16> {
    // There are no more statuses than that.
    let Some(items) = item.list(reading, "a list of statuses such as [400, 422]", 200) else { return Vec::new() };
    let mut statuses = Vec::with_capacity(items.len());
    for item in items {
        let Some(status) = item.integer(reading, &(0..=999)).and_then(|status| u16::try_from(status).ok()) else {
            continue;
        };
        match status {
            200..=299 => reading.error(&item, format!("{status} is a success, which is never retried; remove it")),
            300..=399 => reading
                .error(&item, format!("{status} is a redirect, which is always a failure and retried; remove it")),
            400..=599 => statuses.push(status),
            _ => reading.error(&item, format!("expected a status from 400 to 599, found {status}")),
        }
    }
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

fn read_breaker(reading: &mut Reading<'_>, item: &Item<'_>) -> Option<BreakerRules> {
    if item.value.is_str() {
        if item.value.as_str() != Some("off") {
            reading.expected(item, "\"off\" or a table such as { failures = 20, cooldown = \"30s\" }");
        }
        return None;
    }
    let table = Table::open(reading, item, &BREAKER)?;
    let failures = 1..=limits::BREAKER_FAILURES_MAX;
    let failures = table.get("failures").map(|item| item.integer(reading, &failures));
    let failures = failures.flatten().and_then(|n| u32::try_from(n).ok()).unwrap_or(BREAKER_DEFAULT.failures);
    let cooldowns = 1..=limits::BREAKER_COOLDOWN_MS_MAX;
    let cooldown_ms = table.duration_ms(reading, "cooldown", &cooldowns, BREAKER_DEFAULT.cooldown_ms);
    let longest = COOLDOWN_MAX_MS_DEFAULT.max(cooldown_ms);
    let cooldown_ms_max = table.duration_ms(reading, "max_cooldown", &cooldowns, longest);
    if cooldown_ms_max < cooldown_ms {
        table.error(reading, "max_cooldown", "is shorter than the cooldown that it bounds");
    }
    Some(BreakerRules { failures, cooldown_ms, cooldown_ms_max })
}

fn read_disable_after(reading: &mut Reading<'_>, table: &Table<'_>) -> Option<u64> {
    let Some(item) = table.get("disable_after") else { return Some(DISABLE_AFTER_MS_DEFAULT) };
    if item.value.as_str() == Some("off") {
        return None;
    }
    item.duration_ms(reading, &(1000..=limits::DISABLE_AFTER_MS_MAX))
}
