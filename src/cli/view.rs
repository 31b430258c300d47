//! The API's answers, as far as the command line shows them. What an answer says beyond this is left alone, and what it
//! does not say is left out.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::screen::{Tone, escape};
use super::when::{short_moment, spoken_span};
use crate::clock::UnixMs;

/// `POST /v1/events`, and each event of a batch.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {
    pub(super) id: String,
    #[serde(default)]
    pub(super) endpoints: Vec<String>,
    #[serde(default)]
    pub(super) duplicate: bool,
}

/// `POST /v1/events/batch`
#[derive(Debug, Deserialize)]
pub(super) struct AcceptedBatch {
    pub(super) events: Vec<Accepted>,
}

/// `POST /v1/reload`
#[derive(Debug, Deserialize)]
pub(super) struct Reloaded {
    pub(super) endpoints: ReloadedNames,
    #[serde(default)]
    pub(super) sources: ReloadedNames,
    #[serde(default)]
    pub(super) settings: Vec<String>,
    #[serde(default)]
    pub(super) needs_restart: Vec<String>,
    #[serde(default)]
    pub(super) warnings: Vec<String>,
}

/// The endpoints, or the sources, of a reload.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ReloadedNames {
    #[serde(default)]
    pub(super) added: Vec<String>,
    #[serde(default)]
    pub(super) changed: Vec<String>,
    #[serde(default)]
    pub(super) removed: Vec<String>,
}

/// `GET /v1/events`
#[derive(Debug, Deserialize)]
pub(super) struct Listing {
    pub(super) events: Vec<EventLine>,
    #[serde(default)]
    pub(super) next: Option<String>,
}

/// One event of a listing.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct EventLine {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) key: Option<String>,
    pub(super) at: String,
    #[serde(default)]
    pub(super) deliveries: Vec<DeliveryLine>,
}

/// A delivery of a listing: `attempts` is not shown there.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct DeliveryLine {
    pub(super) endpoint: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) next_attempt_at: Option<String>,
}

/// `GET /v1/events/{id}`
#[derive(Debug, Deserialize)]
pub(super) struct EventDetail {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) event_type: String,
    #[serde(default)]
    pub(super) key: Option<String>,
    pub(super) at: String,
    #[serde(default)]
    pub(super) deliver_at: Option<String>,
    #[serde(default)]
    pub(super) content_type: Option<String>,
    /// The text of the data, `null` included.
    #[serde(default, deserialize_with = "present")]
    pub(super) data: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) body_base64: Option<String>,
    #[serde(default)]
    pub(super) deliveries: Vec<DeliveryDetail>,
}

/// A delivery with its attempts.
#[derive(Debug, Deserialize)]
pub(super) struct DeliveryDetail {
    pub(super) endpoint: String,
    pub(super) state: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) next_attempt_at: Option<String>,
    #[serde(default)]
    pub(super) attempts: Vec<AttemptDetail>,
}

/// One attempt.
#[derive(Debug, Deserialize)]
pub(super) struct AttemptDetail {
    pub(super) n: u32,
    pub(super) at: String,
    #[serde(default)]
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) error: Option<String>,
    #[serde(default)]
    pub(super) duration_ms: u64,
    #[serde(default)]
    pub(super) response: Option<String>,
}

/// `POST …/replay`
#[derive(Debug, Deserialize)]
pub(super) struct Replayed {
    #[serde(alias = "count")]
    pub(super) replayed: u64,
}

/// `GET /v1/endpoints`
#[derive(Debug, Deserialize)]
pub(super) struct EndpointList {
    pub(super) endpoints: Vec<EndpointDetail>,
}

/// `GET /v1/endpoints/{name}`
#[derive(Debug, Deserialize)]
pub(super) struct EndpointDetail {
    pub(super) name: String,
    #[serde(default)]
    pub(super) url: Option<String>,
    pub(super) state: String,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) breaker: Option<String>,
    #[serde(default)]
    pub(super) held_until: Option<String>,
    #[serde(default)]
    pub(super) blocked_keys: u64,
    #[serde(default, alias = "pending")]
    pub(super) backlog: u64,
    #[serde(default)]
    pub(super) success_rate: Option<f64>,
    #[serde(default)]
    pub(super) latency_ms: Option<Latency>,
    #[serde(default)]
    pub(super) last_error: Option<LastError>,
}

