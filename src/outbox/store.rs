//! The set of generations: which there are, which are open, where an id is.
//!
//! One generation is current and takes the events. The others are sealed: closed, opened on demand, and at most
//! [`OPEN_MAX`] of them open at once. Of each, a few hundred bytes and its id filter stay in memory.
//!
//! A generation that turns out to be damaged is put in doubt by whoever meets the damage, and is not opened again before the
//! writer has mended it ([`Store::mend`]): only the thread that writes may put another in its place.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::damage::Damage;
use super::disk::SharedDisk;
use super::engine::EngineError;
use super::folder::Folder;
use super::generation::{Generation, Head, Identity};
use super::rescue::{Doubt, Rescue};
use super::roll::Roll;
use super::slot::Slot;
use super::{EngineFailure, ReadError, StoreError, caution};
use crate::clock::UnixMs;
use crate::model::delivery::EventRef;
use crate::model::roster::Roster;
use crate::observe::Metrics;
use crate::observe::happening::{BlobFilesFound, GenerationDamaged};

/// Sealed generations that stay open.
const OPEN_MAX: usize = 4;
/// How often a generation is tried that another thread is just closing, and the pause between.
const CLOSING_TRIES: u32 = 200;
const CLOSING_PAUSE: Duration = Duration::from_millis(10);
/// How often one generation is rescued before it is left alone until the next start.
const RESCUES_MAX: u32 = 3;

/// All generations.
#[derive(Debug)]
pub(super) struct Store {
    folder: Folder,
    roster: Arc<Roster>,
    disk: SharedDisk,
    metrics: Arc<Metrics>,
    slots: RwLock<BTreeMap<u32, Arc<Slot>>>,
    /// Open generations, the most recently used last.
    recent: Mutex<VecDeque<Arc<Generation>>>,
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
        self.recent().retain(|generation| generation.no() != no);
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

    /// Opens a generation, or hands out the one that is open. Call it on a thread that may wait for the disk.
    ///
    /// # Errors
    /// [`StoreError::InDoubt`] where it is damaged: the writer mends it before long.
    pub(super) fn open(&self, slot: &Slot) -> Result<Arc<Generation>, StoreError> {
        self.open_or_make(slot, false)
    }

    /// Makes a generation, and opens it. Only here does an empty one come to be: where one that was there is opened again, an
    /// empty one in its place would hide that it is gone.
    pub(super) fn make(&self, slot: &Slot) -> Result<Arc<Generation>, StoreError> {
        self.open_or_make(slot, true)
    }

    fn open_or_make(&self, slot: &Slot, make: bool) -> Result<Arc<Generation>, StoreError> {
        let no = slot.no();
        let mut handle = slot.handle();
        if handle.gone {
            return Err(StoreError::Gone);
        }
        if handle.doubt.is_some() {
            return Err(StoreError::InDoubt { generation: no });
        }
        if let Some(generation) = handle.generation.upgrade().filter(|generation| !generation.failed()) {
            drop(handle);
            self.touch(&generation);
            return Ok(generation);
        }
        self.recent().retain(|generation| generation.no() != no);
        let generation = match self.open_anew(no, handle.know_only, make) {
            Ok(generation) => Arc::new(generation),
            Err(error) if handle.rescues < RESCUES_MAX && self.is_damage(&error) => {
                let keep = !matches!(error, StoreError::Unsure { .. });
                handle.doubt = Some(Doubt { what: error.to_string(), know_only: handle.know_only, keep });
                return Err(StoreError::InDoubt { generation: no });
            }
            Err(error) if make => return Err(error),
            // On a disk that refuses what is there can be read all the same; the writer lets go of it when the disk works.
            Err(error) => match self.open_to_read(no, handle.know_only) {
                Some(generation) => {
                    tracing::debug!(generation = no, %error, "a generation is only read while the disk refuses");
                    Arc::new(generation)
                }
                None => return Err(error),
            },
        };
        if let Some(events) = handle.know_only {
            generation.know_only(events);
        }
        handle.generation = Arc::downgrade(&generation);
        drop(handle);
        self.touch(&generation);
        Ok(generation)
    }

