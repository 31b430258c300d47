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
}

impl DisabledReason {
    /// Every reason there is.
    pub const ALL: &'static [Self] = &[Self::Gone, Self::Asked];

    /// The word of the reason.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Asked => "asked",
        }
    }
}
