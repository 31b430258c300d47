//! Lines of an export into a new data folder: the way out of a damaged disk.
//!
//! Generations of the usual size are written one after the other, each sealed, marked where nothing in it is pending, and given
//! a summary, so that a daemon is ready on them at once. The file FORMAT is the last thing written: what an import that broke
//! off leaves behind is no data folder, and says so.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::path::PathBuf;
use std::sync::Arc;

use super::OfflineError;
use super::line::{self, Delivery, Line, Names};
use crate::clock::UnixMs;
use crate::limits::{COMMIT_EVENTS_MAX, IMPORT_LINE_BYTES_MAX, MIB};
use crate::model::delivery::{DeliveryRef, Progress, Settlement, Standing};
use crate::model::endpoint::EndpointRecord;
use crate::model::event::NewEvent;
use crate::model::roster::Roster;
use crate::model::text::{EndpointName, EventId};
use crate::observe::Metrics;
use crate::outbox::disk::RealDisk;
use crate::outbox::endpoints::EndpointRecords;
use crate::outbox::folder::Folder;
use crate::outbox::generation::Generation;
use crate::outbox::roll::Roll;
use crate::outbox::settling::Outcome;
use crate::outbox::slot::{Ids, Life, Slot};
use crate::outbox::store::Store;
use crate::outbox::{StoreError, housekeeping, ids};

/// Bytes of events after which they are written.
const GROUP_BYTES: usize = 4 * MIB;
/// Duplicates that are named.
const NAMED_MAX: usize = 20;

/// What is imported into.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// The data folder, which must be new or empty.
    pub dir: PathBuf,
    /// Bytes of events in one generation; usually [`GENERATION_BYTES_MAX`](crate::limits::GENERATION_BYTES_MAX).
    pub generation_bytes: u64,
    /// The time: finished events are kept for the whole retention from it.
    pub now: UnixMs,
}

/// What was imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// Events.
    pub events: u64,
    /// Deliveries of them that are pending.
    pub pending: u64,
    /// Endpoints of which something is kept.
    pub endpoints: u64,
    /// Events that were left out, since their id was there before.
    pub duplicates: u64,
    /// The first of these, with the number of their line.
    pub duplicates_named: Vec<(u64, EventId)>,
    /// Events that were left out, since they had lost their body before they were exported.
    pub without_body: u64,
}

/// Reads every line and stores it.
///
/// # Errors
/// See [`OfflineError`]. Unless nothing was written yet, the folder is left half made then, and no daemon takes it.
pub fn import(options: &ImportOptions, input: &mut dyn BufRead) -> Result<Imported, OfflineError> {
    let mut importing = Importing::begin(options)?;
    let mut text = Vec::new();
    let mut number = 0;
    loop {
        number += 1;
        text.clear();
        let mut limited = (&mut *input).take(IMPORT_LINE_BYTES_MAX as u64 + 1);
        if limited.read_until(b'\n', &mut text).map_err(OfflineError::Input)? == 0 {
            break;
        }
        let wrong = |what: String| OfflineError::Line { line: number, what };
        if text.len() > IMPORT_LINE_BYTES_MAX {
            return Err(wrong(format!("it has more than {IMPORT_LINE_BYTES_MAX} bytes")));
        }
        let line = str::from_utf8(&text).map_err(|_| wrong("it is no UTF-8 text".to_owned()))?.trim();
        if !line.is_empty() {
            let line = line::read(line, &mut importing.names).map_err(wrong)?;
            importing.take(number, line)?;
        }
    }
    importing.finish()
}

/// An import under way.
struct Importing {
    store: Store,
    endpoints: EndpointRecords,
    records: Vec<(EndpointName, EndpointRecord)>,
    names: Names,
    generation_bytes: u64,
    group_bytes: usize,
    now: UnixMs,
    current: Option<Current>,
    group: Group,
    done: Imported,
}

/// The generation that is being filled.
struct Current {
    slot: Arc<Slot>,
    generation: Arc<Generation>,
    bytes: u64,
}

/// Events that are written together.
#[derive(Default)]
struct Group {
    events: Vec<NewEvent>,
    deliveries: Vec<Vec<Delivery>>,
    /// Places in the group by the hash of the id.
    by_hash: HashMap<u64, usize>,
    bytes: usize,
}

impl Importing {
    fn begin(options: &ImportOptions) -> Result<Self, OfflineError> {
        let folder = Folder::begin_import(&options.dir)?;
        let roster = Roster::shared();
        let (mut roll, _) = Roll::open(&folder, &[]);
        roll.save().map_err(|source| OfflineError::Io { what: "cannot write", path: folder.roll(), source })?;
        let endpoints = EndpointRecords::open(folder.endpoints(), folder.mark())?;
        let store = Store::new(folder, roll, Arc::clone(&roster), RealDisk::shared(), Metrics::shared());
        Ok(Self {
            store,
            endpoints,
            records: Vec::new(),
            names: Names::new(roster),
            generation_bytes: options.generation_bytes,
            group_bytes: usize::try_from(options.generation_bytes).map_or(GROUP_BYTES, |bytes| bytes.min(GROUP_BYTES)),
            now: options.now,
            current: None,
            group: Group::default(),
            done: Imported::default(),
        })
    }

