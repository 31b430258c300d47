//! Whether the events of each key come in the order of their acceptance.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::shape::Keys;
use crate::harness::times::Times;

/// What was received of each key.
pub(crate) struct Sequence {
    keys: Keys,
    times: Arc<Times>,
    /// The running number that is expected next, of each key.
    expected: Vec<AtomicUsize>,
    overtaken: AtomicUsize,
}

impl Sequence {
    /// For events with these keys.
    pub(crate) fn new(keys: Keys, times: Arc<Times>) -> Arc<Self> {
        let expected = std::iter::repeat_with(|| AtomicUsize::new(0)).take(keys.count()).collect();
        Arc::new(Self { keys, times, expected, overtaken: AtomicUsize::new(0) })
    }

    /// Event `n` was received just now.
    pub(crate) fn receive(&self, n: usize) {
        if n >= self.times.events() {
            return;
        }
        let (key, turn) = self.keys.of(n);
        let expected = self.expected[key].fetch_max(turn + 1, Ordering::Relaxed);
        // An event that was refused is not waited for. Whether it was is known here: its producer did not go on before.
        let overtaken = (expected..turn).filter(|turn| self.times.is_accepted(self.keys.number(key, *turn))).count();
        self.overtaken.fetch_add(overtaken, Ordering::Relaxed);
        self.times.receive(n);
    }

    /// Events that came after a later one of their key.
    pub(crate) fn overtaken(&self) -> usize {
        self.overtaken.load(Ordering::Relaxed)
    }
}
