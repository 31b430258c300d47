//! Writing outcomes: what has happened to deliveries, and what they become.
//!
//! Outcomes are written at once and synced within [`SETTLE_SYNC_MS`]: losing one means one more delivery, never one less.
//! While the disk refuses they are owed: kept in memory, in order, and tried again. When too many are owed none are taken
//! any more, so that attempts wait for the disk instead of being made again after a restart.
//!
//! `order = "key"` relies on this: after a SIGKILL the outcome of an earlier event of a key is never missing while that of a
//! later one is there. The earlier one is told first, and lies in the same generation or an older one. So outcomes are written
//! in the order of their generations, the oldest first; within one they are a log. The engine keeps what it was given in this
//! process for a while, and another generation's rows may reach the kernel meanwhile: therefore nothing is written to a
//! generation before what older ones keep so is handed over. And while an older one refuses its outcomes, those of younger ones
//! are owed too, as long as not too many are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::StoreError;
use super::generation::Generation;
use super::writer::Writer;
use crate::clock::{MonoMs, UnixMs};
use crate::limits::OWED_SETTLEMENTS_MAX;
use crate::model::delivery::{Settlement, Standing};

/// Longest that a settlement waits for its fsync, in milliseconds.
pub(super) const SETTLE_SYNC_MS: u64 = 200;
/// Most generations that wait for their sync at once.
const UNSYNCED_MAX: usize = 8;
/// Shortest time between two tries to write what is owed, in milliseconds.
const OWED_AGAIN_MS: u64 = 500;

/// Outcomes that may be owed before those of younger generations wait no longer for those of one that refuses: one damaged
/// generation must not stop the rest.
const HELD_BACK_MAX: usize = OWED_SETTLEMENTS_MAX / 2;

/// What has happened to a delivery, and when that was told.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) settlement: Settlement,
    pub(super) at: UnixMs,
}

impl Outcome {
    fn generation(&self) -> u32 {
        self.settlement.delivery.event.generation
    }

    fn is_end(&self) -> bool {
        !matches!(self.settlement.standing, Standing::Pending { .. })
    }
}

/// Outcomes on their way to the disk.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    /// Generations with something written and not synced.
    pub(super) unsynced: BTreeMap<u32, Arc<Generation>>,
    pub(super) unsynced_since: Option<MonoMs>,
    /// What the disk refused, the oldest first.
    owed: Vec<Outcome>,
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
    pub(super) fn owed_to(&self, generation: u32) -> impl Iterator<Item = &Outcome> {
        self.owed.iter().filter(move |outcome| outcome.generation() == generation)
    }
}

impl Writer {
    /// Writes outcomes; readers see them at once.
    pub(super) fn settle(&mut self, outcomes: Vec<Outcome>) {
        // What is owed comes first: the last row of a delivery counts.
        let patient = !self.outcomes.owed.is_empty();
        self.outcomes.owed.extend(outcomes);
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
        let mut by_generation: BTreeMap<u32, Vec<Outcome>> = BTreeMap::new();
        for outcome in std::mem::take(&mut self.outcomes.owed) {
            by_generation.entry(outcome.generation()).or_default().push(outcome);
        }
        let mut refused = false;
        for (no, outcomes) in by_generation {
            let Some(slot) = self.store.slot(no) else { continue };
            if refused && self.outcomes.owed.len() + outcomes.len() <= HELD_BACK_MAX {
                self.owe(outcomes);
                continue;
            }
            self.hand_over_before(no);
            let mut written = self.append(no, &outcomes);
            if let Err(error) = &written {
                tracing::debug!(generation = no, %error, "a generation failed and is opened again");
                self.abandon(no);
                self.mend_one(&slot);
                written = self.append(no, &outcomes);
            }
            match written {
                Ok(generation) => {
                    let now = self.clock.wall();
                    let finished = outcomes.iter().filter(|outcome| outcome.is_end()).count();
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
                    self.owe(outcomes);
                    refused = true;
                }
            }
        }
        self.count_owed();
    }

    /// Hands to the operating system what generations older than `no` were given and keep in this process still.
    fn hand_over_before(&mut self, no: u32) {
        let older = self.outcomes.unsynced.range(..no).filter(|(_, generation)| generation.buffers());
        let older: Vec<_> = older.map(|(no, generation)| (*no, Arc::clone(generation))).collect();
        for (no, generation) in older {
            if let Err(error) = generation.flush() {
                tracing::debug!(generation = no, %error, "outcomes of deliveries could not be handed over");
                self.trouble = Some(error.to_string());
                self.abandon(no);
            }
        }
    }

    fn count_owed(&self) {
        self.metrics.settlements_owed.set(i64::try_from(self.outcomes.owed.len()).unwrap_or(i64::MAX));
    }

    /// Keeps what the disk refused, to be written later.
    pub(super) fn owe(&mut self, outcomes: Vec<Outcome>) {
        self.outcomes.owed_again = self.clock.mono().plus_ms(OWED_AGAIN_MS);
        self.outcomes.owed.extend(outcomes);
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

    fn append(&self, no: u32, outcomes: &[Outcome]) -> Result<Arc<Generation>, StoreError> {
        let slot = self.store.slot(no).ok_or(StoreError::Gone)?;
        let generation = self.open(&slot)?;
        generation.append_settlements(outcomes)?;
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
