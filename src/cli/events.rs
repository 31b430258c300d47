//! `webhookd events`: lists events, newest first, or follows them as they come.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Stage;
use super::api_args::ApiArgs;
use super::client::{self, Api, ApiError};
use super::complain;
use super::failure::Outcome;
use super::screen::{Screen, Tone, escape};
use super::table::{Cell, Column, Table};
use super::view::{DeliveryLine, EventLine, Listing, state_tone};
use super::when::{Moment, short_moment, spoken_span};
use crate::clock::UnixMs;
use crate::limits;
use crate::model::text::EndpointName;

/// How often `--follow` asks.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// Events that `--follow` asks for at first; where all of them are new, it goes on with the largest pages there are.
const FOLLOW_PAGE: usize = 100;
/// Pages that `--follow` reads at most before it shows what it has: no more than it can remember.
const FOLLOW_PAGES_MAX: usize = limits::CLI_FOLLOW_SEEN_MAX / limits::LIST_LIMIT_MAX;

/// List events, newest first, or follow them as they come
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct EventsArgs {
    /// Only these types, with commas between them; * matches any run of characters, a leading ! excludes
    #[arg(long = "type", value_name = "PATTERN")]
    event_type: Option<String>,

    /// Only events with a delivery to this endpoint
    #[arg(long, value_name = "NAME", value_parser = EndpointName::parse)]
    endpoint: Option<EndpointName>,

    /// Only events with a delivery in this state
    #[arg(long, value_enum)]
    state: Option<State>,

    /// Only events accepted since: a time such as 2026-11-20T09:30:00Z, a date, or a span before now such as 2h
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse)]
    since: Option<Moment>,

    /// Only events accepted before, as in --since
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, conflicts_with = "follow")]
    until: Option<Moment>,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = limit)]
    limit: usize,

    /// Go on where an earlier listing ended
    #[arg(long, value_name = "CURSOR", conflicts_with = "follow")]
    cursor: Option<String>,

    /// Stay, and print each new event once; with --json, one line an event
    #[arg(long)]
    follow: bool,

    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd events
  webhookd events --state dead --endpoint billing --since 2h
  webhookd events --type 'invoice.*' --follow
  webhookd events --json --limit 1000 | jq -r '.events[].id'

Times are UTC.";

/// The states of a delivery.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum State {
    /// Waiting or under way
    Pending,
    /// Taken by the endpoint
    Delivered,
    /// Given up; see `webhookd replay`
    Dead,
}

