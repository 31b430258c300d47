//! The attributes of one CloudEvent, gathered and checked.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use crate::api::ingest::draft::Draft;
use crate::api::ingest::json::{field_pointer, timestamp};
use crate::front::problem::{Faults, ProblemKind};
use crate::intake::content::is_content_type;
use crate::intake::trace;
use crate::limits;
use crate::model::event::Content;
use crate::model::text::{EventId, EventType, OrderingKey};

/// Where attributes stand.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    /// In the object with this JSON pointer.
    Object(&'a str),
    /// In headers.
    Headers,
}

impl Place<'_> {
    /// An attribute's name as the sender knows it.
    fn name(self, attribute: &str) -> String {
        match self {
            Self::Object(_) => attribute.to_owned(),
            Self::Headers => format!("the header ce-{attribute}"),
        }
    }

    fn pointer(self, attribute: &str) -> Option<String> {
        match self {
            Self::Object(at) => Some(field_pointer(at, attribute)),
            Self::Headers => None,
        }
    }
}

/// The attributes of one event, as they are gathered.
#[derive(Debug)]
pub(super) struct Attributes<'a, 'f> {
    place: Place<'a>,
    faults: &'f mut Faults,
    faults_before: usize,
    names: BTreeSet<Cow<'a, str>>,
    known: Known<'a>,
    text: String,
    too_long: bool,
}

/// The attributes that webhookd itself looks at.
#[derive(Debug, Default)]
struct Known<'a> {
    specversion: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    source: Option<Cow<'a, str>>,
    event_type: Option<Cow<'a, str>>,
    time: Option<Cow<'a, str>>,
    subject: Option<Cow<'a, str>>,
    dataschema: Option<Cow<'a, str>>,
    datacontenttype: Option<Cow<'a, str>>,
    partitionkey: Option<Cow<'a, str>>,
    traceparent: Option<Cow<'a, str>>,
}

impl<'a> Known<'a> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
        match name {
            "specversion" => Some(&mut self.specversion),
            "id" => Some(&mut self.id),
            "source" => Some(&mut self.source),
            "type" => Some(&mut self.event_type),
            "time" => Some(&mut self.time),
            "subject" => Some(&mut self.subject),
            "dataschema" => Some(&mut self.dataschema),
            "datacontenttype" => Some(&mut self.datacontenttype),
            "partitionkey" => Some(&mut self.partitionkey),
            "traceparent" => Some(&mut self.traceparent),
            _ => None,
        }
    }
}

impl<'a, 'f> Attributes<'a, 'f> {
    pub(super) fn new(place: Place<'a>, faults: &'f mut Faults) -> Self {
        let faults_before = faults.total();
        let (names, known, text) = (BTreeSet::new(), Known::default(), String::from("{"));
        Self { place, faults, faults_before, names, known, text, too_long: false }
    }

    pub(super) fn fault(&mut self, attribute: &str, detail: impl fmt::Display) {
        let name = self.place.name(attribute);
        self.faults.add(ProblemKind::InvalidField, self.place.pointer(attribute), format_args!("{name} {detail}"));
    }

    /// Takes an attribute: its value's JSON text, and the value itself where it is a string.
    pub(super) fn take(&mut self, name: Cow<'a, str>, json: &str, string: Option<Cow<'a, str>>) {
        if !is_attribute_name(&name) {
            let shown = crate::front::problem::quoted(&name);
            self.faults.add(
                ProblemKind::InvalidField,
                self.place.pointer(&name),
                format_args!("{shown} is no name of an attribute; those have lower-case letters and digits alone"),
            );
            return;
        }
        if self.text.len() + name.len() + json.len() + 8 > limits::EVENT_EXTRAS_BYTES_MAX {
            self.too_long = true;
            return;
        }
        if !self.names.insert(name.clone()) {
            let shown = self.place.name(&name);
            let detail = format!("{shown} stands there twice");
            self.faults.add(ProblemKind::UnknownField, self.place.pointer(&name), detail);
            return;
        }
        if self.text.len() > 1 {
            self.text.push(',');
        }
        self.text.push('"');
        self.text.push_str(&name);
        self.text.push_str("\":");
        self.text.push_str(json);
        let Some(slot) = self.known.slot(&name) else { return };
        match string {
            Some(text) => *slot = Some(text),
            None => self.fault(&name, "must be a string"),
        }
    }

    /// What `datacontenttype` says.
    pub(super) fn content_type(&self) -> Option<&str> {
        self.known.datacontenttype.as_deref()
    }

    fn read<T, E: fmt::Display>(
        &mut self,
        attribute: &str,
        value: Option<Cow<'a, str>>,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        parse(&value?).map_err(|error| self.fault(attribute, error)).ok()
    }

    /// The event; `None` where there were faults. `traceparent` is the one of the request's header.
    pub(super) fn draft(mut self, content: Option<Content>, traceparent: Option<Box<str>>) -> Option<Draft> {
        let known = std::mem::take(&mut self.known);
        for required in ["specversion", "id", "source", "type"] {
            if !self.names.contains(required) && !self.too_long {
                self.fault(required, "is missing; CloudEvents 1.0 requires it");
            }
        }
        self.read("specversion", known.specversion, specversion);
        self.read("source", known.source, uri);
        self.read("subject", known.subject, not_empty);
        self.read("dataschema", known.dataschema, uri);
        self.read("datacontenttype", known.datacontenttype, content_type);
        let id = self.read("id", known.id, EventId::parse);
        let event_type = self.read("type", known.event_type, EventType::parse);
        let timestamp = self.read("time", known.time, timestamp);
        let key = self.read("partitionkey", known.partitionkey, OrderingKey::parse);
        if self.too_long {
            let max = limits::EVENT_EXTRAS_BYTES_MAX;
            let pointer = match self.place {
                Place::Object(at) => Some(at.to_owned()),
                Place::Headers => None,
            };
            self.faults.add(
                ProblemKind::InvalidField,
                pointer,
                format_args!("the attributes have more than {max} bytes together"),
            );
        }
        if self.faults.total() > self.faults_before {
            return None;
        }
        self.text.push('}');
        Some(Draft {
            id: Some(id?),
            event_type: event_type?,
            key,
            timestamp,
            deliver_at: None,
            endpoints: None,
            content: content?,
            traceparent: known.traceparent.as_deref().and_then(trace::traceparent).or(traceparent),
            cloud_attributes: Some(self.text.into()),
        })
    }
}

/// Section 3.1 of the specification.
fn is_attribute_name(name: &str) -> bool {
    !name.is_empty() && name != "data" && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn specversion(text: &str) -> Result<(), &'static str> {
    if text == "1.0" { Ok(()) } else { Err("must be \"1.0\", the one version that is read") }
}

fn not_empty(text: &str) -> Result<(), &'static str> {
    if text.is_empty() { Err("must not be empty") } else { Ok(()) }
}

/// Not the whole grammar of URI references, but what can be none at all is refused.
fn uri(text: &str) -> Result<(), &'static str> {
    not_empty(text)?;
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err("must be a URI, without white space");
    }
    Ok(())
}

fn content_type(text: &str) -> Result<(), &'static str> {
    if is_content_type(text) { Ok(()) } else { Err("must be a media type such as \"application/json\"") }
}
