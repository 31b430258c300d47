//! sled with the care it needs. Everything that is known about its faults is answered here; nothing above names it.
//!
//! - `flush` is no fsync on Linux (it ends in `sync_file_range`), so [`Engine::sync`] flushes and then calls `fdatasync` on a
//!   handle of its own on the `db` file.
//! - sled never syncs `conf`, `db` and their folder when it makes them: [`Engine::open`] does.
//! - A `snap.*.generating` left by a crash makes every later open fail, and so does half a `conf`: they go before the open.
//! - A log item over a quarter of `segment_size` becomes a blob file, which is never synced. An item is a whole leaf of up to
//!   17 values. With segments of 2 MiB and values of at most 16 KiB no item comes near that.
//! - A damaged file, or a write or fsync that fails, can make sled panic: every call is guarded, and after a panic the
//!   engine counts as failed for good; the generation has to be opened again.

use std::fs::{self, File, TryLockError};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use thiserror::Error;

use super::disk::SharedDisk;
use super::keys::Key;
use crate::limits::STORED_VALUE_BYTES_MAX;

/// Bytes of one log segment.
pub(super) const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
/// Pages that one open generation may keep in memory, in bytes, as sled counts them.
const CACHE_BYTES: u64 = 8 * 1024 * 1024;

const _: () = assert!(17 * (STORED_VALUE_BYTES_MAX + 64) < SEGMENT_BYTES / 4, "a full leaf must never become a blob");

/// Why the engine did not do what it was asked.
#[derive(Debug, Error)]
pub(super) enum EngineError {
    /// The file system refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// sled refused.
    #[error("{what}: {source}")]
    Sled {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: sled::Error,
    },
    /// Another user of the database, in this process or another, has not closed it yet.
    #[error("{}: it is in use", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// sled panicked.
    #[error("{0}: the storage engine panicked")]
    Panicked(&'static str),
    /// A call failed earlier in a way after which sled answers no more.
    #[error("{0}: the storage engine failed; the generation has to be opened again")]
    Failed(&'static str),
    /// Something was to be written to what is only read.
    #[error("{0}: it is only read")]
    ReadOnly(&'static str),
}

impl EngineError {
    /// Whether it may tell of a damaged file, and not of a disk that refuses for a while or of a program at its limits.
    pub(super) fn suggests_damage(&self) -> bool {
        let of_file = |error: &io::Error| {
            use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
            // What sled found wrong, or a sector that the disk does not give out (EIO, 5 on every Linux).
            matches!(error.kind(), InvalidData | NotFound | UnexpectedEof) || error.raw_os_error() == Some(5)
        };
        match self {
            Self::Io { source, .. } => of_file(source),
            Self::Sled { source: sled::Error::Io(source), .. } => of_file(source),
            Self::Sled { .. } | Self::Panicked(_) => true,
            Self::InUse { .. } | Self::Failed(_) | Self::ReadOnly(_) => false,
        }
    }
}

/// One open sled database.
#[derive(Debug)]
pub(super) struct Engine {
    db: Database,
    /// A second handle on sled's log, for `fdatasync`.
    log: File,
    disk: SharedDisk,
    failed: AtomicBool,
    torn: AtomicBool,
    /// Values written so far, and how many of them were handed to the operating system.
    written: AtomicU64,
    flushed: AtomicU64,
}

/// A stored value, shared with the engine's cache.
pub(super) type Value = sled::IVec;

impl Engine {
    /// Opens the database in `dir`, making it if it is not there, and makes the files themselves durable.
    pub(super) fn open(dir: &Path, disk: SharedDisk) -> Result<Self, EngineError> {
        let io = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| EngineError::Io { what, path, source }
        };
        // Not the folders above it: where those are gone, this is no place for a new one.
        if let Err(source) = fs::create_dir(dir)
            && !dir.is_dir()
        {
            return Err(io("cannot create", dir)(source));
        }
        let path = dir.join("db");
        if let Ok(log) = File::open(&path)
            && let Err(TryLockError::WouldBlock) = log.try_lock()
        {
            return Err(EngineError::InUse { path: dir.to_path_buf() });
        }
        remove_unfinished_snapshots(dir)?;
        remove_unfinished_conf(dir)?;
        let opened = catch_unwind(|| {
            sled::Config::new()
                .path(dir)
                .segment_size(SEGMENT_BYTES)
                .cache_capacity(CACHE_BYTES)
                .flush_every_ms(None)
                .open()
        });
        let db = match opened {
            Ok(Ok(db)) => Database(Some(db)),
            Ok(Err(source)) => return Err(EngineError::Sled { what: "cannot open the generation", source }),
            Err(_) => return Err(EngineError::Panicked("cannot open the generation")),
        };
        for name in ["conf", "db"] {
            let path = dir.join(name);
            File::open(&path).and_then(|file| file.sync_all()).map_err(io("cannot sync", &path))?;
        }
        for folder in [dir.join("blobs"), dir.to_path_buf()] {
            if folder.is_dir() {
                sync_dir(&folder)?;
            }
        }
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        let log = File::options().read(true).write(true).open(&path).map_err(io("cannot open", &path))?;
        let (failed, torn) = (AtomicBool::default(), AtomicBool::default());
        Ok(Self { db, log, disk, failed, torn, written: AtomicU64::default(), flushed: AtomicU64::default() })
    }

    fn guarded<T>(&self, what: &'static str, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, EngineError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(EngineError::Failed(what));
        }
        let Some(db) = &self.db.0 else { return Err(EngineError::Failed(what)) };
        match catch_unwind(AssertUnwindSafe(|| act(db))) {
            Ok(result) => result.map_err(|source| EngineError::Sled { what, source }),
            Err(_) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(EngineError::Panicked(what))
            }
        }
    }

