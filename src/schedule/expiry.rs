//! When a delivery that an open breaker keeps waiting is given up.
//!
//! It may find the breaker open for as long as what is left of its retry schedule, counted from the later of two
//! moments: when it was due, and when the breaker opened. Time that it waited for anything else (a pause, a rate, its
//! turn) does not count, or a backlog that an operator has held for a week would be dead at the first bad minute. And it
//! is given no less than the longest time between two probes: whatever is left of its schedule, one probe may save it.
//!
//! What has expired is found by a look at everything that is ready: a sweep. The moment before which none can have
//! expired is known, so a sweep that can find nothing is not made, and two of one lane lie a while apart.

use crate::clock::MonoMs;
use crate::policy::breaker::BreakerRules;

/// Two sweeps of one lane lie so far apart, in milliseconds …
const SWEEP_MS: u64 = 60_000;
/// … or a tenth of the shortest wait that they watch over, but no less than this.
const SWEEP_MS_MIN: u64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// For how long a due delivery may find the breaker open, in milliseconds, by the number of its tries.
    spans_ms: Vec<u64>,
    open: Option<Open>,
}

/// The breaker is open.
#[derive(Debug)]
struct Open {
    since: MonoMs,
    /// Nothing that is ready expires before.
    earliest: MonoMs,
    /// No sweep before.
    rest_until: MonoMs,
}

impl Expiry {
    /// The rules of a lane whose breaker is closed.
    pub(super) fn new(waits_ms: &[u64], breaker: Option<BreakerRules>) -> Self {
        let shortest_ms = breaker.map_or(0, |rules| rules.cooldown_ms_max.max(rules.cooldown_ms));
        let mut left_ms = 0_u64;
        let mut spans_ms = vec![shortest_ms];
        for wait_ms in waits_ms.iter().rev() {
            left_ms = left_ms.saturating_add(*wait_ms);
            spans_ms.push(left_ms.max(shortest_ms));
        }
        spans_ms.reverse();
        Self { spans_ms, open: None }
    }

    /// The breaker has other rules, or there is another retry schedule. Nothing is known of what is ready.
    pub(super) fn change(&mut self, waits_ms: &[u64], breaker: Option<BreakerRules>, now: MonoMs) {
        let open = self.open.take().map(|open| Open { earliest: now, rest_until: now, ..open });
        *self = Self { open, ..Self::new(waits_ms, breaker) };
    }

    /// The breaker is open from now on, or still.
    pub(super) fn breaker_is_open(&mut self, now: MonoMs) {
        if self.open.is_none() {
            self.open = Some(Open { since: now, earliest: now.plus_ms(self.shortest_ms()), rest_until: now });
        }
    }

    /// Nothing expires any more.
    pub(super) fn breaker_is_closed(&mut self) {
        self.open = None;
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Whether a delivery that is ready has expired. One that has not is remembered for the next sweep.
    pub(super) fn has_expired(&mut self, due: MonoMs, tries: u16, now: MonoMs) -> bool {
        let span_ms = self.spans_ms.get(usize::from(tries)).copied().unwrap_or_else(|| self.shortest_ms());
        let Some(open) = &mut self.open else { return false };
        let at = due.max(open.since).plus_ms(span_ms);
        if at <= now {
            return true;
        }
        open.earliest = open.earliest.min(at);
        false
    }

    /// When the next sweep is to be made, if nothing changes.
    pub(super) fn sweep_at(&self) -> Option<MonoMs> {
        self.open.as_ref().map(|open| open.earliest.max(open.rest_until))
    }

    /// A sweep begins, which asks [`Expiry::has_expired`] of everything that is ready.
    pub(super) fn sweep_begins(&mut self, now: MonoMs) {
        let rest_ms = (self.shortest_ms() / 10).clamp(SWEEP_MS_MIN, SWEEP_MS);
        if let Some(open) = &mut self.open {
            open.earliest = MonoMs(u64::MAX);
            open.rest_until = now.plus_ms(rest_ms);
        }
    }

    fn shortest_ms(&self) -> u64 {
        self.spans_ms.last().copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerRules = BreakerRules { failures: 3, cooldown_ms: 1_000, cooldown_ms_max: 5_000 };

    fn expires_at(expiry: &mut Expiry, due: u64, tries: u16) -> u64 {
        let mut at = due;
        while !expiry.has_expired(MonoMs(due), tries, MonoMs(at)) {
            at += 500;
        }
        at
    }

    #[test]
    fn a_delivery_has_what_is_left_of_its_schedule_and_at_least_the_longest_cooldown() {
        let mut expiry = Expiry::new(&[1_000, 2_000, 30_000], Some(RULES));
        assert!(!expiry.has_expired(MonoMs(0), 0, MonoMs(u64::MAX)), "the breaker is closed");
        expiry.breaker_is_open(MonoMs(0));
        assert_eq!(expires_at(&mut expiry, 100_000, 0), 133_000);
        assert_eq!(expires_at(&mut expiry, 100_000, 1), 132_000);
        assert_eq!(expires_at(&mut expiry, 100_000, 2), 130_000);
        assert_eq!(expires_at(&mut expiry, 100_000, 3), 105_000);
        assert_eq!(expires_at(&mut expiry, 100_000, 9), 105_000);
    }

    #[test]
    fn time_before_the_breaker_opened_does_not_count() {
        let mut expiry = Expiry::new(&[], Some(RULES));
        expiry.breaker_is_open(MonoMs(70_000));
        assert_eq!(expires_at(&mut expiry, 0, 0), 75_000);
    }

    #[test]
    fn a_sweep_is_made_when_it_can_find_something_and_not_too_often() {
        let mut expiry = Expiry::new(&[60_000], Some(RULES));
        assert_eq!(expiry.sweep_at(), None);
        expiry.breaker_is_open(MonoMs(0));
        assert_eq!(expiry.sweep_at(), Some(MonoMs(5_000)), "of what is ready nothing is known but the shortest span");
        expiry.sweep_begins(MonoMs(5_000));
        assert!(!expiry.has_expired(MonoMs(3_000), 0, MonoMs(5_000)));
        assert!(!expiry.has_expired(MonoMs(2_000), 0, MonoMs(5_000)));
        assert_eq!(expiry.sweep_at(), Some(MonoMs(62_000)));
        assert!(!expiry.has_expired(MonoMs(500), 1, MonoMs(5_000)));
        assert_eq!(expiry.sweep_at(), Some(MonoMs(6_000)), "a second after the last one");
    }
}
