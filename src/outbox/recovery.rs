//! Opening the outbox: which generations there are, what is pending in them, where the next event goes.

use std::collections::HashMap;
use std::sync::Arc;

use super::filter::Filter;
use super::folder::Folder;
use super::generation::{Generation, State};
use super::store::{Ids, Life, Slot, Store};
use super::{OpenError, StoreError, ids};
use crate::clock::UnixMs;
use crate::model::delivery::{DeliveryRef, Standing, Waiting};
use crate::model::roster::Roster;

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

/// What was found.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) store: Arc<Store>,
    /// The generation to go on with, where one has room.
    pub(super) current: Option<Current>,
    /// What is damaged, by generation.
    pub(super) damages: Vec<(u32, String)>,
}

/// Opens every generation and tells each waiting delivery.
pub(super) fn recover(
    folder: Folder,
    roster: Arc<Roster>,
    generation_bytes: u64,
    now: UnixMs,
    mut each: impl FnMut(Waiting),
) -> Result<Recovered, OpenError> {
    let store = Arc::new(Store::new(folder, roster));
    let numbers = store.folder().generations().map_err(|source| OpenError::Io {
        what: "cannot read the generations of",
        path: store.folder().generation(0),
        source,
    })?;
    let newest = numbers.last().copied();
    let mut current = None;
    let mut damages = Vec::new();
    for no in numbers {
        let failed = |error: StoreError| OpenError::Generation { no, error: error.to_string() };
        let blank = Life { pending: 0, last_at: UnixMs(0), disorder_ms: u64::MAX, changed_at: now, marked_done: false };
        let slot = Slot::new(no, Ids::Live(HashMap::new()), blank);
        let generation = store.open(&slot).map_err(failed)?;
        let (life, ids, damage) = read_generation(&generation, now, &mut each).map_err(failed)?;
        damages.extend(damage.map(|what| (no, what)));
        slot.life(|old| *old = life);
        match ids {
            Ids::Sealed(filter) => slot.set_filter(filter),
            Ids::Live(known) => {
                slot.learn(known.into_iter());
                let bytes = generation.bytes();
                if newest == Some(no) && bytes < generation_bytes {
                    current = Some(Current { slot: Arc::clone(&slot), generation, bytes, since: now });
                } else {
                    slot.seal(&generation).map_err(failed)?;
                }
            }
        }
        store.add(slot);
    }
    store.measure();
    Ok(Recovered { store, current, damages })
}

fn read_generation(
    generation: &Generation,
    now: UnixMs,
    each: &mut impl FnMut(Waiting),
) -> Result<(Life, Ids, Option<String>), StoreError> {
    let seal = generation.sealed()?;
    let done = generation.done()?;
    let filter = seal.is_some().then(|| generation.filter()).transpose()?.flatten();
    let mut life = Life {
        pending: 0,
        last_at: seal.map_or(UnixMs(0), |seal| seal.last_at),
        // Unknown where the heads are not read.
        disorder_ms: u64::MAX,
        changed_at: done.map_or(now, |done| done.at),
        marked_done: done.is_some(),
    };
    let filter = match (done, filter) {
        (Some(_), Some(filter)) => return Ok((life, Ids::Sealed(filter), None)),
        (_, filter) => filter,
    };
    let mut states: HashMap<(u32, u16), State> = HashMap::new();
    generation.scan_states(0, |row, state| {
        states.insert((row.seq, row.endpoint), state);
    })?;
    let mut known = HashMap::new();
    let mut tell = |seq: u32, local: u16, state: State, accepted_at: UnixMs| {
        if let (Standing::Pending { next_at }, Some(endpoint)) = (state.standing, generation.global(local)) {
            life.pending += 1;
            let delivery = DeliveryRef { event: generation.place(seq), endpoint };
            each(Waiting { delivery, accepted_at, next_at, progress: state.progress });
        }
    };
    let mut expected = 0;
    let mut gap = None;
    let (mut last_at, mut disorder_ms) = (UnixMs(0), 0);
    generation.scan_heads(0, |seq, row| {
        if seq != expected {
            gap.get_or_insert((expected, seq));
        }
        expected = seq + 1;
        if filter.is_none() {
            known.insert(ids::id_hash(row.id), seq);
            if let Some(key) = row.idempotency_key {
                known.insert(ids::idempotency_hash(key), seq);
            }
        }
        disorder_ms = disorder_ms.max(last_at.since(row.at));
        last_at = last_at.max(row.at);
        for local in &row.targets {
            let fresh = State::fresh(row.first_due());
            tell(seq, *local, states.remove(&(seq, *local)).unwrap_or(fresh), row.at);
        }
        true
    })?;
    // What is left belongs to endpoints that got the event by a replay.
    for ((seq, local), state) in states {
        if matches!(state.standing, Standing::Pending { .. })
            && let Some(head) = generation.head(seq)?
        {
            tell(seq, local, state, head.event.at);
        }
    }
    life.last_at = life.last_at.max(last_at);
    life.disorder_ms = disorder_ms;
    if let Some(seal) = seal.filter(|seal| seal.events > expected) {
        gap.get_or_insert((expected, seal.events));
    }
    let damage = gap.map(|(from, to)| format!("events {from} to {to} are missing", to = to - 1));
    let ids = match (seal, filter) {
        (Some(_), Some(filter)) => Ids::Sealed(filter),
        (Some(_), None) => Ids::Sealed(Filter::over(known.into_keys().collect::<Vec<_>>().into_iter())),
        (None, _) => Ids::Live(known),
    };
    Ok((life, ids, damage))
}
