//! What the writer does about once a second: mend what is damaged, open what was shut, seal, summarise, remove, and judge
//! whether there is room.

use std::sync::Arc;

use super::low::Measure;
use super::news::Recovered;
use super::recovery;
use super::room::{Condition, free_bytes_min};
use super::slot::Slot;
use super::store::Store;
use super::writer::Writer;
use super::{News, StoreError, summary};
use crate::clock::UnixMs;

/// Time between two rounds of housekeeping, in milliseconds.
pub(super) const HOUSEKEEPING_MS: u64 = 1_000;
/// A generation is sealed at this age even if it is small, so that retention can remove it: a quarter of the retention,
/// within these bounds, in milliseconds.
const SEAL_AGE_MS: std::ops::RangeInclusive<u64> = 1_000..=24 * 3600 * 1000;
/// Shortest time between two tries to seal what a failure left unsealed, in milliseconds.
const SEAL_AGAIN_MS: u64 = 10_000;
/// Shortest time between two tries to mend a generation, where the first failed, in milliseconds.
const MEND_AGAIN_MS: u64 = 5_000;
/// How long nothing must have happened to a sealed generation before its summary is written, in milliseconds.
const QUIET_MS: u64 = 5_000;

impl Writer {
    /// One round.
    pub(super) fn keep_house(&mut self) {
        let now = self.clock.wall();
        for slot in self.store.slots() {
            if self.store.misses(&slot) {
                self.abandon(slot.no());
            }
        }
        if self.current.as_ref().is_some_and(|current| current.generation.failed() || current.slot.in_doubt()) {
            // Nothing was written meanwhile that would have met the failure, and it cannot be mended before it is let go.
            self.abandon_current(None);
        }
        for slot in self.store.slots() {
            if slot.in_doubt() {
                self.mend_one(&slot);
            }
        }
        self.store.let_go_of_read_only();
        self.open_shut(now);
        self.write_owed();
        // It stays noted where the disk refuses it, and the next round tries again.
        let _ = self.store_endpoints();
        let refuses = self.trouble.is_some() && !self.store.disk_works();
        if !refuses {
            self.seal_left_over();
        }
        let seal_age_ms = (self.options.retention_ms / 4).clamp(*SEAL_AGE_MS.start(), *SEAL_AGE_MS.end());
        let old = self
            .current
            .as_ref()
            .is_some_and(|current| current.generation.events() > 0 && now.since(current.since) >= seal_age_ms);
        if old {
            self.seal_current();
        }
        for slot in self.store.slots() {
            if slot.is_sealed() && !slot.in_doubt() {
                self.retain(&slot, now, refuses);
            }
        }
        for unused in self.store.recent().end_round() {
            self.store.close(unused);
        }
        if self.store.recent().has_leaving() {
            self.readers.try_job(Store::close_leaving);
        }
        if !refuses {
            self.summarise_one(now);
        }
        self.recover_from_trouble();
        self.store.review_damages();
        if let Err(error) = self.store.save_roll() {
            tracing::debug!(%error, "the roll of generations could not be written; it is tried again");
        }
        self.metrics.outbox_disk_bytes.set(i64::try_from(self.store.measure()).unwrap_or(i64::MAX));
        self.metrics.outbox_generations.set(i64::try_from(self.store.len()).unwrap_or(i64::MAX));
        self.judge_room();
    }

    /// The scheduler may take its time; the writer waits for it, as with everything that it must not miss.
    fn tell_removed(&self, generation: u32) {
        let _ = self.news.blocking_send(News::Removed { generation });
    }

    /// Judges whether room runs out and whether events may be taken, and lets everybody know.
    pub(super) fn judge_room(&mut self) -> Condition {
        let space = self.store.disk().space(self.store.folder().dir()).ok();
        let free = space.map(|space| (space.free_bytes, free_bytes_min(self.options.free_bytes_min, space)));
        if let Some((free_bytes, _)) = free {
            self.metrics.outbox_free_bytes.set(i64::try_from(free_bytes).unwrap_or(i64::MAX));
        }
        let measure = Measure { size: (self.store.disk_bytes(), self.options.size_bytes_max), free };
        self.tell_low(&measure);
        let condition = self.condition(&measure);
        self.room.set(&condition, &self.metrics);
        condition
    }

