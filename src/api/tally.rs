//! What happens at the API, told once: each struct moves its metrics and, where somebody should know, writes its line.

use std::time::Duration;

use crate::observe::Metrics;
use crate::outbox::ReadError;

/// The way an event came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Via {
    /// `POST /v1/events`
    Json,
    /// `POST /v1/events/batch`
    Batch,
    /// `POST /v1/raw/{type}`
    Raw,
    /// As a CloudEvent, in any content mode.
    CloudEvents,
    /// `POST /v1/endpoints/{name}/ping`
    Ping,
}

impl Via {
    /// The word of the way.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Batch => "batch",
            Self::Raw => "raw",
            Self::CloudEvents => "cloudevents",
            Self::Ping => "ping",
        }
    }
}

/// Events of one request are durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventsAccepted {
    /// The way they came.
    pub(super) via: Via,
    /// Events that were stored.
    pub(super) stored: usize,
    /// Events that were known already.
    pub(super) duplicates: usize,
    /// From the last byte of the body to the answer.
    pub(super) took: Duration,
}

impl EventsAccepted {
    /// Tells it.
    pub(super) fn tell(&self, metrics: &Metrics) {
        metrics.events_accepted.with_label_values(&[self.via.word()]).inc_by(self.stored as u64);
        metrics.events_duplicate.inc_by(self.duplicates as u64);
        metrics.accept_seconds.observe(self.took.as_secs_f64());
    }
}

/// Something stored could not be read; the client got a problem without the cause.
#[derive(Debug)]
pub(super) struct ReadFailed<'a> {
    /// Why.
    pub(super) error: &'a ReadError,
}

impl ReadFailed<'_> {
    /// Tells it. The refused request is counted by itself.
    pub(super) fn tell(&self) {
        match self.error {
            // It passes, and the outbox tells once what it is about.
            ReadError::Unavailable(_) => {
                tracing::debug!(error = %self.error, "part of the storage could not be read for a request");
            }
            error => tracing::error!(%error, "a stored record could not be read for a request"),
        }
    }
}
