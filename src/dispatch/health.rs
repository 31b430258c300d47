//! How each endpoint is doing, from its last attempts.

use std::collections::VecDeque;

use crate::clock::UnixMs;
use crate::model::attempt::AttemptError;
use crate::model::endpoint::EndpointState;
use crate::model::text::EndpointName;
use crate::policy::breaker::BreakerPhase;

/// Attempts that are looked at.
const RECENT_MAX: usize = 100;

/// How an endpoint is doing.
#[derive(Clone, Debug)]
pub struct EndpointHealth {
    /// Its name.
    pub name: EndpointName,
    /// Whether the config does not name it any more: its deliveries wait until it does again.
    pub orphaned: bool,
    /// Its state.
    pub state: EndpointState,
    /// Where its breaker stands; `None`: it has none.
    pub breaker: Option<BreakerHealth>,
    /// Since when it has failed without a success.
    pub failing_since: Option<UnixMs>,
    /// Nothing is sent to it before: it asked for that.
    pub held_until: Option<UnixMs>,
    /// Ordering keys whose deliveries wait behind a dead one.
    pub blocked_keys: usize,
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
    /// When its next attempt is due.
    pub next_attempt_at: Option<UnixMs>,
    /// When its oldest unfinished delivery was accepted, to the second.
    pub oldest_pending_at: Option<UnixMs>,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerHealth {
    /// Its phase.
    pub phase: BreakerPhase,
    /// Since when it is open, where it is.
    pub open_since: Option<UnixMs>,
}

/// A failed attempt in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: UnixMs,
    /// The status, where an answer came.
    pub status: Option<u16>,
    /// The word.
    pub error: AttemptError,
}

/// An endpoint's last attempts.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The duration of each success in milliseconds, `None` for each failure.
    attempts: VecDeque<Option<u32>>,
    pub(super) last_error: Option<LastError>,
    pub(super) last_success_at: Option<UnixMs>,
}

/// What [`Recent`] amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) attempts: u32,
    pub(super) successes: u32,
    pub(super) ms_p50: Option<u32>,
    pub(super) ms_p99: Option<u32>,
}

impl Recent {
    /// Adds a success.
    pub(super) fn succeeded(&mut self, at: UnixMs, duration_ms: u32) {
        self.last_success_at = Some(at);
        self.push(Some(duration_ms));
    }

    /// Adds a failure.
    pub(super) fn failed(&mut self, error: LastError) {
        self.last_error = Some(error);
        self.push(None);
    }

    /// Begins anew; when the last error and success were is still known.
    pub(super) fn forget(&mut self) {
        self.attempts.clear();
    }

    fn push(&mut self, attempt: Option<u32>) {
        if self.attempts.len() == RECENT_MAX {
            self.attempts.pop_front();
        }
        self.attempts.push_back(attempt);
    }

    /// The figures over the attempts kept.
    pub(super) fn figures(&self) -> Figures {
        let mut durations: Vec<u32> = self.attempts.iter().copied().flatten().collect();
        durations.sort_unstable();
        let at = |percent: usize| durations.get((durations.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Figures {
            attempts: self.attempts.len() as u32,
            successes: durations.len() as u32,
            ms_p50: at(50),
            ms_p99: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_last_hundred() {
        let mut recent = Recent::default();
        assert_eq!(recent.figures(), Figures { attempts: 0, successes: 0, ms_p50: None, ms_p99: None });
        for n in 0..50 {
            recent.failed(LastError { at: UnixMs(n), status: None, error: AttemptError::Timeout });
        }
        for n in 1..=100 {
            recent.succeeded(UnixMs(1000), n);
        }
        let expected = Figures { attempts: 100, successes: 100, ms_p50: Some(50), ms_p99: Some(99) };
        assert_eq!(recent.figures(), expected);
        recent.failed(LastError { at: UnixMs(7), status: Some(500), error: AttemptError::Status });
        assert_eq!(recent.figures().successes, 99);
    }
}
