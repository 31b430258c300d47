//! `GET /v1/events`, `GET /v1/events/{id}` and `POST /v1/events/{id}/replay`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::Body as HttpBody;
use hyper::{Request, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::Api;
use super::ingest::json::{endpoint_names, read_options};
use super::query::{Query, moment};
use super::tally::ReadFailed;
use crate::front::answer::{Answer, Moment, json};
use crate::front::body;
use crate::front::problem::{Faults, Problem, ProblemKind, quoted};
use crate::limits;
use crate::model::attempt::Attempt;
use crate::model::delivery::{DeliveryRef, DeliveryState, Standing};
use crate::model::roster::EndpointNo;
use crate::model::text::{EndpointName, EventId, EventType, OrderingKey};
use crate::observe::audit::Entry;
use crate::outbox::{Cursor, EventSummary, ListQuery, ReadError, StoredDelivery, StoredEvent};
use crate::policy::routing::TypeFilter;

#[derive(Serialize)]
struct ShownPage<'a> {
    events: Vec<ShownSummary<'a>>,
    next: Option<String>,
}

#[derive(Serialize)]
struct ShownSummary<'a> {
    id: &'a EventId,
    #[serde(rename = "type")]
    event_type: &'a EventType,
    key: Option<&'a OrderingKey>,
    at: Moment,
    deliveries: Vec<ShownProgress<'a>>,
}

/// A delivery in a list: its attempts are counted, not shown.
#[derive(Serialize)]
struct ShownProgress<'a> {
    endpoint: &'a EndpointName,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    next_attempt_at: Option<Moment>,
    attempts_made: u16,
}

#[derive(Serialize)]
struct ShownEvent<'a> {
    id: &'a EventId,
    #[serde(rename = "type")]
    event_type: &'a EventType,
    key: Option<&'a OrderingKey>,
    at: Moment,
    timestamp: Option<&'a str>,
    deliver_at: Option<Moment>,
    content_type: &'a str,
    #[serde(flatten)]
    body: ShownBody<'a>,
    deliveries: Vec<ShownDelivery<'a>>,
}

#[derive(Serialize)]
struct ShownBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
    /// Whether it was lost with a damaged part of the storage; shown only then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    body_lost: bool,
}

#[derive(Serialize)]
struct ShownDelivery<'a> {
    endpoint: &'a EndpointName,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    next_attempt_at: Option<Moment>,
    attempts: Vec<ShownAttempt<'a>>,
}

#[derive(Serialize)]
struct ShownAttempt<'a> {
    n: u16,
    at: Moment,
    status: Option<u16>,
    error: Option<&'static str>,
    duration_ms: u32,
    response: std::borrow::Cow<'a, str>,
}

fn next_attempt_at(standing: Standing) -> Option<Moment> {
    match standing {
        Standing::Pending { next_at } => Some(Moment(next_at)),
        Standing::Delivered | Standing::Dead(_) => None,
    }
}

fn reason(standing: Standing) -> Option<&'static str> {
    match standing {
        Standing::Dead(reason) => Some(reason.word()),
        Standing::Delivered | Standing::Pending { .. } => None,
    }
}

impl<'a> From<&'a EventSummary> for ShownSummary<'a> {
    fn from(summary: &'a EventSummary) -> Self {
        let deliveries = summary.deliveries.iter().map(|(endpoint, standing, progress)| ShownProgress {
            endpoint,
            state: standing.state().word(),
            reason: reason(*standing),
            next_attempt_at: next_attempt_at(*standing),
            attempts_made: progress.made,
        });
        Self {
            id: &summary.id,
            event_type: &summary.event_type,
            key: summary.key.as_ref(),
            at: Moment(summary.at),
            deliveries: deliveries.collect(),
        }
    }
}

