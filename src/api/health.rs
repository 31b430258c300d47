//! `/healthz`, `/readyz`, `/metrics` and `/`.

use hyper::StatusCode;
use serde::Serialize;

use super::Api;
use crate::front::answer::{Answer, json, with_body};
use crate::front::problem::Problem;
use crate::intake::readiness::Phase;
use crate::outbox::{Condition, Outbox};

#[derive(Serialize)]
struct Shown<'a> {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    /// What was found damaged and lies set aside.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    damaged: Vec<ShownDamage>,
}

/// A generation that was set aside.
#[derive(Serialize)]
struct ShownDamage {
    generation: u32,
    what: String,
    loss: String,
    events_lost: u64,
    folder: String,
}

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
POST /v1/reload                  read the config anew
GET  /healthz  /readyz  /metrics
";

/// `GET /healthz`: whether the outbox's writer and the dispatcher answer. A daemon that opens its storage, or stops, is alive.
pub(super) async fn healthz(api: &Api) -> Answer {
    let settled = matches!(api.readiness.phase(), Phase::Opening | Phase::Draining);
    let pulse = match api.core() {
        Ok(core) if !settled => core.control.recent_pulse().await.map(drop),
        _ => Ok(()),
    };
    match pulse {
        Ok(()) => json(StatusCode::OK, &Shown { status: "ok", reason: None, damaged: Vec::new() }),
        Err(silent) => {
            let reason = silent.to_string();
            let shown = Shown { status: "hanging", reason: Some(&reason), damaged: Vec::new() };
            json(StatusCode::SERVICE_UNAVAILABLE, &shown)
        }
    }
}

/// `GET /readyz`
pub(super) fn readyz(api: &Api) -> Answer {
    let (status, word) = match api.readiness.phase() {
        Phase::Ready => (StatusCode::OK, "ready"),
        Phase::Opening => (StatusCode::SERVICE_UNAVAILABLE, "opening"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        Phase::Full => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        Phase::Failing => (StatusCode::SERVICE_UNAVAILABLE, "failing"),
    };
    let outbox = api.core().ok().map(|core| &core.outbox);
    let condition = outbox.map(Outbox::condition).filter(|condition| *condition != Condition::Open);
    let reason = condition.map(|condition| condition.to_string());
    let damaged = outbox.map(Outbox::damages).unwrap_or_default().into_iter().map(|damage| ShownDamage {
        generation: damage.generation,
        what: damage.what,
        loss: damage.loss.to_string(),
        events_lost: damage.loss.events_lost,
        folder: damage.folder.display().to_string(),
    });
    json(status, &Shown { status: word, reason: reason.as_deref(), damaged: damaged.collect() })
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

/// Whether a request under `/v1` can be served now; `changes`: it wants something written.
pub(super) fn admit(api: &Api, changes: bool) -> Result<(), Problem> {
    let readiness = &api.readiness;
    if changes { readiness.core_to_change() } else { readiness.core() }.map(|_| ())
}
