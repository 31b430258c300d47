//! What is due and keeps no order.
//!
//! It goes in the order of acceptance all the same: what was accepted together lies together on the disk, and a retry's
//! jitter does not scatter the reads.

use std::collections::BTreeMap;

use super::expiry::Expiry;
use super::fifo::Fifo;
use super::waiting::Waiting;
use crate::clock::MonoMs;
use crate::model::delivery::EventRef;

#[derive(Debug, Default)]
pub(super) struct Free {
    /// What came in the order of acceptance: nearly all of it.
    rising: Fifo<Waiting>,
    /// What came after a younger one: retries and replays.
    returned: BTreeMap<EventRef, Waiting>,
    /// What an open breaker has kept waiting for too long.
    expired: BTreeMap<EventRef, Waiting>,
}

impl Free {
    pub(super) fn has_ready(&self) -> bool {
        !self.rising.is_empty() || !self.returned.is_empty()
    }

    pub(super) fn has_expired(&self) -> bool {
        !self.expired.is_empty()
    }

    /// Takes in a delivery that is due. Returns the one that it takes the place of, where it was there already.
    pub(super) fn put(&mut self, waiting: Waiting, expiry: &mut Expiry, now: MonoMs) -> Option<Waiting> {
        let event = waiting.event;
        let is_youngest = self.rising.back().is_none_or(|last| last.event < event);
        let there = self.expired.remove(&event).or_else(|| self.returned.remove(&event));
        if !is_youngest && let Some(rising) = self.rising.find_mut(|other| other.event.cmp(&event)) {
            return Some(std::mem::replace(rising, waiting));
        }
        if expiry.has_expired(waiting.due, waiting.progress.tries, now) {
            self.expired.insert(event, waiting);
        } else if is_youngest {
            self.rising.push(waiting);
        } else {
            self.returned.insert(event, waiting);
        }
        there
    }

    /// The ready one that was accepted first.
    pub(super) fn first(&self) -> Option<EventRef> {
        let rising = self.rising.front().map(|waiting| waiting.event);
        let returned = self.returned.first_key_value().map(|(event, _)| *event);
        rising.into_iter().chain(returned).min()
    }

    /// Takes the ready one that was accepted first.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let rising = self.rising.front().map(|waiting| waiting.event);
        match self.returned.first_entry() {
            Some(returned) if rising.is_none_or(|rising| *returned.key() < rising) => Some(returned.remove()),
            _ => self.rising.pop(),
        }
    }

    /// Takes the expired one that was accepted first.
    pub(super) fn pop_expired(&mut self) -> Option<Waiting> {
        self.expired.pop_first().map(|(_, waiting)| waiting)
    }

    /// Finds what has expired.
    pub(super) fn sweep(&mut self, expiry: &mut Expiry, now: MonoMs) {
        let mut is_expired = |waiting: &Waiting| expiry.has_expired(waiting.due, waiting.progress.tries, now);
        let expired = &mut self.expired;
        self.rising.take_if(&mut is_expired, |waiting| expired.extend([(waiting.event, waiting)]));
        self.expired.extend(self.returned.extract_if(.., |_, waiting| is_expired(waiting)));
    }

    /// What has expired is ready again.
    pub(super) fn pardon(&mut self) {
        self.returned.append(&mut self.expired);
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self, into: &mut Vec<Waiting>) {
        into.extend(std::iter::from_fn(|| self.rising.pop()));
        into.extend(std::mem::take(&mut self.returned).into_values());
        into.extend(std::mem::take(&mut self.expired).into_values());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_small() {
        assert_eq!(size_of::<Waiting>(), 40);
    }
}
