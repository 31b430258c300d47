//! How fast attempts may follow one another.

use crate::clock::MonoMs;

/// The burst where the config names none is what the rate allows in so long, in milliseconds, and at least one attempt.
/// Timers have the grain of a millisecond: with a burst of one no endpoint would get more than a thousand attempts a second.
pub const BURST_DEFAULT_MS: u64 = 10;

const NS_OF_MS: u64 = 1_000_000;

/// `rate_limit`: so many attempts in so long, evenly spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Attempts …
    pub count: u32,
    /// … in this many milliseconds.
    pub per_ms: u64,
    /// So many may start at once after a quiet time.
    pub burst: u32,
}

impl RateLimit {
    /// The rate with the burst that goes with it where none is named.
    #[must_use]
    pub fn smooth(count: u32, per_ms: u64) -> Self {
        let burst = u64::from(count).saturating_mul(BURST_DEFAULT_MS) / per_ms.max(1);
        Self { count, per_ms, burst: u32::try_from(burst).unwrap_or(u32::MAX).max(1) }
    }

    fn interval_ns(&self) -> u64 {
        self.per_ms.saturating_mul(NS_OF_MS) / u64::from(self.count.max(1))
    }
}

/// Keeps a rate: the generic cell rate algorithm (ITU-T I.371, annex A, "virtual scheduling"). In any stretch of time it lets
/// at most what the rate allows for it pass, and the burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    limit: RateLimit,
    /// When the next one would start if all came evenly, in nanoseconds of the monotonic clock.
    due_ns: u64,
}

impl Pace {
    /// A pace that was not used yet: a whole burst may start.
    #[must_use]
    pub fn new(limit: RateLimit) -> Self {
        Self { limit, due_ns: 0 }
    }

    /// The rate it keeps.
    #[must_use]
    pub fn limit(&self) -> RateLimit {
        self.limit
    }

    /// Changes the rate. What started before counts by the old one.
    pub fn set_limit(&mut self, limit: RateLimit) {
        self.limit = limit;
    }

    /// The first moment at which one more may start.
    #[must_use]
    pub fn ready_at(&self) -> MonoMs {
        let early_ns = u64::from(self.limit.burst.saturating_sub(1)).saturating_mul(self.limit.interval_ns());
        MonoMs(self.due_ns.saturating_sub(early_ns).div_ceil(NS_OF_MS))
    }

    /// One starts now; ask [`Pace::ready_at`] first.
    pub fn take(&mut self, now: MonoMs) {
        let now_ns = now.0.saturating_mul(NS_OF_MS);
        self.due_ns = self.due_ns.max(now_ns).saturating_add(self.limit.interval_ns());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The moments at which attempts start that are made as soon as they may be, from `from` on.
    fn starts(pace: &mut Pace, from: u64, count: usize) -> Vec<u64> {
        let mut now = from;
        let start = |_| {
            now = now.max(pace.ready_at().0);
            pace.take(MonoMs(now));
            now
        };
        (0..count).map(start).collect()
    }

    #[test]
    fn attempts_are_spread_evenly() {
        let mut pace = Pace::new(RateLimit::smooth(10, 1000));
        assert_eq!(starts(&mut pace, 5, 4), [5, 105, 205, 305]);
        assert_eq!(
            starts(&mut pace, 10_000, 3),
            [10_000, 10_100, 10_200],
            "a quiet time saves up no more than the burst"
        );
    }

    #[test]
    fn a_burst_starts_at_once_and_the_rest_is_spread() {
        let mut pace = Pace::new(RateLimit { count: 60, per_ms: 60_000, burst: 3 });
        assert_eq!(starts(&mut pace, 0, 5), [0, 0, 0, 1000, 2000]);
    }

    #[test]
    fn a_rate_above_the_grain_of_the_clock_is_reached() {
        let mut pace = Pace::new(RateLimit::smooth(100_000, 1000));
        let last = *starts(&mut pace, 0, 200_000).last().unwrap();
        assert!((1_985..=2_000).contains(&last), "{last}");
    }

    #[test]
    fn the_burst_follows_the_rate() {
        assert_eq!(RateLimit::smooth(10, 1000).burst, 1);
        assert_eq!(RateLimit::smooth(1000, 1000).burst, 10);
        assert_eq!(RateLimit::smooth(1, 3_600_000).burst, 1);
    }

    #[test]
    fn another_rate_counts_from_the_next_attempt_on() {
        let mut pace = Pace::new(RateLimit::smooth(1, 1000));
        assert_eq!(starts(&mut pace, 0, 2), [0, 1000]);
        pace.set_limit(RateLimit::smooth(10, 1000));
        assert_eq!(starts(&mut pace, 1000, 2), [2000, 2100]);
    }

    proptest! {
        /// In no stretch of time is there more than the rate and the burst allow, whatever the gaps.
        #[test]
        fn no_stretch_has_too_many(
            count in 1..5_000_u32, per in prop::sample::select(vec![1000_u64, 60_000, 3_600_000]), burst in 1..50_u32,
            gaps in prop::collection::vec(0..2_000_u64, 1..120),
        ) {
            let limit = RateLimit { count, per_ms: per, burst };
            let (mut pace, mut now, mut at) = (Pace::new(limit), 0, Vec::new());
            for gap in gaps {
                now = (now + gap).max(pace.ready_at().0);
                pace.take(MonoMs(now));
                at.push(now);
            }
            for from in 0..at.len() {
                for to in from..at.len() {
                    let allowed = (at[to] - at[from]) as f64 * f64::from(count) / per as f64 + f64::from(burst) + 0.001;
                    prop_assert!((to - from + 1) as f64 <= allowed + 0.001 * (to - from) as f64, "{from}..={to} of {at:?}");
                }
            }
        }
    }
}
