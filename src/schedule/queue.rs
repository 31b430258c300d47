//! Everything that waits in a lane, but for what sleeps on the wheel.

use std::collections::BTreeSet;

use super::bell::Bell;
use super::blocks::Blocks;
use super::expiry::Expiry;
use super::free::Free;
use super::ordered::Ordered;
use super::waiting::{Key, Waiting};
use crate::clock::{MonoMs, UnixMs};
use crate::model::delivery::EventRef;
use crate::policy::order::{OnDead, Order};

/// Deliveries filed by the lane's order. A chain is what keeps its order: a key, or the whole lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    order: Order,
    /// `None`: not known yet, so all that die are kept.
    on_dead: Option<OnDead>,
    /// What died before holds nobody up.
    resumed_at: UnixMs,
    free: Free,
    ordered: Ordered,
    blocks: Blocks,
}

impl Queue {
    pub(super) fn order(&self) -> Order {
        self.order
    }

    /// The chain of a delivery with this key, under the lane's order; `None`: it goes as it comes.
    pub(super) fn chain_of(&self, key: Option<Key>) -> Option<Key> {
        match self.order {
            Order::None => None,
            Order::Key => key,
            Order::Strict => Some(Key::WHOLE),
        }
    }

    pub(super) fn has_ready(&self) -> bool {
        self.free.has_ready() || self.ordered.has_ready()
    }

    pub(super) fn has_expired(&self) -> bool {
        self.free.has_expired() || self.ordered.has_expired()
    }

    /// Chains that a dead delivery holds up.
    pub(super) fn blocked(&self) -> usize {
        self.ordered.blocked()
    }

    /// When the next head of a chain is due that waits for its moment.
    pub(super) fn earliest(&self) -> Option<(u64, u64)> {
        self.ordered.earliest()
    }

    /// Takes in a delivery; one without a chain must be due. Returns the one that it takes the place of, where it was there
    /// already.
    pub(super) fn put(&mut self, waiting: Waiting, expiry: &mut Expiry, bell: &mut Bell<'_>) -> Option<Waiting> {
        match self.chain_of(waiting.key) {
            Some(chain) => self.ordered.put(chain, waiting, &self.blocks, expiry, bell),
            None => self.free.put(waiting, expiry, bell.now),
        }
    }

    /// Takes in those of `all` that keep their order, and are due or not, if none of that kind waits. Returns those that
    /// were there twice; the others stay in `all`.
    pub(super) fn fill(&mut self, all: &mut Vec<Waiting>, expiry: &mut Expiry, bell: &mut Bell<'_>) -> Vec<Waiting> {
        if self.order == Order::None || !self.ordered.is_empty() {
            return Vec::new();
        }
        let chained = all.extract_if(.., |waiting| self.chain_of(waiting.key).is_some());
        let chained = chained.filter_map(|waiting| Some((self.chain_of(waiting.key)?, waiting))).collect();
        self.ordered.fill(chained, &self.blocks, expiry, bell)
    }

    /// Takes the ready one that was accepted first.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        match (self.free.first(), self.ordered.first()) {
            (free, Some(ordered)) if free.is_none_or(|free| ordered < free) => self.ordered.pop(),
            _ => self.free.pop(),
        }
    }

    /// Takes an expired one.
    pub(super) fn pop_expired(&mut self) -> Option<Waiting> {
        self.free.pop_expired().or_else(|| self.ordered.pop_expired())
    }

    /// A delivery with this key is under way.
    pub(super) fn begins(&mut self, key: Option<Key>) {
        if let Some(chain) = self.chain_of(key) {
            self.ordered.begins(chain);
        }
    }

    /// A delivery with this key is under way no more.
    pub(super) fn ends(&mut self, key: Option<Key>, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        if let Some(chain) = self.chain_of(key) {
            self.ordered.ends(chain);
            self.ordered.relist(chain, &self.blocks, expiry, bell);
        }
    }

    /// A wake-up for a chain has come.
    pub(super) fn wake(&mut self, chain: Key, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        self.ordered.wake(chain, &self.blocks, expiry, bell);
    }

    /// A delivery has died, and holds up those behind it if the lane's rules say so.
    pub(super) fn dies(
        &mut self,
        event: EventRef,
        key: Option<Key>,
        died_at: UnixMs,
        expiry: &mut Expiry,
        bell: &mut Bell<'_>,
    ) {
        if self.on_dead == Some(OnDead::Skip) || self.on_dead.is_some() && died_at < self.resumed_at {
            return;
        }
        let chain = self.chain_of(key);
        self.blocks.add(event, key, died_at, chain);
        self.relist(chain, expiry, bell);
    }

    /// A delivery is dead no more.
    pub(super) fn revives(&mut self, event: EventRef, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        let chain = self.blocks.remove(event);
        self.relist(chain, expiry, bell);
    }

    /// The dead of a generation hold nobody up any more.
    pub(super) fn forget_generation(&mut self, generation: u32, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        let chains = self.blocks.remove_generation(generation);
        self.relist(chains, expiry, bell);
    }

    /// None of the dead holds anybody up any more.
    pub(super) fn forget_dead(&mut self, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        let chains = self.blocks.clear();
        self.relist(chains, expiry, bell);
    }

    /// Finds what has expired.
    pub(super) fn sweep(&mut self, expiry: &mut Expiry, now: MonoMs) {
        expiry.sweep_begins(now);
        self.free.sweep(expiry, now);
        self.ordered.sweep(expiry, now);
    }

    /// What has expired is ready again.
    pub(super) fn pardon(&mut self) {
        self.free.pardon();
        self.ordered.pardon();
    }

    /// Another rule for what dies from now on. Of those dead, the ones that hold somebody up under it stay.
    pub(super) fn set_on_dead(
        &mut self,
        on_dead: OnDead,
        resumed_at: Option<UnixMs>,
        expiry: &mut Expiry,
        bell: &mut Bell<'_>,
    ) {
        self.on_dead = Some(on_dead);
        self.resumed_at = resumed_at.unwrap_or(self.resumed_at);
        let chains = match on_dead {
            OnDead::Skip => self.blocks.clear(),
            OnDead::Block => self.file_dead(),
        };
        self.relist(chains, expiry, bell);
    }

    /// All that die are kept, until it is known what they do to others.
    pub(super) fn keep_dead(&mut self) {
        self.on_dead = None;
    }

    /// Takes everything out, and forgets what is under way: the lane is to be filled again, by another order.
    pub(super) fn drain(&mut self, order: Order, into: &mut Vec<Waiting>) {
        self.free.drain(into);
        self.ordered.drain(into);
        self.order = order;
        self.file_dead();
    }

    fn file_dead(&mut self) -> BTreeSet<Key> {
        let order = self.order;
        self.blocks.file(self.resumed_at, |key| match order {
            Order::None => None,
            Order::Key => key,
            Order::Strict => Some(Key::WHOLE),
        })
    }

    fn relist(&mut self, chains: impl IntoIterator<Item = Key>, expiry: &mut Expiry, bell: &mut Bell<'_>) {
        for chain in chains {
            self.ordered.relist(chain, &self.blocks, expiry, bell);
        }
    }
}
