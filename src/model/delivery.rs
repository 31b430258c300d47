//! A delivery: one event on its way to one endpoint, and where it stands.

use std::fmt;
use std::str::FromStr;

use super::attempt::Attempt;
use super::roster::EndpointNo;
use crate::clock::UnixMs;

/// Where an event lies in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventRef {
    /// The generation that holds it.
    pub generation: u32,
    /// Its number within the generation, in the order of acceptance.
    pub seq: u32,
}

/// A delivery by the place of its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryRef {
    /// The event.
    pub event: EventRef,
    /// The endpoint.
    pub endpoint: EndpointNo,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It waits for its next attempt.
    Pending {
        /// Not before this moment.
        next_at: UnixMs,
    },
    /// The endpoint took it.
    Delivered,
    /// Nobody tries any more.
    Dead(DeadReason),
}

impl Standing {
    /// The state's word.
    #[must_use]
    pub fn state(self) -> DeliveryState {
        match self {
            Self::Pending { .. } => DeliveryState::Pending,
            Self::Delivered => DeliveryState::Delivered,
            Self::Dead(_) => DeliveryState::Dead,
        }
    }
}

/// The three states of a delivery, as the API names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryState {
    /// Waiting or under way.
    Pending,
    /// Taken by the endpoint.
    Delivered,
    /// Given up.
    Dead,
}

impl DeliveryState {
    /// The word of the state.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for DeliveryState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for DeliveryState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [Self::Pending, Self::Delivered, Self::Dead].into_iter().find(|state| state.word() == word).ok_or(())
    }
}

/// Why a delivery is dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// The retry schedule ran out.
    Exhausted,
    /// The endpoint answered a status that its config calls permanent.
    Permanent,
    /// The endpoint asked for it with `webhook-delivery: abort-message`.
    Aborted,
    /// The event, or its body, was lost with a damaged part of the storage.
    Lost,
    /// Its whole retry schedule passed while the endpoint's breaker was open.
    BreakerOpen,
}

impl DeadReason {
    /// Every reason there is.
    pub const ALL: &'static [Self] = &[Self::Exhausted, Self::Permanent, Self::Aborted, Self::Lost, Self::BreakerOpen];

    /// The word of the reason.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Permanent => "permanent",
            Self::Aborted => "aborted",
            Self::Lost => "lost",
            Self::BreakerOpen => "breaker_open",
        }
    }
}

/// How far a delivery has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Progress {
    /// Attempts made since it was accepted or last replayed: its place in the retry schedule.
    pub tries: u16,
    /// Attempts made in all: the last one's number.
    pub made: u16,
}

/// What the outbox writes once something has happened to a delivery.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The delivery.
    pub delivery: DeliveryRef,
    /// The attempt that was made, if one was.
    pub attempt: Option<Attempt>,
    /// Where the delivery stands now.
    pub standing: Standing,
    /// How far it has come.
    pub progress: Progress,
}

/// What stands for an ordering key where keys are many: deliveries with the same one keep their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

/// A delivery that waits, as recovered at the start or put back by a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The delivery.
    pub delivery: DeliveryRef,
    /// When its event was accepted.
    pub accepted_at: UnixMs,
    /// When its next attempt is due.
    pub next_at: UnixMs,
    /// How far it has come.
    pub progress: Progress,
    /// Its event's ordering key.
    pub key: Option<KeyHash>,
}

/// A delivery that is dead, and may hold up others of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fallen {
    /// The delivery.
    pub delivery: DeliveryRef,
    /// When it died; 0 where that was not kept.
    pub died_at: UnixMs,
    /// Its event's ordering key.
    pub key: Option<KeyHash>,
}