    fn open_anew(&self, no: u32, know_only: Option<u32>, make: bool) -> Result<Generation, StoreError> {
        let dir = self.folder.generation(no);
        if !make && is_gone(&dir) {
            return Err(StoreError::Missing { generation: no });
        }
        if !make && is_gone(&dir.join("db")) {
            let source = io::ErrorKind::NotFound.into();
            return Err(EngineError::Io { what: "cannot find", path: dir.join("db"), source }.into());
        }
        let identity = self.identity(no);
        let mut tries = 0;
        loop {
            match caution::open(&dir, &identity, &self.disk, know_only) {
                // The last user may be closing it just now: sled holds its lock until it has.
                Err(StoreError::Engine(EngineError::InUse { .. })) if tries < CLOSING_TRIES => {
                    tries += 1;
                    std::thread::sleep(CLOSING_PAUSE);
                }
                other => return other,
            }
        }
    }

    fn identity(&self, no: u32) -> Identity {
        Identity { no, mark: self.folder.mark(), roster: Arc::clone(&self.roster) }
    }

    fn open_to_read(&self, no: u32, know_only: Option<u32>) -> Option<Generation> {
        let dir = self.folder.generation(no);
        if !dir.join("db").exists() || self.disk_works() {
            return None;
        }
        let opened = caution::open_to_read(&dir, &self.identity(no), know_only);
        opened.inspect_err(|error| tracing::debug!(generation = no, %error, "nor can a generation be read")).ok()
    }

    /// Lets go of generations that are only read, once the disk works: their next use opens them to be written to.
    pub(super) fn let_go_of_read_only(&self) {
        let open: Vec<_> = self.recent().iter().filter(|open| open.is_read_only()).map(|open| open.no()).collect();
        if !open.is_empty() && self.disk_works() {
            for no in open {
                self.forget(no, None);
            }
        }
    }

