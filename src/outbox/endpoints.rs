//! What is kept of endpoints over restarts, in one small file that is replaced whole.
//!
//! A record is noted by whoever knows it, in memory and without waiting; the newest of an endpoint counts. The writer writes
//! what was noted once a second, or when it is asked to. What the disk refuses stays noted.
//!
//! The file is a row of values, as elsewhere: first how many there are, then packs of records. The first versions wrote one
//! value with the states alone; that is read still.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::folder::write_durably;
use super::frame::Mark;
use super::keys::{self, key};
use super::rows::{self, Packer};
use super::writer::Writer;
use super::{AcceptError, OpenError, frame};
use crate::clock::UnixMs;
use crate::model::endpoint::{DisabledReason, EndpointRecord, EndpointState, Failing, OpenBreaker};
use crate::model::roster::EndpointNo;
use crate::model::text::EndpointName;
use crate::observe::storage::EndpointsNotStored;

/// The number of the first value of the file. In the form of the first versions it was 0.
pub(super) const FORM_2: u64 = 1;

/// Everything that is kept of endpoints, also of those that the config does not have: they may come back.
#[derive(Debug)]
pub(super) struct EndpointRecords {
    path: PathBuf,
    mark: Mark,
    /// Without those that tell nothing.
    records: BTreeMap<EndpointName, EndpointRecord>,
    /// Whether the file may tell something else.
    stale: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    records: u32,
    packs: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row<'a> {
    name: &'a str,
    /// 0 active, 1 paused, 2 disabled.
    kind: u8,
    /// 1 gone, 2 asked, 3 failing; 0 where it is not disabled.
    reason: u8,
    disabled_at: UnixMs,
    resumed_at: UnixMs,
    held_until: UnixMs,
    /// Since when, and for how many milliseconds.
    failing: Option<(UnixMs, u64)>,
    /// Since when, the time of the next probe, and the cooldown in milliseconds.
    breaker: Option<(UnixMs, UnixMs, u64)>,
}

/// A row of the first versions.
#[derive(Debug, Serialize, Deserialize)]
struct FirstRow {
    name: String,
    kind: u8,
    reason: u8,
    at: UnixMs,
}

impl EndpointRecords {
    /// Reads the file; a missing one means that nothing is kept of any.
    pub(super) fn open(path: PathBuf, mark: Mark) -> Result<Self, OpenError> {
        let records = match std::fs::read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|what| OpenError::Damaged { path: path.clone(), what })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(source) => return Err(OpenError::Io { what: "cannot read", path, source }),
        };
        Ok(Self { path, mark, records, stale: false })
    }

    /// Every record that tells something.
    pub(super) fn all(&self) -> Vec<(EndpointName, EndpointRecord)> {
        self.records.iter().map(|(name, record)| (name.clone(), *record)).collect()
    }

    /// Changes records, and writes all of them durably where that makes a difference. Where the disk refuses nothing is changed.
    pub(super) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (EndpointName, EndpointRecord)>,
    ) -> io::Result<()> {
        let mut records = self.records.clone();
        for (name, record) in changes {
            if record == EndpointRecord::default() {
                records.remove(&name);
            } else {
                records.insert(name, record);
            }
        }
        if records == self.records && !self.stale {
            return Ok(());
        }
        // It may have been written though it was refused.
        self.stale = true;
        let bytes = bytes(self.mark, &records).map_err(io::Error::other)?;
        write_durably(&self.path, &bytes)?;
        (self.records, self.stale) = (records, false);
        Ok(())
    }
}

pub(super) fn bytes(mark: Mark, records: &BTreeMap<EndpointName, EndpointRecord>) -> Result<Vec<u8>, bincode::Error> {
    let mut packer = Packer::default();
    for (name, record) in records {
        packer.push(&row(name, record))?;
    }
    let packs = packer.finish();
    let count = |len: usize| u32::try_from(len).map_err(|_| bincode::Error::from(bincode::ErrorKind::SizeLimit));
    let head = Head { records: count(records.len())?, packs: count(packs.len())? };
    let mut bytes = rows::single(mark, &key(keys::ENDPOINTS, FORM_2), &head)?;
    for (number, pack) in (FORM_2 + 1..).zip(packs) {
        let key = key(keys::ENDPOINTS, number);
        bytes.extend(pack.close(mark, &key, 0));
    }
    Ok(bytes)
}