    /// A call that changes something. sled refuses every call after a write that failed, so the engine has failed for good.
    fn write<T>(&self, what: &'static str, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, EngineError> {
        let asked = self.disk.before_write().map_err(|source| EngineError::Io { what, path: "db".into(), source });
        asked.and_then(|()| self.guarded(what, act)).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }

    /// Writes a value; readers see it at once, [`Engine::sync`] makes it durable.
    pub(super) fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), EngineError> {
        debug_assert!(value.len() <= STORED_VALUE_BYTES_MAX, "a value of {} bytes would make a blob", value.len());
        self.write("cannot write", |db| db.insert(key, value))?;
        self.written.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Removes a value.
    pub(super) fn remove(&self, key: &[u8]) -> Result<(), EngineError> {
        self.write("cannot remove", |db| db.remove(key)).map(drop)
    }

    /// The value under `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, EngineError> {
        self.guarded("cannot read", |db| db.get(key))
    }

    /// The last key of `kind` that is not after `key`.
    pub(super) fn at_or_before(&self, kind: u8, key: &[u8]) -> Result<Option<(Key, Value)>, EngineError> {
        self.guarded("cannot read", |db| db.range([kind].as_slice()..=key).next_back().transpose()).map(ours)
    }

    /// The first key of `kind` after `key`.
    pub(super) fn after(&self, kind: u8, key: &[u8]) -> Result<Option<(Key, Value)>, EngineError> {
        let found = self.guarded("cannot read", |db| {
            use std::ops::Bound::Excluded;
            db.range::<&[u8], _>((Excluded(key), Excluded([kind + 1].as_slice()))).next().transpose()
        });
        found.map(ours)
    }

    /// The last key of `kind`.
    pub(super) fn last(&self, kind: u8) -> Result<Option<(Key, Value)>, EngineError> {
        let found = self
            .guarded("cannot read", |db| db.range([kind].as_slice()..[kind + 1].as_slice()).next_back().transpose());
        found.map(ours)
    }

    /// Calls `each` for every key of `kind` from `from` on, until it says `false`.
    pub(super) fn scan(
        &self,
        kind: u8,
        from: &[u8],
        mut each: impl FnMut(Key, Value) -> bool,
    ) -> Result<(), EngineError> {
        self.guarded("cannot read", |db| {
            for entry in db.range(from..[kind + 1].as_slice()) {
                let Some((key, value)) = ours(Some(entry?)) else { continue };
                if !each(key, value) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Hands everything written so far to the operating system. A power cut may still lose it.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        // What is written meanwhile may come too late for this flush.
        let written = self.written.load(Ordering::Acquire);
        self.write("cannot flush", |db| db.flush())?;
        self.flushed.fetch_max(written, Ordering::AcqRel);
        Ok(())
    }

    /// Whether something that was written is kept in this process still: SIGKILL would lose it.
    pub(super) fn buffers(&self) -> bool {
        self.flushed.load(Ordering::Acquire) < self.written.load(Ordering::Acquire)
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        self.flush()?;
        self.disk.sync_data(&self.log).map_err(|source| {
            // The kernel forgets a failed page: another fsync would succeed and mean nothing.
            self.failed.store(true, Ordering::Relaxed);
            self.torn.store(true, Ordering::Relaxed);
            EngineError::Io { what: "cannot fsync", path: "db".into(), source }
        })
    }

    /// Whether an fsync has failed: the file has holes where nobody can tell, and nothing may be added to it any more.
    pub(super) fn torn(&self) -> bool {
        self.torn.load(Ordering::Relaxed)
    }

    /// Whether a call has failed in a way that only opening again can mend.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// The database itself, there until it goes. sled syncs once more then, and panics where the disk refuses; an open that fails
/// half way lets go of it as well.
#[derive(Debug)]
struct Database(Option<sled::Db>);

impl Drop for Database {
    fn drop(&mut self) {
        let db = self.0.take();
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// An entry whose key is one of ours; the engine holds no others.
fn ours(entry: Option<(Value, Value)>) -> Option<(Key, Value)> {
    entry.and_then(|(key, value)| Some((Key::try_from(&key[..]).ok()?, value)))
}

/// Makes the entries of a folder durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), EngineError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(|source| EngineError::Io {
        what: "cannot sync",
        path: dir.to_path_buf(),
        source,
    })
}

fn remove_unfinished_snapshots(dir: &Path) -> Result<(), EngineError> {
    let io = |what| move |source| EngineError::Io { what, path: dir.to_path_buf(), source };
    for entry in fs::read_dir(dir).map_err(io("cannot read"))? {
        let entry = entry.map_err(io("cannot read"))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path()).map_err(io("cannot remove an unfinished snapshot in"))?;
        }
    }
    Ok(())
}

