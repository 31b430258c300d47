//! Events on their way in: read, checked, handed to the outbox, answered once they are durable.
//!
//! | file | job |
//! |---|---|
//! | `json`, `raw`, `cloudevents` | one way in each: a request to [`Draft`]s |
//! | `batch` | what the ways in have in common where a request has many events |
//! | `draft` | a draft to an event: id, fingerprint, targets |

mod batch;
pub mod cloudevents;
pub mod draft;
pub mod json;
pub mod raw;

use std::time::Instant;

use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Request, StatusCode};
use serde::Serialize;

use self::cloudevents::Mode;
use self::draft::Draft;
use self::json::Ground;
use super::Api;
use crate::front::answer::{Answer, json as json_answer};
use crate::front::body::{self, Body};
use crate::front::problem::{Problem, ProblemKind, pointer};
use crate::intake::tally::{EventsAccepted, Via};
use crate::model::event::NewEvent;
use crate::model::text::{EndpointName, EventId, IdempotencyKey};
use crate::outbox::{AcceptError, Accepted};

/// The header with which a producer makes a request repeatable.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Serialize)]
struct Shown<'a> {
    id: &'a EventId,
    endpoints: &'a [EndpointName],
    duplicate: bool,
}

#[derive(Serialize)]
struct ShownBatch<'a> {
    events: Vec<Shown<'a>>,
}

impl<'a> From<&'a Accepted> for Shown<'a> {
    fn from(accepted: &'a Accepted) -> Self {
        Self { id: &accepted.id, endpoints: &accepted.endpoints, duplicate: accepted.duplicate }
    }
}

/// Whether a request's events are answered as one or as a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    One,
    Batch,
}

/// `POST /v1/events`, in JSON or as CloudEvents. Other content types are read as JSON too: curl sends JSON as a form.
pub(super) async fn post_event<B>(api: &Api, request: Request<B>) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let Arrival { headers, key, mode, body, started } = arrive(api, request).await?;
    let trace = traceparent(&headers);
    let (via, form, drafts) = match mode {
        None => (Via::Json, Form::One, vec![json::read_one(&body, &api.ground(trace))?]),
        Some(Mode::Structured) => (Via::CloudEvents, Form::One, vec![cloudevents::read_structured(&body, trace)?]),
        Some(Mode::Binary) => (Via::CloudEvents, Form::One, vec![cloudevents::read_binary(&headers, &body)?]),
        Some(Mode::Batch) => (Via::CloudEvents, Form::Batch, cloudevents::read_batch(&body, trace)?),
    };
    store(api, Posted { via, form, drafts, key, started }).await
}

/// `POST /v1/events/batch`
pub(super) async fn post_batch<B>(api: &Api, request: Request<B>) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let Arrival { headers, key, mode, body, started } = arrive(api, request).await?;
    let trace = traceparent(&headers);
    let (via, drafts) = match mode {
        Some(Mode::Batch) => (Via::CloudEvents, cloudevents::read_batch(&body, trace)?),
        Some(Mode::Structured | Mode::Binary) => {
            let detail = "one CloudEvent goes to /v1/events; a batch of them is application/cloudevents-batch+json";
            return Err(Problem::new(ProblemKind::UnsupportedFormat, detail));
        }
        None => (Via::Batch, json::read_batch(&body, &api.ground(trace))?),
    };
    store(api, Posted { via, form: Form::Batch, drafts, key, started }).await
}

/// `POST /v1/raw/{type}`
pub(super) async fn post_raw<B>(api: &Api, event_type: &str, request: Request<B>) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let key = idempotency_key(&head.headers)?;
    let raw = raw::RawHead::read(event_type, head.uri.query(), &head.headers)?;
    let body = read(api, &head.headers, body).await?;
    let started = Instant::now();
    let drafts = vec![raw.with(&body)];
    store(api, Posted { via: Via::Raw, form: Form::One, drafts, key, started }).await
}