pub(super) fn parse(mut bytes: &[u8]) -> Result<BTreeMap<EndpointName, EndpointRecord>, String> {
    let mut next = |number: u64| {
        let record = frame::read(bytes).map_err(|error| error.to_string())?;
        bytes = &bytes[frame::OVERHEAD + record.payload.len()..];
        let first = number == FORM_2 && record.key == key(keys::ENDPOINTS, 0);
        if record.key != key(keys::ENDPOINTS, number) && !first {
            return Err("one of its values is another one".to_owned());
        }
        Ok((record.payload, first, bytes.is_empty()))
    };
    let undecoded = |error: bincode::Error| error.to_string();
    let mut records = BTreeMap::new();
    let (payload, first, mut ends) = next(FORM_2)?;
    if first {
        let rows: Vec<FirstRow> = bincode::deserialize(payload).map_err(undecoded)?;
        for FirstRow { name, kind, reason, at } in rows {
            let (name, state) = (parse_name(&name)?, parse_state(&name, kind, reason, at)?);
            records.insert(name, EndpointRecord { state, ..EndpointRecord::default() });
        }
    } else {
        let head: Head = rows::decode_single(payload).map_err(undecoded)?;
        for number in (FORM_2 + 1..).take(head.packs as usize) {
            let (payload, _, last) = next(number)?;
            ends = last;
            let mut read = Ok(());
            let unpacked = rows::unpack(payload, |row: Row<'_>| {
                match parse_row(&row) {
                    Ok((name, record)) => {
                        records.insert(name, record);
                    }
                    Err(what) => read = Err(what),
                }
                read.is_ok()
            });
            unpacked.map_err(undecoded)?;
            read?;
        }
        if records.len() != head.records as usize {
            return Err("it tells another number of endpoints than it names".to_owned());
        }
    }
    if ends { Ok(records) } else { Err("something stands behind its end".to_owned()) }
}

fn row<'a>(name: &'a EndpointName, record: &EndpointRecord) -> Row<'a> {
    let (kind, reason, disabled_at) = match record.state {
        EndpointState::Active => (0, 0, UnixMs(0)),
        EndpointState::Paused => (1, 0, UnixMs(0)),
        EndpointState::Disabled { reason: DisabledReason::Gone, at } => (2, 1, at),
        EndpointState::Disabled { reason: DisabledReason::Asked, at } => (2, 2, at),
        EndpointState::Disabled { reason: DisabledReason::Failing, at } => (2, 3, at),
    };
    Row {
        name: name.as_str(),
        kind,
        reason,
        disabled_at,
        resumed_at: record.resumed_at,
        held_until: record.held_until,
        failing: record.failing.map(|failing| (failing.since, failing.for_ms)),
        breaker: record.breaker.map(|open| (open.since, open.probe_at, open.cooldown_ms)),
    }
}

fn parse_row(row: &Row<'_>) -> Result<(EndpointName, EndpointRecord), String> {
    let record = EndpointRecord {
        state: parse_state(row.name, row.kind, row.reason, row.disabled_at)?,
        resumed_at: row.resumed_at,
        held_until: row.held_until,
        failing: row.failing.map(|(since, for_ms)| Failing { since, for_ms }),
        breaker: row.breaker.map(|(since, probe_at, cooldown_ms)| OpenBreaker { since, probe_at, cooldown_ms }),
    };
    Ok((parse_name(row.name)?, record))
}

fn parse_name(name: &str) -> Result<EndpointName, String> {
    EndpointName::parse(name).map_err(|error| format!("an endpoint's name {error}"))
}

