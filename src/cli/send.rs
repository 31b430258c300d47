//! `webhookd send`: posts one event, or a file of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::api_args::ApiArgs;
use super::failure::{Failure, Outcome};
use super::screen::{Tone, escape};
use super::view::Accepted;
use super::when::Moment;
use super::{Stage, client};
use crate::limits;
use crate::model::text::{EndpointName, EventId, EventType, OrderingKey};

mod batch;

/// Post one event, or many with --batch
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct SendArgs {
    /// The event's type; with --batch, the type of the lines that name none
    #[arg(value_name = "TYPE", required_unless_present = "batch", value_parser = EventType::parse)]
    event_type: Option<EventType>,

    /// Reads the data from stdin, as --data - does; with --batch, the events
    #[arg(value_name = "-", value_parser = [STDIN], conflicts_with_all = ["data", "file"])]
    stdin: Option<String>,

    /// The event's data as JSON; - reads it from stdin [default: {}]
    #[arg(long, value_name = "JSON", conflicts_with_all = ["file", "batch"])]
    data: Option<String>,

    /// A file with the event's data as JSON, or with --batch the events; - reads stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// An id of your own: the same one again is not sent twice
    #[arg(long, value_name = "ID", value_parser = EventId::parse, conflicts_with = "batch")]
    id: Option<EventId>,

    /// The ordering key
    #[arg(long, value_name = "KEY", value_parser = OrderingKey::parse, conflicts_with = "batch")]
    key: Option<OrderingKey>,

    /// Only to this endpoint, whatever it subscribes to; may be given several times
    #[arg(long = "endpoint", value_name = "NAME", value_parser = EndpointName::parse, conflicts_with = "batch")]
    endpoints: Vec<EndpointName>,

    /// When to deliver it first: a time such as 2026-11-20T09:30:00Z, or a span from now such as 2h
    #[arg(long, value_name = "WHEN", value_parser = Moment::parse, conflicts_with = "batch")]
    deliver_at: Option<Moment>,

    /// Read one event a line: {"type":…,"data":…,"id":…,"key":…}
    #[arg(long)]
    batch: bool,

    /// Print the daemon's answer as JSON; with --batch, one line an event
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd send invoice.paid --data '{\"id\":17,\"amount\":\"1.10\"}'
  webhookd send invoice.paid --file invoice.json --id inv_17 --key customer_4
  jq -c .order order.json | webhookd send order.created -
  webhookd send reminder.due --deliver-at 2h
  webhookd send --batch --file events.ndjson
  jq -c .[] events.json | webhookd send --batch -

A batch goes in pieces of up to 1000 events; each is stored as a whole or not at all. When a line is refused, the lines \
before it are stored, and the message says where to go on.";

/// What stands for the standard input.
const STDIN: &str = "-";

impl SendArgs {
    /// The type that was given. In `send --batch -`, the dash stands where a type may stand, and is none.
    fn event_type(&self) -> Result<Option<&EventType>, Failure> {
        match &self.event_type {
            Some(dash) if dash.as_str() == STDIN && !self.batch => {
                Err(Failure::usage("- reads the data from stdin, but the type is missing: webhookd send TYPE -"))
            }
            Some(dash) if dash.as_str() == STDIN && self.file.is_some() => {
                Err(Failure::usage("the events come from stdin (-) or from --file, not from both"))
            }
            given => Ok(given.as_ref().filter(|given| given.as_str() != STDIN)),
        }
    }
}

/// The body of `POST /v1/events`.
#[derive(Serialize)]
struct NewEvent<'a> {
    #[serde(rename = "type")]
    event_type: &'a EventType,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a EventId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a OrderingKey>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    endpoints: &'a [EndpointName],
    #[serde(skip_serializing_if = "Option::is_none")]
    deliver_at: Option<String>,
}