    fn condition(&self, measure: &Measure) -> Condition {
        if !self.shut.is_empty() {
            return Condition::Failing { why: self.why_shut.clone() };
        }
        let (bytes, bytes_max) = measure.size;
        if bytes >= bytes_max {
            return Condition::Full { bytes, bytes_max };
        }
        if let Some((free_bytes, free_bytes_min)) = measure.free
            && free_bytes < free_bytes_min
        {
            return Condition::NoSpace { free_bytes, free_bytes_min };
        }
        match &self.trouble {
            Some(why) => Condition::Failing { why: why.clone() },
            None => Condition::Open,
        }
    }

    /// After a failure, and with nobody posting events, tries by itself whether the disk works again.
    fn recover_from_trouble(&mut self) {
        if self.trouble.is_none() {
            return;
        }
        let tried = match self.begin() {
            Ok(()) if self.store.disk_works() => Ok(()),
            Ok(()) => return,
            Err(error) => Err(error),
        };
        match tried {
            Ok(()) => self.trouble = None,
            Err(error) => self.trouble = Some(error.to_string()),
        }
    }

    /// Mends a generation, where it is in doubt.
    pub(super) fn mend_one(&mut self, slot: &Arc<Slot>) {
        let no = slot.no();
        // What was written lazily is handed to the file before that is read; it may well refuse.
        if let Some(generation) = self.outcomes.unsynced.remove(&no) {
            let _ = generation.flush();
        }
        if self.current.as_ref().is_some_and(|current| current.slot.no() == no) {
            return;
        }
        let now = self.clock.mono();
        if now < self.mend_again {
            return;
        }
        match self.store.mend(slot, self.clock.wall()) {
            Ok(_) if self.store.slot(no).is_none() => self.tell_removed(no),
            Ok(waiting) if waiting.is_empty() => {}
            Ok(waiting) => {
                tracing::warn!(
                    generation = no,
                    deliveries = waiting.len(),
                    "what had become of these deliveries is lost with what was damaged; they are made again"
                );
                let _ = self.news.blocking_send(News::Revived(waiting));
            }
            Err(error) => {
                // It takes reading and writing a whole generation, so it is not tried all the time.
                self.mend_again = now.plus_ms(MEND_AGAIN_MS);
                tracing::warn!(generation = no, %error, "a damaged generation could not be mended yet; it is tried again");
                if !self.store.disk_works() {
                    self.trouble = Some(error.to_string());
                }
            }
        }
    }

    /// Tries the generations again that could not be opened at the start, and schedules what waits in them. After a failure
    /// the others wait for the next round: each try may read a whole generation, and outcomes wait meanwhile.
    fn open_shut(&mut self, now: UnixMs) {
        // Each try reads a whole generation, so none is made on a disk that is known to refuse.
        if !self.shut.is_empty() && !self.store.disk_works() {
            return;
        }
        while let Some(no) = self.shut.first().copied() {
            match recovery::find(&self.store, no, now) {
                Ok(found) => {
                    let (waiting, dead) = Recovered::sort_out(found.deliveries);
                    tracing::info!(generation = no, deliveries = waiting.len(), "a generation could be opened");
                    self.store.add(found.slot);
                    if !dead.is_empty() {
                        let _ = self.news.blocking_send(News::Fallen(dead));
                    }
                    let _ = self.news.blocking_send(News::Revived(waiting));
                }
                // Somebody removed it, which was told.
                Err(StoreError::Gone) => {}
                Err(error) => {
                    self.why_shut = error.to_string();
                    self.shut.rotate_left(1);
                    return;
                }
            }
            self.shut.remove(0);
        }
    }

