//! When to try again.

/// A retry schedule with its jitter.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Waits between attempts, in milliseconds.
    pub waits_ms: Vec<u64>,
    /// Each wait is multiplied by a random factor in 1 ± jitter (0 ..= 1).
    pub jitter: f64,
    /// The longest `Retry-After` that is honoured, in milliseconds.
    pub retry_after_ms_max: u64,
}

impl RetryPolicy {
    /// The wait in milliseconds after the `tries`-th attempt has failed; `None`: the schedule has run out.
    ///
    /// `hint_ms` is the endpoint's `Retry-After`; `random` lies in 0 .. 1.
    #[must_use]
    pub fn wait_ms(&self, _tries: u16, _hint_ms: Option<u64>, _random: f64) -> Option<u64> {
        None
    }
}
