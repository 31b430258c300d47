//! Telling: one struct a happening, which writes the log line and moves the metric together.
//!
//! Levels: ERROR, an operator must act; WARN, something went wrong and was mended; INFO, the daemon's own life;
//! DEBUG, a line for each delivery. Neither secrets nor payloads ever reach a happening.
//!
//! | file | tells of |
//! |---|---|
//! | `storage` | commits, room, damage |
//! | `deliveries` | attempts and endpoints |
//! | `certificates` | those of the listeners |
//! | `life` | the config in force, parts that hang |
//! | `inbound` | what third parties post |
//! | `audit` | who did what, and who was turned away |
//! | `flood` | bounds the lines that strangers can cause |
//! | `metrics` | every metric there is |

pub mod audit;
pub mod certificates;
pub mod deliveries;
mod flood;
pub mod inbound;
pub mod life;
pub mod metrics;
pub mod storage;
#[cfg(test)]
mod testing;

pub use metrics::Metrics;
