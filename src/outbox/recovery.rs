//! Opening the outbox: which generations there are, what is pending in them, where the next event goes.
//!
//! A generation with a summary is not opened. The others are read by several threads at once, and told in their order. What
//! is damaged is mended on the way; what cannot be opened just now, since the disk is full, say, is left shut, and the writer
//! tries it again: until it is open no event is taken, for it may hold the same id.

use std::cell::LazyCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use super::filter::Filter;
use super::generation::{Generation, State};
use super::news::Recovered;
use super::rescue::Rescue;
use super::slot::{Ids, Life, Slot};
use super::store::Store;
use super::{OpenError, StoreError, caution, summary};
use crate::clock::UnixMs;
use crate::limits::GENERATION_BYTES_MAX;
use crate::model::delivery::{DeliveryRef, Fallen, KeyHash, Standing, Waiting};

/// Threads that open generations at the start.
const THREADS_MAX: usize = 4;
/// A generation that takes events is gone on with where it has fewer bytes of them; opening a larger one would keep the start
/// waiting, so the next one begins, and the writer seals it a little later.
const GO_ON_BYTES_MAX: u64 = GENERATION_BYTES_MAX / 8;

/// The generation that takes new events.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) slot: Arc<Slot>,
    pub(super) generation: Arc<Generation>,
    /// Bytes of its events so far.
    pub(super) bytes: u64,
    /// When it was made, or opened by this process.
    pub(super) since: UnixMs,
}

/// Which generations there are.
#[derive(Debug)]
pub(super) struct Inventory {
    /// Those that are there, oldest first.
    pub(super) numbers: Vec<u32>,
    /// Those that should be and are not.
    pub(super) missing: Vec<u32>,
}

/// What the writer begins with.
#[derive(Debug, Default)]
pub(super) struct Beginning {
    /// The generation to go on with, where one has room.
    pub(super) current: Option<Current>,
    /// Generations that could not be opened, and why the last of them could not.
    pub(super) shut: Vec<u32>,
    pub(super) why_shut: String,
}

/// A generation that was read.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) slot: Arc<Slot>,
    /// Deliveries that wait, and those that are dead, in the order of acceptance.
    pub(super) deliveries: Vec<Recovered>,
    /// Open, where it had to be opened and may take events.
    generation: Option<Arc<Generation>>,
}

/// Tells the deliveries that wait in the generations that are there, those that are dead, and which generations are gone.
pub(super) fn recover(
    store: &Store,
    inventory: &Inventory,
    generation_bytes: u64,
    now: UnixMs,
    mut each: impl FnMut(Recovered),
) -> Result<Beginning, OpenError> {
    let numbers = &inventory.numbers;
    tell_damages(store, &inventory.missing, now)?;
    let mut beginning = Beginning::default();
    let newest = numbers.last().copied();
    in_order(
        numbers,
        |no| find(store, no, now),
        |no, found| match found {
            Ok(found) => {
                found.deliveries.into_iter().for_each(&mut each);
                if let Some(generation) = found.generation
                    && !found.slot.is_sealed()
                    && newest == Some(no)
                    && !generation.is_read_only()
                    && generation.bytes() < generation_bytes
                {
                    let (slot, bytes) = (Arc::clone(&found.slot), generation.bytes());
                    beginning.current = Some(Current { slot, generation, bytes, since: now });
                }
                // What else is not sealed the writer seals.
                store.add(found.slot);
            }
            Err(error) => {
                tracing::error!(generation = no, %error, "a generation cannot be opened; it is tried again every second");
                beginning.why_shut = error.to_string();
                beginning.shut.push(no);
            }
        },
    );
    store.measure();
    Ok(beginning)
}

