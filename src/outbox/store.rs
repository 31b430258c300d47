//! The set of generations: which there are, which are open, where an id is.
//!
//! One generation is current and takes the events. The others are sealed: closed, opened on demand, and at most
//! [`OPEN_MAX`] of them open at once. Of each, a few hundred bytes and its id filter stay in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use super::StoreError;
use super::engine::EngineError;
use super::filter::Filter;
use super::folder::Folder;
use super::generation::{Generation, Head};
use crate::clock::UnixMs;
use crate::model::delivery::EventRef;
use crate::model::roster::Roster;

/// Sealed generations that stay open.
const OPEN_MAX: usize = 4;
/// How often a generation is tried that another thread is just closing, and the pause between.
const CLOSING_TRIES: u32 = 200;
const CLOSING_PAUSE: Duration = Duration::from_millis(10);

/// All generations.
#[derive(Debug)]
pub(super) struct Store {
    folder: Folder,
    roster: Arc<Roster>,
    slots: RwLock<BTreeMap<u32, Arc<Slot>>>,
    /// Open generations, the most recently used last.
    recent: Mutex<VecDeque<Arc<Generation>>>,
    disk_bytes: AtomicU64,
    /// The highest number that a generation ever had: none is given twice, though the generation may be long gone.
    newest: AtomicU32,
}

/// What is kept in memory of a generation.
#[derive(Debug)]
pub(super) struct Slot {
    no: u32,
    handle: Mutex<Handle>,
    ids: RwLock<Ids>,
    life: Mutex<Life>,
}

/// The way to the open generation. Whoever opens one holds its lock meanwhile, so that only one does. This lock comes before
/// those of the store.
#[derive(Debug, Default)]
struct Handle {
    generation: Weak<Generation>,
    /// Removed: opening it would make an empty folder in its place.
    gone: bool,
    /// How many of its events were ever acknowledged, where the commit after them failed. What may have reached the disk of
    /// that commit is taken back when the generation is opened again: its producers were told that it was not stored.
    cut: Option<u32>,
}

/// How ids are found.
#[derive(Debug)]
pub(super) enum Ids {
    /// Not sealed: every hash with its event's number.
    Live(HashMap<u64, u32>),
    /// Sealed: a filter before the stored index.
    Sealed(Filter),
}

/// What decides when a generation may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// Deliveries that are pending.
    pub(super) pending: u64,
    /// The latest time of its events.
    pub(super) last_at: UnixMs,
    /// By how much an event's time may lie before that of an event with a lower number, in milliseconds: requests
    /// overtake each other on their way to the writer, and the clock may be set back.
    pub(super) disorder_ms: u64,
    /// When something last happened in it.
    pub(super) changed_at: UnixMs,
    /// Whether the mark that nothing is pending is written.
    pub(super) marked_done: bool,
}

impl Slot {
    pub(super) fn new(no: u32, ids: Ids, life: Life) -> Arc<Self> {
        Arc::new(Self { no, handle: Mutex::default(), ids: RwLock::new(ids), life: Mutex::new(life) })
    }

    /// Its generation's number.
    pub(super) fn no(&self) -> u32 {
        self.no
    }

