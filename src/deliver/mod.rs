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
//!
//! A reload renews the endpoints of the courier while it works (`courier`): attempts under way end on the connections that
//! they have, and an endpoint keeps its connections unless what they are made by has changed.

mod body;
mod connect;
mod courier;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod hop;
mod request;
mod resolve;
mod send;
mod stream;
#[cfg(test)]
mod tests;
mod tls;

use std::future::Future;
use std::sync::Arc;

use crate::clock::UnixMs;
use crate::config::Endpoint;
use crate::model::attempt::AttemptError;
use crate::model::event::Event;
use crate::policy::answer::Verdict;

pub use self::body::CLOUD_SOURCE;
pub use self::courier::{CourierError, HttpCourier, Prepared};
pub use self::guard::OwnListeners;
pub use self::hop::without_connection;
pub use self::tls::usual_roots;

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

/// A courier that somebody else may hold too, to renew it.
impl<C: Courier> Courier for Arc<C> {
    fn attempt(&self, job: Job) -> impl Future<Output = Attempted> + Send {
        C::attempt(self, job)
    }
}
