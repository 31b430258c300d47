//! Whether room runs out: told once, before events are refused.
//!
//! The bounds back lie below those forth, so that a folder that is cleaned and fills again around them is told of once.

use super::News;
use super::writer::Writer;
use crate::observe::storage::{StorageRecovered, StorageRunsLow};

/// The folder is low on room from this share of `max_size` on, in percent …
const SIZE_LOW_PERCENT: u64 = 90;
/// … until it is below this one.
const SIZE_ENOUGH_PERCENT: u64 = 85;
/// The file system is low on room where less is free than this share of `min_free`, in percent …
const FREE_LOW_PERCENT: u64 = 200;
/// … until more is than this one.
const FREE_ENOUGH_PERCENT: u64 = 250;

/// The storage runs low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageLow {
    /// Which limit is near, by the name of its key in `[storage]`: `max_size` or `min_free`.
    pub reason: &'static str,
    /// Bytes that the folder takes, or that are free on its file system.
    pub bytes: u64,
    /// The limit itself: `max_size`, or `min_free`.
    pub bytes_limit: u64,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measure {
    /// Bytes of the folder, and at most so many.
    pub(super) size: (u64, u64),
    /// Bytes that are free, and at least so many; `None` where the file system did not tell.
    pub(super) free: Option<(u64, u64)>,
}

/// What was told.
#[derive(Debug, Default)]
pub(super) struct LowWatch {
    by_size: bool,
    by_free: bool,
}

impl LowWatch {
    /// What is to be told now.
    fn look(&mut self, measure: &Measure) -> Vec<StorageLow> {
        let mut told = Vec::new();
        let mut cross = |low: &mut bool, begins: bool, ends: bool, crossing: StorageLow| {
            if begins && !*low {
                told.push(crossing);
            }
            *low = begins || (*low && !ends);
        };
        let (bytes, bytes_limit) = measure.size;
        let (begins, ends) = (is_near(bytes, bytes_limit), bytes < share(bytes_limit, SIZE_ENOUGH_PERCENT));
        cross(&mut self.by_size, begins, ends, StorageLow { reason: "max_size", bytes, bytes_limit });
        if let Some((bytes, bytes_limit)) = measure.free {
            let begins = bytes < share(bytes_limit, FREE_LOW_PERCENT);
            let ends = bytes > share(bytes_limit, FREE_ENOUGH_PERCENT);
            cross(&mut self.by_free, begins, ends, StorageLow { reason: "min_free", bytes, bytes_limit });
        }
        told
    }

    fn is_low(&self) -> bool {
        self.by_size || self.by_free
    }
}

/// Whether a folder of so many bytes is near its limit.
pub(super) fn is_near(bytes: u64, bytes_max: u64) -> bool {
    bytes >= share(bytes_max, SIZE_LOW_PERCENT)
}

fn share(of: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(of) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

impl Writer {
    /// Tells it where the storage runs low, or has room again.
    pub(super) fn tell_low(&mut self, measure: &Measure) {
        let was = self.low.is_low();
        for low in self.low.look(measure) {
            let StorageLow { reason, bytes, bytes_limit } = low;
            StorageRunsLow { reason, bytes, bytes_limit }.tell(&self.metrics);
            self.announce_now(News::StorageLow(low));
        }
        if was && !self.low.is_low() {
            StorageRecovered.tell(&self.metrics);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(watch: &mut LowWatch, size: u64, free: u64) -> Vec<&'static str> {
        let measure = Measure { size: (size, 1_000), free: Some((free, 100)) };
        watch.look(&measure).into_iter().map(|low| low.reason).collect()
    }

    #[test]
    fn each_limit_is_told_once_until_there_was_room_again() {
        let mut watch = LowWatch::default();
        let steps: [(u64, u64, &[&str], bool); 13] = [
            (899, 200, &[], false),
            (900, 200, &["max_size"], true),
            (1_200, 200, &[], true),
            (850, 200, &[], true),
            (900, 200, &[], true),
            (849, 200, &[], false),
            (900, 199, &["max_size", "min_free"], true),
            (0, 250, &[], true),
            (0, 199, &[], true),
            (0, 251, &[], false),
            (0, 0, &["min_free"], true),
            (900, 0, &["max_size"], true),
            (0, 1_000, &[], false),
        ];
        for (at, (size, free, expected, low)) in steps.into_iter().enumerate() {
            assert_eq!((told(&mut watch, size, free).as_slice(), watch.is_low()), (expected, low), "step {at}");
        }
    }

    #[test]
    fn without_limits_nothing_is_low_and_what_is_not_known_changes_nothing() {
        let mut watch = LowWatch::default();
        assert!(watch.look(&Measure { size: (1 << 60, u64::MAX), free: Some((0, 0)) }).is_empty());
        assert_eq!(told(&mut watch, 0, 0), ["min_free"]);
        assert!(watch.look(&Measure { size: (0, 1_000), free: None }).is_empty());
        assert!(watch.is_low());
    }
}
