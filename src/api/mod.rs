//! The API: a hyper front for producers and operators.
//!
//! A request passes, in this order: the connection's limits (`serve`, `wire`), the web-page guard (`guard`), the route
//! and its token (`routes`, `tokens`), the body's limits (`body`), and the resource's own file, which answers it or says
//! what is wrong with it (`problem`).
//!
//! | file | job |
//! |---|---|
//! | `listen` | binds TCP and unix sockets |
//! | `serve`, `wire` | accepts connections and drives them; closing them gently |
//! | `routes` | path and method to a resource, scopes, readiness |
//! | `guard`, `tokens` | who may ask |
//! | `body`, `query` | what is asked |
//! | `problem`, `answer` | what is answered |
//! | `ingest/` | events on their way in |
//! | `events`, `endpoints`, `backfill`, `health` | one file for each further resource |
//! | `targets` | the endpoints of the config, as they are looked up |
//! | `tally` | what happens here: log lines and metrics |
//!
//! Time limits on sockets run on tokio's clock, not on the injected one: they guard the daemon against its clients, and a
//! clock that is driven through three days in a test would end every request.

pub mod answer;
mod backfill;
pub mod body;
mod endpoints;
mod events;
mod guard;
mod health;
pub mod ingest;
mod listen;
pub mod problem;
pub mod query;
mod routes;
mod serve;
pub mod tally;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod tokens;
mod wire;

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;

pub use listen::{BindError, Listener, Place, SocketFile};
pub use serve::serve;

use self::body::Holdings;
use self::targets::Targets;
use self::tokens::Tokens;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::dispatch::Control;
use crate::limits;
use crate::model::roster::Roster;
use crate::observe::Metrics;
use crate::outbox::Outbox;

/// Whether the daemon takes events, as the daemon itself sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It opens its storage.
    #[default]
    Opening,
    /// It takes events.
    Ready,
    /// It stops.
    Draining,
    /// The storage is out of room, and why. What is stored is served and delivered, and the outbox itself answers those
    /// who post.
    Full(String),
}

/// The phase of the daemon, which the daemon sets and the API answers by.
#[derive(Debug, Default)]
pub struct Readiness {
    phase: RwLock<Phase>,
}

impl Readiness {
    /// The daemon takes events, again or for the first time. A daemon that stops goes on stopping.
    pub fn set_ready(&self) {
        self.set(Phase::Ready);
    }

    /// The storage is out of room, and why. A daemon that stops goes on stopping.
    pub fn set_full(&self, reason: impl Into<String>) {
        self.set(Phase::Full(reason.into()));
    }

    /// The daemon stops.
    pub fn set_draining(&self) {
        self.set(Phase::Draining);
    }

    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, next: Phase) {
        let mut phase = self.phase.write().unwrap_or_else(PoisonError::into_inner);
        if *phase != Phase::Draining {
            *phase = next;
        }
    }
}

/// What the API stands on.
#[derive(Debug)]
pub struct Front {
    /// Where events are stored and read.
    pub outbox: Outbox,
    /// Where operators' wishes go.
    pub control: Control,
    /// Endpoints, tokens, limits.
    pub config: Arc<Config>,
    /// Numbers of endpoint names.
    pub roster: Arc<Roster>,
    /// The time.
    pub clock: SharedClock,
    /// Whether the daemon takes events.
    pub readiness: Arc<Readiness>,
    /// What `GET /metrics` shows, and what the API counts in.
    pub metrics: Arc<Metrics>,
}

/// A front with what is made of it once, before the first request.
#[derive(Debug)]
struct Api {
    outbox: Outbox,
    control: Control,
    config: Arc<Config>,
    roster: Arc<Roster>,
    clock: SharedClock,
    readiness: Arc<Readiness>,
    metrics: Arc<Metrics>,
    targets: Targets,
    tokens: Tokens,
    holdings: Arc<Holdings>,
    /// Permits to replay whole endpoints.
    replays: Arc<Semaphore>,
}

impl Api {
    fn new(front: &Front) -> Arc<Self> {
        let Front { outbox, control, config, roster, clock, readiness, metrics } = front;
        Arc::new(Self {
            outbox: outbox.clone(),
            control: control.clone(),
            config: Arc::clone(config),
            roster: Arc::clone(roster),
            clock: Arc::clone(clock),
            readiness: Arc::clone(readiness),
            metrics: Arc::clone(metrics),
            targets: Targets::new(config, roster),
            tokens: Tokens::new(&config.api.tokens),
            holdings: Holdings::new(limits::API_BODIES_BYTES_MAX),
            replays: Arc::new(Semaphore::new(limits::ENDPOINT_REPLAYS_MAX)),
        })
    }
}
