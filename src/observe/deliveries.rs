//! What happens to deliveries and to the endpoints that they go to.

use super::Metrics;
use crate::model::attempt::AttemptError;
use crate::model::delivery::{DeadReason, Progress};
use crate::model::text::{EndpointName, EventId};

/// A request to an endpoint ended.
#[derive(Debug)]
pub struct AttemptEnded<'a> {
    /// The event.
    pub event: &'a EventId,
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// The attempt's number.
    pub n: u16,
    /// The status, where an answer came.
    pub status: Option<u16>,
    /// Why it failed.
    pub error: Option<AttemptError>,
    /// The cause in words, without payload.
    pub detail: Option<&'a str>,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
}

impl AttemptEnded<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let outcome = self.error.map_or("success", AttemptError::word);
        metrics.attempts.with_label_values(&[self.endpoint.as_str(), outcome]).inc();
        metrics
            .attempt_seconds
            .with_label_values(&[self.endpoint.as_str()])
            .observe(f64::from(self.duration_ms) / 1000.0);
        tracing::debug!(
            event = %self.event,
            endpoint = %self.endpoint,
            attempt = self.n,
            status = self.status,
            outcome,
            detail = self.detail,
            duration_ms = self.duration_ms,
            "attempt"
        );
    }
}

/// A delivery was taken by its endpoint.
#[derive(Debug)]
pub struct Delivered<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Milliseconds since its event was accepted.
    pub since_accepted_ms: u64,
}

impl Delivered<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.deliveries_finished.with_label_values(&[self.endpoint.as_str(), "delivered"]).inc();
        metrics
            .accepted_to_delivered_seconds
            .with_label_values(&[self.endpoint.as_str()])
            .observe(self.since_accepted_ms as f64 / 1000.0);
    }
}

/// A delivery was given up.
#[derive(Debug)]
pub struct Died<'a> {
    /// The event.
    pub event: &'a EventId,
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Why.
    pub reason: DeadReason,
    /// How far it came.
    pub progress: Progress,
}

impl Died<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.deliveries_finished.with_label_values(&[self.endpoint.as_str(), "dead"]).inc();
        tracing::warn!(
            event = %self.event,
            endpoint = %self.endpoint,
            reason = self.reason.word(),
            attempts = self.progress.made,
            "a delivery is dead; it is kept and can be replayed"
        );
    }
}

/// An endpoint was switched off by its own answer.
#[derive(Debug)]
pub struct EndpointDisabled<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Why, in one word.
    pub reason: &'a str,
}

impl EndpointDisabled<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.endpoint_active.with_label_values(&[self.endpoint.as_str()]).set(0);
        tracing::error!(
            endpoint = %self.endpoint,
            reason = self.reason,
            "endpoint disabled: its deliveries wait until it is resumed"
        );
    }
}

/// An endpoint's breaker opened.
#[derive(Debug)]
pub struct BreakerOpened<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// After so many failures in a row.
    pub failures: u32,
    /// The time to its first probe, in milliseconds.
    pub cooldown_ms: u64,
    /// Deliveries that wait for it.
    pub pending: u64,
}

impl BreakerOpened<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.breakers_opened.with_label_values(&[self.endpoint.as_str()]).inc();
        tracing::warn!(
            endpoint = %self.endpoint,
            failures = self.failures,
            cooldown_ms = self.cooldown_ms,
            pending = self.pending,
            "breaker opened: nothing but probes goes to this endpoint until one succeeds"
        );
    }
}

/// An endpoint's breaker stays open: its probe failed.
#[derive(Debug)]
pub struct ProbeFailed<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// The time to the next probe, in milliseconds.
    pub cooldown_ms: u64,
}

impl ProbeFailed<'_> {
    /// Tells it.
    pub fn tell(&self) {
        tracing::debug!(endpoint = %self.endpoint, cooldown_ms = self.cooldown_ms, "the probe failed");
    }
}

/// An endpoint whose breaker was open took an event.
#[derive(Debug)]
pub struct EndpointRecovered<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// How long its breaker was open, in milliseconds.
    pub open_ms: u64,
    /// Deliveries that wait for it.
    pub pending: u64,
}

impl EndpointRecovered<'_> {
    /// Tells it.
    pub fn tell(&self) {
        tracing::info!(
            endpoint = %self.endpoint,
            open_ms = self.open_ms,
            pending = self.pending,
            "endpoint recovered: its deliveries go out again"
        );
    }
}

/// An operator has held an endpoint, or let it go.
#[derive(Debug)]
pub struct EndpointSwitched<'a> {
    /// The endpoint.
    pub endpoint: &'a EndpointName,
    /// Its state now.
    pub state: &'static str,
}

impl EndpointSwitched<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        let active = self.state == "active";
        metrics.endpoint_active.with_label_values(&[self.endpoint.as_str()]).set(i64::from(active));
        tracing::info!(endpoint = %self.endpoint, state = self.state, "an operator has switched an endpoint");
    }
}

/// An operational event was stored for those who subscribe.
#[derive(Debug)]
pub struct OperationalEvent {
    /// Its type.
    pub event_type: &'static str,
}

impl OperationalEvent {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.operational_events.with_label_values(&[self.event_type]).inc();
        tracing::debug!(event_type = self.event_type, "operational event");
    }
}

/// Operational events could not be stored.
#[derive(Debug)]
pub struct OperationalEventsLost<'a> {
    /// How many.
    pub count: usize,
    /// Why.
    pub error: &'a str,
}

impl OperationalEventsLost<'_> {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.operational_events_lost.inc_by(self.count as u64);
        tracing::warn!(
            count = self.count,
            error = self.error,
            "operational events could not be stored, so those who subscribe are not told"
        );
    }
}