    fn handle(&self) -> MutexGuard<'_, Handle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes or reads its life.
    pub(super) fn life<T>(&self, act: impl FnOnce(&mut Life) -> T) -> T {
        act(&mut self.life.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether it takes no more events.
    pub(super) fn is_sealed(&self) -> bool {
        matches!(*self.ids.read().unwrap_or_else(PoisonError::into_inner), Ids::Sealed(_))
    }

    /// Adds ids of new events.
    pub(super) fn learn(&self, ids: impl Iterator<Item = (u64, u32)>) {
        if let Ids::Live(known) = &mut *self.ids.write().unwrap_or_else(PoisonError::into_inner) {
            known.extend(ids);
        }
    }

    /// The ids of a generation that is not sealed.
    pub(super) fn live_ids<T>(&self, act: impl FnOnce(&HashMap<u64, u32>) -> T) -> Option<T> {
        match &*self.ids.read().unwrap_or_else(PoisonError::into_inner) {
            Ids::Live(known) => Some(act(known)),
            Ids::Sealed(_) => None,
        }
    }

    /// Seals the generation, which is this slot's: from here on its ids are found by filter and index. Nothing happens to one
    /// that is sealed already.
    pub(super) fn seal(&self, generation: &Generation) -> Result<(), StoreError> {
        let last_at = self.life(|life| life.last_at);
        // Ids are added by the thread that seals; until it is done the others find them as before.
        if let Some(filter) = self.live_ids(|known| generation.seal(known, last_at)) {
            self.set_filter(filter?);
        }
        Ok(())
    }

    /// Replaces the ids by a filter.
    pub(super) fn set_filter(&self, filter: Filter) {
        *self.ids.write().unwrap_or_else(PoisonError::into_inner) = Ids::Sealed(filter);
    }

    fn may_hold(&self, hash: u64) -> bool {
        match &*self.ids.read().unwrap_or_else(PoisonError::into_inner) {
            Ids::Live(known) => known.contains_key(&hash),
            Ids::Sealed(filter) => filter.may_hold(hash),
        }
    }
}

impl Store {
    pub(super) fn new(folder: Folder, roster: Arc<Roster>) -> Self {
        Self {
            folder,
            roster,
            slots: RwLock::default(),
            recent: Mutex::default(),
            disk_bytes: AtomicU64::new(0),
            newest: AtomicU32::new(0),
        }
    }

    pub(super) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(super) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }

    /// Bytes on disk, as last measured plus what was written since.
    pub(super) fn disk_bytes(&self) -> u64 {
        self.disk_bytes.load(Ordering::Relaxed)
    }

    /// Counts bytes written.
    pub(super) fn add_disk_bytes(&self, bytes: u64) {
        self.disk_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Measures the bytes on disk.
    pub(super) fn measure(&self) -> u64 {
        let bytes = self.slots().iter().map(|slot| self.folder.generation_bytes(slot.no)).sum();
        self.disk_bytes.store(bytes, Ordering::Relaxed);
        bytes
    }

    /// Adds a generation.
    pub(super) fn add(&self, slot: Arc<Slot>) {
        self.newest.fetch_max(slot.no, Ordering::Relaxed);
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot.no, slot);
    }

    /// Forgets a generation and removes it from the disk.
    pub(super) fn remove(&self, no: u32) -> std::io::Result<()> {
        let removed = self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&no);
        // The lock on the slots is let go of first: whoever is just opening the generation asks for it.
        if let Some(slot) = removed {
            slot.handle().gone = true;
        }
        self.recent().retain(|generation| generation.no() != no);
        self.folder.remove_generation(no)
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

    /// As [`Store::open`]; `None` where the generation was removed meanwhile.
    pub(super) fn open_if_there(&self, slot: &Slot) -> Result<Option<Arc<Generation>>, StoreError> {
        match self.open(slot) {
            Err(StoreError::Gone) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Opens a generation, or hands out the one that is open. Call it on a thread that may wait for the disk.
    pub(super) fn open(&self, slot: &Slot) -> Result<Arc<Generation>, StoreError> {
        let mut handle = slot.handle();
        if handle.gone {
            return Err(StoreError::Gone);
        }
        if let Some(generation) = handle.generation.upgrade().filter(|generation| !generation.failed()) {
            drop(handle);
            self.touch(&generation);
            return Ok(generation);
        }
        self.recent().retain(|generation| generation.no() != slot.no);
        let dir = self.folder.generation(slot.no);
        if self.slot(slot.no).is_some() && !dir.exists() {
            // Opening it would put an empty one in its place.
            let source = std::io::ErrorKind::NotFound.into();
            return Err(EngineError::Io { what: "cannot find", path: dir, source }.into());
        }
        let mut tries = 0;
        let generation = loop {
            match Generation::open(&dir, slot.no, Arc::clone(&self.roster)) {
                Ok(generation) => break Arc::new(generation),
                // The last user may be closing it just now: sled holds its lock until it has.
                Err(StoreError::Engine(EngineError::InUse { .. })) if tries < CLOSING_TRIES => {
                    tries += 1;
                    std::thread::sleep(CLOSING_PAUSE);
                }
                Err(error) => return Err(error),
            }
        };
        if let Some(events) = handle.cut {
            generation.drop_events_from(events)?;
            handle.cut = None;
        }
        handle.generation = Arc::downgrade(&generation);
        drop(handle);
        self.touch(&generation);
        Ok(generation)
    }

    /// The event under a hash of an id or key, in the generations from `from` on, newest first, whose head `fits`.
    pub(super) fn lookup(
        &self,
        hash: u64,
        from: u32,
        fits: impl Fn(&Head) -> bool,
    ) -> Result<Option<(EventRef, Head)>, StoreError> {
        for slot in self.slots().iter().rev().take_while(|slot| slot.no >= from) {
            if !slot.may_hold(hash) {
                continue;
            }
            let Some(generation) = self.open_if_there(slot)? else { continue };
            let seq = match slot.live_ids(|known| known.get(&hash).copied()) {
                Some(seq) => seq,
                None => generation.indexed(hash)?,
            };
            if let Some(seq) = seq
                && let Some(head) = generation.head(seq)?
                && fits(&head)
            {
                return Ok(Some((generation.place(seq), head)));
            }
        }
        Ok(None)
    }

    /// Whether a generation that is sealed, or is before `horizon`, may hold the hash: then [`Store::lookup`] has to read
    /// the disk. Before the horizon one may be unsealed that the writer had to let go of; it looks from the horizon on.
    pub(super) fn may_be_old(&self, hash: u64, horizon: u32) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().any(|slot| (slot.no < horizon || slot.is_sealed()) && slot.may_hold(hash))
    }

    /// The number of the newest generation that there is or ever was.
    pub(super) fn newest(&self) -> u32 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Lets go of an open generation that failed: the next use opens it anew. `cut`: only so many of its events count.
    pub(super) fn forget(&self, no: u32, cut: Option<u32>) {
        if let Some(slot) = self.slot(no) {
            let mut handle = slot.handle();
            handle.generation = Weak::new();
            handle.cut = handle.cut.or(cut);
        }
        self.recent().retain(|generation| generation.no() != no);
    }

    /// Closes every generation that nobody else holds.
    pub(super) fn close_all(&self) {
        self.recent().clear();
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
            && let Err(error) = closed.sync()
        {
            tracing::warn!(generation = closed.no(), %error, "a generation could not be synced when it was closed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn removing_a_generation_that_is_just_being_opened_waits_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::new(Folder::open(dir.path()).unwrap(), Roster::shared()));
        let life = Life { pending: 0, last_at: UnixMs(0), disorder_ms: 0, changed_at: UnixMs(0), marked_done: false };
        for no in [1, 2] {
            let slot = Slot::new(no, Ids::Live(HashMap::new()), life);
            store.open(&slot).unwrap();
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