impl State {
    /// Its word in the API.
    fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

fn limit(text: &str) -> Result<usize, String> {
    let fits = text.parse::<usize>().ok().filter(|limit| (1..=limits::LIST_LIMIT_MAX).contains(limit));
    fits.ok_or_else(|| format!("expected a number from 1 to {}", limits::LIST_LIMIT_MAX))
}

pub(super) async fn run(args: &EventsArgs, stage: &mut Stage) -> Outcome {
    let api = args.api.connect()?;
    if args.follow {
        return follow(args, &api, stage).await;
    }
    let now = stage.clock.wall();
    let answer = api.get(&listing_path(args, now, args.limit, args.cursor.as_deref())).await?;
    if args.json {
        return Ok(stage.screen.json(&answer.body)?);
    }
    let listing: Listing = answer.decode()?;
    if listing.events.is_empty() {
        return Ok(stage.screen.line("no events")?);
    }
    let shortest = stage.screen.width().is_some();
    let mut table = Table::new(&[
        Column::whole("ACCEPTED"),
        Column::whole("ID"),
        Column::flexible("TYPE", 12),
        Column::flexible("DELIVERIES", 12),
    ]);
    for event in &listing.events {
        let at = if shortest { short_moment(&event.at, now) } else { event.at.clone() };
        let (tone, deliveries) = deliveries(event, now);
        table.row(vec![
            Cell::toned(Tone::Faint, escape(&at)),
            Cell::plain(escape(&event.id)),
            Cell::plain(escape(&event.event_type)),
            Cell::toned(tone, deliveries),
        ]);
    }
    table.print(&mut stage.screen)?;
    if let Some(next) = &listing.next {
        let hint = format!("older ones: the same with --cursor {}", escape(next));
        let hint = stage.screen.paint(Tone::Faint, &hint);
        stage.screen.line(&hint)?;
    }
    Ok(())
}

fn listing_path(args: &EventsArgs, now: UnixMs, limit: usize, cursor: Option<&str>) -> String {
    let mut query = Vec::new();
    let mut add = |name, value: Option<String>| query.extend(value.map(|value| (name, value)));
    add("type", args.event_type.clone());
    add("endpoint", args.endpoint.as_ref().map(ToString::to_string));
    add("state", args.state.map(|state| state.word().to_owned()));
    add("since", args.since.map(|since| since.past(now).to_string()));
    add("until", args.until.map(|until| until.past(now).to_string()));
    add("limit", Some(limit.to_string()));
    add("cursor", cursor.map(str::to_owned));
    client::path(&["v1", "events"], &query)
}

/// The deliveries of an event in a few words, the worst first, and their tone.
fn deliveries(event: &EventLine, now: UnixMs) -> (Tone, String) {
    if event.deliveries.is_empty() {
        return (Tone::Faint, "no endpoint took it".to_owned());
    }
    let mut parts = Vec::new();
    let mut tone = None;
    for state in ["dead", "pending", "delivered"] {
        let names = event.deliveries.iter().filter(|delivery| delivery.state == state);
        let names = names.map(|delivery| with_wait(delivery, now)).collect::<Vec<_>>();
        if !names.is_empty() {
            tone.get_or_insert(state_tone(state));
            parts.push(format!("{state}: {}", names.join(", ")));
        }
    }
    (tone.unwrap_or_default(), parts.join("; "))
}

/// The delivery's endpoint, and how long it waits for its next attempt.
fn with_wait(delivery: &DeliveryLine, now: UnixMs) -> String {
    let endpoint = escape(&delivery.endpoint);
    let next = delivery.next_attempt_at.as_deref().and_then(UnixMs::parse_rfc3339);
    match next.filter(|next| *next > now) {
        Some(next) => format!("{endpoint} in {}", spoken_span(next.since(now))),
        None => endpoint.into_owned(),
    }
}

/// One page, each event as its own text.
#[derive(Deserialize)]
struct RawListing {
    events: Vec<Box<RawValue>>,
    #[serde(default)]
    next: Option<String>,
}

async fn follow(args: &EventsArgs, api: &Api, stage: &mut Stage) -> Outcome {
    let started = stage.clock.wall();
    let mut seen = Seen::default();
    let mut first = true;
    let mut silent = false;
    loop {
        match fresh(args, api, started, &mut seen).await {
            Ok(events) => {
                silent = false;
                // At the start only the newest are shown, as many as asked for; the rest is known from then on.
                let skip = if first { events.len().saturating_sub(args.limit) } else { 0 };
                first = false;
                for (event, text) in events.iter().skip(skip) {
                    if args.json {
                        stage.screen.json(text.get().as_bytes())?;
                    } else {
                        let now = stage.clock.wall();
                        show_line(&mut stage.screen, event, now)?;
                    }
                }
            }
            // A daemon that restarts is waited for; one that was never there, or that says no, is an error.
            Err(ApiError::NoDaemon { .. } | ApiError::Broken { .. } | ApiError::Timeout { .. }) if !first => {
                if !std::mem::replace(&mut silent, true) {
                    complain(&format!("{} has gone away; waiting for it", api.address()));
                }
            }
            Err(ApiError::Refused(problem)) if problem.is_later() && !first => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(FOLLOW_EVERY).await;
    }
}

/// The events that were not seen before, oldest first. Pages are read until one holds an event that is known: the listing
/// goes from new to old, so what lies behind it is known as well.
async fn fresh(
    args: &EventsArgs,
    api: &Api,
    started: UnixMs,
    seen: &mut Seen,
) -> Result<Vec<(EventLine, Box<RawValue>)>, ApiError> {
    let first = seen.is_empty();
    // With a state asked for, an old event can become one of them at any place of the list: look further down.
    let mut page = if args.state.is_some() || first { limits::LIST_LIMIT_MAX } else { FOLLOW_PAGE };
    let mut events = Vec::new();
    let mut cursor = None;
    for _ in 0..FOLLOW_PAGES_MAX {
        let answer = api.get(&listing_path(args, started, page, cursor.as_deref())).await?;
        let listing: RawListing = answer.decode()?;
        let mut known = false;
        for text in listing.events {
            let event: EventLine = serde_json::from_str(text.get())
                .map_err(|cause| ApiError::Unexpected { address: api.address().clone(), cause: cause.to_string() })?;
            if seen.is_new(&event.id) { events.push((event, text)) } else { known = true }
        }
        cursor = listing.next;
        page = limits::LIST_LIMIT_MAX;
        if known || first || cursor.is_none() {
            events.reverse();
            return Ok(events);
        }
    }
    complain(&format!("more than {} events came at once; the oldest of them are not shown", events.len()));
    events.reverse();
    Ok(events)
}

fn show_line(screen: &mut Screen, event: &EventLine, now: UnixMs) -> Outcome {
    let at = screen.paint(Tone::Faint, &escape(&short_moment(&event.at, now)));
    let key = event.key.as_deref().map(|key| format!("  key {}", escape(key))).unwrap_or_default();
    let (tone, deliveries) = deliveries(event, now);
    let deliveries = screen.paint(tone, &deliveries);
    Ok(screen.line(&format!("{at}  {}  {}{key}  {deliveries}", escape(&event.id), escape(&event.event_type)))?)
}

/// The ids that were shown, the oldest forgotten first.
#[derive(Default)]
struct Seen {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Notes the id; false where it was noted before.
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > limits::CLI_FOLLOW_SEEN_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests;
