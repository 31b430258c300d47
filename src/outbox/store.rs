//! The set of generations: which there are, which are open, where an id is.
//!
//! One generation is current and takes the events. The others are sealed: closed, opened on demand, and at most
//! [`OPEN_MAX`] of them open at once. Of each, a few hundred bytes and its id filter stay in memory.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
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
}

/// What is kept in memory of a generation.
#[derive(Debug)]
pub(super) struct Slot {
    no: u32,
    opened: Mutex<Weak<Generation>>,
    ids: RwLock<Ids>,
    life: Mutex<Life>,
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
    /// When its last event was accepted.
    pub(super) last_at: UnixMs,
    /// When something last happened in it.
    pub(super) changed_at: UnixMs,
    /// Whether the mark that nothing is pending is written.
    pub(super) marked_done: bool,
}

impl Slot {
    pub(super) fn new(no: u32, ids: Ids, life: Life) -> Arc<Self> {
        Arc::new(Self { no, opened: Mutex::new(Weak::new()), ids: RwLock::new(ids), life: Mutex::new(life) })
    }

    /// Its generation's number.
    pub(super) fn no(&self) -> u32 {
        self.no
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

    /// Replaces the ids by a filter.
    pub(super) fn seal(&self, filter: Filter) {
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
        Self { folder, roster, slots: RwLock::default(), recent: Mutex::default(), disk_bytes: AtomicU64::new(0) }
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
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot.no, slot);
    }

    /// Forgets a generation and removes it from the disk.
    pub(super) fn remove(&self, no: u32) -> std::io::Result<()> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&no);
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

    /// Opens a generation, or hands out the one that is open. Call it on a thread that may wait for the disk.
    pub(super) fn open(&self, slot: &Slot) -> Result<Arc<Generation>, StoreError> {
        let mut opened = slot.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(generation) = opened.upgrade().filter(|generation| !generation.failed()) {
            drop(opened);
            self.touch(&generation);
            return Ok(generation);
        }
        self.recent().retain(|generation| generation.no() != slot.no);
        let dir = self.folder.generation(slot.no);
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
        *opened = Arc::downgrade(&generation);
        drop(opened);
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
            let generation = self.open(slot)?;
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

    /// Whether a sealed generation may hold the hash: then [`Store::lookup`] has to read the disk.
    pub(super) fn may_be_sealed(&self, hash: u64) -> bool {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.values().any(|slot| slot.is_sealed() && slot.may_hold(hash))
    }

    /// The newest generation's number.
    pub(super) fn newest(&self) -> u32 {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).keys().next_back().copied().unwrap_or(0)
    }

    /// Lets go of an open generation that failed.
    pub(super) fn forget(&self, no: u32) {
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
