//! `/v1/endpoints`: how they do, and an operator's wishes.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::StatusCode;
use serde::Serialize;
use url::Url;

use super::Api;
use super::ingest::draft::Draft;
use super::ingest::post_own;
use crate::config::{Endpoint, Format, Order};
use crate::dispatch::{ControlError, EndpointHealth};
use crate::front::answer::{Answer, Moment, json};
use crate::front::problem::{Problem, ProblemKind};
use crate::intake::tally::Via;
use crate::intake::targets::Target;
use crate::model::endpoint::EndpointState;
use crate::model::event::Content;
use crate::model::text::{EndpointName, EventType};

/// The type of the event that `ping` sends.
const PING: &str = "webhookd.ping";

#[derive(Serialize)]
struct ShownEndpoints<'a> {
    endpoints: Vec<ShownEndpoint<'a>>,
}

#[derive(Serialize)]
struct ShownEndpoint<'a> {
    name: &'a EndpointName,
    /// `null` where the config does not name it any more, as are the next two.
    url: Option<Cow<'a, str>>,
    events: Option<Vec<String>>,
    format: Option<&'static str>,
    order: Option<&'static str>,
    state: &'static str,
    /// Why it is disabled.
    reason: Option<&'static str>,
    disabled_at: Option<Moment>,
    /// `closed`, `open` or `half_open`; `null` where it is off.
    breaker: Option<&'static str>,
    breaker_open_since: Option<Moment>,
    failing_since: Option<Moment>,
    held_until: Option<Moment>,
    /// Ordering keys held up by a dead delivery.
    blocked_keys: usize,
    backlog: u64,
    oldest_pending_at: Option<Moment>,
    in_flight: u32,
    /// Of the last 100 attempts at most; `null` before the first.
    success_rate: Option<f64>,
    latency_ms: ShownLatency,
    last_error: Option<ShownError>,
    last_success_at: Option<Moment>,
    next_attempt_at: Option<Moment>,
}

#[derive(Serialize)]
struct ShownLatency {
    p50: Option<u32>,
    p99: Option<u32>,
}

#[derive(Serialize)]
struct ShownError {
    at: Moment,
    status: Option<u16>,
    error: &'static str,
}

/// A URL without the values of its query, which may be credentials.
fn shown_url(url: &Url) -> Cow<'_, str> {
    let Some((rest, query)) = url.as_str().split_once('?') else { return Cow::Borrowed(url.as_str()) };
    let shown = |part: &str| part.split_once('=').map_or_else(|| "…".to_owned(), |(name, _)| format!("{name}=…"));
    let parts: Vec<_> = query.split('&').map(shown).collect();
    Cow::Owned(format!("{rest}?{}", parts.join("&")))
}

fn format_word(format: Format) -> &'static str {
    match format {
        Format::Standard => "standard",
        Format::Raw => "raw",
        Format::CloudEvents => "cloudevents",
    }
}

fn order_word(order: Order) -> &'static str {
    match order {
        Order::None => "none",
        Order::Key => "key",
        Order::Strict => "strict",
    }
}

impl<'a> ShownEndpoint<'a> {
    /// `endpoint`: its config, where there is one.
    fn new(endpoint: Option<&'a Endpoint>, health: &'a EndpointHealth) -> Self {
        let (reason, disabled_at) = match health.state {
            EndpointState::Disabled { reason, at } => (Some(reason.word()), Some(Moment(at))),
            EndpointState::Active | EndpointState::Paused => (None, None),
        };
        let rate = f64::from(health.recent_successes) / f64::from(health.recent_attempts.max(1));
        Self {
            name: &health.name,
            url: endpoint.map(|endpoint| shown_url(&endpoint.url)),
            events: endpoint.map(|endpoint| endpoint.events.patterns()),
            format: endpoint.map(|endpoint| format_word(endpoint.format)),
            order: endpoint.map(|endpoint| order_word(endpoint.order)),
            state: if health.orphaned { "orphaned" } else { health.state.word() },
            reason,
            disabled_at,
            breaker: health.breaker.map(|breaker| breaker.phase.word()),
            breaker_open_since: health.breaker.and_then(|breaker| breaker.open_since).map(Moment),
            failing_since: health.failing_since.map(Moment),
            held_until: health.held_until.map(Moment),
            blocked_keys: health.blocked_keys,
            backlog: health.pending,
            oldest_pending_at: health.oldest_pending_at.map(Moment),
            in_flight: health.in_flight,
            success_rate: (health.recent_attempts > 0).then_some(rate),
            latency_ms: ShownLatency { p50: health.latency_ms_p50, p99: health.latency_ms_p99 },
            last_error: health.last_error.as_ref().map(|error| ShownError {
                at: Moment(error.at),
                status: error.status,
                error: error.error.word(),
            }),
            last_success_at: health.last_success_at.map(Moment),
            next_attempt_at: health.next_attempt_at.map(Moment),
        }
    }
}

