//! Job, attempt, outcome, outbox, and the schedule again.

use crate::clock::UnixMs;
use crate::model::endpoint::EndpointState;
use crate::model::text::EndpointName;

/// How an endpoint is doing.
#[derive(Clone, Debug)]
pub struct EndpointHealth {
    /// Its name.
    pub name: EndpointName,
    /// Its state.
    pub state: EndpointState,
    /// Deliveries that are not finished.
    pub pending: u64,
    /// Requests under way.
    pub in_flight: u32,
    /// Attempts among the last ones that were looked at, 100 at most.
    pub recent_attempts: u32,
    /// Successes among them.
    pub recent_successes: u32,
    /// Median duration of those successes, in milliseconds.
    pub latency_ms_p50: Option<u32>,
    /// 99th percentile of those successes, in milliseconds.
    pub latency_ms_p99: Option<u32>,
    /// The last failed attempt.
    pub last_error: Option<LastError>,
    /// When the last success was.
    pub last_success_at: Option<UnixMs>,
    /// When its oldest unfinished delivery is due next.
    pub next_attempt_at: Option<UnixMs>,
}

/// A failed attempt in short.
#[derive(Clone, Debug)]
pub struct LastError {
    /// When.
    pub at: UnixMs,
    /// The status, where an answer came.
    pub status: Option<u16>,
    /// The word.
    pub error: crate::model::attempt::AttemptError,
}

/// Where an operator's wishes are handed in. Cloning it is cheap.
#[derive(Clone, Debug)]
pub struct Control {}

/// Why a wish was not granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// No such endpoint in the config.
    UnknownEndpoint,
    /// It could not be stored, or the daemon is stopping.
    Unavailable,
}

impl Control {
    /// Every endpoint of the config, by name.
    pub async fn endpoints(&self) -> Result<Vec<EndpointHealth>, ControlError> {
        unimplemented!()
    }

    /// One endpoint.
    pub async fn endpoint(&self, _name: &str) -> Result<EndpointHealth, ControlError> {
        unimplemented!()
    }

    /// Holds an endpoint's deliveries.
    pub async fn pause(&self, _name: &str) -> Result<EndpointHealth, ControlError> {
        unimplemented!()
    }

    /// Lets them go again, also after it was disabled.
    pub async fn resume(&self, _name: &str) -> Result<EndpointHealth, ControlError> {
        unimplemented!()
    }
}