/// How long an endpoint takes to answer, in milliseconds.
#[derive(Debug, Deserialize)]
pub(super) struct Latency {
    #[serde(default)]
    pub(super) p50: Option<u64>,
    #[serde(default)]
    pub(super) p99: Option<u64>,
}

/// An endpoint's last failed attempt.
#[derive(Debug, Deserialize)]
pub(super) struct LastError {
    pub(super) at: String,
    #[serde(default)]
    pub(super) status: Option<u16>,
    #[serde(default)]
    pub(super) error: Option<String>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// The tone of a delivery's or an endpoint's state.
pub(super) fn state_tone(state: &str) -> Tone {
    match state {
        "delivered" | "active" => Tone::Good,
        "pending" | "paused" | "orphaned" => Tone::Warn,
        "dead" | "disabled" => Tone::Bad,
        _ => Tone::Plain,
    }
}

/// When a pending delivery is tried next, in words.
pub(super) fn next_attempt(at: &str, now: UnixMs) -> String {
    match UnixMs::parse_rfc3339(at) {
        Some(moment) if moment > now => {
            format!("next attempt in {} ({})", spoken_span(moment.since(now)), escape(&short_moment(at, now)))
        }
        Some(_) => "due now".to_owned(),
        None => format!("next attempt at {}", escape(at)),
    }
}

impl AttemptDetail {
    /// What came of it, in words.
    pub(super) fn outcome(&self) -> (Tone, String) {
        let tone = if self.error.is_none() && self.status.is_some() { Tone::Good } else { Tone::Bad };
        (tone, outcome_in_words(self.status, self.error.as_deref()))
    }
}

impl LastError {
    /// What went wrong, in words.
    pub(super) fn words(&self) -> String {
        outcome_in_words(self.status, self.error.as_deref())
    }
}

fn outcome_in_words(status: Option<u16>, error: Option<&str>) -> String {
    match (status, error) {
        (Some(status), None | Some("status")) => format!("answered {status}"),
        (Some(status), Some(error)) => format!("answered {status}, then {}", error_in_words(error)),
        (None, Some(error)) => error_in_words(error),
        (None, None) => "no answer".to_owned(),
    }
}

/// An attempt's error word as a sentence's part.
fn error_in_words(word: &str) -> String {
    let words = match word {
        "timeout" => "no answer in time",
        "connect" => "could not connect",
        "dns" => "the name did not resolve",
        "tls" => "the TLS handshake failed",
        "address_refused" => "the address is not one that webhookd dials (see allow_networks)",
        "status" => "the answer was no success",
        "protocol" => "the connection broke off, or spoke no HTTP",
        "storage" => "the daemon could not read the event back",
        other => return escape(other).into_owned(),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attempt::AttemptError;

    #[test]
    fn data_keeps_its_text_and_null_is_data() {
        let event = |data: &str| {
            let text = format!(r#"{{"id":"e","type":"t","at":"2026-01-01T00:00:00.000Z"{data}}}"#);
            serde_json::from_str::<EventDetail>(&text).unwrap().data.map(|raw| raw.get().to_owned())
        };
        assert_eq!(event(r#","data":{"n":1.10}"#).as_deref(), Some(r#"{"n":1.10}"#));
        assert_eq!(event(r#","data":null"#).as_deref(), Some("null"));
        assert_eq!(event(""), None);
    }

    #[test]
    fn every_error_of_the_closed_set_is_told_in_words() {
        for error in AttemptError::ALL {
            assert_ne!(error_in_words(error.word()), error.word(), "{error}");
        }
        assert_eq!(error_in_words("new\x1bword"), "new\\u{1b}word");
    }
}
