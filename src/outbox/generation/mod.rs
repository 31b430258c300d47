//! One generation: a small database with the events of a span of time, their deliveries' states and their attempts.

mod append;
mod read;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::carve::Carved;
use super::engine::{Engine, Value};
use super::frame::Mark;
use super::keys::{self, Key, key};
use super::rows::{self, COMMIT_ENDS, HeadRow};
use super::sealed::Sealed;
use super::shelf::Shelf;
use super::watermark::{self, Watermark, WatermarkFile};
use super::{ReadError, StoreError, frame, summary, survey};
use crate::clock::UnixMs;
use crate::model::delivery::{EventRef, Progress, Standing};
use crate::model::event::{Event, Fingerprint};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::EndpointName;
use crate::outbox::disk::SharedDisk;

/// What an event's head counts for in the size of a generation.
const HEAD_BYTES: u64 = 256;

/// An open generation.
#[derive(Debug)]
pub(in crate::outbox) struct Generation {
    no: u32,
    shelf: Shelf,
    mark: Mark,
    roster: Arc<Roster>,
    names: RwLock<Names>,
    tail: Mutex<Tail>,
    watermark: Option<WatermarkFile>,
    written: Mutex<Written>,
    /// Its folder; `None` where it is only read.
    dir: Option<PathBuf>,
    /// Whether it was saved from a damaged one, so that what is missing was told already.
    rescued: bool,
}

/// Which generation it is, of which folder.
#[derive(Clone, Debug)]
pub(in crate::outbox) struct Identity {
    /// Its number.
    pub(in crate::outbox) no: u32,
    /// The data folder's mark.
    pub(in crate::outbox) mark: Mark,
    /// The endpoints' numbers.
    pub(in crate::outbox) roster: Arc<Roster>,
}

/// The generation's own numbers for endpoints; they are stored, the process's are not.
#[derive(Debug, Default)]
struct Names {
    /// A number without a name has lost it.
    by_local: Vec<Option<EndpointNo>>,
    to_local: HashMap<EndpointNo, u16>,
}

/// Whether anything was written since the generation was opened.
#[derive(Debug, Default)]
struct Written {
    /// Its folder, while a summary may lie there that is true still.
    summary_in: Option<PathBuf>,
    /// Counts what was written.
    version: u64,
}

/// Where the next rows go.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    seq: u32,
    offset: u64,
    state_pack: u32,
    attempt_pack: u32,
}

/// An event's head, read back.
#[derive(Clone, Debug)]
pub(in crate::outbox) struct Head {
    pub(in crate::outbox) event: Event,
    pub(in crate::outbox) idempotency_key: Option<Box<str>>,
    pub(in crate::outbox) fingerprint: Fingerprint,
    pub(in crate::outbox) targets: Vec<EndpointNo>,
    states_from: u32,
    offset: u64,
    extras_bytes: u32,
    body_bytes: u32,
}

#[cfg(any(test, feature = "fuzzing"))]
impl Head {
    /// The head of an event that lies nowhere yet; for [`crate::outbox::fuzzing`].
    pub(in crate::outbox) fn of(new: &crate::model::event::NewEvent) -> Self {
        Self {
            event: Event::clone(&new.event),
            idempotency_key: new.idempotency_key.as_ref().map(|key| key.as_str().into()),
            fingerprint: new.fingerprint,
            targets: new.targets.clone(),
            states_from: 0,
            offset: 0,
            extras_bytes: 0,
            body_bytes: 0,
        }
    }
}

/// Where a delivery stands, folded from its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbox) struct State {
    pub(in crate::outbox) standing: Standing,
    pub(in crate::outbox) progress: Progress,
    /// When it died; 0 where it did not, or that was not kept.
    pub(in crate::outbox) died_at: UnixMs,
}

impl Names {
    fn learn(&mut self, local: u16, no: EndpointNo) {
        let places = self.by_local.len().max(usize::from(local) + 1);
        self.by_local.resize(places, None);
        // A name may stand twice after a failed commit; both numbers then lead to it.
        self.by_local[usize::from(local)] = Some(no);
        self.to_local.insert(no, local);
    }
}

impl State {
    /// What a delivery is at acceptance, its first attempt due at `next_at`.
    pub(in crate::outbox) fn fresh(next_at: UnixMs) -> Self {
        Self { standing: Standing::Pending { next_at }, progress: Progress::default(), died_at: UnixMs(0) }
    }
}

