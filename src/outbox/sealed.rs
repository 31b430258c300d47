//! A sealed generation: the engine's file, which nobody writes any more, and what is told of its deliveries later.
//!
//! An open database costs the engine tens of megabytes and a second, and a retry may be due in any of a hundred generations.
//! So a generation that is sealed and was closed once is never given to the engine again. Its records are read straight from
//! the file (`carve.rs`), and what becomes of its deliveries is appended to a file beside it, `later`: the same framed records,
//! one behind another. No record of it crosses a multiple of the engine's segment size, so that the same search finds both.
//!
//! The engine's lock on the file is shared meanwhile, so that a database that is just being closed is waited for.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use super::carve::Carved;
use super::disk::SharedDisk;
use super::engine::{EngineError, SEGMENT_BYTES, sync_dir};
use super::frame;
use super::keys::Key;

/// The file with what was told later.
pub(super) fn later_path(dir: &Path) -> PathBuf {
    dir.join("later")
}

/// A lock on a generation's file, shared with others who only read it.
#[derive(Debug)]
pub(super) struct ReadLock {
    _file: File,
}

impl ReadLock {
    /// Takes the lock on the database in `dir`.
    ///
    /// # Errors
    /// [`EngineError::InUse`] while the engine has it open.
    pub(super) fn take(dir: &Path) -> Result<Self, EngineError> {
        let path = dir.join("db");
        let io = |source| EngineError::Io { what: "cannot open", path: path.clone(), source };
        let file = File::open(&path).map_err(io)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(EngineError::InUse { path: dir.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(io(source)),
        }
    }
}

/// An open sealed generation.
#[derive(Debug)]
pub(super) struct Sealed {
    carved: Carved,
    dir: PathBuf,
    disk: SharedDisk,
    later: Mutex<Option<Later>>,
    failed: AtomicBool,
    torn: AtomicBool,
    _lock: ReadLock,
}

/// The file that is appended to.
#[derive(Debug)]
struct Later {
    file: File,
    end: u64,
    /// Whether its name is durable.
    named: bool,
}

impl Sealed {
    /// What was carved out of the files in `dir`, which nobody else writes.
    pub(super) fn new(carved: Carved, dir: &Path, disk: SharedDisk, lock: ReadLock) -> Self {
        let dir = dir.to_path_buf();
        let (later, failed, torn) = (Mutex::default(), AtomicBool::default(), AtomicBool::default());
        Self { carved, dir, disk, later, failed, torn, _lock: lock }
    }

    /// What is there to be read.
    pub(super) fn carved(&self) -> &Carved {
        &self.carved
    }

    /// Appends a value; readers see it at once, [`Sealed::sync`] makes it durable.
    pub(super) fn put(&self, key: &Key, value: &[u8]) -> Result<(), EngineError> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed() {
            return Err(EngineError::Failed("cannot write"));
        }
        self.append(&mut later, key, value).map_err(|source| {
            self.failed.store(true, Ordering::Relaxed);
            EngineError::Io { what: "cannot write", path: later_path(&self.dir), source }
        })
    }

    fn append(&self, later: &mut Option<Later>, key: &Key, value: &[u8]) -> io::Result<()> {
        let record = frame::read(value).map_err(io::Error::other)?;
        self.disk.before_write()?;
        let later = match later {
            Some(later) => later,
            None => later.insert(self.open_later()?),
        };
        let segment = SEGMENT_BYTES as u64;
        let left = segment - later.end % segment;
        let offset = if (value.len() as u64) > left { later.end + left } else { later.end };
        later.file.write_all_at(value, offset)?;
        later.end = offset + value.len() as u64;
        self.carved.learn_later(key, record.epoch, offset, value.len());
        Ok(())
    }

    fn open_later(&self) -> io::Result<Later> {
        let path = later_path(&self.dir);
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let end = file.metadata()?.len();
        self.carved.read_later_from(file.try_clone()?);
        // What was left out belongs to nobody: it must not come back once its numbers are given again.
        for offset in self.carved.left_out_of_later() {
            file.write_all_at(&[0; frame::MARK_BYTES], *offset)?;
        }
        // Whoever made the file may have been killed before its name was durable.
        Ok(Later { file, end, named: false })
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        let mut later = self.later.lock().unwrap_or_else(PoisonError::into_inner);
        if self.failed() {
            return Err(EngineError::Failed("cannot fsync"));
        }
        let Some(later) = later.as_mut() else { return Ok(()) };
        let synced = self.disk.sync_data(&later.file).map_err(|source| {
            // The kernel forgets a failed page: another fsync would succeed and mean nothing.
            self.torn.store(true, Ordering::Relaxed);
            EngineError::Io { what: "cannot fsync", path: later_path(&self.dir), source }
        });
        let named = synced.and_then(|()| if later.named { Ok(()) } else { sync_dir(&self.dir) });
        later.named |= named.is_ok();
        named.inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }

