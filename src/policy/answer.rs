//! What an answer means.

use crate::model::delivery::DeadReason;
use crate::model::endpoint::DisabledReason;

/// What is to become of a delivery after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Done.
    Delivered,
    /// Try again on the schedule.
    Retry {
        /// `Retry-After`, in milliseconds from now.
        hint_ms: Option<u64>,
        /// True for a 429: the whole endpoint waits, not this delivery alone.
        hold_endpoint: bool,
    },
    /// Nobody tries any more.
    Dead(DeadReason),
    /// The endpoint wants no more deliveries; this one stays pending.
    Disable(DisabledReason),
}
