//! What happens at a listener, told once: each struct moves its metrics and, where somebody should know, writes its line.

use std::io;
use std::net::SocketAddr;

use super::problem::ProblemKind;
use super::tls::HandshakeFailure;
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

/// A TLS handshake came to nothing.
#[derive(Debug)]
pub(super) struct HandshakeFailed<'a> {
    /// The listener's table.
    pub(super) listener: &'static str,
    /// Who came.
    pub(super) from: SocketAddr,
    /// Why, in a word.
    pub(super) reason: HandshakeFailure,
    /// Why, as the TLS library says it.
    pub(super) error: Option<&'a io::Error>,
}

impl HandshakeFailed<'_> {
    /// Tells it: anybody can make as many of these as he likes, so they are counted, and told where details are asked for.
    pub(super) fn tell(&self, metrics: &Metrics) {
        let Self { listener, from, reason, error } = self;
        metrics.tls_handshakes_failed.with_label_values(&[*listener, reason.word()]).inc();
        let error = error.map(tracing::field::display);
        tracing::debug!(listener, %from, reason = reason.word(), error, "a TLS handshake failed");
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
