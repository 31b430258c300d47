//! Where a generation's records are read from: the engine, or what was carved out of its file.

use super::carve::Carved;
use super::engine::{Engine, EngineError, Value};
use super::keys::{self, Key};

/// A source of records.
#[derive(Debug)]
pub(super) enum Shelf {
    /// An open database, read and written.
    Engine(Engine),
    /// Its file, only read.
    Carved(Carved),
}

fn carving(source: std::io::Error) -> EngineError {
    EngineError::Io { what: "cannot read", path: "db".into(), source }
}

impl Shelf {
    /// The open database.
    pub(super) fn engine(&self) -> Result<&Engine, EngineError> {
        match self {
            Self::Engine(engine) => Ok(engine),
            Self::Carved(_) => Err(EngineError::ReadOnly("cannot write")),
        }
    }

    /// As [`Engine::get`].
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Value>, EngineError> {
        match self {
            Self::Engine(engine) => engine.get(key),
            Self::Carved(carved) => carved.get(key).map_err(carving),
        }
    }

    /// As [`Engine::at_or_before`].
    pub(super) fn at_or_before(&self, kind: u8, key: &[u8]) -> Result<Option<(Key, Value)>, EngineError> {
        match self {
            Self::Engine(engine) => engine.at_or_before(kind, key),
            Self::Carved(carved) => carved.at_or_before(kind, key).map_err(carving),
        }
    }

    /// As [`Engine::after`].
    pub(super) fn after(&self, kind: u8, key: &[u8]) -> Result<Option<(Key, Value)>, EngineError> {
        match self {
            Self::Engine(engine) => engine.after(kind, key),
            Self::Carved(carved) => carved.after(kind, key).map_err(carving),
        }
    }

    /// As [`Engine::last`].
    pub(super) fn last(&self, kind: u8) -> Result<Option<(Key, Value)>, EngineError> {
        match self {
            Self::Engine(engine) => engine.last(kind),
            Self::Carved(carved) => carved.last(kind).map_err(carving),
        }
    }

    /// Calls `each` for every record of `kind` from number `from` on, until it says `false`.
    pub(super) fn scan(&self, kind: u8, from: u64, each: impl FnMut(Key, Value) -> bool) -> Result<(), EngineError> {
        match self {
            Self::Engine(engine) => engine.scan(kind, &keys::key(kind, from), each),
            Self::Carved(carved) => carved.scan(kind, from, each).map_err(carving),
        }
    }
}
