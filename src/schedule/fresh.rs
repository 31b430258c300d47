//! How much memory the bodies of fresh events may take.

use std::collections::HashMap;

use crate::model::delivery::EventRef;

/// Counts the events that ready queues hold in memory, each once, however many of its deliveries wait with it.
///
/// A lane may take at most as much as is still free when it asks (dynamic thresholds: A. Choudhury and E. Hahne,
/// IEEE/ACM Transactions on Networking, 1998). One slow endpoint thus fills half of the budget, two that
/// fill up together a third each, and there is always something left for an endpoint that keeps up.
#[derive(Debug)]
pub(super) struct FreshBudget {
    /// How many deliveries hold the event.
    holders: HashMap<EventRef, u32>,
    bytes: usize,
    bytes_max: usize,
}

impl FreshBudget {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { holders: HashMap::new(), bytes: 0, bytes_max }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a lane that holds `lane_bytes` may hold this event of `bytes` too. A yes is counted.
    pub(super) fn take(&mut self, event: EventRef, bytes: usize, lane_bytes: usize) -> bool {
        if lane_bytes.saturating_add(bytes) > self.bytes_max - self.bytes {
            return false;
        }
        let holders = self.holders.entry(event).or_insert(0);
        if *holders == 0 {
            self.bytes += bytes;
        }
        *holders += 1;
        true
    }

    /// Gives back one [`FreshBudget::take`].
    pub(super) fn give_back(&mut self, event: EventRef, bytes: usize) {
        match self.holders.get_mut(&event) {
            Some(1) => {
                self.holders.remove(&event);
                self.bytes -= bytes;
            }
            Some(holders) => *holders -= 1,
            None => debug_assert!(false, "only what was taken is given back"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(seq: u32) -> EventRef {
        EventRef { generation: 1, seq }
    }

    #[test]
    fn a_shared_event_counts_once() {
        let mut budget = FreshBudget::new(1000);
        assert!(budget.take(event(1), 300, 0));
        assert!(budget.take(event(1), 300, 0));
        assert_eq!(budget.bytes(), 300);
        budget.give_back(event(1), 300);
        assert_eq!(budget.bytes(), 300);
        budget.give_back(event(1), 300);
        assert_eq!(budget.bytes(), 0);
        assert!(budget.holders.is_empty());
    }

    #[test]
    fn a_greedy_lane_leaves_room_for_others() {
        let mut budget = FreshBudget::new(1000);
        let taken = (0..100).filter(|seq| budget.take(event(*seq), 10, *seq as usize * 10)).count();
        assert_eq!(taken, 50, "half of the budget");
        let taken = (100..200).filter(|seq| budget.take(event(*seq), 10, (*seq as usize - 100) * 10)).count();
        assert_eq!(taken, 25, "half of what is left");
        assert!(budget.take(event(300), 10, 0));
        assert!(!budget.take(event(301), 1001, 0), "bigger than everything");
    }
}
