//! When an endpoint that never succeeds is given up.

/// Two failures must lie so far apart before an endpoint is disabled, in milliseconds: one bad moment after a quiet week is no
/// bad week.
pub const FAILURES_APART_MS_MIN: u64 = 12 * 3600 * 1000;

/// Whether an endpoint is to be disabled that fails now and has not succeeded since it first failed, `failing_ms` milliseconds
/// ago.
#[must_use]
pub fn is_given_up(failing_ms: u64, disable_after_ms: Option<u64>) -> bool {
    disable_after_ms.is_some_and(|after_ms| failing_ms >= after_ms.max(FAILURES_APART_MS_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3600 * 1000;

    #[test]
    fn it_takes_the_whole_time_and_two_failures_far_apart() {
        assert!(!is_given_up(5 * 24 * HOUR_MS - 1, Some(5 * 24 * HOUR_MS)));
        assert!(is_given_up(5 * 24 * HOUR_MS, Some(5 * 24 * HOUR_MS)));
        assert!(!is_given_up(11 * HOUR_MS, Some(HOUR_MS)));
        assert!(is_given_up(12 * HOUR_MS, Some(HOUR_MS)));
        assert!(!is_given_up(u64::MAX, None));
    }
}
