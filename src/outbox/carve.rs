//! Reads records straight from the engine's file, without the engine.
//!
//! A database that sled cannot open any more, or opens with records missing, usually still has nearly all of them on the
//! disk: one damaged byte stops sled, not the other sixty million. Every value begins with the folder's mark and carries its
//! key, its length and a checksum (`frame.rs`), so each intact record can be found and believed on its own.
//!
//! Of sled's format this knows one thing: the file is a row of segments of a fixed size that no value crosses. The engine's
//! version is pinned, and a test holds this against it. Old versions of a page stay in the file until their segment is used
//! again, so a key may be found several times: the same value, or another of an earlier epoch.
//!
//! What was told of a sealed generation later (`sealed.rs`) is found in the same way, and is newer than what the engine has.
//!
//! It only reads. Memory: about 40 bytes a record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard};

use memchr::memmem::Finder;

use super::caution;
use super::engine::{SEGMENT_BYTES, Value};
use super::frame::{self, Mark};
use super::keys::{self, Key};
use super::sealed;

/// The files in which records are found: of two records of one epoch, the one in the later file is the newer.
const COPY: usize = 0;
const DATABASE: usize = 1;
const LATER: usize = 2;
/// What is read at once where a larger read failed, in bytes.
const SECTOR_BYTES: usize = 4096;

/// The intact records of one database file.
#[derive(Debug, Default)]
pub(super) struct Carved {
    /// A copy of the database where there is one, the database, and what was told later.
    files: [OnceLock<File>; 3],
    records: RwLock<BTreeMap<Key, Place>>,
    /// Where in the last of these files something was left out.
    left_out: Vec<u64>,
    /// Bytes of the file that the disk did not give out.
    pub(super) unreadable_bytes: u64,
    /// Bytes looked through.
    pub(super) file_bytes: u64,
}

/// Where a record stands. The fields are in the order of what makes one newer than another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    epoch: u32,
    /// The file's number in the two highest bits, then the offset.
    at: u64,
    value_bytes: u32,
}

/// Bits of an offset.
const OFFSET_BITS: u32 = 62;

impl Place {
    fn new(epoch: u32, file: usize, offset: u64, value_bytes: usize) -> Self {
        // A record is far smaller than 4 GiB, and no file is as large as 4 EiB.
        let value_bytes = u32::try_from(value_bytes).unwrap_or(u32::MAX);
        Self { epoch, at: (file as u64) << OFFSET_BITS | offset, value_bytes }
    }

    fn file(self) -> usize {
        (self.at >> OFFSET_BITS) as usize
    }

    fn offset(self) -> u64 {
        self.at & !(u64::MAX << OFFSET_BITS)
    }
}

