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
use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::limits::STORED_VALUE_BYTES_MAX;

/// Bytes of one log segment.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;
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
    /// sled panicked, or a write or an fsync failed earlier.
    #[error("{0}: the storage engine failed; the generation has to be opened again")]
    Panicked(&'static str),
}

/// One open sled database.
#[derive(Debug)]
pub(super) struct Engine {
    db: sled::Db,
    /// A second handle on sled's log, for `fdatasync`.
    log: File,
    failed: AtomicBool,
    #[cfg(test)]
    fsync_fails: AtomicBool,
}

/// A stored value, shared with the engine's cache.
pub(super) type Value = sled::IVec;

impl Engine {
    /// Opens the database in `dir`, making it if it is not there, and makes the files themselves durable.
    pub(super) fn open(dir: &Path) -> Result<Self, EngineError> {
        let io = |what, path: &Path| {
            let path = path.to_path_buf();
            move |source| EngineError::Io { what, path, source }
        };
        fs::create_dir_all(dir).map_err(io("cannot create", dir))?;
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
            Ok(result) => result.map_err(|source| EngineError::Sled { what: "cannot open the generation", source })?,
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
        Ok(Self {
            db,
            log,
            failed: AtomicBool::new(false),
            #[cfg(test)]
            fsync_fails: AtomicBool::new(false),
        })
    }

    fn guarded<T>(&self, what: &'static str, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, EngineError> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(EngineError::Panicked(what));
        }
        match catch_unwind(AssertUnwindSafe(|| act(&self.db))) {
            Ok(result) => result.map_err(|source| EngineError::Sled { what, source }),
            Err(_) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(EngineError::Panicked(what))
            }
        }
    }

    /// A call that changes something. sled refuses every call after a write that failed, so the engine has failed for good.
    fn write<T>(&self, what: &'static str, act: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, EngineError> {
        self.guarded(what, act).inspect_err(|_| self.failed.store(true, Ordering::Relaxed))
    }

    /// Writes a value; readers see it at once, [`Engine::sync`] makes it durable.
    pub(super) fn put(&self, key: &[u8], value: Vec<u8>) -> Result<(), EngineError> {
        debug_assert!(value.len() <= STORED_VALUE_BYTES_MAX, "a value of {} bytes would make a blob", value.len());
        self.write("cannot write", |db| db.insert(key, value)).map(drop)
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
    pub(super) fn at_or_before(&self, kind: u8, key: &[u8]) -> Result<Option<(Value, Value)>, EngineError> {
        self.guarded("cannot read", |db| db.range([kind].as_slice()..=key).next_back().transpose())
    }

    /// The first key of `kind` after `key`.
    pub(super) fn after(&self, kind: u8, key: &[u8]) -> Result<Option<(Value, Value)>, EngineError> {
        self.guarded("cannot read", |db| {
            use std::ops::Bound::Excluded;
            db.range::<&[u8], _>((Excluded(key), Excluded([kind + 1].as_slice()))).next().transpose()
        })
    }

    /// The last key of `kind`.
    pub(super) fn last(&self, kind: u8) -> Result<Option<(Value, Value)>, EngineError> {
        self.guarded("cannot read", |db| db.range([kind].as_slice()..[kind + 1].as_slice()).next_back().transpose())
    }

    /// Removes every key of `kind` from `from` on.
    pub(super) fn clear(&self, kind: u8, from: &[u8]) -> Result<(), EngineError> {
        self.write("cannot remove", |db| {
            for key in db.range(from..[kind + 1].as_slice()).keys() {
                db.remove(key?)?;
            }
            Ok(())
        })
    }

    /// Calls `each` for every key of `kind` from `from` on, until it says `false`.
    pub(super) fn scan(
        &self,
        kind: u8,
        from: &[u8],
        mut each: impl FnMut(Value, Value) -> bool,
    ) -> Result<(), EngineError> {
        self.guarded("cannot read", |db| {
            for entry in db.range(from..[kind + 1].as_slice()) {
                let (key, value) = entry?;
                if !each(key, value) {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Hands everything written so far to the operating system. A power cut may still lose it.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        self.write("cannot flush", |db| db.flush()).map(drop)
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        self.flush()?;
        self.fdatasync().map_err(|source| {
            // The kernel forgets a failed page: another fsync would succeed and mean nothing.
            self.failed.store(true, Ordering::Relaxed);
            EngineError::Io { what: "cannot fsync", path: "db".into(), source }
        })
    }

    fn fdatasync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.fsync_fails.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        self.log.sync_data()
    }

    /// From here on every fsync fails with EIO.
    #[cfg(test)]
    pub(super) fn break_fsync(&self) {
        self.fsync_fails.store(true, Ordering::Relaxed);
    }

    /// Whether a call has failed in a way that only opening again can mend.
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens a folder that was closed a moment ago: sled ends a database on a thread of its own.
    fn reopen(dir: &Path) -> Engine {
        loop {
            match Engine::open(dir) {
                Err(EngineError::InUse { .. }) => std::thread::yield_now(),
                other => return other.unwrap(),
            }
        }
    }

    #[test]
    fn a_leftover_snapshot_does_not_stop_the_next_open() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
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
        drop(Engine::open(made.path()).unwrap());
        let conf = fs::read(made.path().join("conf")).unwrap();
        for len in [0, 5, 9, conf.len() / 2, conf.len() - 4, conf.len() - 1] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("conf"), &conf[..len]).unwrap();
            let engine = Engine::open(dir.path()).unwrap_or_else(|error| panic!("{len} bytes: {error}"));
            engine.put(b"h1", b"value".to_vec()).unwrap();
            drop(engine);
            assert_eq!(reopen(dir.path()).get(b"h1").unwrap().as_deref(), Some(&b"value"[..]));
        }
    }

    #[test]
    fn values_at_the_limit_never_become_blob_files() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(dir.path()).unwrap();
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
        let engine = Engine::open(dir.path()).unwrap();
        for key in [&b"a9"[..], b"b1", b"b5", b"c1"] {
            engine.put(key, key.to_vec()).unwrap();
        }
        let found = |entry: Option<(Value, Value)>| entry.map(|(key, _)| String::from_utf8(key.to_vec()).unwrap());
        assert_eq!(found(engine.at_or_before(b'b', b"b4").unwrap()).as_deref(), Some("b1"));
        assert_eq!(found(engine.at_or_before(b'b', b"b0").unwrap()), None);
        assert_eq!(found(engine.after(b'b', b"b1").unwrap()).as_deref(), Some("b5"));
        assert_eq!(found(engine.after(b'b', b"b5").unwrap()), None);
        assert_eq!(found(engine.last(b'b').unwrap()).as_deref(), Some("b5"));
    }
}
