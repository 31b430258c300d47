//! Writing outcomes: what has happened to deliveries, and what they become.
//!
//! Outcomes are written at once and synced within [`SETTLE_SYNC_MS`]: losing one means one more delivery, never one less.
//! While the disk refuses they are owed: kept in memory, in order, and tried again. When too many are owed none are taken
//! any more, so that attempts wait for the disk instead of being made again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StoreError;
use super::generation::Generation;
use super::writer::Writer;
use crate::clock::MonoMs;
use crate::limits::OWED_SETTLEMENTS_MAX;
use crate::model::delivery::{Settlement, Standing};

/// Longest that a settlement waits for its fsync, in milliseconds.
pub(super) const SETTLE_SYNC_MS: u64 = 200;
/// Most generations that wait for their sync at once.
const UNSYNCED_MAX: usize = 8;
/// Shortest time between two tries to write what is owed, in milliseconds.
const OWED_AGAIN_MS: u64 = 500;

/// Outcomes on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// Generations with something written and not synced.
    pub(super) unsynced: BTreeMap<u32, Arc<Generation>>,
    pub(super) unsynced_since: Option<MonoMs>,
    /// What the disk refused, the oldest first.
    owed: Vec<Settlement>,
    owed_again: MonoMs,
}

impl Outcomes {
    /// Whether more may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.owed.len() < OWED_SETTLEMENTS_MAX
    }

    /// Whether one of the generations that wait for their sync has failed meanwhile: nobody can open it anew before it is let
    /// go of.
    pub(super) fn hold_up(&self) -> bool {
        self.unsynced.values().any(|generation| generation.failed())
    }

    /// What the disk refused of a generation, the oldest first: it counts more than what stands there.
    pub(super) fn owed_to(&self, generation: u32) -> impl Iterator<Item = &Settlement> {
        self.owed.iter().filter(move |settlement| settlement.delivery.event.generation == generation)
    }
}

impl Writer {
    /// Writes settlements; readers see them at once.
    pub(super) fn settle(&mut self, settlements: Vec<Settlement>) {
        // What is owed comes first: the last row of a delivery counts.
        let patient = !self.outcomes.owed.is_empty();
        self.outcomes.owed.extend(settlements);
        if !patient || self.clock.mono() >= self.outcomes.owed_again {
            self.write_owed();
        }
    }

    /// Writes what is owed; what is refused stays owed.
    pub(super) fn write_owed(&mut self) {
        if !self.outcomes.owed.is_empty() && self.trouble.is_some() && !self.store.disk_works() {
            // Opening what failed reads all of it, for nothing on a disk that refuses still.
            self.owe(Vec::new());
            return self.count_owed();
        }
        let mut by_generation: BTreeMap<u32, Vec<Settlement>> = BTreeMap::new();
        for settlement in std::mem::take(&mut self.outcomes.owed) {
            by_generation.entry(settlement.delivery.event.generation).or_default().push(settlement);
        }
        for (no, settlements) in by_generation {
            let Some(slot) = self.store.slot(no) else { continue };
            let mut written = self.append(no, &settlements);
            if let Err(error) = &written {
                tracing::debug!(generation = no, %error, "a generation failed and is opened again");
                self.abandon(no);
                self.mend_one(&slot);
                written = self.append(no, &settlements);
            }
            match written {
                Ok(generation) => {
                    let now = self.clock.wall();
                    let finished =
                        settlements.iter().filter(|s| !matches!(s.standing, Standing::Pending { .. })).count();
                    slot.life(|life| {
                        life.pending = life.pending.saturating_sub(finished as u64);
                        life.changed_at = now;
                        (life.summarised, life.marked_done) = (false, false);
                    });
                    self.sync_soon(no, generation);
                }
                Err(error) => {
                    tracing::debug!(generation = no, %error, "outcomes of deliveries could not be written");
                    self.abandon(no);
                    self.trouble = Some(error.to_string());
                    self.owe(settlements);
                }
            }
        }
        self.count_owed();
    }

    fn count_owed(&self) {
        self.metrics.settlements_owed.set(i64::try_from(self.outcomes.owed.len()).unwrap_or(i64::MAX));
    }

    /// Keeps what the disk refused, to be written later.
    pub(super) fn owe(&mut self, settlements: Vec<Settlement>) {
        self.outcomes.owed_again = self.clock.mono().plus_ms(OWED_AGAIN_MS);
        self.outcomes.owed.extend(settlements);
    }

    /// What could not be written to the last. Told when the outbox closes.
    pub(super) fn tell_owed(&self) {
        if !self.outcomes.owed.is_empty() {
            tracing::warn!(
                outcomes = self.outcomes.owed.len(),
                "outcomes of deliveries could not be written: after a restart they are delivered once more"
            );
        }
    }

    fn append(&self, no: u32, settlements: &[Settlement]) -> Result<Arc<Generation>, StoreError> {
        let slot = self.store.slot(no).ok_or(StoreError::Gone)?;
        let generation = self.open(&slot)?;
        generation.append_settlements(settlements)?;
        Ok(generation)
    }

    /// Has a generation synced within [`SETTLE_SYNC_MS`]. It stays open until then, so there are never many of them.
    pub(super) fn sync_soon(&mut self, no: u32, generation: Arc<Generation>) {
        if self.outcomes.unsynced.len() >= UNSYNCED_MAX {
            self.sync_settlements();
        }
        self.outcomes.unsynced.insert(no, generation);
        self.outcomes.unsynced_since.get_or_insert(self.clock.mono());
    }

    pub(super) fn sync_settlements(&mut self) {
        self.outcomes.unsynced_since = None;
        for (no, generation) in std::mem::take(&mut self.outcomes.unsynced) {
            if let Err(error) = generation.sync() {
                tracing::debug!(generation = no, %error, "outcomes of deliveries could not be synced");
                self.trouble = Some(error.to_string());
                self.abandon(no);
            }
        }
    }
}
