//! Structured and batched mode: the JSON event format.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::attributes::{Attributes, Place};
use crate::api::ingest::batch;
use crate::api::ingest::draft::Draft;
use crate::api::ingest::json::no_json;
use crate::front::body::Body;
use crate::front::problem::{Faults, Problem, ProblemKind};
use crate::intake::content::is_json_type;
use crate::intake::scan::{JsonFault, Kind, Reader, Value, is_json};
use crate::intake::trace;
use crate::model::event::Content;

/// The content type of data that names none (section 2.4.1 of the JSON event format).
const ASSUMED: &str = "application/json";

/// Reads one event in structured mode; `traceparent` is that of the request.
///
/// # Errors
/// 400 where it is no JSON, 422 with the faults of its attributes.
pub fn read_structured(body: &Body, traceparent: Option<&str>) -> Result<Draft, Problem> {
    let mut reader = Reader::new(body.bytes()).map_err(no_json)?;
    let kind = reader.kind().map_err(no_json)?;
    if kind != Kind::Object {
        reader.value().and_then(|_| reader.finish()).map_err(no_json)?;
        let detail = format!("a CloudEvent must be a JSON object, not {}", kind.words());
        return Err(Problem::new(ProblemKind::InvalidField, detail).at(""));
    }
    let mut faults = Faults::default();
    let draft = read_object(&mut reader, body, "", traceparent, &mut faults).map_err(no_json)?;
    reader.finish().map_err(no_json)?;
    faults.or(draft)
}

/// Reads a batch of events.
///
/// # Errors
/// As for one.
pub fn read_batch(body: &Body, traceparent: Option<&str>) -> Result<Vec<Draft>, Problem> {
    batch::read(body, "a CloudEvent", |reader, at, faults| read_object(reader, body, at, traceparent, faults))
}

/// Reads the object that comes next; `None` where it has faults.
fn read_object(
    reader: &mut Reader<'_>,
    body: &Body,
    at: &str,
    traceparent: Option<&str>,
    faults: &mut Faults,
) -> Result<Option<Draft>, JsonFault> {
    let mut attributes = Attributes::new(Place::Object(at), faults);
    let (mut data, mut base64) = (None, None);
    let mut first = true;
    reader.enter(Kind::Object)?;
    while let Some(name) = reader.next_key(&mut first)? {
        let value = reader.value()?;
        let member = match &*name {
            "data" => &mut data,
            "data_base64" => &mut base64,
            _ => {
                match value.kind {
                    // Section 2.2 of the format: an attribute that is null is not there.
                    Kind::Null => {}
                    Kind::String => attributes.take(name, value.text, value.string()),
                    Kind::Bool => attributes.take(name, value.text, None),
                    Kind::Number if value.text.parse::<i32>().is_ok() => attributes.take(name, value.text, None),
                    Kind::Number => attributes.fault(&name, "must be a whole number of 32 bits"),
                    kind => attributes
                        .fault(&name, format_args!("must be a string, number or boolean, not {}", kind.words())),
                }
                continue;
            }
        };
        if member.replace(value).is_some() {
            attributes.fault(&name, "stands there twice");
        }
    }
    let content = content(data, base64, body, &mut attributes);
    let traceparent = traceparent.and_then(trace::traceparent);
    Ok(attributes.draft(content, traceparent))
}

/// The content (section 3.1 of the format); `None` with a fault.
fn content(
    data: Option<Value<'_>>,
    base64: Option<Value<'_>>,
    body: &Body,
    attributes: &mut Attributes<'_, '_>,
) -> Option<Content> {
    let base64 = base64.filter(|value| value.kind != Kind::Null);
    let content_type: Box<str> = attributes.content_type().unwrap_or(ASSUMED).into();
    let json_type = is_json_type(&content_type);
    match (data, base64) {
        (Some(_), Some(_)) => {
            attributes.fault("data_base64", "must not stand beside data");
            None
        }
        (None, Some(encoded)) => {
            let decoded = encoded.string().and_then(|text| STANDARD.decode(text.as_bytes()).ok());
            let Some(bytes) = decoded else {
                attributes.fault("data_base64", "must be a string in Base64 (RFC 4648, section 4)");
                return None;
            };
            let json = json_type && is_json(&bytes);
            Some(Content { content_type, json, body: bytes.into() })
        }
        // Data that is not JSON comes as a string.
        (Some(value), None) => match value.string().filter(|_| !json_type) {
            Some(text) => Some(Content { content_type, json: false, body: Bytes::copy_from_slice(text.as_bytes()) }),
            None => Some(Content { content_type, json: true, body: body.part(value.range()) }),
        },
        (None, None) => Some(Content { content_type, json: false, body: Bytes::new() }),
    }
}