    /// Reads in a generation; `None` where it was removed meanwhile. Damage that is met puts it in doubt.
    pub(super) fn read<T>(
        &self,
        slot: &Slot,
        act: impl FnOnce(&Arc<Generation>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, StoreError> {
        let generation = match self.open(slot) {
            Ok(generation) => generation,
            Err(StoreError::Gone) => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = act(&generation);
        // Whoever opens it anew holds the handle's lock and waits until nobody has it open any more.
        let known = Arc::downgrade(&generation);
        drop(generation);
        read.map(Some).map_err(|error| {
            let error = StoreError::from(error);
            let mut handle = slot.handle();
            // What was read may have been mended meanwhile: then another stands in its place, and nothing is known of that.
            if handle.generation.ptr_eq(&known) && handle.rescues < RESCUES_MAX && self.is_damage(&error) {
                let doubt = Doubt { what: error.to_string(), know_only: handle.know_only, keep: true };
                handle.doubt.get_or_insert(doubt);
                return StoreError::InDoubt { generation: slot.no() };
            }
            error
        })
    }

    /// Whether an error tells of damage to a generation, and not of a disk that refuses everything for a while.
    fn is_damage(&self, error: &StoreError) -> bool {
        let suspect = match error {
            StoreError::Read(ReadError::Damaged(_)) | StoreError::Unsure { .. } | StoreError::Missing { .. } => true,
            StoreError::Engine(error) => error.suggests_damage(),
            StoreError::Read(ReadError::Engine(EngineFailure(error))) => error.suggests_damage(),
            _ => false,
        };
        suspect && self.disk_works()
    }

    /// Tries whether something small can be written and synced.
    pub(super) fn disk_works(&self) -> bool {
        let probe = self.folder.dir().join("outbox").join("probe");
        let tried = self.disk.before_write().and_then(|()| fs::File::create(&probe)).and_then(|mut file| {
            file.write_all(&[0; 4096])?;
            self.disk.sync_data(&file)
        });
        let _ = fs::remove_file(&probe);
        tried.is_ok()
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
    /// and only when it has let go of the generation itself.
    ///
    /// # Errors
    /// Where the disk refuses; it is in doubt still.
    pub(super) fn mend(&self, slot: &Slot, now: UnixMs) -> Result<(), StoreError> {
        let mut handle = slot.handle();
        let Some(doubt) = handle.doubt.clone() else { return Ok(()) };
        handle.generation = Weak::new();
        self.recent().retain(|generation| generation.no() != slot.no());
        let rescue = Rescue { folder: &self.folder, roster: &self.roster, disk: &self.disk, now };
        if is_gone(&self.folder.generation(slot.no())) {
            let io = |source| StoreError::Io { what: "cannot record the loss of", generation: slot.no(), source };
            let damage = rescue.record_gone(slot.no()).map_err(io)?;
            handle.gone = true;
            drop(handle);
            self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&slot.no());
            self.tell_damage(damage, true);
            return self.roll().remove(slot.no()).map_err(io);
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
        if let Some(filter) = self.open(slot)?.filter()? {
            slot.set_filter(filter);
        }
        Ok(())
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
            let found = self.read(slot, |generation| {
                let seq = match slot.live_ids(|known| known.get(&hash).copied()) {
                    Some(seq) => seq,
                    None => generation.indexed(hash)?,
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

    /// The number of the newest generation that there is or ever was.
    pub(super) fn newest(&self) -> u32 {
        self.roll().newest()
    }

    /// Lets go of an open generation that failed: the next use opens it anew, and where an fsync failed it is written anew
    /// first. `know_only`: only so many of its events count.
    pub(super) fn forget(&self, no: u32, know_only: Option<u32>) {
        if let Some(slot) = self.slot(no) {
            let mut handle = slot.handle();
            let torn = handle.generation.upgrade().is_some_and(|generation| generation.torn());
            handle.generation = Weak::new();
            handle.know_only = handle.know_only.or(know_only);
            if torn {
                let what = "an fsync of it failed".to_owned();
                let doubt = Doubt { what, know_only: handle.know_only, keep: false };
                handle.doubt.get_or_insert(doubt);
            }
        }
        self.recent().retain(|generation| generation.no() != no);
    }

    /// Whether a generation is open.
    #[cfg(test)]
    pub(super) fn is_open(&self, no: u32) -> bool {
        self.slot(no).is_some_and(|slot| slot.handle().generation.strong_count() > 0)
    }

    /// Closes every generation that nobody else holds.
    pub(super) fn close_all(&self) {
        self.recent().clear();
    }

    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Arc<Generation>>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a generation to the front of those in use, and closes the one longest unused.
    fn touch(&self, generation: &Arc<Generation>) {
        let mut closed = None;
        {
            let mut recent = self.recent();
            if recent.back().is_some_and(|last| Arc::ptr_eq(last, generation)) {
                return;
            }
            recent.retain(|other| !Arc::ptr_eq(other, generation));
            recent.push_back(Arc::clone(generation));
            if recent.len() > OPEN_MAX {
                closed = recent.pop_front();
            }
        }
        // What was written lazily becomes durable before the generation closes.
        if let Some(closed) = closed
            && Arc::strong_count(&closed) == 1
            && !closed.is_read_only()
            && let Err(error) = closed.sync()
        {
            tracing::warn!(generation = closed.no(), %error, "a generation could not be synced when it was closed");
            self.forget(closed.no(), None);
        }
    }
}

/// Whether a path is not there. One that the disk just does not tell of is no loss.
fn is_gone(path: &Path) -> bool {
    matches!(path.try_exists(), Ok(false))
}

#[cfg(test)]
mod tests {
    use super::super::disk::RealDisk;
    use super::super::slot::{Ids, Life};
    use super::*;
    use std::collections::HashMap;
    use std::sync::mpsc;

    #[test]
    fn removing_a_generation_that_is_just_being_opened_waits_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        let (roll, _) = Roll::open(&folder, &[]);
        let store = Store::new(folder, roll, Roster::shared(), RealDisk::shared(), Metrics::shared());
        let store = Arc::new(store);
        for no in [1, 2] {
            let slot = Slot::new(no, Ids::Live(HashMap::new()), Life::unknown(UnixMs(0)));
            store.make(&slot).unwrap();
            store.add(slot);
        }
        let slot = store.slot(1).unwrap();
        let opening = slot.handle();
        let (told, tells) = mpsc::channel();
        let removing = {
            let store = Arc::clone(&store);
            std::thread::spawn(move || store.remove(1))
        };
        let looking = {
            let store = Arc::clone(&store);
            std::thread::spawn(move || {
                while store.slot(1).is_some() {
                    std::thread::sleep(CLOSING_PAUSE);
                }
                told.send(store.slot(2).is_some()).unwrap();
            })
        };
        assert_eq!(tells.recv_timeout(Duration::from_secs(10)), Ok(true), "the slots can be asked for meanwhile");
        assert!(!removing.is_finished());
        drop(opening);
        removing.join().unwrap().unwrap();
        looking.join().unwrap();
        assert!(matches!(store.open(&slot), Err(StoreError::Gone)));
    }
}
