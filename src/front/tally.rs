//! What happens at a listener, told once: each struct moves its metrics and, where somebody should know, writes its line.

use std::io;

use super::problem::ProblemKind;
use super::proxies::NoHeader;
use super::pulse::Over;
use super::refusal::Refused;
use super::tls::HandshakeFailure;
use super::{Origin, Peer};
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
    pub(super) from: &'a Peer,
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

/// A proxy did not begin its connection with a PROXY header, and was hung up on.
#[derive(Debug)]
pub(super) struct ProxyHeaderRefused {
    /// The listener's table.
    pub(super) listener: &'static str,
    /// The proxy.
    pub(super) from: Origin,
    /// Why.
    pub(super) reason: NoHeader,
    /// How many since this was told last; `None`: it was told a moment ago.
    pub(super) times: Option<u64>,
}

impl ProxyHeaderRefused {
    /// Tells it: somebody has set up one side only, and nothing comes through.
    pub(super) fn tell(&self, metrics: &Metrics) {
        let Self { listener, from, reason, times } = self;
        metrics.proxy_headers_refused.with_label_values(&[*listener, reason.word()]).inc();
        let Some(times) = times else { return };
        tracing::warn!(
            listener,
            %from,
            reason = reason.word(),
            times,
            "connections were closed: they come from proxy_protocol of the config, and must begin with a PROXY header; turn it on \
             at the proxy, or take its address out there"
        );
    }
}

/// A connection could not be accepted; the listener tries again in a moment.
#[derive(Debug)]
pub(super) struct AcceptFailed<'a> {
    /// Why.
    pub(super) error: &'a io::Error,
    /// How often since this was told last; `None`: it was told a moment ago.
    pub(super) times: Option<u64>,
}

impl AcceptFailed<'_> {
    /// Tells it.
    pub(super) fn tell(&self) {
        if let Some(times) = self.times {
            tracing::error!(
                error = %self.error,
                times,
                "a connection could not be accepted; check the limit of open files (LimitNOFILE)"
            );
        }
    }
}

/// Connections found no place and were turned away.
#[derive(Debug)]
pub(super) struct ConnectionsRefused {
    /// The listener's table.
    pub(super) listener: &'static str,
    /// Why the last of them was.
    pub(super) why: Refused,
    /// How many since this was told last; `None`: it was told a moment ago.
    pub(super) times: Option<u64>,
}

impl ConnectionsRefused {
    /// Tells it.
    pub(super) fn tell(&self, metrics: &Metrics) {
        let (listener, limit) = (self.listener, self.why.word());
        metrics.connections_refused.with_label_values(&[listener, limit]).inc();
        let Some(times) = self.times else { return };
        match self.why {
            Refused::Full => {
                tracing::warn!(listener, limit, times, "connections were turned away: all places are taken");
            }
            Refused::Address(address) => {
                tracing::warn!(listener, limit, %address, times, "connections were turned away: too many from one address");
            }
        }
    }
}

/// A connection was closed before its client closed it.
#[derive(Debug)]
pub(super) struct ConnectionCut {
    /// The listener's table.
    pub(super) listener: &'static str,
    /// Why.
    pub(super) why: Over,
}

impl ConnectionCut {
    /// Tells it.
    pub(super) fn tell(&self, metrics: &Metrics) {
        metrics.connections_cut.with_label_values(&[self.listener, self.why.word()]).inc();
        tracing::debug!(listener = self.listener, reason = self.why.word(), "a connection was closed");
    }
}