pub(super) async fn run(args: &SendArgs, stage: &mut Stage) -> Outcome {
    let event_type = args.event_type()?;
    let api = args.api.connect()?;
    if args.batch {
        let lines = batch::Lines::open(args.file.as_deref())?;
        return batch::send(&api, lines, event_type, args.json, stage).await;
    }
    let event_type = event_type.ok_or_else(|| Failure::usage("an event needs a type"))?;
    let data = data(args.stdin.as_deref().or(args.data.as_deref()), args.file.as_deref())?;
    let event = NewEvent {
        event_type,
        data: &data,
        id: args.id.as_ref(),
        key: args.key.as_ref(),
        endpoints: &args.endpoints,
        deliver_at: args.deliver_at.map(|moment| moment.future(stage.clock.wall()).to_string()),
    };
    let body = serde_json::to_vec(&event).map_err(Failure::failed)?;
    let answer = api.post(&client::path(&["v1", "events"], &[]), body).await?;
    if args.json {
        return Ok(stage.screen.json(&answer.body)?);
    }
    let accepted: Accepted = answer.decode()?;
    let id = escape(&accepted.id).into_owned();
    let targets = if accepted.endpoints.is_empty() {
        "no endpoint takes it; it is stored all the same".to_owned()
    } else {
        format!("goes to {}", escape(&accepted.endpoints.join(", ")))
    };
    let (tone, what) = match accepted.duplicate {
        true => (Tone::Warn, "was known already, nothing is sent again".to_owned()),
        false => (Tone::Good, targets),
    };
    let line = format!("{id}  {}", stage.screen.paint(tone, &what));
    Ok(stage.screen.line(&line)?)
}

/// The data as the text it came in: numbers are not touched.
fn data(given: Option<&str>, file: Option<&Path>) -> Result<Box<RawValue>, Failure> {
    let (text, origin) = match (given, file) {
        (Some(STDIN), _) => (read(io::stdin().lock(), "stdin")?, "stdin".to_owned()),
        (Some(text), _) => (text.to_owned(), "--data".to_owned()),
        (None, Some(path)) => {
            let (source, origin) = open(path)?;
            (read(source, &origin)?, origin)
        }
        (None, None) => ("{}".to_owned(), String::new()),
    };
    RawValue::from_string(text).map_err(|error| Failure::usage(format!("{origin} is no JSON: {error}")))
}

/// A file, or stdin for `-`, and how to call it in a message.
fn open(path: &Path) -> Result<(Box<dyn Read>, String), Failure> {
    if path.as_os_str() == STDIN {
        return Ok((Box::new(io::stdin().lock()), "stdin".to_owned()));
    }
    let shown = path.display().to_string();
    let file = File::open(path).map_err(|error| Failure::usage(format!("{shown} could not be opened: {error}")))?;
    Ok((Box::new(file), shown))
}

fn read(source: impl Read, origin: &str) -> Result<String, Failure> {
    let limit = limits::MAX_BODY_BYTES_MAX;
    let mut bytes = Vec::new();
    let reading = source.take(limit as u64 + 1).read_to_end(&mut bytes);
    reading.map_err(|error| Failure::usage(format!("{origin} could not be read: {error}")))?;
    if bytes.len() > limit {
        return Err(Failure::usage(format!("{origin} has more than {limit} bytes, which no daemon takes")));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{origin} is no UTF-8 text, so it is no JSON either")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_goes_out_as_it_was_typed() {
        let text = r#"{"n":123456789012345678901234567890,"p":1.10}"#;
        assert_eq!(data(Some(text), None).unwrap().get(), text);
        assert_eq!(data(None, None).unwrap().get(), "{}");
        let failure = data(Some("{a:1}"), None).unwrap_err();
        assert_eq!(failure.code(), 2);
        assert!(failure.message().unwrap().starts_with("--data is no JSON: "));
    }

    #[test]
    fn a_file_is_read_and_a_missing_one_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data.json");
        std::fs::write(&file, "[1.10]\n").unwrap();
        assert_eq!(data(None, Some(&file)).unwrap().get(), "[1.10]");
        std::fs::write(&file, b"\"\xff\"").unwrap();
        assert!(data(None, Some(&file)).unwrap_err().message().unwrap().contains("no UTF-8"));
        let missing = data(None, Some(&dir.path().join("nope"))).unwrap_err();
        assert!(missing.message().unwrap().contains("nope could not be opened"));
    }
}
