//! What is kept in memory of a generation, open or not.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError, Weak};

use super::StoreError;
use super::filter::Filter;
use super::generation::Generation;
use super::rescue::Doubt;
use crate::clock::UnixMs;

/// A generation's place in the store.
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
pub(super) struct Handle {
    pub(super) generation: Weak<Generation>,
    /// Removed: opening it would make an empty folder in its place.
    pub(super) gone: bool,
    /// How many of its events were ever acknowledged, where the commit after them failed. What may have reached the disk of
    /// that commit is not known any more: its producers were told that it was not stored.
    pub(super) know_only: Option<u32>,
    /// What is wrong with it. It is not opened again before the writer has mended it.
    pub(super) doubt: Option<Doubt>,
    /// How often it was rescued by this process.
    pub(super) rescues: u32,
}

/// How ids are found.
#[derive(Debug)]
pub(super) enum Ids {
    /// Not sealed: every hash with its event's number.
    Live(HashMap<u64, u32>),
    /// Sealed: a filter before the file with the ids.
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
    /// Whether its summary is written, and true.
    pub(super) summarised: bool,
}

impl Life {
    /// The life of a generation of which nothing is known yet.
    pub(super) fn unknown(now: UnixMs) -> Self {
        Self {
            pending: 0,
            last_at: UnixMs(0),
            disorder_ms: u64::MAX,
            changed_at: now,
            marked_done: false,
            summarised: false,
        }
    }
}

impl Slot {
    pub(super) fn new(no: u32, ids: Ids, life: Life) -> Arc<Self> {
        Arc::new(Self { no, handle: Mutex::default(), ids: RwLock::new(ids), life: Mutex::new(life) })
    }

    /// Its generation's number.
    pub(super) fn no(&self) -> u32 {
        self.no
    }

    pub(super) fn handle(&self) -> MutexGuard<'_, Handle> {
        self.handle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether something is wrong with it that the writer has to mend. It does not wait for whoever is just opening it, which
    /// may take seconds: only what is not in doubt is opened.
    pub(super) fn in_doubt(&self) -> bool {
        match self.handle.try_lock() {
            Ok(handle) => handle.doubt.is_some(),
            Err(TryLockError::Poisoned(handle)) => handle.into_inner().doubt.is_some(),
            Err(TryLockError::WouldBlock) => false,
        }
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

    /// Seals the generation, which is this slot's: from here on its ids are found by filter and file. Nothing happens to one
    /// that is sealed already.
    pub(super) fn seal(&self, generation: &Generation) -> Result<(), StoreError> {
        let last_at = self.life(|life| life.last_at);
        // Ids are added by the thread that seals; until it is done the others find them as before.
        let sealed = self.live_ids(|known| {
            generation.seal(known, last_at, generation.rescued())?;
            Ok::<_, StoreError>(Filter::over(known.keys().copied()))
        });
        if let Some(filter) = sealed {
            self.set_filter(filter?);
        }
        Ok(())
    }

    /// Replaces the ids by a filter.
    pub(super) fn set_filter(&self, filter: Filter) {
        *self.ids.write().unwrap_or_else(PoisonError::into_inner) = Ids::Sealed(filter);
    }

    /// The filter of a sealed generation.
    pub(super) fn filter(&self) -> Option<Filter> {
        match &*self.ids.read().unwrap_or_else(PoisonError::into_inner) {
            Ids::Live(_) => None,
            Ids::Sealed(filter) => Some(filter.clone()),
        }
    }

    pub(super) fn may_hold(&self, hash: u64) -> bool {
        match &*self.ids.read().unwrap_or_else(PoisonError::into_inner) {
            Ids::Live(known) => known.contains_key(&hash),
            Ids::Sealed(filter) => filter.may_hold(hash),
        }
    }
}
