//! Pure decisions: which endpoints take an event, what an answer means, when to try again.

pub mod answer;
pub mod retry;
pub mod routing;
