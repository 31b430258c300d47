//! What the API tells the outside about itself: counts and the causes of failures. The daemon wires it to its metrics and
//! its log.

use std::fmt;
use std::io;
use std::time::Duration;

use super::problem::ProblemKind;
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
    /// Every way there is.
    pub const ALL: &'static [Self] = &[Self::Json, Self::Batch, Self::Raw, Self::CloudEvents, Self::Ping];

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

/// Events of one request that were accepted.
#[derive(Clone, Copy, Debug)]
pub struct AcceptedNow {
    /// The way they came.
    pub via: Via,
    /// Events that were stored.
    pub stored: usize,
    /// Events that were known already.
    pub duplicates: usize,
    /// From the last byte of the body to the answer.
    pub took: Duration,
}

/// Where the API tells what happens. Called on the request's path: it must not block.
pub trait Tally: Send + Sync + fmt::Debug {
    /// Events were accepted.
    fn accepted(&self, now: AcceptedNow);
    /// A request was answered with a problem.
    fn refused(&self, kind: ProblemKind);
    /// Something stored could not be read; the client got a problem without the cause.
    fn read_failed(&self, error: &ReadError);
    /// A connection could not be accepted; the listener tries again in a moment.
    fn accept_failed(&self, error: &io::Error);
}