impl<'a> From<&'a StoredEvent> for ShownBody<'a> {
    /// JSON as the text it came in, anything else in Base64.
    fn from(stored: &'a StoredEvent) -> Self {
        let event = &*stored.event;
        if stored.body_lost {
            return Self { data: None, body_base64: None, body_lost: true };
        }
        let text = event.content.json.then(|| serde_json::from_slice(&event.content.body).ok()).flatten();
        match text {
            Some(data) => Self { data: Some(data), body_base64: None, body_lost: false },
            None => Self { data: None, body_base64: Some(STANDARD.encode(&event.content.body)), body_lost: false },
        }
    }
}

impl<'a> From<&'a StoredDelivery> for ShownDelivery<'a> {
    fn from(delivery: &'a StoredDelivery) -> Self {
        let attempt = |attempt: &'a Attempt| ShownAttempt {
            n: attempt.n,
            at: Moment(attempt.at),
            status: attempt.status,
            error: attempt.error.map(|error| error.word()),
            duration_ms: attempt.duration_ms,
            response: String::from_utf8_lossy(&attempt.response),
        };
        Self {
            endpoint: &delivery.endpoint,
            state: delivery.standing.state().word(),
            reason: reason(delivery.standing),
            next_attempt_at: next_attempt_at(delivery.standing),
            attempts: delivery.attempts.iter().map(attempt).collect(),
        }
    }
}

impl<'a> From<&'a StoredEvent> for ShownEvent<'a> {
    fn from(stored: &'a StoredEvent) -> Self {
        let event = &*stored.event;
        Self {
            id: &event.id,
            event_type: &event.event_type,
            key: event.key.as_ref(),
            at: Moment(event.at),
            timestamp: event.timestamp.as_deref(),
            deliver_at: event.deliver_at.map(Moment),
            content_type: &event.content.content_type,
            body: ShownBody::from(stored),
            deliveries: stored.deliveries.iter().map(ShownDelivery::from).collect(),
        }
    }
}

/// `GET /v1/events`
pub(super) async fn list(api: &Api, query: Option<&str>) -> Result<Answer, Problem> {
    let query = list_query(api, query)?;
    let page = api.core()?.outbox.list(query).await.map_err(|error| unreadable(&error))?;
    let events = page.events.iter().map(ShownSummary::from).collect();
    Ok(json(StatusCode::OK, &ShownPage { events, next: page.next.map(|cursor| cursor.to_string()) }))
}

fn list_query(api: &Api, query: Option<&str>) -> Result<ListQuery, Problem> {
    let query = Query::parse(query, &["type", "endpoint", "state", "since", "until", "limit", "cursor"])?;
    let now = api.clock.wall();
    Ok(ListQuery {
        types: query.read("type", |text| TypeFilter::parse(&text.split(',').collect::<Vec<_>>()))?,
        endpoint: query.get("endpoint").map(|name| known_endpoint(api, name)).transpose()?,
        state: query.read("state", state)?,
        since: query.read("since", |text| moment(text, now))?,
        until: query.read("until", |text| moment(text, now))?,
        limit: query.read("limit", limit)?.unwrap_or(limits::LIST_LIMIT_DEFAULT),
        cursor: query
            .read("cursor", |text| text.parse::<Cursor>().map_err(|()| "is no cursor that a listing has given"))?,
    })
}

/// An endpoint that may be asked about: one of the config, or one that only the storage still knows.
fn known_endpoint(api: &Api, name: &str) -> Result<EndpointNo, Problem> {
    api.roster.known(name).ok_or_else(|| {
        let detail =
            format!("the query parameter endpoint={} names no endpoint of the config or the storage", quoted(name));
        Problem::new(ProblemKind::UnknownEndpoint, detail)
    })
}

pub(super) fn state(text: &str) -> Result<DeliveryState, &'static str> {
    text.parse().map_err(|()| "is no state; write pending, delivered or dead")
}

fn limit(text: &str) -> Result<usize, String> {
    let fits = |limit: &usize| (1..=limits::LIST_LIMIT_MAX).contains(limit);
    text.parse().ok().filter(fits).ok_or_else(|| format!("must be a number from 1 to {}", limits::LIST_LIMIT_MAX))
}

/// The problem of something that could not be read; its cause goes to the log.
pub(super) fn unreadable(error: &ReadError) -> Problem {
    ReadFailed { error }.tell();
    error.into()
}

