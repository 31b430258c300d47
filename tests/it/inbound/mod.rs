//! Webhooks of others: verified, kept, acknowledged, forwarded.

mod addresses;
mod answers;
mod burst;
mod crash;
mod forgery;
mod forward;
mod github;
mod handshakes;
mod kept;
mod rate_limit;
mod repeats;
mod samples;
mod states;
mod surge;
mod types;
mod vendor;
mod vendors;

use serde_json::Value;

use crate::kit::Daemon;

/// The value of a metric with these labels, as they stand in the text.
#[track_caller]
fn metric(daemon: &Daemon, series: &str) -> u64 {
    let metrics = daemon.client().get("/metrics").expect(200).text();
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in:\n{metrics}")).parse().unwrap()
}

/// How many requests of a source were refused for this reason.
#[track_caller]
fn refused(daemon: &Daemon, source: &str, reason: &str) -> u64 {
    metric(daemon, &format!("webhookd_inbound_refused_total{{reason=\"{reason}\",source=\"{source}\"}}"))
}

/// All events, the newest first.
#[track_caller]
fn events(daemon: &Daemon) -> Vec<Value> {
    daemon.client().get("/v1/events?limit=1000").expect(200).json()["events"].as_array().unwrap().clone()
}

/// The one event there is, as it is shown.
#[track_caller]
fn only_event(daemon: &Daemon) -> Value {
    let [event] = <[Value; 1]>::try_from(events(daemon)).unwrap_or_else(|events| panic!("not one event: {events:?}"));
    daemon.client().look(event["id"].as_str().unwrap())
}
