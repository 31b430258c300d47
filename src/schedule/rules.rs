//! What a lane is opened with.

use std::sync::Arc;

use crate::clock::{MonoMs, UnixMs};
use crate::policy::breaker::BreakerRules;
use crate::policy::order::{OnDead, Order};
use crate::policy::rate::RateLimit;

/// What an endpoint's config asks of its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneRules {
    /// Most attempts at once.
    pub in_flight_max: u32,
    /// Which deliveries wait for each other.
    pub order: Order,
    /// What a dead delivery does to those that keep their order behind it.
    pub on_dead: OnDead,
    /// How fast attempts may follow one another.
    pub rate: Option<RateLimit>,
    /// When nothing goes out but probes.
    pub breaker: Option<BreakerRules>,
    /// The retry schedule: while the breaker is open, a delivery that has waited for what is left of it is given up.
    pub waits_ms: Arc<[u64]>,
}

/// What was kept of an endpoint from before: from the last run, or from when the config named it last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Whether it is active, not paused or disabled.
    pub active: bool,
    /// It asked that nothing be sent before.
    pub held_until: Option<MonoMs>,
    /// Its breaker is open: when its next probe may start, and the time between the last probe and the next, in
    /// milliseconds.
    pub open_breaker: Option<(MonoMs, u64)>,
    /// When it was last resumed: what died before holds nobody up.
    pub resumed_at: UnixMs,
}

impl Default for Kept {
    /// An active endpoint of which nothing is known.
    fn default() -> Self {
        Self { active: true, held_until: None, open_breaker: None, resumed_at: UnixMs(0) }
    }
}