impl Generation {
    /// Opens the generation in `dir` with the engine, making it if it is not there.
    pub(in crate::outbox) fn open(dir: &Path, of: Identity, disk: SharedDisk) -> Result<Self, StoreError> {
        Self::open_on(Shelf::Engine(Engine::open(dir, disk)?), dir, of)
    }

    /// Opens the sealed generation in `dir`.
    pub(in crate::outbox) fn open_sealed(sealed: Sealed, dir: &Path, of: Identity) -> Result<Self, StoreError> {
        Self::open_on(Shelf::Sealed(sealed), dir, of)
    }

    fn open_on(shelf: Shelf, dir: &Path, of: Identity) -> Result<Self, StoreError> {
        let durable = watermark::read(dir);
        let mut generation = Self::over(shelf, of)?;
        generation.dir = Some(dir.to_path_buf());
        generation.written().summary_in = Some(dir.to_path_buf());
        generation.begin_epoch(durable.epoch)?;
        let tail = *generation.tail();
        if !generation.rescued && tail.seq < durable.events {
            return Err(generation
                .damaged(format!("events {} to {} are missing", tail.seq, durable.events - 1))
                .into());
        }
        if tail.state_pack < durable.state_packs {
            let missing = durable.state_packs - tail.state_pack;
            return Err(generation.damaged(format!("the last {missing} packs of delivery states are missing")).into());
        }
        // Without it damage is found later, that is all.
        generation.watermark = WatermarkFile::open(dir, generation.mark).ok();
        Ok(generation)
    }

    /// A generation just written record by record, with room for `events` events, of which some may be missing.
    pub(in crate::outbox) fn adopt(engine: Engine, dir: &Path, of: Identity, events: u32) -> Result<Self, StoreError> {
        let mut generation = Self::over(Shelf::Engine(engine), of)?;
        generation.dir = Some(dir.to_path_buf());
        generation.tail().seq = events;
        generation.rescued = true;
        generation.watermark = WatermarkFile::open(dir, generation.mark).ok();
        Ok(generation)
    }

    /// What was carved out of a generation's file, only to be read, with numbers for `events` events. Whatever is missing in
    /// it is told as lost.
    pub(in crate::outbox) fn carved(carved: Carved, of: Identity, events: u32) -> Result<Self, StoreError> {
        let io = |source| StoreError::Io { what: "cannot read", generation: of.no, source };
        let nameless = survey::nameless(&carved, u32::MAX).map_err(io)?;
        let mut generation = Self::bare(Shelf::Carved(carved), of);
        generation.tail().seq = events;
        generation.rescued = true;
        generation.find_next_packs()?;
        generation.read_names()?;
        for local in nameless {
            let name = EndpointName::parse(&survey::name_for_nameless(local))
                .map_err(|error| generation.damaged(format!("an endpoint's name {error}")))?;
            generation.learn_name(local, &name);
        }
        Ok(generation)
    }

    fn bare(shelf: Shelf, of: Identity) -> Self {
        Self {
            no: of.no,
            shelf,
            mark: of.mark,
            roster: of.roster,
            names: RwLock::default(),
            tail: Mutex::default(),
            watermark: None,
            written: Mutex::default(),
            dir: None,
            rescued: false,
        }
    }

    /// The generation whose records stand on a shelf.
    pub(in crate::outbox) fn over(shelf: Shelf, of: Identity) -> Result<Self, StoreError> {
        let mut generation = Self::bare(shelf, of);
        let seal = generation.sealed()?;
        generation.rescued = seal.is_some_and(|seal| seal.rescued);
        generation.read_names()?;
        generation.find_tail()?;
        if let Some(seal) = seal {
            if generation.events() < seal.events && !generation.rescued {
                let what = format!("events {} to {} are missing", generation.events(), seal.events - 1);
                return Err(generation.damaged(what).into());
            }
            generation.tail().seq = seal.events;
        }
        Ok(generation)
    }

    /// Its number.
    pub(in crate::outbox) fn no(&self) -> u32 {
        self.no
    }

    /// How many events it holds.
    pub(in crate::outbox) fn events(&self) -> u32 {
        self.tail().seq
    }

    /// How many packs of delivery states it holds.
    pub(in crate::outbox) fn state_packs(&self) -> u32 {
        self.tail().state_pack
    }

    /// Bytes of its events, as [`Generation::append_events`] counts them.
    pub(in crate::outbox) fn bytes(&self) -> u64 {
        let tail = *self.tail();
        tail.offset + u64::from(tail.seq) * HEAD_BYTES
    }

    /// Whether only opening it anew can mend it.
    pub(in crate::outbox) fn failed(&self) -> bool {
        self.shelf.failed()
    }

