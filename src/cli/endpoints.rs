//! `webhookd endpoints`: how each endpoint is doing.

use clap::Args;

use super::api_args::ApiArgs;
use super::failure::Outcome;
use super::screen::{Tone, escape};
use super::table::{Cell, Column, Table};
use super::view::{EndpointDetail, EndpointList, state_tone};
use super::when::short_moment;
use super::{Stage, client};
use crate::clock::UnixMs;

/// Show how each endpoint is doing
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct EndpointsArgs {
    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd endpoints
  webhookd endpoints --json | jq '.endpoints[] | select(.state != \"active\")'

BACKLOG counts deliveries that are not finished; SUCCESS and LATENCY (median / 99th percentile) are about the last \
attempts.";

pub(super) async fn run(args: &EndpointsArgs, stage: &mut Stage) -> Outcome {
    let api = args.api.connect()?;
    let answer = api.get(&client::path(&["v1", "endpoints"], &[])).await?;
    if args.json {
        return Ok(stage.screen.json(&answer.body)?);
    }
    let list: EndpointList = answer.decode()?;
    if list.endpoints.is_empty() {
        return Ok(stage.screen.line("no endpoints: add an [endpoint.NAME] to the config")?);
    }
    let now = stage.clock.wall();
    let mut table = Table::new(&[
        Column::whole("NAME"),
        Column::whole("STATE"),
        Column::whole("BACKLOG"),
        Column::whole("SUCCESS"),
        Column::whole("LATENCY"),
        Column::flexible("LAST ERROR", 12),
        Column::flexible("URL", 12),
    ]);
    for endpoint in &list.endpoints {
        table.row(row(endpoint, now));
    }
    Ok(table.print(&mut stage.screen)?)
}

fn row(endpoint: &EndpointDetail, now: UnixMs) -> Vec<Cell> {
    let last_error = endpoint.last_error.as_ref();
    let last_error = last_error.map(|error| format!("{} {}", escape(&short_moment(&error.at, now)), error.words()));
    vec![
        Cell::plain(escape(&endpoint.name)),
        Cell::toned(tone(endpoint), state_in_words(endpoint)),
        Cell::plain(endpoint.backlog.to_string()),
        Cell::plain(endpoint.success_rate.map_or_else(dash, |rate| format!("{:.0} %", rate * 100.0))),
        Cell::plain(latency(endpoint).unwrap_or_else(dash)),
        Cell::toned(Tone::Faint, last_error.unwrap_or_else(dash)),
        Cell::toned(Tone::Faint, escape(endpoint.url.as_deref().unwrap_or("-"))),
    ]
}

fn dash() -> String {
    "-".to_owned()
}

/// An endpoint's state, with what keeps deliveries from going out: why it was disabled, its breaker, a hold, dead deliveries in
/// front of others.
pub(super) fn state_in_words(endpoint: &EndpointDetail) -> String {
    let mut why: Vec<String> = endpoint.reason.iter().cloned().collect();
    match endpoint.breaker.as_deref() {
        Some("open") => why.push("breaker open".to_owned()),
        Some("half_open") => why.push("recovering".to_owned()),
        _ => {}
    }
    if endpoint.held_until.is_some() {
        why.push("asked to wait".to_owned());
    }
    if endpoint.blocked_keys > 0 {
        why.push(format!("{} blocked", endpoint.blocked_keys));
    }
    let state = &endpoint.state;
    escape(&if why.is_empty() { state.clone() } else { format!("{state} ({})", why.join(", ")) }).into_owned()
}

fn tone(endpoint: &EndpointDetail) -> Tone {
    if endpoint.breaker.as_deref() == Some("open") { Tone::Bad } else { state_tone(&endpoint.state) }
}

fn latency(endpoint: &EndpointDetail) -> Option<String> {
    let latency = endpoint.latency_ms.as_ref()?;
    let p50 = latency.p50?;
    Some(match latency.p99 {
        Some(p99) => format!("{p50} / {p99} ms"),
        None => format!("{p50} ms"),
    })
}
