//! The earliest of many moments, without keeping them all.

use std::collections::BTreeMap;

/// Milliseconds of one bucket.
pub(super) const BUCKET_MS: u64 = 1000;

/// Counts moments, in milliseconds, by the second.
///
/// An exact earliest would need a tree of every moment, which costs more than the entries themselves. A million
/// deliveries lie in a few thousand seconds: some bytes for each second that has any. In the usual case, a backlog of
/// less than a second, it is one bucket and adding or removing is a matter of nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Tally {
    buckets: BTreeMap<u64, u32>,
}

impl Tally {
    pub(super) fn add(&mut self, ms: u64) {
        *self.buckets.entry(ms / BUCKET_MS).or_insert(0) += 1;
    }

    /// Takes back what [`Tally::add`] was given.
    pub(super) fn remove(&mut self, ms: u64) {
        let bucket = ms / BUCKET_MS;
        match self.buckets.get_mut(&bucket) {
            Some(1) => drop(self.buckets.remove(&bucket)),
            Some(count) => *count -= 1,
            None => debug_assert!(false, "only what was added is removed"),
        }
    }

    /// The first and the last millisecond of the second in which the earliest moment lies.
    pub(super) fn earliest(&self) -> Option<(u64, u64)> {
        let (bucket, _) = self.buckets.first_key_value()?;
        let begin = bucket * BUCKET_MS;
        Some((begin, begin.saturating_add(BUCKET_MS - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_second_is_the_one_that_still_has_a_moment() {
        let mut tally = Tally::default();
        assert_eq!(tally.earliest(), None);
        for ms in [5_500, 2_000, 2_999, u64::MAX] {
            tally.add(ms);
        }
        assert_eq!(tally.earliest(), Some((2_000, 2_999)));
        tally.remove(2_000);
        assert_eq!(tally.earliest(), Some((2_000, 2_999)));
        tally.remove(2_999);
        assert_eq!(tally.earliest(), Some((5_000, 5_999)));
        tally.remove(5_500);
        tally.remove(u64::MAX);
        assert_eq!(tally.earliest(), None);
    }
}
