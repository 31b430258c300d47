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
        self.carved.learn_later(key, record.epoch, offset, value.len())
    }

    fn open_later(&self) -> io::Result<Later> {
        let path = later_path(&self.dir);
        let named = path.exists();
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path)?;
        let end = file.metadata()?.len();
        self.carved.read_later_from(file.try_clone()?);
        // What was left out belongs to nobody: it must not come back once its numbers are given again.
        for offset in self.carved.left_out_of_later() {
            file.write_all_at(&[0; frame::MARK_BYTES], *offset)?;
        }
        Ok(Later { file, end, named })
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
