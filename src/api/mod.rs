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
//! | `tally` | what the API tells about itself |
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

use std::fmt;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

pub use listen::{BindError, Listener, SocketFile};
pub use serve::serve;

use self::body::Holdings;
use self::tally::Tally;
use self::targets::Targets;
use self::tokens::Tokens;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::dispatch::Control;
use crate::limits;
use crate::model::roster::Roster;
use crate::outbox::Outbox;

/// Whether the daemon takes events, as the daemon itself sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It opens its storage.
    Opening,
    /// It takes events.
    Ready,
    /// It stops.
    Draining,
    /// The storage is out of room, and why. What is stored is served and delivered.
    Full(String),
}

impl Readiness {
    /// Whether what is stored is read and written: neither opening nor stopping.
    fn is_serving(&self) -> bool {
        matches!(self, Self::Ready | Self::Full(_))
    }
}

/// Renders the metrics in Prometheus' text format.
pub type RenderMetrics = Box<dyn Fn() -> String + Send + Sync>;

/// What the API stands on.
pub struct Parts {
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
    pub readiness: watch::Receiver<Readiness>,
    /// Where the API tells what happens.
    pub tally: Arc<dyn Tally>,
    /// What `GET /metrics` shows.
    pub metrics: RenderMetrics,
}

/// The API, ready to be served.
pub struct Front {
    outbox: Outbox,
    control: Control,
    config: Arc<Config>,
    roster: Arc<Roster>,
    clock: SharedClock,
    readiness: watch::Receiver<Readiness>,
    tally: Arc<dyn Tally>,
    metrics: RenderMetrics,
    targets: Targets,
    tokens: Tokens,
    holdings: Arc<Holdings>,
    /// Permits to replay whole endpoints.
    replays: Arc<Semaphore>,
}

impl Front {
    /// Puts the API together.
    #[must_use]
    pub fn new(parts: Parts) -> Arc<Self> {
        let Parts { outbox, control, config, roster, clock, readiness, tally, metrics } = parts;
        let targets = Targets::new(&config, &roster);
        let tokens = Tokens::new(&config.api.tokens);
        let holdings = Holdings::new(limits::API_BODIES_BYTES_MAX);
        let replays = Arc::new(Semaphore::new(limits::ENDPOINT_REPLAYS_MAX));
        Arc::new(Self {
            outbox,
            control,
            config,
            roster,
            clock,
            readiness,
            tally,
            metrics,
            targets,
            tokens,
            holdings,
            replays,
        })
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("readiness", &*self.readiness.borrow()).finish_non_exhaustive()
    }
}
