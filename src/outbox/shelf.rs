//! Where a generation's records are: in the engine, or in its file and what is appended beside it.

use super::carve::Carved;
use super::engine::{Engine, EngineError, Value};
use super::keys::{self, Key};
use super::sealed::Sealed;

/// A source of records.
#[derive(Debug)]
pub(super) enum Shelf {
    /// An open database, read and written.
    Engine(Engine),
    /// A sealed one, read off its file, and added to.
    Sealed(Sealed),
    /// Its file, only read.
    Carved(Carved),
}

fn carving(source: std::io::Error) -> EngineError {
    EngineError::Io { what: "cannot read", path: "db".into(), source }
}

impl Shelf {
    /// The open database: only there something can be removed.
    pub(super) fn engine(&self) -> Result<&Engine, EngineError> {
        match self {
            Self::Engine(engine) => Ok(engine),
            Self::Sealed(_) | Self::Carved(_) => Err(EngineError::ReadOnly("cannot remove")),
        }
    }

    /// Writes a value; readers see it at once, [`Shelf::sync`] makes it durable.
    pub(super) fn put(&self, key: &Key, value: Vec<u8>) -> Result<(), EngineError> {
        match self {
            Self::Engine(engine) => engine.put(key, value),
            Self::Sealed(sealed) => sealed.put(key, &value),
            Self::Carved(_) => Err(EngineError::ReadOnly("cannot write")),
        }
    }

    /// Hands everything written so far to the operating system.
    pub(super) fn flush(&self) -> Result<(), EngineError> {
        match self {
            Self::Engine(engine) => engine.flush(),
            // It keeps nothing to itself.
            Self::Sealed(_) | Self::Carved(_) => Ok(()),
        }
    }

    /// Whether something that was written is kept in this process still.
    pub(super) fn buffers(&self) -> bool {
        match self {
            Self::Engine(engine) => engine.buffers(),
            Self::Sealed(_) | Self::Carved(_) => false,
        }
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), EngineError> {
        match self {
            Self::Engine(engine) => engine.sync(),
            Self::Sealed(sealed) => sealed.sync(),
            Self::Carved(_) => Ok(()),
        }
    }

    /// Whether only opening it anew can mend it.
    pub(super) fn failed(&self) -> bool {
        match self {
            Self::Engine(engine) => engine.failed(),
            Self::Sealed(sealed) => sealed.failed(),
            Self::Carved(_) => false,
        }
    }

    /// Whether an fsync has failed.
    pub(super) fn torn(&self) -> bool {
        match self {
            Self::Engine(engine) => engine.torn(),
            Self::Sealed(sealed) => sealed.torn(),
            Self::Carved(_) => false,
        }
    }

    /// As [`Engine::get`].
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, EngineError> {
        match self {
            Self::Engine(engine) => engine.get(key),
            Self::Sealed(sealed) => sealed.carved().get(key).map_err(carving),
            Self::Carved(carved) => carved.get(key).map_err(carving),
        }
    }

    /// As [`Engine::at_or_before`].
    pub(super) fn at_or_before(&self, kind: u8, key: &[u8]) -> Result<Option<(Key, Value)>, EngineError> {
        match self {
            Self::Engine(engine) => engine.at_or_before(kind, key),
            Self::Sealed(sealed) => sealed.carved().at_or_before(kind, key).map_err(carving),
            Self::Carved(carved) => carved.at_or_before(kind, key).map_err(carving),
        }
    }

    /// As [`Engine::after`].
    pub(super) fn after(&self, kind: u8, key: &[u8]) -> Result<Option<(Key, Value)>, EngineError> {
        match self {
            Self::Engine(engine) => engine.after(kind, key),
            Self::Sealed(sealed) => sealed.carved().after(kind, key).map_err(carving),
            Self::Carved(carved) => carved.after(kind, key).map_err(carving),
        }
    }

    /// As [`Engine::last`].
    pub(super) fn last(&self, kind: u8) -> Result<Option<(Key, Value)>, EngineError> {
        match self {
            Self::Engine(engine) => engine.last(kind),
            Self::Sealed(sealed) => sealed.carved().last(kind).map_err(carving),
            Self::Carved(carved) => carved.last(kind).map_err(carving),
        }
    }

    /// Calls `each` for every record of `kind` from number `from` on, until it says `false`.
    pub(super) fn scan(&self, kind: u8, from: u64, each: impl FnMut(Key, Value) -> bool) -> Result<(), EngineError> {
        match self {
            Self::Engine(engine) => engine.scan(kind, &keys::key(kind, from), each),
            Self::Sealed(sealed) => sealed.carved().scan(kind, from, each).map_err(carving),
            Self::Carved(carved) => carved.scan(kind, from, each).map_err(carving),
        }
    }
}