    /// Whether an fsync of it has failed: nothing may be added to its file any more.
    pub(in crate::outbox) fn torn(&self) -> bool {
        self.shelf.torn()
    }

    /// How many records it keeps track of in memory; `None` where it is open in the engine, which takes far more.
    pub(in crate::outbox) fn records_in_memory(&self) -> Option<usize> {
        match &self.shelf {
            Shelf::Engine(_) => None,
            Shelf::Sealed(sealed) => Some(sealed.carved().len()),
            Shelf::Carved(carved) => Some(carved.len()),
        }
    }

    /// Whether it is only read: the engine could not open it.
    pub(in crate::outbox) fn is_read_only(&self) -> bool {
        matches!(self.shelf, Shelf::Carved(_))
    }

    /// Whether it was saved from a damaged one.
    pub(in crate::outbox) fn rescued(&self) -> bool {
        self.rescued
    }

    /// Knows no more than so many events from here on: the others are of a commit that failed, and were refused.
    pub(in crate::outbox) fn know_only(&self, events: u32) {
        let mut tail = self.tail();
        tail.seq = tail.seq.min(events);
    }

    /// Makes everything written so far durable.
    pub(in crate::outbox) fn sync(&self) -> Result<(), StoreError> {
        let Tail { seq, state_pack, attempt_pack, .. } = *self.tail();
        self.shelf.sync()?;
        if let Some(watermark) = &self.watermark {
            let (state_packs, attempt_packs) = (state_pack, attempt_pack);
            watermark.note(Watermark { events: seq, state_packs, attempt_packs, epoch: self.mark.epoch });
        }
        Ok(())
    }

    /// Hands everything written so far to the operating system.
    pub(in crate::outbox) fn flush(&self) -> Result<(), StoreError> {
        Ok(self.shelf.flush()?)
    }

    /// Whether something that was written is kept in this process still.
    pub(in crate::outbox) fn buffers(&self) -> bool {
        self.shelf.buffers()
    }

