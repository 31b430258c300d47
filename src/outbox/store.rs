//! The set of generations: which there are, which are open, where an id is.
//!
//! One generation is current and takes the events. The others are sealed: closed, and opened on demand (`lending.rs`), past the
//! engine (`sealed.rs`). Of each, a few hundred bytes and its id filter stay in memory.
//!
//! A generation that turns out to be damaged is put in doubt by whoever meets the damage, and is not opened again before the
//! writer has mended it ([`Store::mend`]): only the thread that writes may put another in its place.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use super::damage::Damage;
use super::disk::SharedDisk;
use super::folder::Folder;
use super::generation::Head;
use super::lending::RESCUES_MAX;
use super::news::Recovered;
use super::recent::Recent;
use super::recovery::{self, Fold};
use super::rescue::{Doubt, Rescue};
use super::roll::Roll;
use super::slot::{Ids, Slot};
use super::{StoreError, index};
use crate::clock::UnixMs;
use crate::model::delivery::{EventRef, Waiting};
use crate::model::roster::Roster;
use crate::observe::Metrics;
use crate::observe::storage::{BlobFilesFound, GenerationDamaged};

/// All generations.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) folder: Folder,
    pub(super) roster: Arc<Roster>,
    pub(super) disk: SharedDisk,
    metrics: Arc<Metrics>,
    slots: RwLock<BTreeMap<u32, Arc<Slot>>>,
    /// Open generations, the most recently used last.
    recent: Mutex<Recent>,
    roll: Mutex<Roll>,
    damages: Mutex<Vec<Damage>>,
    disk_bytes: AtomicU64,
}

