//! One job, one attempt: a single HTTP request for one event to one endpoint, and what came of it.
//!
//! ```text
//! Job ── body ──► request ──► send ──► Attempted
//!        render   sign, head   │ ▲
//!                              ▼ │  connect: DNS ─ guard ─ TCP ─ TLS, on a new connection only
//!                             pool
//! ```
//!
//! Nothing here knows the outbox or the schedule. An attempt ends within the endpoint's `timeout`, connection and
//! answer included, whatever the other side does:
//!
//! - A connection that is not ready within [`limits::CONNECT_MS_MAX`](crate::limits::CONNECT_MS_MAX) fails by its step
//!   (`dns`, `connect`, `tls`); the whole attempt out of time before an answer's head is a `timeout`.
//! - The status decides once the head is there. The body is read for the log alone: to `log_response_bytes`, and not
//!   past the attempt's time. A body that is longer, drips or breaks off costs its connection, never the outcome.
//! - Redirects are answers like others (3xx, a failure). Nothing is decompressed.
//!
//! Each endpoint has a pool of its own, so that no connection made under one endpoint's rules serves another. A
//! pooled connection that the other side closed while it lay idle is noticed before anything is written, and the
//! request goes out on another one; a request of which a byte was written is never sent twice within one attempt.

mod body;
mod connect;
mod guard;
mod request;
mod resolve;
mod send;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use hyper::header::HeaderValue;
use thiserror::Error;
use tokio_util::task::TaskTracker;

use self::connect::Connector;
use self::guard::Guard;
use self::resolve::Resolver;
use self::send::{Lane, Outcome};
use self::tls::{SharedTls, TlsSettings};
use crate::clock::{SharedClock, UnixMs};
use crate::config::Endpoint;
use crate::model::attempt::AttemptError;
use crate::model::event::Event;
use crate::model::text::EndpointName;
use crate::policy::answer::{Verdict, judge};

pub use self::body::CLOUD_SOURCE;
pub use self::guard::OwnListeners;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Job {
    /// The event.
    pub event: Arc<Event>,
    /// Where it goes.
    pub endpoint: Arc<Endpoint>,
    /// The attempt's number, from 1 (`webhook-attempt`).
    pub n: u16,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// When it began.
    pub at: UnixMs,
    /// The status of the answer; `None` where none came.
    pub status: Option<u16>,
    /// Why it failed; `None` for a success.
    pub error: Option<AttemptError>,
    /// More about it for a DEBUG line: no payload, no secret, at most
    /// [`limits::ATTEMPT_DETAIL_BYTES_MAX`](crate::limits::ATTEMPT_DETAIL_BYTES_MAX).
    pub detail: Option<String>,
    /// How long it took, in milliseconds of the monotonic clock.
    pub duration_ms: u32,
    /// The beginning of the answer's body, at most the endpoint's `log_response_bytes`.
    pub response: Vec<u8>,
    /// What is to become of the delivery.
    pub verdict: Verdict,
}

/// Who makes attempts: the network, or what a simulation puts in its place.
pub trait Courier: Send + Sync + 'static {
    /// Makes one attempt. It always comes back, within the endpoint's `timeout`.
    fn attempt(&self, job: Job) -> impl Future<Output = Attempted> + Send;
}

/// Why a courier could not be made.
#[derive(Debug, Error)]
pub enum CourierError {
    /// The endpoint's URL is none that HTTP can ask for.
    #[error("endpoint {endpoint}: the url cannot be requested")]
    Url {
        /// The endpoint.
        endpoint: EndpointName,
        /// What is wrong with it.
        source: hyper::http::uri::InvalidUri,
    },
    /// The endpoint's CA or client certificate does not hold.
    #[error("endpoint {endpoint}: tls cannot be used as configured")]
    Tls {
        /// The endpoint.
        endpoint: EndpointName,
        /// What is wrong with it.
        source: rustls::Error,
    },
}

/// Makes attempts over the network, with a pool of connections for each endpoint.
///
/// It is made for one config; a reload makes another. Its connections run as tasks of its own, which end when it is
/// dropped and the attempts under way are done.
#[derive(Debug)]
pub struct HttpCourier {
    lanes: HashMap<EndpointName, Lane>,
    clock: SharedClock,
}

impl HttpCourier {
    /// A courier to `endpoints` that never dials `own`. Nothing is connected, resolved or read from the disk yet.
    ///
    /// # Errors
    /// Names the first endpoint whose URL or TLS cannot be used.
    pub fn new<'a>(
        endpoints: impl Iterator<Item = &'a Arc<Endpoint>>,
        clock: SharedClock,
        own: OwnListeners,
    ) -> Result<Self, CourierError> {
        let tasks = TaskTracker::new();
        let resolver = Arc::new(Resolver::new(tasks.clone()));
        let shared_tls = Arc::new(SharedTls::new(tasks.clone()));
        let lane = |endpoint: &Arc<Endpoint>| {
            let name = endpoint.name.clone();
            let tls = TlsSettings::new(&shared_tls, endpoint.tls.as_ref())
                .map_err(|source| CourierError::Tls { endpoint: name.clone(), source })?;
            let guard = Guard::new(&endpoint.allow_networks, own.clone());
            let connector = Connector::new(guard, tls, resolver.for_one_endpoint(), Arc::clone(&clock));
            let lane = Lane::new(Arc::clone(endpoint), connector, tasks.clone())
                .map_err(|source| CourierError::Url { endpoint: name.clone(), source })?;
            Ok((name, lane))
        };
        let lanes = endpoints.map(lane).collect::<Result<_, _>>()?;
        Ok(Self { lanes, clock })
    }
}

impl Courier for HttpCourier {
    async fn attempt(&self, job: Job) -> Attempted {
        let at = self.clock.wall();
        let begun = self.clock.mono();
        let outcome = match self.lanes.get(job.endpoint.name.as_str()) {
            Some(lane) => lane.send(&job.event, job.n, at, begun, &self.clock).await,
            // Whoever hands in jobs holds the same config, so this is a fault of the program; it costs a retry, not the
            // daemon.
            None => Outcome::failed(AttemptError::Connect, "this endpoint is not among the courier's".to_owned()),
        };
        let duration_ms = u32::try_from(self.clock.mono().since(begun)).unwrap_or(u32::MAX);
        concluded(outcome, &job.endpoint, at, duration_ms, self.clock.wall())
    }
}

fn concluded(outcome: Outcome, endpoint: &Endpoint, at: UnixMs, duration_ms: u32, now: UnixMs) -> Attempted {
    match outcome {
        Outcome::Answered(answer) => {
            let status = answer.status.as_u16();
            let verdict = judge(
                status,
                answer.retry_after.as_ref().map(HeaderValue::as_bytes),
                answer.webhook_delivery.as_ref().map(HeaderValue::as_bytes),
                &endpoint.permanent,
                now,
            );
            let error = (!answer.status.is_success()).then_some(AttemptError::Status);
            let (response, detail) = (answer.body, answer.body_note);
            Attempted { at, status: Some(status), error, detail, duration_ms, response, verdict }
        }
        Outcome::Failed { error, detail } => Attempted {
            at,
            status: None,
            error: Some(error),
            detail: Some(detail),
            duration_ms,
            response: Vec::new(),
            verdict: Verdict::Retry { hint_ms: None, hold_endpoint: false },
        },
    }
}