    /// Whether an fsync has failed.
    pub(super) fn torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }

    /// Whether a call has failed in a way that only opening again can mend.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::engine::Engine;
    use super::super::frame::Mark;
    use super::super::keys::{self, key};
    use super::*;
    use crate::outbox::disk::RealDisk;

    const MARK: Mark = Mark { bytes: *b"\x9Bsealed!", epoch: 0 };

    fn framed(epoch: u32, number: u64, payload: &[u8]) -> (Key, Vec<u8>) {
        let key = key(keys::STATES, number);
        let mut value = frame::begin(payload.len());
        value.extend_from_slice(payload);
        (key, frame::close(Mark { epoch, ..MARK }, &key, value))
    }

    fn payload(number: u64) -> Vec<u8> {
        let len = fastrand::Rng::with_seed(number).usize(1..16_000);
        (0..len as u64).map(|at| (at * 13 + number) as u8).collect()
    }

    /// A folder with a database of ten records, which is closed.
    fn closed() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path(), RealDisk::shared()).unwrap();
        for number in 0..10 {
            let (key, value) = framed(0, number, &payload(number));
            engine.put(&key, value).unwrap();
        }
        engine.sync().unwrap();
        drop(engine);
        dir
    }

    fn open(dir: &Path) -> Sealed {
        let lock = loop {
            match ReadLock::take(dir) {
                Err(EngineError::InUse { .. }) => std::thread::yield_now(),
                other => break other.unwrap(),
            }
        };
        Sealed::new(Carved::open(dir, MARK).unwrap(), dir, RealDisk::shared(), lock)
    }

    fn has(sealed: &Sealed, numbers: std::ops::Range<u64>) {
        assert_eq!(sealed.carved().numbers(keys::STATES), numbers.clone().collect::<Vec<_>>());
        for number in numbers {
            let (key, value) = framed(1, number, &payload(number));
            let found = sealed.carved().get(&key).unwrap().unwrap();
            assert!(frame::open(&key, &found) == frame::open(&key, &value), "{number}");
        }
    }

    #[test]
    fn what_is_appended_is_read_at_once_and_found_again_wherever_it_fell() {
        let dir = closed();
        let mut end = 10;
        for _ in 0..3 {
            let sealed = open(dir.path());
            has(&sealed, 0..end);
            // Several megabytes: some records would cross the bound of a segment.
            for number in end..end + 400 {
                let (key, value) = framed(1, number, &payload(number));
                sealed.put(&key, &value).unwrap();
            }
            end += 400;
            has(&sealed, 0..end);
            sealed.sync().unwrap();
        }
        has(&open(dir.path()), 0..end);
    }

    #[test]
    fn a_torn_end_costs_no_more_than_itself_and_is_appended_to() {
        let dir = closed();
        let sealed = open(dir.path());
        for number in 10..13 {
            let (key, value) = framed(1, number, &payload(number));
            sealed.put(&key, &value).unwrap();
        }
        drop(sealed);
        let path = later_path(dir.path());
        let bytes = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(bytes - 1).unwrap();
        let sealed = open(dir.path());
        has(&sealed, 0..12);
        let (key, value) = framed(2, 12, &payload(12));
        sealed.put(&key, &value).unwrap();
        has(&sealed, 0..13);
        drop(sealed);
        has(&open(dir.path()), 0..13);
    }

    #[test]
    fn what_was_left_out_does_not_come_back() {
        let dir = closed();
        let sealed = open(dir.path());
        for number in [10, 11, 13] {
            let (key, value) = framed(1, number, &payload(number));
            sealed.put(&key, &value).unwrap();
        }
        drop(sealed);
        let mut sealed = open(dir.path());
        sealed.carved.leave_out(&key(keys::STATES, 13));
        let (key, value) = framed(2, 12, &payload(12));
        sealed.put(&key, &value).unwrap();
        drop(sealed);
        has(&open(dir.path()), 0..13);
    }

    #[test]
    fn a_database_that_is_open_is_left_alone_and_one_that_is_read_is_not_opened() {
        let dir = closed();
        let sealed = open(dir.path());
        assert!(matches!(Engine::open(dir.path(), RealDisk::shared()), Err(EngineError::InUse { .. })));
        let again = open(dir.path());
        drop((sealed, again));
        let engine = Engine::open(dir.path(), RealDisk::shared()).unwrap();
        assert!(matches!(ReadLock::take(dir.path()), Err(EngineError::InUse { .. })));
        drop(engine);
    }
}
