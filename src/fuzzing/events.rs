//! `event_json` and `cloudevents`: events as producers post them.

use std::collections::BTreeMap;

use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use serde_json::value::RawValue;

use super::message;
use crate::api::fuzzing::{BACKGROUND, NOW};
use crate::api::ingest::cloudevents::{Mode, read_batch, read_binary, read_structured};
use crate::api::ingest::draft::Draft;
use crate::api::ingest::json::{self, Ground};
use crate::front::body::Body;
use crate::front::problem::Problem;
use crate::intake::scan::is_json;
use crate::limits;
use crate::model::text::{EventId, EventType, OrderingKey};

/// Any body is read as an event and as a batch; what is taken keeps every rule.
pub fn event_json(data: &[u8]) {
    let body = Body::of(Bytes::copy_from_slice(data));
    let traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let ground = Ground { targets: &BACKGROUND.targets, now: NOW, traceparent };
    let one = json::read_one(&body, &ground);
    if let Ok(draft) = &one {
        // As text: numbers may be larger and arrays deeper than serde's own values.
        let event: BTreeMap<String, &RawValue> = serde_json::from_slice(data).expect("what is taken is JSON");
        let meant = event.get("data").expect("an event has data").get();
        assert_eq!(draft.content.body, meant.as_bytes(), "the data is kept to the letter");
        assert!(draft.content.json);
    }
    keeps_the_rules(one.map(|draft| vec![draft]));
    keeps_the_rules(json::read_batch(&body, &ground));
}

/// Headers, a blank line, a body: read as the content mode says that the headers tell.
pub fn cloudevents(data: &[u8]) {
    let (head, body) = message::split(data);
    let headers = message::headers(message::lines(head));
    let body = Body::of(Bytes::copy_from_slice(body));
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let traceparent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    let drafts = match Mode::of(&headers, content_type) {
        Err(problem) => Err(problem),
        Ok(None) => return,
        Ok(Some(Mode::Structured)) => read_structured(&body, traceparent).map(|draft| vec![draft]),
        Ok(Some(Mode::Batch)) => read_batch(&body, traceparent),
        Ok(Some(Mode::Binary)) => read_binary(&headers, &body).map(|draft| vec![draft]),
    };
    for draft in drafts.iter().flatten() {
        let attributes = draft.cloud_attributes.as_deref().expect("a CloudEvent keeps its attributes");
        assert!(attributes.len() <= limits::EVENT_EXTRAS_BYTES_MAX);
        let attributes: serde_json::Value = serde_json::from_str(attributes).expect("attributes are one JSON object");
        let attribute = |name: &str| attributes.get(name).and_then(serde_json::Value::as_str);
        assert_eq!(attribute("specversion"), Some("1.0"));
        assert_eq!(attribute("id"), draft.id.as_ref().map(EventId::as_str));
        assert_eq!(attribute("type"), Some(draft.event_type.as_str()));
        assert!(attribute("source").is_some_and(|source| !source.is_empty()));
        assert_eq!(attribute("time"), draft.timestamp.as_deref());
        assert_eq!(attribute("partitionkey"), draft.key.as_ref().map(OrderingKey::as_str));
        assert_eq!(attributes.get("data"), None);
    }
    keeps_the_rules(drafts);
}

fn keeps_the_rules(drafts: Result<Vec<Draft>, Problem>) {
    let drafts = match drafts {
        Ok(drafts) => drafts,
        Err(problem) => return can_be_told(&problem),
    };
    assert!((1..=limits::BATCH_EVENTS_MAX).contains(&drafts.len()));
    for draft in drafts {
        assert!(draft.id.as_ref().is_none_or(|id| EventId::parse(id.as_str()).is_ok()));
        assert!(EventType::parse(draft.event_type.as_str()).is_ok());
        assert!(draft.key.as_ref().is_none_or(|key| OrderingKey::parse(key.as_str()).is_ok()));
        assert!(draft.timestamp.as_ref().is_none_or(|text| text.len() <= limits::TIMESTAMP_BYTES_MAX));
        assert!(draft.content.content_type.len() <= limits::CONTENT_TYPE_BYTES_MAX);
        assert!(!draft.content.json || is_json(&draft.content.body), "what is called JSON is none");
        assert!(draft.traceparent.as_ref().is_none_or(|text| text.len() <= limits::TRACEPARENT_BYTES_MAX));
        assert!(draft.endpoints.as_ref().is_none_or(|named| named.len() <= limits::ENDPOINTS_MAX));
        let id = draft.id.clone();
        let event = draft.into_event(&BACKGROUND.targets, NOW, None).expect("the system gives random bytes");
        assert_eq!(event.id_given, id.is_some());
        assert!(event.event.deliver_at.is_none_or(|at| at.since(NOW) <= limits::DELIVER_AT_AHEAD_MS_MAX));
        assert!(event.targets.is_sorted_by(|one, next| one < next), "an endpoint takes an event once");
    }
}

/// A refusal is a problem that a client can read, and is not long, whatever was posted.
pub(super) fn can_be_told(problem: &Problem) {
    let text = problem.to_json();
    let told: serde_json::Value = serde_json::from_slice(&text).expect("a problem is JSON");
    assert_eq!(told["status"].as_u64(), Some(problem.kind.status().as_u16().into()));
    assert!(problem.kind.status().is_client_error() || problem.kind.status().is_server_error());
    assert!(problem.errors.len() <= limits::FAULTS_SHOWN_MAX);
    assert!(text.len() <= 64 * limits::KIB, "a problem of {} bytes", text.len());
}
