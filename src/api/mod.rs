//! The API: what producers and operators ask, on the listener of `[api]`.
//!
//! A request passes, in this order: the listener's limits ([`crate::front`]), the web-page guard (`guard`), the route and its
//! token (`routes`, `tokens`), the body's limits ([`crate::front::body`]), and the resource's own file, which answers it or says
//! what is wrong with it ([`crate::front::problem`]).
//!
//! | file | job |
//! |---|---|
//! | `routes` | path and method to a resource, scopes, readiness |
//! | `guard`, `tokens` | who may ask |
//! | `query` | what is asked |
//! | `ingest/` | events on their way in |
//! | `events`, `endpoints`, `backfill`, `reload`, `health` | one file for each further resource |
//! | `tally` | what happens here: log lines and metrics |

mod backfill;
mod endpoints;
mod events;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod guard;
mod health;
pub mod ingest;
pub mod query;
mod reload;
mod routes;
mod tally;
#[cfg(test)]
mod tests;
pub mod tokens;

use std::sync::Arc;

use tokio::sync::Semaphore;

pub use guard::ListensAt;
pub use reload::{ReloadAsk, ReloadError, Reloaded, Reloads};

use self::tokens::Tokens;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::front::body::Holdings;
use crate::front::problem::Problem;
use crate::front::{self, Listener, Serving};
use crate::intake::current::Current;
use crate::intake::readiness::{Core, Readiness};
use crate::intake::targets::Targets;
use crate::limits;
use crate::model::roster::Roster;
use crate::observe::Metrics;
use crate::observe::audit::Trail;

/// Serves the API on a listener until it is told to stop; see [`front::serve`].
pub async fn serve(listener: Listener, api: Arc<Snapshots>, serving: Serving) {
    let at = ListensAt::of(&listener).with_tls(serving.tls.is_some());
    let requests = serving.tracker.clone();
    let answer = move |peer, request| routes::answer(api.current(), at, requests.clone(), peer, request);
    front::serve(listener, answer, serving).await;
}

/// What the API is made of.
#[derive(Debug)]
pub struct Parts {
    /// Endpoints, tokens, limits.
    pub config: Arc<Config>,
    /// Numbers of endpoint names.
    pub roster: Arc<Roster>,
    /// The time.
    pub clock: SharedClock,
    /// Whether the daemon takes events, and from where.
    pub readiness: Arc<Readiness>,
    /// What `GET /metrics` shows, and what the API counts in.
    pub metrics: Arc<Metrics>,
    /// Where a reload is asked for.
    pub reloads: Reloads,
    /// Where it is told who did what.
    pub trail: Arc<Trail>,
}

/// The API as it stands now. Each request is served from the snapshot that was current when it came, to its end; a reload
/// puts another one in its place.
#[derive(Debug)]
pub struct Snapshots(Current<Api>);

impl Snapshots {
    /// The first one.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self(Current::new(Api::new(parts))))
    }

    /// Serves the requests that come from now on by another config. What does not depend on it stays: readiness, what is
    /// held in memory and what is under way count on.
    pub fn adopt(&self, config: &Arc<Config>) {
        self.0.set(self.0.get().with_config(Arc::clone(config)));
    }

    fn current(&self) -> Arc<Api> {
        self.0.get()
    }
}

/// Its parts, with what is made of the config once, before the first request.
#[derive(Debug)]
struct Api {
    config: Arc<Config>,
    roster: Arc<Roster>,
    clock: SharedClock,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    reloads: Reloads,
    trail: Arc<Trail>,
    targets: Targets,
    tokens: Tokens,
    holdings: Arc<Holdings>,
    /// Permits to replay whole endpoints.
    replays: Arc<Semaphore>,
}

impl Api {
    fn new(parts: Parts) -> Self {
        let Parts { config, roster, clock, readiness, metrics, reloads, trail } = parts;
        Self {
            targets: Targets::new(&config, &roster),
            tokens: Tokens::new(&config.api.tokens),
            holdings: Holdings::new("api", limits::BODIES_BYTES_MAX),
            replays: Arc::new(Semaphore::new(limits::ENDPOINT_REPLAYS_MAX)),
            config,
            roster,
            clock,
            readiness,
            metrics,
            reloads,
            trail,
        }
    }

    fn with_config(&self, config: Arc<Config>) -> Self {
        Self {
            targets: Targets::new(&config, &self.roster),
            tokens: Tokens::new(&config.api.tokens),
            config,
            roster: Arc::clone(&self.roster),
            clock: Arc::clone(&self.clock),
            readiness: Arc::clone(&self.readiness),
            metrics: Arc::clone(&self.metrics),
            reloads: self.reloads.clone(),
            trail: Arc::clone(&self.trail),
            holdings: Arc::clone(&self.holdings),
            replays: Arc::clone(&self.replays),
        }
    }

    fn core(&self) -> Result<&Core, Problem> {
        self.readiness.core()
    }
}
