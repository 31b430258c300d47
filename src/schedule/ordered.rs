//! What keeps its order: chains of deliveries, one attempt at a time in each.
//!
//! A chain is an ordering key, or the whole lane. All that waits stands in one map, sorted by chain and then by event, so
//! that the head of a chain is found in logarithmic time, with a million chains or a million in one. Only heads are
//! looked at: a head is ready, or expired, or its wake-up stands on the wheel, or a dead delivery holds it up. What is
//! behind it just waits, and so does the whole chain while one of it is under way. Everything that may change who is
//! the head, or where it stands, lists the chain anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use super::bell::Bell;
use super::blocks::Blocks;
use super::expiry::Expiry;
use super::tally::Tally;
use super::waiting::{Key, Waiting};
use crate::clock::{MonoMs, UnixMs};
use crate::model::delivery::{EventRef, Progress};

#[derive(Debug, Default)]
pub(super) struct Ordered {
    waiting: BTreeMap<(Key, EventRef), Held>,
    /// Heads that may start, by event: the order of acceptance.
    ready: BTreeSet<(EventRef, Key)>,
    /// Heads that have expired.
    expired: BTreeSet<(EventRef, Key)>,
    /// How many of each chain are under way: one, but for a lane that kept no order, or another one, when they started.
    busy: HashMap<Key, u32>,
    /// When the heads are due that wait for their moment.
    asleep: Tally,
    /// Heads that a dead delivery holds up.
    blocked: usize,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    accepted_at: UnixMs,
    due: MonoMs,
    key: Option<Key>,
    progress: Progress,
    spot: Spot,
    /// A wake-up for its moment stands on the wheel, or has come.
    rung: bool,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spot {
    /// Behind another one, or one of its chain is under way.
    Behind,
    /// A head that is not due.
    Asleep,
    /// A head in `ready`.
    Ready,
    /// A head in `expired`.
    Expired,
    /// A head behind a dead one.
    Blocked,
}

impl Held {
    fn new(waiting: Waiting) -> Self {
        let Waiting { event: _, accepted_at, due, key, progress } = waiting;
        Self { accepted_at, due, key, progress, spot: Spot::Behind, rung: false }
    }

    fn waiting(self, event: EventRef) -> Waiting {
        let Self { accepted_at, due, key, progress, .. } = self;
        Waiting { event, accepted_at, due, key, progress }
    }
}

impl Held {
    /// Where it belongs as the head of its chain, none of which is under way. One that is not due gets its wake-up.
    fn spot_of_head(
        &mut self,
        chain: Key,
        event: EventRef,
        blocks: &Blocks,
        expiry: &mut Expiry,
        bell: &mut Bell<'_>,
    ) -> Spot {
        if blocks.stand_before(chain, event) {
            return Spot::Blocked;
        }
        if self.due > bell.now {
            if !std::mem::replace(&mut self.rung, true) {
                bell.ring_at(self.due, chain);
            }
            return Spot::Asleep;
        }
        if expiry.has_expired(self.due, self.progress.tries, bell.now) { Spot::Expired } else { Spot::Ready }
    }
}

/// All places of a chain.
fn whole(chain: Key) -> RangeInclusive<(Key, EventRef)> {
    let (first, last) = (EventRef { generation: 0, seq: 0 }, EventRef { generation: u32::MAX, seq: u32::MAX });
    (chain, first)..=(chain, last)
}

impl Ordered {
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn has_expired(&self) -> bool {
        !self.expired.is_empty()
    }

    /// The ready one that was accepted first.
    pub(super) fn first(&self) -> Option<EventRef> {
        self.ready.first().map(|(event, _)| *event)
    }

    /// When the next head is due that waits for its moment.
    pub(super) fn earliest(&self) -> Option<(u64, u64)> {
        self.asleep.earliest()
    }

    /// Chains that a dead delivery holds up.
    pub(super) fn blocked(&self) -> usize {
        self.blocked
    }

    /// Takes in a delivery. Returns the one that it takes the place of, where it was there already.
    pub(super) fn put(
        &mut self,
        chain: Key,
        waiting: Waiting,
        blocks: &Blocks,
        expiry: &mut Expiry,
        bell: &mut Bell<'_>,
    ) -> Option<Waiting> {
        let place = (chain, waiting.event);
        let head = self.waiting.range(whole(chain)).next().map(|((_, event), _)| *event);
        let is_behind = head.is_some_and(|head| head < waiting.event);
        if !is_behind {
            self.unlist(chain);
        }
        let replaced = self.waiting.insert(place, Held::new(waiting));
        if !is_behind {
            self.list(chain, blocks, expiry, bell);
        }
        replaced.map(|held| held.waiting(waiting.event))
    }

    /// Takes the ready one that was accepted first.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        let (event, chain) = self.ready.pop_first()?;
        self.waiting.remove(&(chain, event)).map(|held| held.waiting(event))
    }

    /// Takes the expired one that was accepted first.
    pub(super) fn pop_expired(&mut self) -> Option<Waiting> {
        let (event, chain) = self.expired.pop_first()?;
        self.waiting.remove(&(chain, event)).map(|held| held.waiting(event))
    }

    /// One of a chain is under way.
    pub(super) fn begins(&mut self, chain: Key) {
        *self.busy.entry(chain).or_insert(0) += 1;
    }

    /// One of a chain is under way no more. The chain is to be listed anew.
    pub(super) fn ends(&mut self, chain: Key) {
        match self.busy.get_mut(&chain) {
            Some(1) => drop(self.busy.remove(&chain)),
            Some(count) => *count -= 1,
            None => debug_assert!(false, "only what has begun ends"),
        }
    }