    fn take(&mut self, number: u64, line: Line) -> Result<(), OfflineError> {
        match line {
            Line::Endpoint(name, record) => {
                self.records.push((name, record));
                self.done.endpoints += 1;
            }
            Line::WithoutBody => self.done.without_body += 1,
            Line::Event(event, _) if self.is_known(&event.event.id)? => {
                self.done.duplicates += 1;
                if self.done.duplicates_named.len() < NAMED_MAX {
                    self.done.duplicates_named.push((number, event.event.id.clone()));
                }
            }
            Line::Event(event, deliveries) => {
                let pending = |delivery: &&Delivery| matches!(delivery.standing, Standing::Pending { .. });
                self.done.pending += deliveries.iter().filter(pending).count() as u64;
                self.done.events += 1;
                self.group.add(event, deliveries);
                if self.group.bytes >= self.group_bytes || self.group.events.len() >= COMMIT_EVENTS_MAX {
                    self.write()?;
                }
            }
        }
        Ok(())
    }

    fn is_known(&self, id: &EventId) -> Result<bool, StoreError> {
        let hash = ids::id_hash(id.as_str());
        let in_group = self.group.by_hash.get(&hash).is_some_and(|at| self.group.events[*at].event.id == *id);
        Ok(in_group || self.store.lookup(hash, 0, |head| head.event.id == *id)?.is_some())
    }

    /// Writes the group.
    fn write(&mut self) -> Result<(), StoreError> {
        let group = std::mem::take(&mut self.group);
        if group.events.is_empty() {
            return Ok(());
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin_generation()?,
        };
        let first = current.generation.events();
        current.bytes += current.generation.append_events(&group.events)?;
        let mut outcomes = Vec::new();
        for (seq, (new, deliveries)) in (first..).zip(group.events.iter().zip(&group.deliveries)) {
            let first_due = new.event.first_due();
            for delivery in deliveries {
                let place = DeliveryRef { event: current.generation.place(seq), endpoint: delivery.endpoint };
                settle(place, delivery, first_due, &mut outcomes);
            }
        }
        current.generation.append_settlements(&outcomes)?;
        let pending = group.deliveries.iter().flatten();
        let pending = pending.filter(|delivery| matches!(delivery.standing, Standing::Pending { .. })).count();
        current.slot.learn(group.events.iter().zip(first..).flat_map(|(new, seq)| {
            let key = new.idempotency_key.as_ref().map(|key| (ids::idempotency_hash(key.as_str()), seq));
            std::iter::once((ids::id_hash(new.event.id.as_str()), seq)).chain(key)
        }));
        current.slot.life(|life| {
            life.pending += pending as u64;
            for new in &group.events {
                life.disorder_ms = life.disorder_ms.max(life.last_at.since(new.event.at));
                life.last_at = life.last_at.max(new.event.at);
            }
        });
        if current.bytes < self.generation_bytes {
            self.current = Some(current);
            return Ok(());
        }
        self.conclude(&current)
    }

    fn begin_generation(&self) -> Result<Current, StoreError> {
        let no = self.store.newest() + 1;
        let life = Life { disorder_ms: 0, ..Life::unknown(self.now) };
        let slot = Slot::new(no, Ids::Live(HashMap::new()), life);
        let generation = self.store.make(&slot)?;
        self.store.enroll(Arc::clone(&slot)).map_err(|source| StoreError::Io {
            what: "cannot put on the roll",
            generation: no,
            source,
        })?;
        Ok(Current { slot, generation, bytes: 0 })
    }

    /// Seals a generation, makes it durable, and writes what the start of a daemon needs to know of it.
    fn conclude(&self, current: &Current) -> Result<(), StoreError> {
        let Current { slot, generation, .. } = current;
        slot.seal(generation)?;
        if slot.life(|life| life.pending) == 0 {
            generation.set_done(self.now)?;
            slot.life(|life| life.marked_done = true);
        }
        generation.sync()?;
        housekeeping::summarise(&self.store, slot, self.now)
    }

    fn finish(mut self) -> Result<Imported, OfflineError> {
        self.write()?;
        if let Some(current) = self.current.take() {
            self.conclude(&current)?;
        }
        self.store.close_all();
        let folder = self.store.folder();
        let path = folder.endpoints();
        let written = self.endpoints.change(self.records);
        written.map_err(|source| OfflineError::Io { what: "cannot write", path, source })?;
        folder.finish_import().map_err(|source| OfflineError::Io {
            what: "cannot finish",
            path: folder.dir().to_path_buf(),
            source,
        })?;
        folder.unlock();
        Ok(self.done)
    }
}

impl Group {
    fn add(&mut self, event: NewEvent, deliveries: Vec<Delivery>) {
        let attempts = deliveries.iter().flat_map(|delivery| &delivery.attempts);
        self.bytes += event.event.bytes() + attempts.map(|attempt| 64 + attempt.response.len()).sum::<usize>();
        self.by_hash.insert(ids::id_hash(event.event.id.as_str()), self.events.len());
        self.events.push(event);
        self.deliveries.push(deliveries);
    }
}

/// What has to be written so that a delivery is told as it was: a row for each attempt, and one where it is not as fresh.
fn settle(place: DeliveryRef, delivery: &Delivery, first_due: UnixMs, outcomes: &mut Vec<Outcome>) {
    let Delivery { standing, progress, died_at: at, .. } = *delivery;
    let row = |attempt| Outcome { settlement: Settlement { delivery: place, attempt, standing, progress }, at };
    let fresh = standing == Standing::Pending { next_at: first_due } && progress == Progress::default();
    if delivery.attempts.is_empty() && (delivery.by_replay || !fresh) {
        outcomes.push(row(None));
    }
    outcomes.extend(delivery.attempts.iter().map(|attempt| row(Some(attempt.clone()))));
}
