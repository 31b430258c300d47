//! What happens at a listener, told once: each struct moves its metrics and, where somebody should know, writes its line.

use std::io;

use super::problem::ProblemKind;
use crate::observe::Metrics;

/// A request was answered with a problem.
#[derive(Clone, Copy, Debug)]
pub struct RequestRefused {
    /// Its kind.
    pub kind: ProblemKind,
}

impl RequestRefused {
    /// Tells it. Nothing of what the client sent is told, which might be a payload.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.requests_refused.with_label_values(&[self.kind.word()]).inc();
        tracing::debug!(reason = self.kind.word(), status = self.kind.status().as_u16(), "a request was refused");
    }
}

/// A connection could not be accepted; the listener tries again in a moment.
#[derive(Debug)]
pub(super) struct AcceptFailed<'a> {
    /// Why.
    pub(super) error: &'a io::Error,
}

impl AcceptFailed<'_> {
    /// Tells it.
    pub(super) fn tell(&self) {
        tracing::error!(
            error = %self.error,
            "a connection could not be accepted; check the limit of open files (LimitNOFILE)"
        );
    }
}
