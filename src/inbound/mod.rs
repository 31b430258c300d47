//! What third parties post, on the listener of `[inbound]`: verified, kept, acknowledged. Nothing of the API is here.
//!
//! A request passes, in this order: the listener's limits ([`crate::front`]), its path (`routes`), the source's addresses, the
//! body's limits ([`crate::front::body`]), the signature ([`crate::signature`]), and then it is an event (`accept`), which goes the
//! way of every other: outbox, lanes, retries, replay.
//!
//! | file | job |
//! |---|---|
//! | `routes` | path and method to a source and what is asked of it |
//! | `accept` | a verified request to an event, durable before it is acknowledged |
//! | `pick` | one value out of a request: a header, a field of JSON, a field of a form |

mod accept;
mod pick;
mod routes;

use std::sync::Arc;

use crate::clock::SharedClock;
use crate::config::Config;
use crate::front::body::Holdings;
use crate::front::{self, Listener, Serving};
use crate::intake::current::Current;
use crate::intake::readiness::Readiness;
use crate::intake::targets::Targets;
use crate::limits;
use crate::model::roster::Roster;
use crate::observe::Metrics;

/// Serves the sources on a listener until it is told to stop; see [`front::serve`].
pub async fn serve(listener: Listener, sources: Arc<Snapshots>, serving: Serving) {
    let answer = move |peer, request| routes::answer(sources.0.get(), peer, request);
    front::serve(listener, answer, serving).await;
}

/// What the sources are served from.
#[derive(Debug)]
pub struct Parts {
    /// Sources, endpoints, limits.
    pub config: Arc<Config>,
    /// Numbers of endpoint names.
    pub roster: Arc<Roster>,
    /// The time.
    pub clock: SharedClock,
    /// Whether the daemon takes events, and from where.
    pub readiness: Arc<Readiness>,
    /// Where it is counted.
    pub metrics: Arc<Metrics>,
}

/// The sources as they stand now. Each request is served from the snapshot that was current when it came, to its end; a reload
/// puts another one in its place.
#[derive(Debug)]
pub struct Snapshots(Current<Inbound>);

impl Snapshots {
    /// The first one.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self(Current::new(Inbound::new(parts))))
    }

    /// Serves the requests that come from now on by another config.
    pub fn adopt(&self, config: &Arc<Config>) {
        self.0.set(self.0.get().with_config(Arc::clone(config)));
    }
}

/// The parts, with what is made of the config once.
#[derive(Debug)]
struct Inbound {
    config: Arc<Config>,
    roster: Arc<Roster>,
    clock: SharedClock,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    targets: Targets,
    body_bytes_max: usize,
    holdings: Arc<Holdings>,
}

impl Inbound {
    fn new(parts: Parts) -> Self {
        let Parts { config, roster, clock, readiness, metrics } = parts;
        let holdings = Holdings::new("inbound", limits::INBOUND_BODIES_BYTES_MAX);
        Self {
            targets: Targets::new(&config, &roster),
            body_bytes_max: config.inbound.as_ref().map_or(limits::MIB, |inbound| inbound.body_bytes_max),
            config,
            roster,
            clock,
            readiness,
            metrics,
            holdings,
        }
    }

    fn with_config(&self, config: Arc<Config>) -> Self {
        let parts = Parts {
            config,
            roster: Arc::clone(&self.roster),
            clock: Arc::clone(&self.clock),
            readiness: Arc::clone(&self.readiness),
            metrics: Arc::clone(&self.metrics),
        };
        Self { holdings: Arc::clone(&self.holdings), ..Self::new(parts) }
    }
}
