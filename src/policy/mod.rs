//! Pure decisions: which endpoints take an event, what an answer means, when to try again, how fast, whether at all.

pub mod answer;
pub mod breaker;
pub mod failing;
pub mod order;
pub mod rate;
pub mod retry;
pub mod routing;
