//! What may go wrong, by who has to know it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::engine::EngineError;
use crate::model::text::EventId;

/// Why events were not accepted. None of those handed in together was stored.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AcceptError {
    /// Another event is known under this id or `Idempotency-Key`.
    #[error("another event is known as {id}")]
    Conflict {
        /// Which of the events handed in, from 0.
        index: usize,
        /// The id of the event that is known.
        id: EventId,
    },
    /// The data folder has reached its limit.
    #[error("the data folder is full")]
    Full,
    /// More waits to be written than the queue holds.
    #[error("too many events wait to be written")]
    Busy,
    /// The write or the fsync failed, or the outbox has stopped.
    #[error("the event could not be stored")]
    Failed,
}

/// Why something stored could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A stored record is damaged.
    #[error("a stored record is damaged: {0}")]
    Damaged(String),
    /// What is asked for was lost with a damaged generation; that was told when it was found.
    #[error("it was lost with a damaged generation: {0}")]
    Lost(String),
    /// The storage engine failed.
    #[error("the storage could not be read: {0}")]
    Engine(#[from] EngineFailure),
    /// A generation could not be opened just now, or is being mended.
    #[error("the storage could not be read: {0}")]
    Unavailable(String),
    /// The read itself failed, which is a fault in webhookd.
    #[error("the read panicked")]
    Panicked,
    /// The outbox has stopped.
    #[error("the outbox has stopped")]
    Stopped,
}

/// What the storage engine did not do.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct EngineFailure(#[from] pub(super) EngineError);

impl From<EngineError> for ReadError {
    fn from(error: EngineError) -> Self {
        // What is no damage passes: the generation is opened anew.
        if error.suggests_damage() { Self::Engine(error.into()) } else { Self::Unavailable(error.to_string()) }
    }
}

impl From<StoreError> for ReadError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Read(error) => error,
            StoreError::Engine(error) => error.into(),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// Why the outbox could not be opened. Nothing in the folder was changed then but for what a crash had left half done.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("{what} {}: {source}; {}", path.display(), advice(source))]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another daemon uses the folder.
    #[error("the data folder {} is in use by another webhookd: stop that one, or set another [storage] dir", dir.display())]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// The folder is of another version.
    #[error("{} is a data folder of another version of webhookd ({found}): run that version, or set another [storage] dir", dir.display())]
    Version {
        /// The folder.
        dir: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// The folder is of another program.
    #[error("{} is no data folder of this version of webhookd ({found}): set another [storage] dir", dir.display())]
    Format {
        /// The folder.
        dir: PathBuf,
        /// What was found instead.
        found: String,
    },
    /// The file FORMAT is damaged.
    #[error(
        "the file FORMAT in the data folder {} is damaged: restore it from a backup, or save the events with `webhookd store \
         export`, which reads them without it, and import them into a new folder",
        dir.display()
    )]
    NoMark {
        /// The folder.
        dir: PathBuf,
    },
    /// Part of the folder was removed.
    #[error(
        "the data folder {} is half deleted: {what}; restore it from a backup, or remove the whole folder to begin with an empty one",
        dir.display()
    )]
    HalfDeleted {
        /// The folder.
        dir: PathBuf,
        /// What is missing.
        what: String,
    },
    /// An import into the folder broke off.
    #[error("an import into {} was not finished, so that it holds half a store: remove the folder and import again", dir.display())]
    HalfMade {
        /// The folder.
        dir: PathBuf,
    },
    /// A folder to import into holds something already.
    #[error("{} is not empty (there is {found} in it): import into a new folder, set as [storage] dir", dir.display())]
    NotEmpty {
        /// The folder.
        dir: PathBuf,
        /// What was found in it.
        found: String,
    },
    /// A file is damaged.
    #[error("{} is damaged: {what}; restore it, or move it away to go on without it", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The storage engine or a thread could not be started.
    #[error("the outbox could not be started: {0}")]
    Engine(String),
}

/// What an operator may do about a file system that refuses.
fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind::{
        AlreadyExists, NotADirectory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
    };
    match error.kind() {
        StorageFull | QuotaExceeded => "make room there, or set another [storage] dir",
        ReadOnlyFilesystem => "make that file system writable, or set another [storage] dir",
        PermissionDenied => "let the user that webhookd runs as write there, or set another [storage] dir",
        AlreadyExists | NotADirectory => {
            "it must be a folder: move the file that is there away, or set another [storage] dir"
        }
        _ => "see to that disk, or set another [storage] dir",
    }
}

/// Why something could not be written or read; for the inside of this module.
#[derive(Debug, Error)]
pub(super) enum StoreError {
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error("a row could not be encoded or decoded: {0}")]
    Codec(#[from] bincode::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("a number outgrew its field")]
    TooLarge,
    #[error("{what} generation {generation}: {source}")]
    Io { what: &'static str, generation: u32, source: io::Error },
    #[error("the disk refused a new generation a moment ago; it is tried again shortly")]
    Resting,
    #[error("the generation was removed")]
    Gone,
    #[error("the folder of generation {generation} is gone")]
    Missing { generation: u32 },
    #[error("generation {generation}: {what}")]
    Unsure { generation: u32, what: String },
    #[error("generation {generation} is damaged and is being mended")]
    InDoubt { generation: u32 },
}
