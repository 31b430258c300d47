//! A line of an export, both ways. Names and forms are those of `GET /v1/events/{id}` where that has them.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderName, HeaderValue};
use serde::de::{self, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::endpoint_line::EndpointLine;
use crate::clock::UnixMs;
use crate::limits;
use crate::model::attempt::{Attempt, AttemptError};
use crate::model::delivery::{DeadReason, DeliveryState, Progress, Standing};
use crate::model::endpoint::EndpointRecord;
use crate::model::event::{Content, Event, Fingerprint, KeptHeader, NewEvent};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::{EndpointName, EventId, EventType, IdempotencyKey, OrderingKey};
use crate::outbox::generation::Head;

/// A moment as RFC 3339 in UTC with milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(pub(super) UnixMs);

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Moment;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"2026-11-20T09:30:00.000Z\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Moment, E> {
                let moment = UnixMs::parse_rfc3339(text).map(Moment);
                moment.ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        from.deserialize_str(Text)
    }
}

/// Bytes: text where they are UTF-8, Base64 elsewhere.
fn text_or_base64(bytes: &[u8]) -> (Option<Cow<'_, str>>, Option<Cow<'_, str>>) {
    match str::from_utf8(bytes) {
        Ok(text) => (Some(text.into()), None),
        Err(_) => (None, Some(STANDARD.encode(bytes).into())),
    }
}

fn bytes_of(text: Option<Cow<'_, str>>, base64: Option<Cow<'_, str>>, name: &str) -> Result<Option<Vec<u8>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("there may be {name} or {name}_base64, not both")),
        (Some(text), None) => Ok(Some(text.into_owned().into_bytes())),
        (None, Some(base64)) => {
            STANDARD.decode(&*base64).map(Some).map_err(|error| format!("{name}_base64 is no Base64: {error}"))
        }
        (None, None) => Ok(None),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    event_type: Cow<'a, str>,
    key: Option<Cow<'a, str>>,
    at: Moment,
    timestamp: Option<Cow<'a, str>>,
    deliver_at: Option<Moment>,
    content_type: Cow<'a, str>,
    json: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    body_lost: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<Cow<'a, str>>,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    cloud_attributes: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<HeaderLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<Cow<'a, str>>,
    fingerprint: Cow<'a, str>,
    deliveries: Vec<DeliveryLine<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderLine<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveryLine<'a> {
    endpoint: Cow<'a, str>,
    state: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Cow<'a, str>>,
    next_attempt_at: Option<Moment>,
    /// When it died, where that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    died_at: Option<Moment>,
    tries: u16,
    made: u16,
    /// Whether its endpoint got the event by a replay, and not when it was accepted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_replay: bool,
    attempts: Vec<AttemptLine<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AttemptLine<'a> {
    n: u16,
    at: Moment,
    status: Option<u16>,
    error: Option<Cow<'a, str>>,
    duration_ms: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_base64: Option<Cow<'a, str>>,
}

/// A delivery with everything that has happened to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Delivery {
    pub(super) endpoint: EndpointNo,
    pub(super) standing: Standing,
    pub(super) progress: Progress,
    /// When it died; 0 where it did not, or that was not kept.
    pub(super) died_at: UnixMs,
    pub(super) by_replay: bool,
    pub(super) attempts: Vec<Attempt>,
}

/// A moment, where it is one.
pub(super) fn known(at: UnixMs) -> Option<Moment> {
    (at != UnixMs(0)).then_some(Moment(at))
}

