//! The dead deliveries that hold up those behind them.

use std::collections::{BTreeMap, BTreeSet};

use super::waiting::Key;
use crate::clock::UnixMs;
use crate::model::delivery::EventRef;

const FIRST: EventRef = EventRef { generation: 0, seq: 0 };

/// The dead of one lane. Which of them hold up whom depends on the lane's order, which may change: those that stand in the
/// way are in `front`, by the key they block.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    dead: BTreeMap<EventRef, Dead>,
    front: BTreeSet<(Key, EventRef)>,
}

#[derive(Clone, Copy, Debug)]
struct Dead {
    key: Option<Key>,
    died_at: UnixMs,
    /// Its place in `front`.
    chain: Option<Key>,
}

impl Blocks {
    /// Whether a dead one of this chain lies before the event.
    pub(super) fn stand_before(&self, chain: Key, event: EventRef) -> bool {
        self.front.range((chain, FIRST)..(chain, event)).next().is_some()
    }

    /// A delivery has died. `chain`: those it stands before.
    pub(super) fn add(&mut self, event: EventRef, key: Option<Key>, died_at: UnixMs, chain: Option<Key>) {
        self.dead.insert(event, Dead { key, died_at, chain });
        self.front.extend(chain.map(|chain| (chain, event)));
    }

    /// A delivery is dead no more. The chain that it stood before.
    pub(super) fn remove(&mut self, event: EventRef) -> Option<Key> {
        let chain = self.dead.remove(&event)?.chain?;
        self.front.remove(&(chain, event));
        Some(chain)
    }

    /// The dead of a generation are gone. The chains that they stood before.
    pub(super) fn remove_generation(&mut self, generation: u32) -> BTreeSet<Key> {
        let all = EventRef { generation, seq: 0 }..=EventRef { generation, seq: u32::MAX };
        let gone: Vec<_> = self.dead.extract_if(all, |_, _| true).collect();
        let chains = gone.into_iter().filter_map(|(event, dead)| dead.chain.map(|chain| (chain, event)));
        chains.filter(|place| self.front.remove(place)).map(|(chain, _)| chain).collect()
    }

    /// None is left. The chains that they stood before.
    pub(super) fn clear(&mut self) -> BTreeSet<Key> {
        self.dead.clear();
        std::mem::take(&mut self.front).into_iter().map(|(chain, _)| chain).collect()
    }

    /// Forgets those that died before a moment, and puts each of the others where it belongs now. The chains that any stood
    /// or stands before.
    pub(super) fn file(&mut self, since: UnixMs, chain_of: impl Fn(Option<Key>) -> Option<Key>) -> BTreeSet<Key> {
        let dead = std::mem::take(&mut self.dead);
        let mut chains = self.clear();
        for (event, dead) in dead {
            if dead.died_at >= since {
                self.add(event, dead.key, dead.died_at, chain_of(dead.key));
            }
        }
        chains.extend(self.front.iter().map(|(chain, _)| *chain));
        chains
    }
}
