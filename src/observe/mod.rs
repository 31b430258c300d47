//! Telling: one struct a happening, which writes the log line and moves the metric together.
//!
//! Levels: ERROR, an operator must act; WARN, something went wrong and was mended; INFO, the daemon's own life;
//! DEBUG, a line for each delivery. Neither secrets nor payloads ever reach a happening.

pub mod audit;
pub mod certificates;
pub mod happening;
pub mod metrics;

pub use metrics::Metrics;