    /// Looks anew where the head of a chain stands.
    pub(super) fn relist(&mut self, chain: Key, blocks: &Blocks, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        self.unlist(chain);
        self.list(chain, blocks, expiry, bell);
    }

    /// A wake-up for a chain has come.
    pub(super) fn wake(&mut self, chain: Key, blocks: &Blocks, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        let head = self.waiting.range(whole(chain)).next();
        if head.is_some_and(|(_, held)| held.spot == Spot::Asleep && held.due <= bell.now) {
            self.relist(chain, blocks, expiry, bell);
        }
    }

    /// Finds the ready heads that have expired.
    pub(super) fn sweep(&mut self, expiry: &mut Expiry, now: MonoMs) {
        let mut expired = Vec::new();
        if self.is_walk_faster(self.ready.len()) {
            for ((chain, event), held) in &mut self.waiting {
                if held.spot == Spot::Ready && expiry.has_expired(held.due, held.progress.tries, now) {
                    held.spot = Spot::Expired;
                    expired.push((*event, *chain));
                }
            }
        } else {
            for (event, chain) in &self.ready {
                let Some(held) = self.waiting.get_mut(&(*chain, *event)) else { continue };
                if expiry.has_expired(held.due, held.progress.tries, now) {
                    held.spot = Spot::Expired;
                    expired.push((*event, *chain));
                }
            }
        }
        if expired.len() == self.ready.len() {
            self.expired.append(&mut self.ready);
            return;
        }
        for place in expired {
            self.ready.remove(&place);
            self.expired.insert(place);
        }
    }

    /// What has expired is ready again.
    pub(super) fn pardon(&mut self) {
        if self.is_walk_faster(self.expired.len()) {
            for held in self.waiting.values_mut().filter(|held| held.spot == Spot::Expired) {
                held.spot = Spot::Ready;
            }
        } else {
            for (event, chain) in &self.expired {
                if let Some(held) = self.waiting.get_mut(&(*chain, *event)) {
                    held.spot = Spot::Ready;
                }
            }
        }
        self.ready.append(&mut self.expired);
    }

    /// Takes in many at once, where nothing waits: as [`Ordered::put`] for each, but faster, and closely packed. Returns those
    /// that were there twice.
    pub(super) fn fill(
        &mut self,
        mut all: Vec<(Key, Waiting)>,
        blocks: &Blocks,
        expiry: &mut Expiry,
        bell: &mut Bell<'_>,
    ) -> Vec<Waiting> {
        debug_assert!(self.waiting.is_empty(), "what waits would be lost");
        all.sort_by_key(|(chain, waiting)| (*chain, waiting.event));
        let mut twice = Vec::new();
        all.dedup_by(|later, earlier| {
            let is_twice = (later.0, later.1.event) == (earlier.0, earlier.1.event);
            if is_twice {
                twice.push(std::mem::replace(&mut earlier.1, later.1));
            }
            is_twice
        });
        let places = all.into_iter().map(|(chain, waiting)| ((chain, waiting.event), Held::new(waiting)));
        self.waiting = places.collect();
        let (mut ready, mut last) = (Vec::new(), None);
        for ((chain, event), held) in &mut self.waiting {
            if last.replace(*chain) == Some(*chain) || self.busy.contains_key(chain) {
                continue;
            }
            held.spot = held.spot_of_head(*chain, *event, blocks, expiry, bell);
            match held.spot {
                Spot::Behind => {}
                Spot::Asleep => self.asleep.add(held.due.0),
                Spot::Ready => ready.push((*event, *chain)),
                Spot::Expired => drop(self.expired.insert((*event, *chain))),
                Spot::Blocked => self.blocked += 1,
            }
        }
        self.ready = ready.into_iter().collect();
        twice
    }

    /// Takes everything out, and forgets what is under way.
    pub(super) fn drain(&mut self, into: &mut Vec<Waiting>) {
        let all = std::mem::take(self);
        into.extend(all.waiting.into_iter().map(|((_, event), held)| held.waiting(event)));
    }

    /// Whether so many heads are found faster by a walk through all than by a look-up for each.
    fn is_walk_faster(&self, heads: usize) -> bool {
        heads > self.waiting.len() / 16
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn head_mut(&mut self, chain: Key) -> Option<(EventRef, &mut Held)> {
        self.waiting.range_mut(whole(chain)).next().map(|((_, event), held)| (*event, held))
    }

    /// Takes the head of a chain from wherever it is listed.
    fn unlist(&mut self, chain: Key) {
        let Some((event, held)) = self.head_mut(chain) else { return };
        let due = held.due;
        match std::mem::replace(&mut held.spot, Spot::Behind) {
            Spot::Behind => {}
            Spot::Asleep => self.asleep.remove(due.0),
            Spot::Ready => drop(self.ready.remove(&(event, chain))),
            Spot::Expired => drop(self.expired.remove(&(event, chain))),
            Spot::Blocked => self.blocked -= 1,
        }
    }

    /// Lists the head of a chain where it belongs.
    fn list(&mut self, chain: Key, blocks: &Blocks, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        if self.busy.contains_key(&chain) {
            return;
        }
        let Some((event, held)) = self.head_mut(chain) else { return };
        held.spot = held.spot_of_head(chain, event, blocks, expiry, bell);
        let due = held.due;
        match held.spot {
            Spot::Behind => {}
            Spot::Asleep => self.asleep.add(due.0),
            Spot::Ready => drop(self.ready.insert((event, chain))),
            Spot::Expired => drop(self.expired.insert((event, chain))),
            Spot::Blocked => self.blocked += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_its_order_is_small_too() {
        assert_eq!(size_of::<((Key, EventRef), Held)>(), 48);
    }
}