async fn find(api: &Api, id: &str) -> Result<StoredEvent, Problem> {
    // What can be no id is the id of no event.
    let Ok(parsed) = EventId::parse(id) else { return Err(Problem::event_not_found(id)) };
    let found = api.core()?.outbox.find(&parsed).await.map_err(|error| unreadable(&error))?;
    found.ok_or_else(|| Problem::event_not_found(id))
}

/// `GET /v1/events/{id}`
pub(super) async fn show(api: &Api, id: &str) -> Result<Answer, Problem> {
    let stored = find(api, id).await?;
    Ok(json(StatusCode::OK, &ShownEvent::from(&stored)))
}

#[derive(Serialize)]
struct ShownReplay<'a> {
    id: &'a EventId,
    /// Deliveries that are pending now and were not.
    replayed: usize,
    /// The endpoints they go to.
    endpoints: &'a [EndpointName],
}

/// `POST /v1/events/{id}/replay`: the event's own deliveries again, or one to each endpoint that is named, also to one
/// that never had it. What is pending stays as it is.
pub(super) async fn replay<B>(
    api: &Api,
    id: &str,
    act: Option<&mut Entry>,
    request: Request<B>,
) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let body = body::read(&head.headers, body, api.config.api.body_bytes_max, &api.holdings).await?;
    let named = read_endpoints(api, body.bytes())?;
    let stored = find(api, id).await?;
    let (ready, worn_out) = replayable(api, &stored, named);
    if ready.is_empty() && worn_out {
        let detail = format!("each of these deliveries has had {} attempts, the most there are", limits::ATTEMPTS_MAX);
        return Err(Problem::new(ProblemKind::AttemptsExhausted, detail));
    }
    let delivery =
        |(_, endpoint): &(EndpointName, EndpointNo)| DeliveryRef { event: stored.place, endpoint: *endpoint };
    let replayed = api.core()?.outbox.replay(ready.iter().map(delivery).collect()).await?;
    if let Some(act) = act {
        act.set_count(replayed);
    }
    let endpoints: Vec<_> = ready.into_iter().map(|(name, _)| name).collect();
    Ok(json(StatusCode::ACCEPTED, &ShownReplay { id: &stored.event.id, replayed, endpoints: &endpoints }))
}

fn read_endpoints(api: &Api, body: &[u8]) -> Result<Option<Vec<(EndpointName, EndpointNo)>>, Problem> {
    let options = read_options(body, &["endpoints"])?;
    let Some((_, value)) = options.first() else { return Ok(None) };
    let mut faults = Faults::default();
    let named = endpoint_names(*value, "/endpoints", &api.targets, &mut faults);
    if named.is_none() {
        let detail = format!("endpoints must be an array of names, not {}", value.kind.words());
        faults.add(ProblemKind::InvalidField, "/endpoints".to_owned(), detail);
    }
    faults.or(named).map(Some)
}

/// The deliveries to put back, and whether any was left out because it has had all the attempts there are.
fn replayable(
    api: &Api,
    stored: &StoredEvent,
    named: Option<Vec<(EndpointName, EndpointNo)>>,
) -> (Vec<(EndpointName, EndpointNo)>, bool) {
    let mut wanted = named.unwrap_or_else(|| {
        // Where the config no longer has an endpoint, nobody would deliver.
        let own = stored.deliveries.iter().filter_map(|delivery| api.targets.find(delivery.endpoint.as_str()));
        own.map(|target| (target.name().clone(), target.no)).collect()
    });
    wanted.sort_unstable();
    wanted.dedup();
    let before = |name: &EndpointName| stored.deliveries.iter().find(|delivery| delivery.endpoint == *name);
    wanted.retain(|(name, _)| before(name).is_none_or(|delivery| delivery.standing.state() != DeliveryState::Pending));
    let len = wanted.len();
    wanted.retain(|(name, _)| before(name).is_none_or(|delivery| delivery.progress.made < limits::ATTEMPTS_MAX));
    let worn_out = wanted.len() < len;
    (wanted, worn_out)
}
