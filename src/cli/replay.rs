//! `webhookd replay`: puts deliveries back in the queue.

use clap::{ArgGroup, Args, ValueEnum};
use serde::Serialize;

use super::api_args::ApiArgs;
use super::failure::{Failure, Outcome};
use super::view::Replayed;
use super::when::Moment;
use super::{Stage, client};
use crate::model::text::{EndpointName, EventId};

/// Put deliveries back in the queue: those of one event, or those of one endpoint
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP, group = ArgGroup::new("what").required(true).multiple(true).args(["event", "endpoint"]))]
pub(super) struct ReplayArgs {
    /// The event to deliver again; with --endpoint, only there
    #[arg(long, value_name = "ID", value_parser = EventId::parse)]
    event: Option<EventId>,

    /// The endpoint whose deliveries to replay
    #[arg(long, value_name = "NAME", value_parser = EndpointName::parse)]
    endpoint: Option<EndpointName>,

    /// Which deliveries [default: the dead ones, and events that the endpoint takes and never had]
    #[arg(long, value_enum, conflicts_with = "event")]
    state: Option<Which>,

    /// Only events accepted since: a time such as 2026-11-20T09:30:00Z, a date, or a span before now such as 2h
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, conflicts_with = "event")]
    since: Option<Moment>,

    /// Only events accepted before, as in --since
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, conflicts_with = "event")]
    until: Option<Moment>,

    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

/// Which deliveries of an endpoint to replay.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Which {
    /// Those that were given up
    Dead,
    /// Those that the endpoint took already
    Delivered,
    /// All but those that wait, and events that the endpoint takes and never had
    Any,
}

impl Which {
    /// Its word in the API.
    fn word(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Delivered => "delivered",
            Self::Any => "any",
        }
    }
}

const AFTER_HELP: &str = "\
Examples:
  webhookd replay --endpoint billing --state dead
  webhookd replay --endpoint billing --since 2026-11-20T09:00:00Z --until 2026-11-20T12:00:00Z
  webhookd replay --event evt_01JD4Z6J5S7Q9X8R3T2V1W0Y4B
  webhookd replay --event evt_01JD4Z6J5S7Q9X8R3T2V1W0Y4B --endpoint billing

Each goes out with the webhook-id it always had, so a receiver can tell that it knows it.";

/// `POST /v1/events/{id}/replay`
#[derive(Serialize)]
struct EventReplay<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<[&'a EndpointName; 1]>,
}

/// `POST /v1/endpoints/{name}/replay`
#[derive(Serialize)]
struct EndpointReplay {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

pub(super) async fn run(args: &ReplayArgs, stage: &mut Stage) -> Outcome {
    let api = args.api.connect()?;
    let now = stage.clock.wall();
    let (path, body) = match (&args.event, &args.endpoint) {
        (Some(event), endpoint) => {
            let body = EventReplay { endpoints: endpoint.as_ref().map(|name| [name]) };
            (client::path(&["v1", "events", event.as_str(), "replay"], &[]), serde_json::to_vec(&body))
        }
        (None, Some(endpoint)) => {
            let body = EndpointReplay {
                state: args.state.map(Which::word),
                since: args.since.map(|since| since.past(now).to_string()),
                until: args.until.map(|until| until.past(now).to_string()),
            };
            (client::path(&["v1", "endpoints", endpoint.as_str(), "replay"], &[]), serde_json::to_vec(&body))
        }
        (None, None) => return Err(Failure::usage("name an event or an endpoint")),
    };
    let answer = api.post(&path, body.map_err(Failure::failed)?).await?;
    if args.json {
        return Ok(stage.screen.json(&answer.body)?);
    }
    let Replayed { replayed } = answer.decode()?;
    let line = match replayed {
        0 => "nothing to replay".to_owned(),
        1 => "1 delivery is pending again".to_owned(),
        n => format!("{n} deliveries are pending again"),
    };
    Ok(stage.screen.line(&line)?)
}
