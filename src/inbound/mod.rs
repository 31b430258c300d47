//! What third parties post, on the listener of `[inbound]`: verified, kept, acknowledged. Nothing of the API is here.
//!
//! A request passes, in this order; each step may refuse it:
//!
//! 1. the listener's limits ([`crate::front`]), its path and method (`routes`), the client's address (`client`),
//! 2. the body's limits ([`crate::front::body`]), the signature (`verify`), and only then the source's rate (`pace`): who cannot
//!    sign uses up nothing of it,
//! 3. and then it is an event (`accept`): its type, id and key are read from it (`pick`, `pointers`) and put into the words that
//!    events have (`names`), its headers are kept (`kept`), and it goes the way of every other: outbox, lanes, retries, replay.
//!
//! What is asked before a third party sends anything is answered by `handshake`.
//!
//! | file | job |
//! |---|---|
//! | `routes` | path and method to a source and what is asked of it; refusals, answered and told |
//! | `served` | a source with what is made of its config once |
//! | `client` | the client's address, past proxies |
//! | `verify` | whether the signature holds |
//! | `pace` | how many verified requests are taken |
//! | `handshake` | what vendors ask before they send |
//! | `pick`, `pointers` | values out of a request: headers, fields of JSON, fields of a form |
//! | `names` | these values as an event's type and keys |
//! | `kept` | the headers that are kept |
//! | `accept` | a verified request to an event, durable before it is acknowledged |
//! | `refused` | why a request is refused: a closed set of words |

mod accept;
mod client;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod handshake;
mod kept;
mod names;
mod pace;
mod pick;
mod pointers;
mod refused;
mod routes;
mod served;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::served::Served;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::front::body::Holdings;
use crate::front::{self, Listener, Serving};
use crate::intake::current::Current;
use crate::intake::readiness::Readiness;
use crate::intake::targets::Targets;
use crate::limits;
use crate::model::roster::Roster;
use crate::model::text::SourceName;
use crate::observe::Metrics;
use crate::observe::inbound::{Lines, NO_SOURCE};

/// Serves the sources on a listener until it is told to stop; see [`front::serve`].
pub async fn serve(listener: Listener, sources: Arc<Snapshots>, serving: Serving) {
    let lines = Arc::clone(&sources.0.get().lines);
    serving.tracker.spawn(lines.sum_up(serving.shutdown.clone()));
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
    roster: Arc<Roster>,
    clock: SharedClock,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    lines: Arc<Lines>,
    holdings: Arc<Holdings>,
    sources: BTreeMap<SourceName, Served>,
    targets: Targets,
    body_bytes_max: usize,
}

impl Inbound {
    fn new(parts: Parts) -> Self {
        let Parts { config, roster, clock, readiness, metrics } = parts;
        metrics.inbound_refused.with_label_values(&["", NO_SOURCE]);
        let blank = Self {
            lines: Lines::shared(Arc::clone(&clock), Arc::clone(&metrics)),
            holdings: Holdings::new("inbound", limits::INBOUND_BODIES_BYTES_MAX),
            sources: BTreeMap::new(),
            targets: Targets::new(&config, &roster),
            body_bytes_max: limits::MIB,
            roster,
            clock,
            readiness,
            metrics,
        };
        blank.with_config(config)
    }

    /// The same by another config. What is under way, and what a source has taken of its rate, goes on.
    fn with_config(&self, config: Arc<Config>) -> Self {
        for name in config.sources.keys() {
            self.metrics.know_source(name, refused::words());
        }
        let served = |source| Served::new(Arc::clone(source), self.sources.get(&source.name));
        Self {
            roster: Arc::clone(&self.roster),
            clock: Arc::clone(&self.clock),
            readiness: Arc::clone(&self.readiness),
            metrics: Arc::clone(&self.metrics),
            lines: Arc::clone(&self.lines),
            holdings: Arc::clone(&self.holdings),
            sources: config.sources.iter().map(|(name, source)| (name.clone(), served(source))).collect(),
            targets: Targets::new(&config, &self.roster),
            body_bytes_max: config.inbound.as_ref().map_or(limits::MIB, |inbound| inbound.body_bytes_max),
        }
    }
}
