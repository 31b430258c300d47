//! Events as webhookd's own JSON: one object, or an array of them.

use std::borrow::Cow;
use std::fmt;

use super::batch;
use super::draft::{DeliverAt, Draft};
use crate::api::query::{is_rfc3339, rfc3339};
use crate::clock::UnixMs;
use crate::front::body::Body;
use crate::front::problem::{Faults, Problem, ProblemKind, pointer, quoted};
use crate::intake::scan::{JsonFault, Kind, Reader, Value};
use crate::intake::targets::Targets;
use crate::intake::trace;
use crate::limits;
use crate::model::event::Content;
use crate::model::roster::EndpointNo;
use crate::model::text::{EndpointName, EventId, EventType, OrderingKey};

/// What an event is read against.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The endpoints there are.
    pub targets: &'a Targets,
    /// The time.
    pub now: UnixMs,
    /// The request's trace context.
    pub traceparent: Option<&'a str>,
}

/// Reads the body of `POST /v1/events`.
///
/// # Errors
/// 400 where it is no JSON, 422 with all faults of its fields.
pub fn read_one(body: &Body, ground: &Ground<'_>) -> Result<Draft, Problem> {
    let mut reader = Reader::new(body.bytes()).map_err(no_json)?;
    let mut faults = Faults::default();
    match reader.kind().map_err(no_json)? {
        Kind::Object => {}
        kind => {
            reader.value().and_then(|_| reader.finish()).map_err(no_json)?;
            let hint = if kind == Kind::Array { "; arrays go to /v1/events/batch" } else { "" };
            let detail = format!("the body must be a JSON object, not {}{hint}", kind.words());
            return Err(Problem::new(ProblemKind::InvalidField, detail).at(""));
        }
    }
    let fields = Fields::read(&mut reader, "", &mut faults).map_err(no_json)?;
    reader.finish().map_err(no_json)?;
    let draft = fields.check(body, ground, "", &mut faults);
    faults.or(draft)
}

/// Reads the body of `POST /v1/events/batch`.
///
/// # Errors
/// 400 where it is no JSON, 422 with the faults of its events.
pub fn read_batch(body: &Body, ground: &Ground<'_>) -> Result<Vec<Draft>, Problem> {
    batch::read(body, "an event", |reader, at, faults| {
        let fields = Fields::read(reader, at, faults)?;
        Ok(fields.check(body, ground, at, faults))
    })
}

/// The problem of a body that is no JSON.
pub(super) fn no_json(fault: JsonFault) -> Problem {
    Problem::new(ProblemKind::InvalidJson, fault.to_string())
}

macro_rules! fields {
    ($($name:ident $text:literal,)*) => {
        /// The fields of an event, where they stand.
        #[derive(Default)]
        struct Fields<'a> {
            $($name: Option<Value<'a>>,)*
        }

        const KNOWN: &[&str] = &[$($text,)*];

        impl<'a> Fields<'a> {
            fn slot(&mut self, name: &str) -> Option<&mut Option<Value<'a>>> {
                match name { $($text => Some(&mut self.$name),)* _ => None }
            }
        }
    };
}

fields! {
    event_type "type",
    data "data",
    id "id",
    key "key",
    timestamp "timestamp",
    endpoints "endpoints",
    deliver_at "deliver_at",
}

impl<'a> Fields<'a> {
    /// Reads the object that comes next; `at` is the pointer to it.
    fn read(reader: &mut Reader<'a>, at: &str, faults: &mut Faults) -> Result<Self, JsonFault> {
        let mut fields = Self::default();
        let mut first = true;
        reader.enter(Kind::Object)?;
        while let Some(name) = reader.next_key(&mut first)? {
            let value = reader.value()?;
            let Some(slot) = fields.slot(&name) else {
                let detail = format!("{} is no field of an event; known are {}", quoted(&name), KNOWN.join(", "));
                faults.add(ProblemKind::UnknownField, field_pointer(at, &name), detail);
                continue;
            };
            if slot.replace(value).is_some() {
                faults.add(ProblemKind::UnknownField, pointer(at, &name), format!("{name} stands there twice"));
            }
        }
        Ok(fields)
    }

    fn check(self, body: &Body, ground: &Ground<'_>, at: &str, faults: &mut Faults) -> Option<Draft> {
        let before = faults.total();
        let mut check = Check { at, faults };
        let event_type = check.text("type", self.event_type, EventType::parse);
        if event_type.is_none() && self.event_type.is_none_or(|value| value.kind == Kind::Null) {
            check.fault("type", "type is missing; it is a string such as \"invoice.paid\"");
        }
        let id = check.text("id", self.id, EventId::parse);
        let key = check.text("key", self.key, OrderingKey::parse);
        let timestamp = check.text("timestamp", self.timestamp, timestamp);
        let deliver_at = check.text("deliver_at", self.deliver_at, |text| deliver_at(text, ground.now));
        let endpoints = check.endpoints(self.endpoints, ground.targets);
        let Some(data) = self.data else {
            check.fault("data", "data is missing; it may be any JSON, also null");
            return None;
        };
        if faults.total() > before {
            return None;
        }
        Some(Draft {
            id,
            event_type: event_type?,
            key,
            timestamp,
            deliver_at,
            endpoints,
            content: Content { content_type: "application/json".into(), json: true, body: body.part(data.range()) },
            traceparent: ground.traceparent.and_then(trace::traceparent),
            cloud_attributes: None,
        })
    }
}

/// The pointer to a member that a client has named; to the object itself where the name is too long to repeat.
pub(super) fn field_pointer(at: &str, name: &str) -> String {
    const NAME_BYTES_SHOWN_MAX: usize = 128;
    if name.len() > NAME_BYTES_SHOWN_MAX { at.to_owned() } else { pointer(at, name) }
}