/// What is damaged is told at every start, until somebody has cleared it away.
fn tell_damages(store: &Store, missing: &[u32], now: UnixMs) -> Result<(), OpenError> {
    let folder = store.folder();
    let io = |what| move |source| OpenError::Io { what, path: folder.dir().to_path_buf(), source };
    for damage in folder.damages().map_err(io("cannot read the generations of"))? {
        store.tell_damage(damage, false);
    }
    let rescue = Rescue { folder, roster: store.roster(), disk: store.disk(), now };
    for no in missing {
        let damage = rescue.record_gone(*no).map_err(io("cannot write to the data folder"))?;
        store.tell_damage(damage, true);
    }
    // Those that are gone are missed once: their report stands in their place from now on.
    if !missing.is_empty() {
        store.save_roll().map_err(io("cannot write to the data folder"))?;
    }
    store.review_damages();
    Ok(())
}

/// Does `work` for each number on several threads, and hands what comes of it to `take` in the order of the numbers.
fn in_order<T: Send>(numbers: &[u32], work: impl Fn(u32) -> T + Sync, mut take: impl FnMut(u32, T)) {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(numbers.len());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let (sender, results) = mpsc::sync_channel(threads);
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some((index, no)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    numbers.get(index).map(|no| (index, *no))
                } {
                    if sender.send((index, work(no))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let (mut early, mut expected) = (BTreeMap::new(), 0);
        for (index, result) in results {
            early.insert(index, result);
            while let Some(result) = early.remove(&expected) {
                take(numbers[expected], result);
                expected += 1;
            }
        }
    });
}

/// Reads what waits in a generation, and what is dead; from its summary where there is one. The slot is not in the store yet.
pub(super) fn find(store: &Store, no: u32, now: UnixMs) -> Result<Found, StoreError> {
    if let Some(summary) = summary::read(&store.folder().generation(no), no, store.roster()) {
        let slot = Slot::new(no, Ids::Sealed(summary.filter), summary.life);
        return Ok(Found { slot, deliveries: summary.deliveries, generation: None });
    }
    let slot = Slot::new(no, Ids::Live(HashMap::new()), Life::unknown(now));
    if !caution::is_closed_for_good(&store.folder().generation(no))
        && let Some(fold) = fold_unopened(store, no, now)
    {
        return Ok(fold.into_found(slot, None));
    }
    let read = |slot: &Arc<Slot>| {
        let mut fold = None;
        let generation = store.read_sound(slot, |generation| {
            fold = Some(fold_generation(generation, now)?);
            Ok(Arc::clone(generation))
        })?;
        Ok::<_, StoreError>(generation.zip(fold))
    };
    let found = match read(&slot) {
        Err(StoreError::Read(_) | StoreError::Engine(_) | StoreError::InDoubt { .. }) if slot.in_doubt() => {
            store.mend(&slot, now)?;
            read(&slot)
        }
        other => other,
    };
    let Some((generation, fold)) = found? else { return Err(StoreError::Gone) };
    // Others come to their end sooner than the first ones, and stay until it is their turn: none of them may stay open.
    let generation = fold.is_unsealed().then_some(generation);
    Ok(fold.into_found(slot, generation))
}

/// Reads a generation off its file without opening it, which takes a copy of it, and the engine's memory. `None` where it has
/// to be opened: it takes events still, or something is wrong with it.
fn fold_unopened(store: &Store, no: u32, now: UnixMs) -> Option<Fold> {
    let generation = caution::open_to_read(&store.folder().generation(no), &store.identity(no), None).ok()?;
    if generation.sealed().ok()?.is_none() && generation.bytes() < GO_ON_BYTES_MAX {
        return None;
    }
    fold_generation(&generation, now).ok()
}

/// What a generation's rows amount to.
#[derive(Debug)]
pub(super) struct Fold {
    pub(super) life: Life,
    pub(super) ids: Ids,
    /// Deliveries that wait, and those that are dead, in the order of acceptance.
    pub(super) deliveries: Vec<Recovered>,
}

impl Fold {
    fn is_unsealed(&self) -> bool {
        matches!(self.ids, Ids::Live(_))
    }