    /// Seals generations that a failure or a restart left unsealed, so that they can be removed in their time.
    fn seal_left_over(&mut self) {
        let now = self.clock.mono();
        if now < self.seal_again {
            return;
        }
        let current = self.current.as_ref().map(|current| current.slot.no());
        for slot in self.store.slots() {
            if slot.is_sealed() || slot.in_doubt() || Some(slot.no()) == current {
                continue;
            }
            // Opening a large one takes a second, in which no event would be taken. But where a commit failed, sealing is what
            // keeps its events, which were refused, from coming back after a crash.
            let urgent = slot.handle().know_only.is_some();
            if !urgent && !self.store.is_open(slot.no()) {
                self.readers.try_job(move |store| drop(store.open(&slot)));
                continue;
            }
            self.seal_again = now.plus_ms(SEAL_AGAIN_MS);
            let sealed = self.store.open(&slot).and_then(|generation| slot.seal(&generation));
            if let Err(error) = sealed {
                tracing::warn!(generation = slot.no(), %error, "a generation could not be sealed; it is tried again");
                self.abandon(slot.no());
            }
        }
    }

    /// Removes a sealed generation past retention, and marks one in which nothing is pending. Where the disk `refuses`, it is
    /// only removed, which makes room.
    fn retain(&mut self, slot: &Arc<Slot>, now: UnixMs, refuses: bool) {
        let life = slot.life(|life| *life);
        if life.pending > 0 {
            return;
        }
        if now.since(life.changed_at) >= self.options.retention_ms {
            self.outcomes.unsynced.remove(&slot.no());
            match self.store.remove(slot.no()) {
                Ok(()) => tracing::debug!(generation = slot.no(), "generation removed: past retention"),
                Err(error) => {
                    tracing::warn!(generation = slot.no(), %error, "a generation past retention could not be removed");
                }
            }
            // Also after a failure: nothing of it is found any more.
            self.tell_removed(slot.no());
        } else if !life.marked_done && !refuses {
            let marked = self.open(slot).and_then(|generation| {
                generation.set_done(life.changed_at)?;
                self.sync_soon(slot.no(), generation);
                Ok(())
            });
            match marked {
                Ok(()) => slot.life(|life| (life.marked_done, life.summarised) = (true, false)),
                Err(error) => tracing::warn!(generation = slot.no(), %error, "a generation could not be marked"),
            }
        }
    }

    /// Has the summary of one quiet generation written, by a thread that reads.
    fn summarise_one(&mut self, now: UnixMs) {
        let quiet = |slot: &Arc<Slot>| {
            slot.is_sealed()
                && !slot.in_doubt()
                && !self.outcomes.unsynced.contains_key(&slot.no())
                && slot.life(|life| !life.summarised && now.since(life.changed_at) >= QUIET_MS)
        };
        if let Some(slot) = self.store.slots().into_iter().find(quiet) {
            self.readers.try_job(move |store| {
                if let Err(error) = summarise(store, &slot, now) {
                    tracing::debug!(generation = slot.no(), %error, "the summary of a generation could not be written");
                }
            });
        }
    }
}

/// Writes the summary of a generation, unless something is written to that meanwhile.
pub(super) fn summarise(store: &Store, slot: &Slot, now: UnixMs) -> Result<(), StoreError> {
    let Some(filter) = slot.filter() else { return Ok(()) };
    let dir = store.folder().generation(slot.no());
    store.read(slot, |generation| {
        if generation.is_read_only() {
            return Ok(());
        }
        let version = generation.version();
        let fold = recovery::fold_generation(generation, now)?;
        // The writer may have written since it chose this generation. A summary must not outlive what it tells.
        if let Err(error) = generation.sync() {
            // As after any failed fsync: it is written anew before it is used again.
            tracing::debug!(generation = slot.no(), %error, "a generation could not be synced for its summary");
            store.forget(slot.no(), None);
            return Ok(());
        }
        let life = slot.life(|life| *life);
        // The start counts what waits anew; what else the fold cannot know is taken from what is known.
        let life = super::slot::Life { pending: fold.life.pending, ..life };
        let summary = summary::Summary { life, filter, deliveries: fold.deliveries };
        summary::draft(&dir, store.folder().mark(), store.roster(), &summary)?;
        // First, so that the writer has the last word where it writes just now.
        slot.life(|life| life.summarised = true);
        let published = generation.publish_summary(&dir, version);
        if !matches!(published, Ok(true)) {
            slot.life(|life| life.summarised = false);
        }
        published.map(drop).map_err(Into::into)
    })?;
    Ok(())
}