/// Writes the line of an event into `line`. `head` is the event's, `event` is the whole of it; `None` where its body is lost.
pub(super) fn write_event(
    line: &mut Vec<u8>,
    head: &Head,
    event: Option<&Event>,
    deliveries: &[Delivery],
    roster: &Roster,
) -> serde_json::Result<()> {
    let told = event.unwrap_or(&head.event);
    let (body, body_base64) = event.map_or((None, None), |event| text_or_base64(&event.content.body));
    // Line breaks can only stand between the parts of JSON text, where a space means the same.
    let attributes = told.cloud_attributes.as_deref().map(|text| text.replace(['\n', '\r'], " "));
    let header = |header: &'_ KeptHeader| {
        let (value, value_base64) = text_or_base64(&header.value);
        HeaderLine {
            name: header.name.to_string().into(),
            value: value.map(|value| value.into_owned().into()),
            value_base64: value_base64.map(|value| value.into_owned().into()),
        }
    };
    let shown = EventLine {
        id: told.id.as_str().into(),
        event_type: told.event_type.as_str().into(),
        key: told.key.as_ref().map(|key| key.as_str().into()),
        at: Moment(told.at),
        timestamp: told.timestamp.as_deref().map(Into::into),
        deliver_at: told.deliver_at.map(Moment),
        content_type: (&*told.content.content_type).into(),
        json: told.content.json,
        body,
        body_base64,
        body_lost: event.is_none(),
        traceparent: told.traceparent.as_deref().map(Into::into),
        cloud_attributes: attributes.as_deref().map(serde_json::from_str).transpose()?,
        headers: told.headers.iter().map(header).collect(),
        idempotency_key: head.idempotency_key.as_deref().map(Into::into),
        fingerprint: hex::encode(head.fingerprint.0).into(),
        deliveries: deliveries.iter().map(|delivery| delivery_line(delivery, roster)).collect(),
    };
    serde_json::to_writer(line, &shown)
}

fn delivery_line<'a>(delivery: &'a Delivery, roster: &Roster) -> DeliveryLine<'a> {
    let (reason, next_attempt_at) = match delivery.standing {
        Standing::Pending { next_at } => (None, Some(Moment(next_at))),
        Standing::Delivered => (None, None),
        Standing::Dead(reason) => (Some(reason.word().into()), None),
    };
    let attempt = |attempt: &'a Attempt| {
        let (response, response_base64) = text_or_base64(&attempt.response);
        AttemptLine {
            n: attempt.n,
            at: Moment(attempt.at),
            status: attempt.status,
            error: attempt.error.map(|error| error.word().into()),
            duration_ms: attempt.duration_ms,
            response,
            response_base64,
        }
    };
    DeliveryLine {
        endpoint: roster.name(delivery.endpoint).as_str().to_owned().into(),
        state: delivery.standing.state().word().into(),
        reason,
        next_attempt_at,
        died_at: known(delivery.died_at),
        tries: delivery.progress.tries,
        made: delivery.progress.made,
        by_replay: delivery.by_replay,
        attempts: delivery.attempts.iter().map(attempt).collect(),
    }
}

/// What a line says.
#[derive(Debug)]
pub(super) enum Line {
    /// What is kept of an endpoint.
    Endpoint(EndpointName, EndpointRecord),
    /// An event and its deliveries.
    Event(NewEvent, Vec<Delivery>),
    /// An event that has lost its body, and so cannot be delivered.
    WithoutBody,
}

/// Reads a line.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn read(text: &str, names: &mut Names) -> Result<Line, String> {
    match serde_json::from_str::<EventLine<'_>>(text) {
        Ok(line) => read_event(line, names),
        Err(error) => match serde_json::from_str::<EndpointLine<'_>>(text) {
            Ok(line) => line.read().map(|(name, record)| Line::Endpoint(name, record)),
            Err(of_endpoint) => {
                let is_endpoint = !text.contains("\"id\"") && text.contains("\"endpoint\"");
                Err(without_place(if is_endpoint { &of_endpoint } else { &error }))
            }
        },
    }
}

/// What serde says, without the number of the line within this one line.
fn without_place(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    match text.strip_suffix(&format!(" at line {line} column {column}")) {
        Some(what) => format!("{what} (byte {column})"),
        None => text,
    }
}