impl Carved {
    /// Finds every record in the database in `dir`. A database without its file has none.
    ///
    /// # Errors
    /// Where the file is there and cannot be opened; what cannot be read of it is counted, and left out.
    pub(super) fn open(dir: &Path, mark: Mark) -> io::Result<Self> {
        let mut carved = Self::default();
        let mut segment = vec![0; SEGMENT_BYTES];
        for (at, path) in
            [(COPY, caution::copy_path(dir)), (DATABASE, dir.join("db")), (LATER, sealed::later_path(dir))]
        {
            match File::open(path) {
                Ok(file) => carved.take_file(at, file, mark, &mut segment)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(carved)
    }

    fn take_file(&mut self, at: usize, file: File, mark: Mark, segment: &mut [u8]) -> io::Result<()> {
        let bytes = file.metadata()?.len();
        let finder = Finder::new(&mark.bytes);
        for base in (0..bytes).step_by(SEGMENT_BYTES) {
            let len = usize::try_from(bytes - base).map_or(SEGMENT_BYTES, |rest| rest.min(SEGMENT_BYTES));
            self.unreadable_bytes += read_what_can_be(&file, &mut segment[..len], base);
            self.take_segment(at, &finder, &segment[..len], base);
        }
        self.file_bytes += bytes;
        self.files[at] = OnceLock::from(file);
        Ok(())
    }

    fn take_segment(&mut self, file: usize, finder: &Finder<'_>, segment: &[u8], base: u64) {
        let records = self.records.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut at = 0;
        while let Some(found) = finder.find(&segment[at..]) {
            let start = at + found;
            let Ok(record) = frame::read(&segment[start..]) else {
                at = start + 1;
                continue;
            };
            let value_bytes = frame::OVERHEAD + record.payload.len();
            let place = Place::new(record.epoch, file, base + start as u64, value_bytes);
            let newest = records.entry(record.key).or_insert(place);
            *newest = place.max(*newest);
            // Whatever a producer put into a body is passed over with it.
            at = start + value_bytes;
        }
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &[u8]) -> io::Result<Option<Value>> {
        let Ok(key) = Key::try_from(key) else { return Ok(None) };
        let place = self.records().get(&key).copied();
        place.map(|place| self.value(place)).transpose()
    }

    /// The last record of `kind` that is not after `key`.
    pub(super) fn at_or_before(&self, kind: u8, key: &[u8]) -> io::Result<Option<(Key, Value)>> {
        let Ok(key) = Key::try_from(key) else { return Ok(None) };
        let found = self.records().range(keys::key(kind, 0)..=key).next_back().map(copied);
        self.with_value(found)
    }

    /// The first record of `kind` after `key`.
    pub(super) fn after(&self, kind: u8, key: &[u8]) -> io::Result<Option<(Key, Value)>> {
        let Ok(key) = Key::try_from(key) else { return Ok(None) };
        let range = (Bound::Excluded(key), Bound::Included(keys::key(kind, u64::MAX)));
        let found = self.records().range(range).next().map(copied);
        self.with_value(found)
    }

    /// The last record of `kind`.
    pub(super) fn last(&self, kind: u8) -> io::Result<Option<(Key, Value)>> {
        self.at_or_before(kind, &keys::key(kind, u64::MAX))
    }

    /// The numbers of all records of `kind`, in order.
    pub(super) fn numbers(&self, kind: u8) -> Vec<u64> {
        let all = keys::key(kind, 0)..=keys::key(kind, u64::MAX);
        self.records().range(all).filter_map(|(key, _)| keys::number(key)).collect()
    }

    /// Calls `each` for every record of `kind` from number `from` on, until it says `false`.
    pub(super) fn scan(&self, kind: u8, from: u64, mut each: impl FnMut(Key, Value) -> bool) -> io::Result<()> {
        // Nobody waits while `each` looks at one, which may take a while.
        let all = keys::key(kind, from)..=keys::key(kind, u64::MAX);
        let found: Vec<_> = self.records().range(all).map(copied).collect();
        for (key, place) in found {
            if !each(key, self.value(place)?) {
                break;
            }
        }
        Ok(())
    }

    /// Leaves a record out from here on.
    pub(super) fn leave_out(&mut self, key: &Key) {
        let records = self.records.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = records.remove(key).filter(|place| place.file() == LATER) {
            self.left_out.push(place.offset());
        }
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.records().len()
    }

    /// Where in the file of what was told later something was left out.
    pub(super) fn left_out_of_later(&self) -> &[u64] {
        &self.left_out
    }

    /// Names the file of what is told later, where there was none before.
    pub(super) fn read_later_from(&self, file: File) {
        let _ = self.files[LATER].set(file);
    }

    /// A record was appended to that file.
    pub(super) fn learn_later(&self, key: &Key, epoch: u32, offset: u64, value_bytes: usize) {
        let place = Place::new(epoch, LATER, offset, value_bytes);
        self.records.write().unwrap_or_else(PoisonError::into_inner).insert(*key, place);
    }

    fn records(&self) -> RwLockReadGuard<'_, BTreeMap<Key, Place>> {
        self.records.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn with_value(&self, found: Option<(Key, Place)>) -> io::Result<Option<(Key, Value)>> {
        found.map(|(key, place)| Ok((key, self.value(place)?))).transpose()
    }

    fn value(&self, place: Place) -> io::Result<Value> {
        let file = self.files[place.file()].get().ok_or(io::ErrorKind::NotFound)?;
        let mut value = vec![0; place.value_bytes as usize];
        file.read_exact_at(&mut value, place.offset())?;
        Ok(value.into())
    }
}

/// The records that are carved out of one segment; for [`super::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn found_in(segment: &[u8], mark: Mark) -> Vec<(Key, &[u8])> {
    let mut carved = Carved::default();
    carved.take_segment(DATABASE, &Finder::new(&mark.bytes), segment, 0);
    let value = |place: Place| &segment[place.offset() as usize..][..place.value_bytes as usize];
    carved.records().iter().map(copied).map(|(key, place)| (key, value(place))).collect()
}

fn copied((key, place): (&Key, &Place)) -> (Key, Place) {
    (*key, *place)
}

/// Fills `into` from `offset` on, with zeros where the disk refuses; returns how many bytes it refused.
fn read_what_can_be(file: &File, into: &mut [u8], offset: u64) -> u64 {
    if file.read_exact_at(into, offset).is_ok() {
        return 0;
    }
    let mut refused = 0;
    for (n, sector) in into.chunks_mut(SECTOR_BYTES).enumerate() {
        if file.read_exact_at(sector, offset + (n * SECTOR_BYTES) as u64).is_err() {
            sector.fill(0);
            refused += sector.len() as u64;
        }
    }
    refused
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::disk::RealDisk;
    use crate::outbox::engine::Engine;

    const MARK: Mark = Mark { bytes: *b"\x9Bcarved!", epoch: 0 };

    fn framed(epoch: u32, key: &Key, payload: &[u8]) -> Vec<u8> {
        let mut value = frame::begin(payload.len());
        value.extend_from_slice(payload);
        frame::close(Mark { epoch, ..MARK }, key, value)
    }

    fn payload(n: u64, round: u64) -> Vec<u8> {
        let len = fastrand::Rng::with_seed(n ^ (round << 32)).usize(1..12_000);
        (0..len as u64).map(|at| (at * 31 + n * 7 + round) as u8).collect()
    }

    /// Holds what is known of the engine's format against the engine: every value that it has, in its newest version.
    #[test]
    fn every_value_of_the_engine_is_found_in_its_file_and_the_newest_version_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path(), RealDisk::shared()).unwrap();
        for round in 0..3 {
            for n in 0..700 {
                // Some keys are written once, some again and again: the engine then moves whole pages about.
                if round == 0 || n % (round + 2) == 0 {
                    let key = keys::key(b'b', n);
                    engine.put(&key, framed(round as u32, &key, &payload(n, round))).unwrap();
                }
                if n % 50 == 0 {
                    engine.sync().unwrap();
                }
            }
        }
        engine.sync().unwrap();
        let carved = Carved::open(dir.path(), MARK).unwrap();
        assert_eq!(carved.len(), 700);
        for n in 0..700 {
            let key = keys::key(b'b', n);
            assert!(carved.get(&key).unwrap() == engine.get(&key).unwrap(), "{n}");
        }
        assert_eq!(carved.numbers(b'b'), (0..700).collect::<Vec<_>>());
        assert_eq!(carved.unreadable_bytes, 0);
    }

    #[test]
    fn damage_costs_the_record_it_hits_and_a_record_within_a_body_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path(), RealDisk::shared()).unwrap();
        let forged = framed(0, &keys::key(b'h', 9), b"forged");
        for n in 0..40 {
            let key = keys::key(b'b', n);
            engine.put(&key, framed(0, &key, if n == 7 { &forged } else { b"twelve bytes" })).unwrap();
        }
        engine.sync().unwrap();
        let path = dir.path().join("db");
        let mut bytes = std::fs::read(&path).unwrap();
        let hit = framed(0, &keys::key(b'b', 20), b"twelve bytes");
        let mut hits = 0;
        for at in 0..bytes.len() - hit.len() {
            if bytes[at..at + hit.len()] == hit {
                bytes[at + hit.len() - 1] ^= 0x10;
                hits += 1;
            }
        }
        assert!(hits > 0);
        drop(engine);
        std::fs::write(&path, bytes).unwrap();
        let carved = Carved::open(dir.path(), MARK).unwrap();
        assert_eq!(carved.numbers(b'b'), (0..40).filter(|n| *n != 20).collect::<Vec<_>>());
        assert!(carved.numbers(b'h').is_empty());
    }
}