    fn into_found(self, slot: Arc<Slot>, generation: Option<Arc<Generation>>) -> Found {
        slot.life(|life| *life = self.life);
        match self.ids {
            Ids::Sealed(filter) => slot.set_filter(filter),
            Ids::Live(known) => slot.learn(known.into_iter()),
        }
        Found { slot, deliveries: self.deliveries, generation }
    }
}

/// Reads heads and states of a generation, no bodies.
pub(super) fn fold_generation(generation: &Generation, now: UnixMs) -> Result<Fold, super::ReadError> {
    let seal = generation.sealed()?;
    // Of one that was rescued, what was done may be what is lost.
    let done = if generation.rescued() { None } else { generation.done()? };
    let mut life = Life::unknown(now);
    life.last_at = seal.map_or(UnixMs(0), |seal| seal.last_at);
    life.changed_at = done.unwrap_or(now);
    life.marked_done = done.is_some();
    let mut states: HashMap<(u32, u16), State> = HashMap::new();
    generation.scan_states(0, |row, state| {
        states.insert((row.seq, row.endpoint), state);
    })?;
    let mut gathering = Gathering { generation, finished: done.is_some() && seal.is_some(), deliveries: Vec::new() };
    let mut known = HashMap::new();
    let (mut last_at, mut disorder_ms) = (UnixMs(0), 0);
    generation.scan_heads(|seq, row| {
        known.extend(row.id_hashes().map(|hash| (hash, seq)));
        disorder_ms = disorder_ms.max(last_at.since(row.at));
        last_at = last_at.max(row.at);
        // Most deliveries are made, and nobody asks for their keys.
        let key = LazyCell::new(|| row.key_hash());
        for local in &row.targets {
            let state = states.remove(&(seq, *local)).unwrap_or_else(|| State::fresh(row.first_due()));
            gathering.add(seq, *local, state, row.at, || *key);
        }
    })?;
    // What is left belongs to endpoints that got the event by a replay.
    let mut left: Vec<_> = states.into_iter().filter(|(_, state)| state.standing != Standing::Delivered).collect();
    if !left.is_empty() {
        left.sort_unstable_by_key(|(at, _)| *at);
        let mut left = left.into_iter().peekable();
        generation.scan_heads(|seq, row| {
            let key = LazyCell::new(|| row.key_hash());
            while let Some(((at, local), state)) = left.next_if(|((at, _), _)| *at <= seq) {
                if at == seq {
                    gathering.add(seq, local, state, row.at, || *key);
                }
            }
        })?;
        gathering.deliveries.sort_unstable_by_key(Recovered::delivery);
    }
    let deliveries = gathering.deliveries;
    life.pending = deliveries.iter().filter(|one| one.waits()).count() as u64;
    life.last_at = life.last_at.max(last_at);
    life.disorder_ms = disorder_ms;
    let ids = match seal {
        Some(_) => Ids::Sealed(Filter::over(known.keys().copied())),
        None => Ids::Live(known),
    };
    Ok(Fold { life, ids, deliveries })
}

/// Deliveries of a generation that are being gathered.
struct Gathering<'a> {
    generation: &'a Generation,
    /// Whether it bears the mark that nothing is pending.
    finished: bool,
    deliveries: Vec<Recovered>,
}

impl Gathering<'_> {
    fn add(&mut self, seq: u32, local: u16, state: State, accepted_at: UnixMs, key: impl FnOnce() -> Option<KeyHash>) {
        let Some(endpoint) = self.generation.global(local) else { return };
        let delivery = DeliveryRef { event: self.generation.place(seq), endpoint };
        let State { standing, progress, died_at } = state;
        self.deliveries.push(match standing {
            Standing::Pending { next_at } if !self.finished => {
                Recovered::Waiting(Waiting { delivery, accepted_at, next_at, progress, key: key() })
            }
            Standing::Dead(_) => Recovered::Dead(Fallen { delivery, died_at, key: key() }),
            Standing::Pending { .. } | Standing::Delivered => return,
        });
    }
}
