//! What the ways in have in common to tell: each struct moves its metrics.

use std::time::Duration;

use crate::observe::Metrics;

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
    /// `POST /in/{source}`
    Inbound,
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
            Self::Inbound => "inbound",
        }
    }
}

/// Events of one request are durable.
#[derive(Clone, Copy, Debug)]
pub struct EventsAccepted {
    /// The way they came.
    pub via: Via,
    /// Events that were stored.
    pub stored: usize,
    /// Events that were known already.
    pub duplicates: usize,
    /// From the last byte of the body to the answer.
    pub took: Duration,
}

impl EventsAccepted {
    /// Tells it.
    pub fn tell(&self, metrics: &Metrics) {
        metrics.events_accepted.with_label_values(&[self.via.word()]).inc_by(self.stored as u64);
        metrics.events_duplicate.inc_by(self.duplicates as u64);
        metrics.accept_seconds.observe(self.took.as_secs_f64());
    }
}