/// The endpoint names of an import. There are only so many numbers for them.
#[derive(Debug)]
pub(super) struct Names {
    roster: Arc<Roster>,
    met: usize,
}

impl Names {
    pub(super) fn new(roster: Arc<Roster>) -> Self {
        Self { roster, met: 0 }
    }

    fn number(&mut self, text: &str) -> Result<EndpointNo, String> {
        if let Some(no) = self.roster.known(text) {
            return Ok(no);
        }
        let name = EndpointName::parse(text).map_err(|error| format!("endpoint {error}"))?;
        if self.met == limits::IMPORT_ENDPOINTS_MAX {
            return Err(format!("there are more than {} endpoint names", limits::IMPORT_ENDPOINTS_MAX));
        }
        self.met += 1;
        Ok(self.roster.number(&name))
    }
}

fn read_event(line: EventLine<'_>, names: &mut Names) -> Result<Line, String> {
    let id = EventId::parse(&line.id).map_err(|error| format!("id {error}"))?;
    let body = bytes_of(line.body, line.body_base64, "body")?;
    let body = match (body, line.body_lost) {
        (None, true) => return Ok(Line::WithoutBody),
        (Some(_), true) => return Err("there is a body, and body_lost as well".to_owned()),
        (None, false) => return Err("there is neither body nor body_base64".to_owned()),
        (Some(body), false) => body,
    };
    at_most(body.len(), limits::MAX_BODY_BYTES_MAX, "body")?;
    if line.json && str::from_utf8(&body).map_or(true, |text| serde_json::from_str::<IgnoredAny>(text).is_err()) {
        return Err("json is true, and body is no JSON".to_owned());
    }
    let headers = line.headers.into_iter().map(read_header).collect::<Result<Vec<_>, _>>()?;
    let cloud_attributes = line.cloud_attributes.map(RawValue::get);
    if cloud_attributes.is_some_and(|text| !text.starts_with('{')) {
        return Err("cloud_attributes must be an object".to_owned());
    }
    let extras = headers.iter().map(|header| header.name.len() + header.value.len()).sum::<usize>();
    at_most(
        extras + cloud_attributes.map_or(0, str::len),
        limits::EVENT_EXTRAS_BYTES_MAX,
        "headers and cloud_attributes",
    )?;
    let mut fingerprint = [0; 16];
    hex::decode_to_slice(&*line.fingerprint, &mut fingerprint)
        .map_err(|_| "fingerprint must have 32 hexadecimal digits".to_owned())?;
    let key = line.idempotency_key.as_deref().map(IdempotencyKey::parse).transpose();
    let event = Event {
        id,
        event_type: EventType::parse(&line.event_type).map_err(|error| format!("type {error}"))?,
        key: line.key.as_deref().map(OrderingKey::parse).transpose().map_err(|error| format!("key {error}"))?,
        at: line.at.0,
        timestamp: line.timestamp.map(|text| short(&text, limits::TIMESTAMP_BYTES_MAX, "timestamp")).transpose()?,
        deliver_at: line.deliver_at.map(|at| at.0),
        content: Content {
            content_type: short(&line.content_type, limits::CONTENT_TYPE_BYTES_MAX, "content_type")?,
            json: line.json,
            body: body.into(),
        },
        traceparent: line
            .traceparent
            .map(|text| short(&text, limits::TRACEPARENT_BYTES_MAX, "traceparent"))
            .transpose()?,
        cloud_attributes: cloud_attributes.map(Into::into),
        headers,
    };
    let deliveries = read_deliveries(line.deliveries, names)?;
    let targets = deliveries.iter().filter(|delivery| !delivery.by_replay).map(|delivery| delivery.endpoint);
    let new = NewEvent {
        event: Arc::new(event),
        id_given: true,
        idempotency_key: key.map_err(|error| format!("idempotency_key {error}"))?,
        fingerprint: Fingerprint(fingerprint),
        targets: targets.collect(),
    };
    at_most(new.targets.len(), limits::ENDPOINTS_MAX, "deliveries")?;
    Ok(Line::Event(new, deliveries))
}

