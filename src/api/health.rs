//! `/healthz`, `/readyz`, `/metrics` and `/`.

use hyper::StatusCode;
use serde::Serialize;

use super::answer::{Answer, json, with_body};
use super::problem::{Problem, ProblemKind};
use super::{Api, Phase};

#[derive(Serialize)]
struct Shown<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Why the daemon is not ready while it is full.
const FULL: &str = "the data folder has reached max_size of [storage]; new events are refused until there is room";

/// What `GET /` says until there is a dashboard.
const INDEX: &str = "\
webhookd

POST /v1/events                  post an event: {\"type\": \"…\", \"data\": …}
POST /v1/events/batch            post 1 to 1000 of them
POST /v1/raw/{type}              post any body as an event
GET  /v1/events                  list events
GET  /v1/events/{id}             one event with every attempt
POST /v1/events/{id}/replay      deliver it again
GET  /v1/endpoints               the endpoints and how they do
GET  /v1/endpoints/{name}        one of them
POST /v1/endpoints/{name}/pause  also /resume, /ping, /replay
GET  /healthz  /readyz  /metrics
";

/// `GET /healthz`
pub(super) fn healthz() -> Answer {
    json(StatusCode::OK, &Shown { status: "ok", reason: None })
}

/// `GET /readyz`
pub(super) fn readyz(api: &Api) -> Answer {
    let (status, word, reason) = match api.readiness.phase() {
        Phase::Ready => (StatusCode::OK, "ready", None),
        Phase::Opening => (StatusCode::SERVICE_UNAVAILABLE, "opening", None),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", None),
        Phase::Full => (StatusCode::SERVICE_UNAVAILABLE, "full", Some(FULL)),
    };
    json(status, &Shown { status: word, reason })
}

/// `GET /metrics`
pub(super) async fn metrics(api: &Api) -> Answer {
    // Asking sets the gauges of the endpoints; a daemon that stops shows them as they were.
    if let Ok(core) = api.core() {
        let _ = core.control.endpoints().await;
    }
    with_body(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", api.metrics.text().into())
}

/// `GET /`
pub(super) fn index() -> Answer {
    with_body(StatusCode::OK, "text/plain; charset=utf-8", INDEX.into())
}

/// Whether a request under `/v1` can be served now; `changes`: it wants something written. A full storage does not stop
/// it here: the outbox knows best when there is room again.
pub(super) fn admit(api: &Api, changes: bool) -> Result<(), Problem> {
    api.core()?;
    match api.readiness.phase() {
        Phase::Draining if changes => Err(Problem::new(ProblemKind::NotReady, "webhookd is stopping").retry_after_s(5)),
        _ => Ok(()),
    }
}