fn parse_state(name: &str, kind: u8, reason: u8, at: UnixMs) -> Result<EndpointState, String> {
    Ok(match (kind, reason) {
        (0, _) => EndpointState::Active,
        (1, _) => EndpointState::Paused,
        (2, 1) => EndpointState::Disabled { reason: DisabledReason::Gone, at },
        (2, 2) => EndpointState::Disabled { reason: DisabledReason::Asked, at },
        (2, 3) => EndpointState::Disabled { reason: DisabledReason::Failing, at },
        _ => return Err(format!("endpoint {name} has an unknown state")),
    })
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Notes {
    noted: Mutex<HashMap<EndpointNo, EndpointRecord>>,
}

impl Notes {
    /// Notes what is known of an endpoint now.
    pub(super) fn note(&self, endpoint: EndpointNo, record: EndpointRecord) {
        self.lock().insert(endpoint, record);
    }

    fn take(&self) -> HashMap<EndpointNo, EndpointRecord> {
        std::mem::take(&mut self.lock())
    }

    /// Notes again what could not be written; what was noted meanwhile is newer.
    fn put_back(&self, refused: HashMap<EndpointNo, EndpointRecord>) {
        let mut noted = self.lock();
        for (endpoint, record) in refused {
            noted.entry(endpoint).or_insert(record);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EndpointNo, EndpointRecord>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Writer {
    /// Writes what was noted of endpoints, durably. What is refused stays noted.
    pub(super) fn store_endpoints(&mut self) -> Result<(), AcceptError> {
        let noted = self.notes.take();
        let roster = self.store.roster();
        let changes: Vec<_> = noted.iter().map(|(no, record)| (roster.name(*no), *record)).collect();
        match self.endpoints.change(changes) {
            Ok(()) => {
                self.endpoints_refused = false;
                Ok(())
            }
            Err(error) => {
                let known = std::mem::replace(&mut self.endpoints_refused, true);
                EndpointsNotStored { error: &error.to_string(), endpoints: noted.len(), known }.tell(&self.metrics);
                self.notes.put_back(noted);
                Err(AcceptError::Failed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { bytes: [5; 8], epoch: 0 };

    fn name(text: &str) -> EndpointName {
        EndpointName::parse(text).unwrap()
    }

    fn state(state: EndpointState) -> EndpointRecord {
        EndpointRecord { state, ..EndpointRecord::default() }
    }

    fn gone(at: u64) -> EndpointState {
        EndpointState::Disabled { reason: DisabledReason::Gone, at: UnixMs(at) }
    }

    fn full(n: u64) -> EndpointRecord {
        EndpointRecord {
            state: gone(1_700_000_000_000 + n),
            resumed_at: UnixMs(1_700_000_000_001 + n),
            held_until: UnixMs(u64::MAX - n),
            failing: Some(Failing { since: UnixMs(n), for_ms: 1 << 40 }),
            breaker: Some(OpenBreaker { since: UnixMs(n + 1), probe_at: UnixMs(n + 2), cooldown_ms: 30_000 }),
        }
    }

    #[test]
    fn records_survive_a_default_one_leaves_the_file_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints");
        let mut records = EndpointRecords::open(path.clone(), MARK).unwrap();
        records.change([(name("c"), EndpointRecord::default())]).unwrap();
        assert!(!path.exists(), "nothing is kept, so nothing is written");
        let failing = EndpointRecord { failing: full(3).failing, ..EndpointRecord::default() };
        let paused = state(EndpointState::Paused);
        records.change([(name("a"), full(7)), (name("b"), paused), (name("c"), paused), (name("d"), failing)]).unwrap();
        records.change([(name("c"), EndpointRecord::default())]).unwrap();
        let read = EndpointRecords::open(path.clone(), MARK).unwrap().all();
        assert_eq!(read, [(name("a"), full(7)), (name("b"), paused), (name("d"), failing)]);
        let sound = std::fs::read(&path).unwrap();
        let damaged = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            matches!(EndpointRecords::open(path.clone(), MARK), Err(OpenError::Damaged { .. }))
        };
        for at in (0..sound.len()).filter(|at| sound[*at..].first() != Some(&5) && *at > 8) {
            let mut bytes = sound.clone();
            bytes[at] ^= 0x21;
            // A mark is nobody's business here.
            let in_mark = sound[..at].ends_with(&[5]) || sound[at..].starts_with(&[5]);
            assert!(damaged(&bytes) || in_mark, "byte {at}");
        }
        for len in 0..sound.len() {
            assert!(damaged(&sound[..len]), "cut at {len}");
        }
        assert!(damaged(&[&sound[..], &sound[..]].concat()), "something follows");
    }

    #[test]
    fn as_many_endpoints_as_a_config_may_have_and_more_fit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints");
        let all: Vec<_> = (0..10_000).map(|n| (name(&format!("endpoint-with-a-long-name-{n:05}")), full(n))).collect();
        EndpointRecords::open(path.clone(), MARK).unwrap().change(all.clone()).unwrap();
        assert_eq!(EndpointRecords::open(path, MARK).unwrap().all(), all);
    }

    /// What the first versions wrote, and what is written now: either must stay readable.
    #[test]
    fn golden_bytes_of_both_forms() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints");
        std::fs::write(&path, hex::decode(FIRST_FORM).unwrap()).unwrap();
        let mut records = EndpointRecords::open(path.clone(), MARK).unwrap();
        let asked = EndpointState::Disabled { reason: DisabledReason::Asked, at: UnixMs(1_700_000_000_000) };
        let old = [(name("a"), state(gone(7))), (name("b"), state(EndpointState::Paused)), (name("c"), state(asked))];
        assert_eq!(records.all(), old);
        let two = [(name("a"), EndpointRecord::default()), (name("b"), EndpointRecord::default())];
        records.change(two.into_iter().chain([(name("c"), full(7))])).unwrap();
        assert_eq!(hex::encode(std::fs::read(&path).unwrap()), SECOND_FORM);
        assert_eq!(EndpointRecords::open(path, MARK).unwrap().all(), [(name("c"), full(7))]);
    }

    const FIRST_FORM: &str = "050505050505050501650000000000000000000000004100000086c582a403000000000000000100000000000\
         00061020107000000000000000100000000000000620100000000000000000001000000000000006302020068e5cf8b010000";
    const SECOND_FORM: &str = "050505050505050501650100000000000000000000000200000070a132f30101050505050505050501650200000000\
         00000000000000350000003492d4ea000100000001630201fd0768e5cf8b010000fd0868e5cf8b010000fdf8ffffffffffffff0107fd000000000001\
         0000010809fb3075";
}
