//! What can be done with a data folder that no daemon has open: check it, export it, import into a new one.
//!
//! | file | job |
//! |---|---|
//! | `check` | whether a folder is sound; changes nothing |
//! | `verify` | reads everything in one generation and tells what does not fit |
//! | `trial` | whether the engine can open a generation, tried on a copy |
//! | `export` | everything as lines of JSON, read past the engine, so that damage to a file costs what it hits and no more |
//! | `import` | lines of JSON to a new folder |
//! | `line`, `endpoint_line` | such a line, both ways |
//! | `histories` | what has happened to the deliveries of one generation |
//!
//! Check and export only read: they work on a disk that can only be read, and they keep daemons away by a shared lock on the
//! file LOCK, which they do not write to either. Memory is bounded by one generation.

mod check;
mod endpoint_line;
mod export;
#[cfg(any(test, feature = "fuzzing"))]
pub(in crate::outbox) mod fuzzing;
mod histories;
mod import;
mod line;
#[cfg(test)]
mod tests;
mod trial;
mod verify;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use check::{CheckReport, Engine, Fault, GenerationReport, check, remedy_of};
pub use export::{Exported, export};
pub use import::{ImportOptions, Imported, import};

use super::folder::Folder;
use super::{OpenError, StoreError};

/// Why something could not be done with a data folder.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// There is no such folder.
    #[error("there is no data folder {}: check dir of [storage]", dir.display())]
    NoFolder {
        /// The folder.
        dir: PathBuf,
    },
    /// A daemon has it open.
    #[error("the data folder {} is in use by a running webhookd, or by another `webhookd store`: stop that first", dir.display())]
    InUse {
        /// The folder.
        dir: PathBuf,
    },
    /// It cannot be read, or nothing can be imported into it.
    #[error(transparent)]
    Folder(OpenError),
    /// The disk refused.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Lines could not be handed out.
    #[error("the export could not be written: {0}")]
    Output(#[source] io::Error),
    /// Lines could not be read.
    #[error("the lines to import could not be read: {0}")]
    Input(#[source] io::Error),
    /// A line to import is none.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// What was imported could not be stored.
    #[error("what was imported could not be stored: {0}")]
    Store(#[from] StoreFailure),
}

/// What the store did not do.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct StoreFailure(#[from] StoreError);

impl From<StoreError> for OfflineError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

impl From<OpenError> for OfflineError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Locked { dir } => Self::InUse { dir },
            other => Self::Folder(other),
        }
    }
}

/// How far something has come, in bytes of the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are done.
    pub done_bytes: u64,
    /// Bytes in all.
    pub total_bytes: u64,
}

/// The folder of a daemon that does not run, and what is wrong with its FORMAT.
fn open(dir: &Path) -> Result<(Folder, Option<String>), OfflineError> {
    if !dir.is_dir() {
        return Err(OfflineError::NoFolder { dir: dir.to_path_buf() });
    }
    Ok(Folder::open_to_read(dir)?)
}

fn cannot_read(path: &Path) -> impl Fn(io::Error) -> OfflineError {
    move |source| OfflineError::Io { what: "cannot read", path: path.to_path_buf(), source }
}