/// An event that the daemon itself makes.
pub(super) async fn post_own(api: &Api, via: Via, draft: Draft) -> Result<Answer, Problem> {
    store(api, Posted { via, form: Form::One, drafts: vec![draft], key: None, started: Instant::now() }).await
}

/// A request of events with its whole body.
struct Arrival {
    headers: HeaderMap,
    key: Option<IdempotencyKey>,
    /// `None`: JSON of our own form.
    mode: Option<Mode>,
    body: Body,
    /// When its last byte had come.
    started: Instant,
}

/// Reads the request, its body last: a head that will not do is refused before the body comes.
async fn arrive<B>(api: &Api, request: Request<B>) -> Result<Arrival, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let headers = head.headers;
    let key = idempotency_key(&headers)?;
    let mode = Mode::of(&headers, content_type(&headers))?;
    let body = read(api, &headers, body).await?;
    Ok(Arrival { headers, key, mode, body, started: Instant::now() })
}

async fn read<B>(api: &Api, headers: &HeaderMap, body: B) -> Result<Body, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    body::read(headers, body, api.config.api.body_bytes_max, &api.holdings).await
}

/// What [`post_event`] or [`post_batch`] reads, without storing it.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) async fn read_events<B>(api: &Api, request: Request<B>, batch: bool) -> Result<Vec<Draft>, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let Arrival { headers, mode, body, .. } = arrive(api, request).await?;
    let trace = traceparent(&headers);
    match mode {
        None if batch => json::read_batch(&body, &api.ground(trace)),
        None => Ok(vec![json::read_one(&body, &api.ground(trace))?]),
        Some(Mode::Structured) => Ok(vec![cloudevents::read_structured(&body, trace)?]),
        Some(Mode::Binary) => Ok(vec![cloudevents::read_binary(&headers, &body)?]),
        Some(Mode::Batch) => cloudevents::read_batch(&body, trace),
    }
}

/// What [`post_raw`] reads, without storing it.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) async fn read_raw<B>(api: &Api, event_type: &str, request: Request<B>) -> Result<Vec<Draft>, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let raw = raw::RawHead::read(event_type, head.uri.query(), &head.headers)?;
    let body = read(api, &head.headers, body).await?;
    Ok(vec![raw.with(&body)])
}

/// The drafts of one request.
struct Posted {
    via: Via,
    form: Form,
    drafts: Vec<Draft>,
    key: Option<IdempotencyKey>,
    started: Instant,
}

async fn store(api: &Api, posted: Posted) -> Result<Answer, Problem> {
    let Posted { via, form, drafts, key, started } = posted;
    let now = api.clock.wall();
    let mut events = Vec::with_capacity(drafts.len());
    for (index, draft) in drafts.into_iter().enumerate() {
        let key = match form {
            Form::One => key.clone(),
            Form::Batch => key.as_ref().filter(|_| draft.id.is_none()).map(|key| item_key(key, index)).transpose()?,
        };
        events.push(draft.into_event(&api.targets, now, key)?);
    }
    let ids_given: Vec<bool> = events.iter().map(|event: &NewEvent| event.id_given).collect();
    let accepted = api.core()?.outbox.accept(events).await.map_err(|error| refused(error, form, &ids_given))?;
    let duplicates = accepted.iter().filter(|one| one.duplicate).count();
    let stored = accepted.len() - duplicates;
    // A request that changed nothing says so: 200, whatever its form.
    let status = if stored == 0 { StatusCode::OK } else { StatusCode::ACCEPTED };
    let answer = match (form, accepted.as_slice()) {
        (Form::One, [one]) => json_answer(status, &Shown::from(one)),
        _ => json_answer(status, &ShownBatch { events: accepted.iter().map(Shown::from).collect() }),
    };
    EventsAccepted { via, stored, duplicates, took: started.elapsed() }.tell(&api.metrics);
    Ok(answer)
}