impl Store {
    pub(super) fn new(
        folder: Folder,
        roll: Roll,
        roster: Arc<Roster>,
        disk: SharedDisk,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            folder,
            roster,
            disk,
            metrics,
            slots: RwLock::default(),
            recent: Mutex::default(),
            roll: Mutex::new(roll),
            damages: Mutex::default(),
            disk_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    pub(super) fn disk(&self) -> &SharedDisk {
        &self.disk
    }

    /// What was set aside, or found gone, and was not cleared away since.
    pub(super) fn damages(&self) -> Vec<Damage> {
        self.damages.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds what was found damaged, and tells it.
    pub(super) fn tell_damage(&self, damage: Damage, new: bool) {
        GenerationDamaged {
            generation: damage.generation,
            what: &damage.what,
            loss: &damage.loss.to_string(),
            folder: &damage.folder,
            harmless: damage.loss.is_none(),
            new,
        }
        .tell(&self.metrics);
        if damage.folder != self.folder.generation(damage.generation) {
            self.damages.lock().unwrap_or_else(PoisonError::into_inner).push(damage);
            self.review_damages();
        }
    }

    /// Looks which of what was set aside is still there.
    pub(super) fn review_damages(&self) {
        let mut damages = self.damages.lock().unwrap_or_else(PoisonError::into_inner);
        damages.retain(|damage| !is_gone(&damage.folder));
        self.metrics.outbox_damaged.set(i64::try_from(damages.len()).unwrap_or(i64::MAX));
    }

    /// Bytes on disk, as last measured plus what was written since.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// Counts bytes written.
    pub(super) fn add_disk_bytes(&self, bytes: u64) {
        self.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Measures the bytes on disk, and counts blob files on the way: there must be none, and more than there were are told.
    pub(super) fn measure(&self) -> u64 {
        let (mut bytes, mut blobs, mut with_blobs) = (0, 0, 0);
        for slot in self.slots() {
            let (generation_bytes, generation_blobs) = self.folder.measure_generation(slot.no());
            bytes += generation_bytes;
            blobs += generation_blobs;
            with_blobs = if generation_blobs > 0 { slot.no() } else { with_blobs };
        }
        self.disk_bytes.store(bytes, Ordering::Relaxed);
        let count = i64::try_from(blobs).unwrap_or(i64::MAX);
        if count > self.metrics.outbox_blobs.get() {
            BlobFilesFound { count: blobs, folder: &self.folder.generation(with_blobs) }.tell();
        }
        self.metrics.outbox_blobs.set(count);
        bytes
    }

    /// Adds a generation that is there already.
    pub(super) fn add(&self, slot: Arc<Slot>) {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot.no(), slot);
    }

    /// Adds a generation that was just made, durably.
    pub(super) fn enroll(&self, slot: Arc<Slot>) -> io::Result<()> {
        self.roll().add(slot.no())?;
        self.add(slot);
        Ok(())
    }

    /// Writes the roll as it stands, where its file tells something else, and clears away what told of it meanwhile.
    pub(super) fn save_roll(&self) -> io::Result<()> {
        if self.roll().save()? {
            self.folder.half_removed()?.into_iter().try_for_each(|no| self.folder.remove_emptied(no))?;
        }
        Ok(())
    }

    /// Forgets a generation and removes it from the disk.
    pub(super) fn remove(&self, no: u32) -> io::Result<()> {
        let removed = self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&no);
        // The lock on the slots is let go of first: whoever is just opening the generation asks for it.
        if let Some(slot) = removed {
            slot.handle().gone = true;
        }
        self.recent().forget(no);
        // What it takes is freed first: on a full disk the roll cannot be written before. Until it is, an empty folder tells
        // that this one is not missed.
        self.folder.empty_generation(no)?;
        self.roll().remove(no)?;
        self.folder.remove_emptied(no)
    }

    /// All generations, oldest first.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// One generation.
    pub(super) fn slot(&self, no: u32) -> Option<Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&no).cloned()
    }

    /// How many generations there are.
    pub(super) fn len(&self) -> usize {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Puts a generation in doubt whose files are gone, open or not: whatever is written to one that is open goes nowhere.
    /// Tells whether they are.
    pub(super) fn misses(&self, slot: &Slot) -> bool {
        let dir = self.folder.generation(slot.no());
        if !is_gone(&dir.join("db")) {
            return false;
        }
        let mut handle = slot.handle();
        // Where the whole folder is gone, a file system that is not mounted just now is more likely.
        if handle.rescues < RESCUES_MAX && self.disk_works() {
            let what = if is_gone(&dir) { "its folder is gone" } else { "its database is gone" };
            let doubt = Doubt { what: what.to_owned(), know_only: handle.know_only, keep: true };
            handle.doubt.get_or_insert(doubt);
        }
        true
    }

    /// Mends a generation that is in doubt: what is left of it takes its place. Only the thread that writes may ask for it,
    /// and only when it has let go of the generation itself. Returns deliveries that wait in it and that nobody has scheduled:
    /// what had become of them is lost.
    ///
    /// # Errors
    /// Where the disk refuses; it is in doubt still.
    pub(super) fn mend(&self, slot: &Slot, now: UnixMs) -> Result<Vec<Waiting>, StoreError> {
        let mut handle = slot.handle();
        let Some(doubt) = handle.doubt.clone() else { return Ok(Vec::new()) };
        handle.generation = Weak::new();
        self.recent().forget(slot.no());
        let rescue = Rescue { folder: &self.folder, roster: &self.roster, disk: &self.disk, now };
        if is_gone(&self.folder.generation(slot.no())) {
            let io = |source| StoreError::Io { what: "cannot record the loss of", generation: slot.no(), source };
            let damage = rescue.record_gone(slot.no()).map_err(io)?;
            handle.gone = true;
            drop(handle);
            self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&slot.no());
            self.tell_damage(damage, true);
            self.roll().remove(slot.no()).map_err(io)?;
            return Ok(Vec::new());
        }
        let damage = rescue.rescue(slot.no(), &doubt)?;
        handle.doubt = None;
        handle.know_only = None;
        handle.rescues += 1;
        drop(handle);
        // First: that it can be opened now is not certain, that it was damaged is.
        self.tell_damage(damage, true);
        slot.life(|life| life.summarised = false);
        // What was saved is sealed. Its ids stay as they are known until it has been opened.
        let Fold { deliveries, ids, .. } = recovery::fold_generation(&*self.open(slot)?, now)?;
        let (waiting, _) = Recovered::sort_out(deliveries);
        if let Ids::Sealed(filter) = ids {
            slot.set_filter(filter);
        }
        let scheduled = slot.life(|life| {
            life.marked_done = false;
            let scheduled = life.pending;
            life.pending = scheduled.max(waiting.len() as u64);
            scheduled
        });
        // Where some are scheduled, nobody can tell which: the others are made after the next start.
        Ok(if scheduled == 0 { waiting } else { Vec::new() })
    }

    /// The event under a hash of an id or key, in the generations from `from` on, newest first, whose head `fits`.
    pub(super) fn lookup(
        &self,
        hash: u64,
        from: u32,
        fits: impl Fn(&Head) -> bool,
    ) -> Result<Option<(EventRef, Head)>, StoreError> {
        for slot in self.slots().iter().rev().take_while(|slot| slot.no() >= from) {
            if !slot.may_hold(hash) {
                continue;
            }
            // A filter errs now and then; opening the generation each time would cost more than all else.
            let sealed = slot.is_sealed();
            let told = if sealed { index::find(&self.folder.generation(slot.no()), hash).ok() } else { None };
            if told == Some(None) {
                continue;
            }
            let found = self.read(slot, |generation| {
                let seq = match told.or_else(|| slot.live_ids(|known| known.get(&hash).copied())) {
                    Some(seq) => seq,
                    None => {
                        let ids = generation.ids()?;
                        generation.write_index(&ids);
                        ids.get(&hash).copied()
                    }
                };
                let Some(seq) = seq else { return Ok(None) };
                Ok(generation.head(seq)?.filter(&fits).map(|head| (generation.place(seq), head)))
            })?;
            if let Some(found) = found.flatten() {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether a generation that is sealed, or is before `horizon`, may hold the hash: then [`Store::lookup`] has to read
    /// the disk. Before the horizon one may be unsealed that the writer had to let go of; it looks from the horizon on.
    pub(super) fn may_be_old(&self, hash: u64, horizon: u32) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().any(|slot| (slot.no() < horizon || slot.is_sealed()) && slot.may_hold(hash))
    }

    /// The newest generation that there is: whatever is stored from now on goes there, or to a newer one. Numbers may have been
    /// given since that did not last.
    pub(super) fn horizon(&self) -> u32 {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.last_key_value().map_or(0, |(no, _)| *no)
    }

    /// The number of the newest generation that there is or ever was.
    pub(super) fn newest(&self) -> u32 {
        self.roll().newest()
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a path is not there. One that the disk just does not tell of is no loss.
pub(super) fn is_gone(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}