/// sled writes `conf` in two steps and only then makes `db`. A crash in between leaves a `conf` that it refuses to read, in
/// a database that never held anything.
fn remove_unfinished_conf(dir: &Path) -> Result<(), EngineError> {
    let unused =
        fs::metadata(dir.join("db")).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |db| db.len() == 0);
    let conf = dir.join("conf");
    if unused && conf.exists() {
        fs::remove_file(&conf).map_err(|source| EngineError::Io { what: "cannot remove", path: conf, source })?;
    }
    Ok(())
}

/// Opens a folder that was closed a moment ago: sled ends a database on a thread of its own.
#[cfg(test)]
pub(super) fn reopen(dir: &Path) -> Engine {
    loop {
        match Engine::open(dir, super::disk::RealDisk::shared()) {
            Err(EngineError::InUse { .. }) => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::disk::RealDisk;
    use crate::outbox::keys::key;

    fn open(dir: &Path) -> Engine {
        Engine::open(dir, RealDisk::shared()).unwrap()
    }

    #[test]
    fn a_leftover_snapshot_does_not_stop_the_next_open() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        engine.put(b"h1", b"value".to_vec()).unwrap();
        engine.sync().unwrap();
        drop(engine);
        fs::write(dir.path().join("snap.00000000000000FF.generating"), b"torn").unwrap();
        let engine = reopen(dir.path());
        assert_eq!(engine.get(b"h1").unwrap().as_deref(), Some(&b"value"[..]));
    }

    #[test]
    fn a_crash_while_it_was_made_does_not_stop_the_next_open() {
        let made = tempfile::tempdir().unwrap();
        drop(open(made.path()));
        let conf = fs::read(made.path().join("conf")).unwrap();
        for len in [0, 5, 9, conf.len() / 2, conf.len() - 4, conf.len() - 1] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("conf"), &conf[..len]).unwrap();
            let engine =
                Engine::open(dir.path(), RealDisk::shared()).unwrap_or_else(|error| panic!("{len} bytes: {error}"));
            engine.put(b"h1", b"value".to_vec()).unwrap();
            drop(engine);
            assert_eq!(reopen(dir.path()).get(b"h1").unwrap().as_deref(), Some(&b"value"[..]));
        }
    }

    #[test]
    fn values_at_the_limit_never_become_blob_files() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        for n in 0..400_u32 {
            engine.put(&n.to_be_bytes(), vec![7; STORED_VALUE_BYTES_MAX]).unwrap();
            if n % 50 == 0 {
                engine.sync().unwrap();
            }
        }
        engine.sync().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("blobs")).unwrap().count(), 0);
    }

    #[test]
    fn neighbours_are_found_within_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(dir.path());
        for (kind, number) in [(b'a', 9), (b'b', 1), (b'b', 5), (b'c', 1)] {
            engine.put(&key(kind, number), vec![kind]).unwrap();
        }
        let found = |entry: Option<(Key, Value)>| entry.map(|(key, _)| key);
        assert_eq!(found(engine.at_or_before(b'b', &key(b'b', 4)).unwrap()), Some(key(b'b', 1)));
        assert_eq!(found(engine.at_or_before(b'b', &key(b'b', 0)).unwrap()), None);
        assert_eq!(found(engine.after(b'b', &key(b'b', 1)).unwrap()), Some(key(b'b', 5)));
        assert_eq!(found(engine.after(b'b', &key(b'b', 5)).unwrap()), None);
        assert_eq!(found(engine.last(b'b').unwrap()), Some(key(b'b', 5)));
    }
}