/// The problem of a refusal, pointing at the event's id where the client chose it.
fn refused(error: AcceptError, form: Form, ids_given: &[bool]) -> Problem {
    let AcceptError::Conflict { index, .. } = error else { return error.into() };
    let at = if form == Form::Batch { pointer("", &index.to_string()) } else { String::new() };
    let id_given = ids_given.get(index).is_some_and(|given| *given);
    let problem = Problem::from(error);
    match (id_given, form) {
        (true, _) => problem.at(pointer(&at, "id")),
        (false, Form::Batch) => problem.at(at),
        (false, Form::One) => problem,
    }
}

/// The `Idempotency-Key` of the item `index` of a batch.
fn item_key(key: &IdempotencyKey, index: usize) -> Result<IdempotencyKey, Problem> {
    IdempotencyKey::parse(&format!("{key}/{index}")).map_err(|error| {
        let detail = format!("the header idempotency-key, with /{index} for the event of the batch, {error}");
        Problem::new(ProblemKind::InvalidHeader, detail)
    })
}

/// The request's `Idempotency-Key`, as it stands or as a quoted string (draft-ietf-httpapi-idempotency-key-header).
fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let invalid = |detail: String| Problem::new(ProblemKind::InvalidHeader, detail);
    if values.next().is_some() {
        return Err(invalid("the header idempotency-key stands there twice".to_owned()));
    }
    let text = String::from_utf8_lossy(value.as_bytes());
    let text = text.trim();
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    IdempotencyKey::parse(inner).map(Some).map_err(|error| invalid(format!("the header idempotency-key {error}")))
}

fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok()
}

impl Api {
    fn ground<'a>(&'a self, traceparent: Option<&'a str>) -> Ground<'a> {
        Ground { targets: &self.targets, now: self.clock.wall(), traceparent }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn key(values: &[&'static str]) -> Result<Option<String>, ProblemKind> {
        let name = hyper::header::HeaderName::from_static(IDEMPOTENCY_KEY);
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(&name, HeaderValue::from_static(value));
        }
        idempotency_key(&headers).map(|key| key.map(|key| key.to_string())).map_err(|problem| problem.kind)
    }

    #[test]
    fn idempotency_keys_come_plain_or_quoted() {
        assert_eq!(key(&[]), Ok(None));
        assert_eq!(key(&["8e03978e-40d5"]), Ok(Some("8e03978e-40d5".to_owned())));
        assert_eq!(key(&["\"8e03978e-40d5\""]), Ok(Some("8e03978e-40d5".to_owned())));
        assert_eq!(key(&[""]), Err(ProblemKind::InvalidHeader));
        assert_eq!(key(&["\"\""]), Err(ProblemKind::InvalidHeader));
        assert_eq!(key(&["a", "b"]), Err(ProblemKind::InvalidHeader));
        assert_eq!(key(&["a\tb"]), Err(ProblemKind::InvalidHeader));
    }

    #[test]
    fn a_key_too_long_with_the_items_number_is_refused() {
        let longest = IdempotencyKey::parse(&"k".repeat(crate::limits::IDEMPOTENCY_KEY_BYTES_MAX - 2)).unwrap();
        assert!(item_key(&longest, 9).is_ok());
        assert_eq!(item_key(&longest, 10).unwrap_err().kind, ProblemKind::InvalidHeader);
    }

    #[test]
    fn a_conflict_points_at_the_id_that_the_client_chose() {
        let conflict = |index| AcceptError::Conflict { index, id: EventId::parse("evt_1").unwrap() };
        let pointer = |index, form| refused(conflict(index), form, &[true, false]).pointer;
        assert_eq!(pointer(0, Form::Batch).as_deref(), Some("/0/id"));
        assert_eq!(pointer(1, Form::Batch).as_deref(), Some("/1"));
        assert_eq!(pointer(0, Form::One).as_deref(), Some("/id"));
        assert_eq!(pointer(1, Form::One), None);
    }
}
