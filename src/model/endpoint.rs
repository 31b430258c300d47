//! An endpoint's own state, apart from its config: what an operator or the endpoint itself has asked for.

use crate::clock::UnixMs;

/// Whether deliveries go out to an endpoint. Persisted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndpointState {
    /// Deliveries go out.
    #[default]
    Active,
    /// An operator holds it; its deliveries wait.
    Paused,
    /// It was switched off; its deliveries wait until an operator resumes it.
    Disabled {
        /// Why.
        reason: DisabledReason,
        /// Since when.
        at: UnixMs,
    },
}

impl EndpointState {
    /// The state's word, as the API names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled { .. } => "disabled",
        }
    }
}

/// Why an endpoint was disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisabledReason {
    /// It answered 410 Gone.
    Gone,
    /// It answered with `webhook-delivery: disable`.
    Asked,
    /// It did not succeed once in `disable_after`.
    Failing,
}

impl DisabledReason {
    /// Every reason there is.
    pub const ALL: &'static [Self] = &[Self::Gone, Self::Asked, Self::Failing];

    /// The word of the reason.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Asked => "asked",
            Self::Failing => "failing",
        }
    }
}

/// What is kept of an endpoint over restarts. The default stands for an endpoint of which nothing is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointRecord {
    /// Whether deliveries go out.
    pub state: EndpointState,
    /// When it was last resumed: what died before holds nobody up.
    pub resumed_at: UnixMs,
    /// It asked that nothing be sent before.
    pub held_until: UnixMs,
    /// It has failed and not succeeded since.
    pub failing: Option<Failing>,
    /// Its breaker is open.
    pub breaker: Option<OpenBreaker>,
}

/// A time without a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// When the first failure was.
    pub since: UnixMs,
    /// How long it has lasted, in milliseconds, as far as a daemon was there to see it: a wall clock that is set does not count.
    pub for_ms: u64,
}

/// A breaker that is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenBreaker {
    /// When it opened.
    pub since: UnixMs,
    /// When its next probe may start.
    pub probe_at: UnixMs,
    /// The time between the last probe and the next, in milliseconds.
    pub cooldown_ms: u64,
}