fn read_header(line: HeaderLine<'_>) -> Result<KeptHeader, String> {
    let wrong = || format!("{:?} is no header", line.name);
    let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| wrong())?;
    let value = bytes_of(line.value, line.value_base64, "value")?.ok_or("a header has no value")?;
    HeaderValue::from_bytes(&value).map_err(|_| wrong())?;
    Ok(KeptHeader { name: name.as_str().into(), value: value.into() })
}

fn read_deliveries(lines: Vec<DeliveryLine<'_>>, names: &mut Names) -> Result<Vec<Delivery>, String> {
    let mut seen = HashSet::with_capacity(lines.len());
    let mut deliveries = Vec::with_capacity(lines.len());
    for line in lines {
        let endpoint = names.number(&line.endpoint)?;
        let wrong = |what: &str| format!("the delivery to {}: {what}", line.endpoint);
        if !seen.insert(endpoint) {
            return Err(wrong("it is there twice"));
        }
        let state = line.state.parse().map_err(|()| wrong("state must be pending, delivered or dead"))?;
        let standing = match (state, line.next_attempt_at, line.reason.as_deref()) {
            (DeliveryState::Pending, Some(Moment(next_at)), None) => Standing::Pending { next_at },
            (DeliveryState::Delivered, None, None) => Standing::Delivered,
            (DeliveryState::Dead, None, Some(word)) => {
                let reason = DeadReason::ALL.iter().find(|reason| reason.word() == word);
                Standing::Dead(*reason.ok_or_else(|| wrong("its reason is unknown"))?)
            }
            (DeliveryState::Pending, ..) => return Err(wrong("what is pending needs next_attempt_at, and no reason")),
            (DeliveryState::Delivered, ..) => {
                return Err(wrong("what is delivered has no next_attempt_at and no reason"));
            }
            (DeliveryState::Dead, ..) => return Err(wrong("what is dead needs a reason, and no next_attempt_at")),
        };
        if state != DeliveryState::Dead && line.died_at.is_some() {
            return Err(wrong("only what is dead has died_at"));
        }
        let died_at = line.died_at.map_or(UnixMs(0), |Moment(at)| at);
        let progress = Progress { tries: line.tries, made: line.made };
        let attempts = line.attempts.into_iter().map(read_attempt).collect::<Result<_, _>>();
        let attempts = attempts.map_err(|what| format!("the delivery to {}: {what}", line.endpoint))?;
        deliveries.push(Delivery { endpoint, standing, progress, died_at, by_replay: line.by_replay, attempts });
    }
    Ok(deliveries)
}

fn read_attempt(line: AttemptLine<'_>) -> Result<Attempt, String> {
    let response = bytes_of(line.response, line.response_base64, "response")?.unwrap_or_default();
    at_most(response.len(), limits::RESPONSE_LOG_BYTES_MAX, "response")?;
    let error = line.error.map(|word| {
        let known = AttemptError::ALL.iter().find(|error| error.word() == word);
        known.copied().ok_or_else(|| format!("unknown error {word:?} of an attempt"))
    });
    if line.status == Some(0) {
        return Err("the status of an attempt is 0".to_owned());
    }
    let (n, at, status, duration_ms) = (line.n, line.at.0, line.status, line.duration_ms);
    Ok(Attempt { n, at, status, error: error.transpose()?, duration_ms, response })
}

fn short(text: &str, bytes_max: usize, name: &str) -> Result<Box<str>, String> {
    at_most(text.len(), bytes_max, name)?;
    HeaderValue::from_str(text).map_err(|_| format!("{name} has characters that do not belong there"))?;
    Ok(text.into())
}

fn at_most(found: usize, max: usize, name: &str) -> Result<(), String> {
    if found > max { Err(format!("{name}: {found} are too many, at most {max} are allowed")) } else { Ok(()) }
}