    /// The process's number for a stored endpoint.
    pub(in crate::outbox) fn global(&self, local: u16) -> Option<EndpointNo> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).by_local.get(usize::from(local)).copied().flatten()
    }

    /// Where a number of this generation lies.
    pub(in crate::outbox) fn place(&self, seq: u32) -> EventRef {
        EventRef { generation: self.no, seq }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The shelf, to write something: whatever a summary tells is not true any more then.
    fn writable(&self) -> Result<&Shelf, StoreError> {
        let mut written = self.written();
        if let Some(dir) = &written.summary_in {
            summary::remove(dir)?;
            written.summary_in = None;
        }
        written.version += 1;
        Ok(&self.shelf)
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes with everything that is written.
    pub(in crate::outbox) fn version(&self) -> u64 {
        self.written().version
    }

    /// Makes the draft of a summary count, if nothing was written since `version`. Tells whether it does.
    pub(in crate::outbox) fn publish_summary(&self, dir: &Path, version: u64) -> Result<bool, StoreError> {
        let mut written = self.written();
        if written.version != version {
            return Ok(false);
        }
        written.summary_in = Some(dir.to_path_buf());
        let no = self.no;
        summary::publish(dir).map_err(|source| StoreError::Io {
            what: "cannot put in its place the summary of",
            generation: no,
            source,
        })?;
        Ok(true)
    }

    /// Something is not there. In a generation that was rescued that was told when it was.
    fn missing(&self, what: String) -> ReadError {
        let what = format!("generation {}: {what}", self.no);
        if self.rescued { ReadError::Lost(what) } else { ReadError::Damaged(what) }
    }

    fn damaged(&self, what: String) -> ReadError {
        ReadError::Damaged(format!("generation {}: {what}", self.no))
    }

    pub(in crate::outbox) fn open_value<'a>(&self, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], ReadError> {
        frame::open(key, value).map_err(|error| {
            let kind = char::from(key.first().copied().unwrap_or(b'?'));
            self.damaged(format!("value {kind}{}: {error}", keys::number(key).unwrap_or(0)))
        })
    }

    fn single<R: for<'a> serde::Deserialize<'a>>(&self, key: &Key) -> Result<Option<R>, ReadError> {
        let Some(value) = self.shelf.get(key)? else { return Ok(None) };
        rows::decode_single(self.open_value(key, &value)?)
            .map(Some)
            .map_err(|error| self.damaged(format!("value {}: {error}", char::from(key[0]))))
    }

    /// The generation's own number for an endpoint; a new one is written with the commit that first needs it.
    fn local(&self, no: EndpointNo) -> Result<u16, StoreError> {
        if let Some(local) = self.names.read().unwrap_or_else(PoisonError::into_inner).to_local.get(&no) {
            return Ok(*local);
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let local = u16::try_from(names.by_local.len()).map_err(|_| StoreError::TooLarge)?;
        let key = key(keys::NAME, u64::from(local));
        self.writable()?.put(&key, rows::single(self.mark, &key, &self.roster.name(no).as_str())?)?;
        names.by_local.push(Some(no));
        names.to_local.insert(no, local);
        Ok(local)
    }

    fn read_names(&self) -> Result<(), StoreError> {
        let mut names = Names::default();
        let mut failure = Ok(());
        self.shelf.scan(keys::NAME, 0, |found, value| {
            let read = self.open_value(&found, &value).and_then(|payload| {
                let text: &str = rows::decode_single(payload)
                    .map_err(|error| self.damaged(format!("an endpoint's name: {error}")))?;
                EndpointName::parse(text).map_err(|error| self.damaged(format!("an endpoint's name {error}")))
            });
            match read {
                Ok(name) => {
                    let local = keys::number(&found).and_then(|local| u16::try_from(local).ok()).unwrap_or(u16::MAX);
                    names.learn(local, self.roster.number(&name));
                }
                Err(error) => failure = Err(error),
            }
            failure.is_ok()
        })?;
        failure?;
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    fn learn_name(&self, local: u16, name: &EndpointName) {
        let no = self.roster.number(name);
        self.names.write().unwrap_or_else(PoisonError::into_inner).learn(local, no);
    }

    /// What is written from here on is newer than all that is there. `noted`: what the watermark tells of epochs.
    fn begin_epoch(&mut self, noted: u32) -> Result<(), StoreError> {
        let mut last = noted;
        for kind in [keys::HEADS, keys::BODY, keys::STATES, keys::ATTEMPTS, keys::SEAL] {
            if let Some((_, value)) = self.shelf.last(kind)?
                && let Ok(record) = frame::read(&value)
            {
                last = last.max(record.epoch);
            }
        }
        self.mark.epoch = self.mark.epoch.max(last.saturating_add(1));
        Ok(())
    }

    /// Finds where the next rows go, and drops the heads of a commit that never finished: it was never acknowledged.
    fn find_tail(&mut self) -> Result<(), StoreError> {
        let mut tail = Tail::default();
        while let Some((found, value)) = self.shelf.last(keys::HEADS)? {
            let payload = self.open_value(&found, &value)?;
            let (flags, rows) = rows::unpack(payload, |_: HeadRow<'_>| false)
                .map_err(|error| self.damaged(format!("the last pack of event heads: {error}")))?;
            if flags & COMMIT_ENDS == 0 {
                // Its numbers are given again, in a later epoch.
                if let Ok(record) = frame::read(&value) {
                    self.mark.epoch = self.mark.epoch.max(record.epoch.saturating_add(1));
                }
                self.writable()?.engine()?.remove(&found)?;
                continue;
            }
            let first = keys::number(&found).and_then(|first| u32::try_from(first).ok());
            let end = first.and_then(|first| first.checked_add(rows));
            tail.seq = end.ok_or_else(|| self.damaged("the last pack of event heads has no such number".to_owned()))?;
            break;
        }
        if let Some((found, value)) = self.shelf.last(keys::BODY)? {
            let piece = self.open_value(&found, &value)?;
            tail.offset = keys::number(&found).unwrap_or(0).saturating_add(piece.len() as u64);
        }
        *self.tail() = tail;
        self.find_next_packs()
    }

    fn find_next_packs(&self) -> Result<(), StoreError> {
        let next = |last: Option<(Key, Value)>| {
            let Some((found, _)) = last else { return Ok(0) };
            // A number that wrapped round would be given again, over what is there.
            let next = keys::number(&found).and_then(|number| u32::try_from(number.checked_add(1)?).ok());
            next.ok_or_else(|| self.damaged("the last pack of states or attempts has no such number".to_owned()))
        };
        let (state_pack, attempt_pack) = (self.shelf.last(keys::STATES)?, self.shelf.last(keys::ATTEMPTS)?);
        let (state_pack, attempt_pack) = (next(state_pack)?, next(attempt_pack)?);
        let mut tail = self.tail();
        (tail.state_pack, tail.attempt_pack) = (state_pack, attempt_pack);
        Ok(())
    }
}
