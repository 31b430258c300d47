//! `webhookd event ID`: one event, and everything that happened to it.

use clap::Args;

use super::api_args::ApiArgs;
use super::failure::Outcome;
use super::json_text::pretty;
use super::screen::{Screen, Tone, escape, escape_lines};
use super::view::{AttemptDetail, DeliveryDetail, EventDetail, next_attempt, state_tone};
use super::when::{short_moment, spoken_span};
use super::{Stage, client};
use crate::clock::UnixMs;
use crate::model::text::EventId;

/// Show one event with every attempt
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct EventArgs {
    /// The event's id
    #[arg(value_name = "ID", value_parser = EventId::parse)]
    id: EventId,

    /// Print the daemon's answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    api: ApiArgs,
}

const AFTER_HELP: &str = "\
Examples:
  webhookd event evt_01JD4Z6J5S7Q9X8R3T2V1W0Y4B
  webhookd event evt_01JD4Z6J5S7Q9X8R3T2V1W0Y4B --json | jq .data

Times are UTC.";

pub(super) async fn run(args: &EventArgs, stage: &mut Stage) -> Outcome {
    let api = args.api.connect()?;
    let answer = api.get(&client::path(&["v1", "events", args.id.as_str()], &[])).await?;
    if args.json {
        return Ok(stage.screen.json(&answer.body)?);
    }
    let now = stage.clock.wall();
    show(&mut stage.screen, &answer.decode()?, now)
}

fn show(screen: &mut Screen, event: &EventDetail, now: UnixMs) -> Outcome {
    let title = screen.paint(Tone::Strong, &format!("{}  {}", escape(&event.id), escape(&event.event_type)));
    screen.line(&title)?;
    screen.line(&format!("accepted {}", escape(&event.at)))?;
    if let Some(key) = &event.key {
        screen.line(&format!("key {}", escape(key)))?;
    }
    if let Some(at) = &event.deliver_at {
        screen.line(&format!("not to be delivered before {}", escape(at)))?;
    }
    let content_type = escape(event.content_type.as_deref().unwrap_or("application/json")).into_owned();
    match (&event.data, &event.body_base64) {
        (Some(data), _) => {
            screen.line(&format!("data ({content_type}, {}):", bytes(data.get().len())))?;
            for line in escape_lines(&pretty(data.get())).lines() {
                screen.line(&format!("  {line}"))?;
            }
        }
        (None, Some(base64)) => {
            let size = bytes(base64.trim_end_matches('=').len() * 3 / 4);
            screen.line(&format!("body ({content_type}, {size}): see it with --json, as base64"))?;
        }
        (None, None) => {}
    }
    if event.deliveries.is_empty() {
        screen.line("no endpoint took it")?;
    }
    for delivery in &event.deliveries {
        screen.line("")?;
        show_delivery(screen, delivery, now)?;
    }
    Ok(())
}

fn show_delivery(screen: &mut Screen, delivery: &DeliveryDetail, now: UnixMs) -> Outcome {
    let mut state = delivery.state.clone();
    if let Some(reason) = &delivery.reason {
        state = format!("{state} ({reason})");
    }
    let state = screen.paint(state_tone(&delivery.state), &escape(&state));
    let attempts = match delivery.attempts.len() {
        0 => "no attempt yet".to_owned(),
        1 => "1 attempt".to_owned(),
        n => format!("{n} attempts"),
    };
    let next = delivery.next_attempt_at.as_deref().map(|at| format!("; {}", next_attempt(at, now))).unwrap_or_default();
    screen.line(&format!("{}: {state}, {attempts}{next}", escape(&delivery.endpoint)))?;
    for attempt in &delivery.attempts {
        show_attempt(screen, attempt, now)?;
    }
    Ok(())
}

fn show_attempt(screen: &mut Screen, attempt: &AttemptDetail, now: UnixMs) -> Outcome {
    let (tone, outcome) = attempt.outcome();
    let outcome = screen.paint(tone, &outcome);
    let at = screen.paint(Tone::Faint, &escape(&short_moment(&attempt.at, now)));
    let took = spoken_span(attempt.duration_ms);
    screen.line(&format!("  {:>3}  {at}  {outcome} after {took}", attempt.n))?;
    let response = attempt.response.as_deref().map(str::trim).filter(|response| !response.is_empty());
    if let Some(response) = response {
        for line in escape_lines(response).lines() {
            let line = screen.paint(Tone::Faint, &format!("       | {line}"));
            screen.line(&line)?;
        }
    }
    Ok(())
}

fn bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn an_event_is_told_in_plain_words() {
        let event: EventDetail = serde_json::from_str(
            r#"{"id":"evt_1","type":"invoice.paid","key":"c4","at":"2021-02-25T15:02:10.000Z",
                "content_type":"application/json","data":{"p":1.10},"deliveries":[
                {"endpoint":"billing","state":"pending","next_attempt_at":"2021-02-25T15:07:10.000Z","attempts":[
                  {"n":1,"at":"2021-02-25T15:02:10.010Z","status":500,"error":"status","duration_ms":3,"response":"oops\u001b[2J\nagain"},
                  {"n":2,"at":"2021-02-25T15:02:15.010Z","status":null,"error":"timeout","duration_ms":15000,"response":""}]},
                {"endpoint":"shop","state":"delivered","next_attempt_at":null,"attempts":[
                  {"n":1,"at":"2021-02-25T15:02:10.010Z","status":204,"error":null,"duration_ms":2,"response":null}]}]}"#,
        )
        .unwrap();
        let buffer = Arc::new(Mutex::new(Vec::new()));
        show(&mut Screen::into_buffer(Arc::clone(&buffer), None), &event, UnixMs(1_614_265_330_000)).unwrap();
        let text = String::from_utf8(buffer.lock().unwrap().clone()).unwrap();
        let expected = "\
evt_1  invoice.paid
accepted 2021-02-25T15:02:10.000Z
key c4
data (application/json, 10 bytes):
  {
    \"p\": 1.10
  }

billing: pending, 2 attempts; next attempt in 5 min (15:07:10.000Z)
    1  15:02:10.010Z  answered 500 after 3 ms
       | oops\\u{1b}[2J
       | again
    2  15:02:15.010Z  no answer in time after 15 s

shop: delivered, 1 attempt
    1  15:02:10.010Z  answered 204 after 2 ms
";
        assert_eq!(text, expected);
    }
}
