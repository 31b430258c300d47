//! The file LOCK: one daemon a folder, or several that only read.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use super::OpenError;

/// Keeps every other daemon away, and whoever reads.
pub(super) fn to_write(dir: &Path) -> Result<File, OpenError> {
    let io = |what| move |source| OpenError::Io { what, path: dir.to_path_buf(), source };
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join("LOCK"))
        .map_err(io("cannot write to the data folder"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(io("cannot lock the data folder")(source)),
    }
}

/// Keeps daemons away while somebody reads, without a change to the folder. Several may read at once.
pub(super) fn to_read(dir: &Path) -> Result<Option<File>, OpenError> {
    let lock = match File::open(dir.join("LOCK")) {
        Ok(lock) => lock,
        // Every daemon makes it first, so none is there.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(OpenError::Io { what: "cannot read LOCK in the data folder", path: dir.to_path_buf(), source });
        }
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(Some(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_path_buf() }),
        // A file system without locks has no daemon either: it would not start there.
        Err(TryLockError::Error(_)) => Ok(None),
    }
}