/// The endpoint of the path.
pub(super) fn target<'a>(api: &'a Api, name: &str) -> Result<&'a Target, Problem> {
    api.targets.find(name).ok_or_else(|| Problem::endpoint_not_found(name))
}

fn refused(error: ControlError, name: &str) -> Problem {
    match error {
        ControlError::UnknownEndpoint => Problem::endpoint_not_found(name),
        ControlError::Unavailable => Problem::new(ProblemKind::NotReady, "webhookd is stopping").retry_after_s(5),
        ControlError::NotStored => {
            let detail = "this is in force now, but the disk did not take it: it is stored as soon as the disk does, and a \
                          restart before that would undo it";
            Problem::new(ProblemKind::NotReady, detail).retry_after_s(5)
        }
    }
}

/// `GET /v1/endpoints`
pub(super) async fn list(api: &Api) -> Result<Answer, Problem> {
    let all = api.core()?.control.endpoints().await.map_err(|error| refused(error, ""))?;
    Ok(json(StatusCode::OK, &ShownEndpoints { endpoints: all.iter().map(|health| shown(api, health)).collect() }))
}

/// `GET /v1/endpoints/{name}`
pub(super) async fn show(api: &Api, name: &str) -> Result<Answer, Problem> {
    let health = api.core()?.control.endpoint(name).await.map_err(|error| refused(error, name))?;
    Ok(json(StatusCode::OK, &shown(api, &health)))
}

/// An endpoint with its config, as far as there is one.
fn shown<'a>(api: &'a Api, health: &'a EndpointHealth) -> ShownEndpoint<'a> {
    let target = api.targets.find(health.name.as_str()).filter(|_| !health.orphaned);
    ShownEndpoint::new(target.map(|target| &*target.endpoint), health)
}

/// `POST /v1/endpoints/{name}/pause`
pub(super) async fn pause(api: &Api, name: &str) -> Result<Answer, Problem> {
    target(api, name)?;
    let health = api.core()?.control.pause(name).await.map_err(|error| refused(error, name))?;
    Ok(json(StatusCode::OK, &shown(api, &health)))
}

/// `POST /v1/endpoints/{name}/resume`
pub(super) async fn resume(api: &Api, name: &str) -> Result<Answer, Problem> {
    target(api, name)?;
    let health = api.core()?.control.resume(name).await.map_err(|error| refused(error, name))?;
    Ok(json(StatusCode::OK, &shown(api, &health)))
}

/// `POST /v1/endpoints/{name}/ping`: an event like any other, for this endpoint alone, whatever types it takes.
pub(super) async fn ping(api: &Api, name: &str) -> Result<Answer, Problem> {
    let target = target(api, name)?;
    post_own(api, Via::Ping, ping_draft(target)).await
}

fn ping_draft(target: &Target) -> Draft {
    // Names have letters, digits, _ and - alone: nothing in them needs an escape.
    let data = format!("{{\"endpoint\":\"{}\"}}", target.name());
    Draft {
        id: None,
        event_type: EventType::parse(PING).expect("the type of a ping keeps the rule of types"),
        key: None,
        timestamp: None,
        deliver_at: None,
        endpoints: Some(vec![(target.name().clone(), target.no)]),
        content: Content { content_type: "application/json".into(), json: true, body: Bytes::from(data) },
        traceparent: None,
        cloud_attributes: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_the_values_of_its_query() {
        for (url, shown) in [
            ("https://a.example.com/hooks/1", "https://a.example.com/hooks/1"),
            ("https://a.example.com/?key=hidden&v=2", "https://a.example.com/?key=…&v=…"),
            ("https://a.example.com/?hidden", "https://a.example.com/?…"),
            ("https://a.example.com/?a=b=hidden?c", "https://a.example.com/?a=…"),
            ("https://a.example.com/?", "https://a.example.com/?…"),
        ] {
            assert_eq!(shown_url(&Url::parse(url).unwrap()), shown);
        }
    }
}