/// `timestamp`: RFC 3339, kept as it came.
pub(super) fn timestamp(text: &str) -> Result<Box<str>, &'static str> {
    if text.len() <= limits::TIMESTAMP_BYTES_MAX && is_rfc3339(text) {
        Ok(text.into())
    } else {
        Err("must be an RFC 3339 moment such as \"2026-11-20T09:30:00Z\"")
    }
}

fn deliver_at(text: &str, now: UnixMs) -> Result<DeliverAt, &'static str> {
    let at = rfc3339(text).filter(|_| text.len() <= limits::TIMESTAMP_BYTES_MAX);
    let at = at.ok_or("must be an RFC 3339 moment since 1970 such as \"2026-11-20T09:30:00Z\"")?;
    if at.since(now) > limits::DELIVER_AT_AHEAD_MS_MAX {
        return Err("lies more than a year ahead");
    }
    Ok(DeliverAt { text: text.into(), at })
}

/// Checks the fields of one event.
struct Check<'c> {
    at: &'c str,
    faults: &'c mut Faults,
}

impl Check<'_> {
    fn fault(&mut self, field: &str, detail: impl fmt::Display) {
        self.faults.add(ProblemKind::InvalidField, pointer(self.at, field), detail);
    }

    /// A field that is a string; `null` counts as left out.
    fn text<T, E: fmt::Display>(
        &mut self,
        field: &str,
        value: Option<Value<'_>>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let value = value.filter(|value| value.kind != Kind::Null)?;
        let Some(text) = value.string() else {
            self.fault(field, format_args!("{field} must be a string, not {}", value.kind.words()));
            return None;
        };
        parse(&text).map_err(|error| self.fault(field, format_args!("{field} {error}"))).ok()
    }

    fn endpoints(&mut self, value: Option<Value<'_>>, targets: &Targets) -> Option<Vec<(EndpointName, EndpointNo)>> {
        let value = value.filter(|value| value.kind != Kind::Null)?;
        let at = pointer(self.at, "endpoints");
        match endpoint_names(value, &at, targets, self.faults) {
            Some(named) => Some(named),
            None => {
                self.fault(
                    "endpoints",
                    format_args!("endpoints must be an array of names, not {}", value.kind.words()),
                );
                None
            }
        }
    }
}

/// The endpoints that an array names, each of which must exist; a fault for each that does not. `None` where it is no
/// array; `at` is the pointer to it.
pub(in crate::api) fn endpoint_names(
    value: Value<'_>,
    at: &str,
    targets: &Targets,
    faults: &mut Faults,
) -> Option<Vec<(EndpointName, EndpointNo)>> {
    let mut named = Vec::new();
    // The value was read already, so it holds no further fault of JSON.
    let mut reader = Reader::new(value.text.as_bytes()).ok()?;
    reader.enter(Kind::Array).ok()?;
    let mut first = true;
    let mut index = 0usize;
    while let Ok(true) = reader.next_item(&mut first) {
        let item = reader.value().ok()?;
        let at = pointer(at, &index.to_string());
        match item.string().as_deref().map(|name| (name.to_owned(), targets.find(name))) {
            Some((_, Some(target))) if named.len() < limits::ENDPOINTS_MAX => {
                named.push((target.name().clone(), target.no));
            }
            Some((_, Some(_))) => {
                let detail = format!("endpoints has more than {} names", limits::ENDPOINTS_MAX);
                faults.add(ProblemKind::InvalidField, at, detail);
                break;
            }
            Some((name, None)) => {
                let detail = format!("the config has no endpoint named {}", quoted(&name));
                faults.add(ProblemKind::UnknownEndpoint, at, detail);
            }
            None => {
                let detail = format!("an endpoint is named by a string, not {}", item.kind.words());
                faults.add(ProblemKind::InvalidField, at, detail);
            }
        }
        index += 1;
    }
    Some(named)
}

/// The members of a small JSON object that is the body of an operator's request; an empty body is an empty object.
///
/// # Errors
/// 400 where it is no JSON, 422 where it is no object or has a member that is not in `known`, or one twice.
pub(in crate::api) fn read_options<'a>(
    body: &'a [u8],
    known: &[&'static str],
) -> Result<Vec<(Cow<'a, str>, Value<'a>)>, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(body).map_err(no_json)?;
    let kind = reader.kind().map_err(no_json)?;
    if kind != Kind::Object {
        reader.value().and_then(|_| reader.finish()).map_err(no_json)?;
        let detail = format!("the body must be a JSON object, not {}", kind.words());
        return Err(Problem::new(ProblemKind::InvalidField, detail).at(""));
    }
    let mut given: Vec<(Cow<'a, str>, Value<'a>)> = Vec::new();
    let mut faults = Faults::default();
    let mut first = true;
    reader.enter(Kind::Object).map_err(no_json)?;
    while let Some(name) = reader.next_key(&mut first).map_err(no_json)? {
        let value = reader.value().map_err(no_json)?;
        if !known.contains(&&*name) {
            let detail = format!("{} is unknown; known are {}", quoted(&name), known.join(", "));
            faults.add(ProblemKind::UnknownField, field_pointer("", &name), detail);
        } else if given.iter().any(|(other, _)| *other == name) {
            faults.add(ProblemKind::UnknownField, pointer("", &name), format!("{name} stands there twice"));
        } else if value.kind != Kind::Null {
            given.push((name, value));
        }
    }
    reader.finish().map_err(no_json)?;
    faults.into_problem().map_or(Ok(given), Err)
}

#[cfg(test)]
mod tests;
