//! One generation: a small database with the events of a span of time, their deliveries' states and their attempts.

mod append;
mod read;

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::engine::{Engine, Value};
use super::keys::{self, key};
use super::rows::{self, COMMIT_ENDS, HeadRow};
use super::{ReadError, StoreError, frame};
use crate::clock::UnixMs;
use crate::model::delivery::{EventRef, Progress, Standing};
use crate::model::event::{Event, Fingerprint};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::EndpointName;

/// What an event's head counts for in the size of a generation.
const HEAD_BYTES: u64 = 256;

/// An open generation.
#[derive(Debug)]
pub(in crate::outbox) struct Generation {
    no: u32,
    engine: Engine,
    roster: Arc<Roster>,
    names: RwLock<Names>,
    tail: Mutex<Tail>,
}

/// The generation's own numbers for endpoints; they are stored, the process's are not.
#[derive(Debug, Default)]
struct Names {
    by_local: Vec<EndpointNo>,
    to_local: HashMap<EndpointNo, u16>,
}

/// Where the next rows go.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    seq: u32,
    offset: u64,
    state_pack: u32,
    attempt_pack: u32,
}

/// An event's head, read back.
#[derive(Clone, Debug)]
pub(in crate::outbox) struct Head {
    pub(in crate::outbox) event: Event,
    pub(in crate::outbox) idempotency_key: Option<Box<str>>,
    pub(in crate::outbox) fingerprint: Fingerprint,
    pub(in crate::outbox) targets: Vec<EndpointNo>,
    states_from: u32,
    offset: u64,
    extras_bytes: u32,
    body_bytes: u32,
}

/// Where a delivery stands, folded from its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbox) struct State {
    pub(in crate::outbox) standing: Standing,
    pub(in crate::outbox) progress: Progress,
}

impl State {
    /// What a delivery is at acceptance, its first attempt due at `next_at`.
    pub(in crate::outbox) fn fresh(next_at: UnixMs) -> Self {
        Self { standing: Standing::Pending { next_at }, progress: Progress::default() }
    }
}

impl Generation {
    /// Opens the generation in `dir`, making it if it is not there.
    pub(in crate::outbox) fn open(dir: &Path, no: u32, roster: Arc<Roster>) -> Result<Self, StoreError> {
        let engine = Engine::open(dir)?;
        let generation = Self { no, engine, roster, names: RwLock::default(), tail: Mutex::default() };
        generation.read_names()?;
        generation.find_tail()?;
        Ok(generation)
    }

    /// Its number.
    pub(in crate::outbox) fn no(&self) -> u32 {
        self.no
    }

    /// How many events it holds.
    pub(in crate::outbox) fn events(&self) -> u32 {
        self.tail().seq
    }

    /// Bytes of its events, as [`Generation::append_events`] counts them.
    pub(in crate::outbox) fn bytes(&self) -> u64 {
        let tail = *self.tail();
        tail.offset + u64::from(tail.seq) * HEAD_BYTES
    }

    /// Whether only opening it anew can mend it.
    pub(in crate::outbox) fn failed(&self) -> bool {
        self.engine.failed()
    }

    /// Takes back the events from number `events` on: those of a commit that failed. Their bodies stay, unused.
    pub(in crate::outbox) fn drop_events_from(&self, events: u32) -> Result<(), StoreError> {
        if self.events() <= events {
            return Ok(());
        }
        self.engine.clear(keys::HEADS, &key(keys::HEADS, u64::from(events)))?;
        self.tail().seq = events;
        self.sync()
    }

    /// From here on every fsync fails.
    #[cfg(test)]
    pub(in crate::outbox) fn break_fsync(&self) {
        self.engine.break_fsync();
    }

    /// Makes everything written so far durable.
    pub(in crate::outbox) fn sync(&self) -> Result<(), StoreError> {
        Ok(self.engine.sync()?)
    }

    /// Hands everything written so far to the operating system.
    pub(in crate::outbox) fn flush(&self) -> Result<(), StoreError> {
        Ok(self.engine.flush()?)
    }

    /// The process's number for a stored endpoint.
    pub(in crate::outbox) fn global(&self, local: u16) -> Option<EndpointNo> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).by_local.get(usize::from(local)).copied()
    }
    /// Where a number of this generation lies.
    pub(in crate::outbox) fn place(&self, seq: u32) -> EventRef {
        EventRef { generation: self.no, seq }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, what: String) -> ReadError {
        ReadError::Damaged(format!("generation {}: {what}", self.no))
    }

    fn open_value<'a>(&self, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], ReadError> {
        frame::open(key, value).map_err(|error| {
            let kind = char::from(key.first().copied().unwrap_or(b'?'));
            self.damaged(format!("value {kind}{}: {error}", keys::number(key).unwrap_or(0)))
        })
    }

    fn single<R: for<'a> serde::Deserialize<'a>>(&self, key: &[u8]) -> Result<Option<R>, ReadError> {
        let Some(value) = self.engine.get(key)? else { return Ok(None) };
        rows::decode_single(self.open_value(key, &value)?)
            .map(Some)
            .map_err(|error| self.damaged(format!("value {}: {error}", char::from(key[0]))))
    }
    /// The generation's own number for an endpoint; a new one is written with the commit that first needs it.
    fn local(&self, no: EndpointNo) -> Result<u16, StoreError> {
        if let Some(local) = self.names.read().unwrap_or_else(PoisonError::into_inner).to_local.get(&no) {
            return Ok(*local);
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let local = u16::try_from(names.by_local.len()).map_err(|_| StoreError::TooLarge)?;
        let key = key(keys::NAME, u64::from(local));
        self.engine.put(&key, rows::single(&key, &self.roster.name(no).as_str())?)?;
        names.by_local.push(no);
        names.to_local.insert(no, local);
        Ok(local)
    }

    fn read_names(&self) -> Result<(), StoreError> {
        let mut names = Names::default();
        let mut failure = Ok(());
        self.engine.scan(keys::NAME, &[keys::NAME], |found, value| {
            let read = self.open_value(&found, &value).and_then(|payload| {
                let text: &str = rows::decode_single(payload)
                    .map_err(|error| self.damaged(format!("an endpoint's name: {error}")))?;
                EndpointName::parse(text).map_err(|error| self.damaged(format!("an endpoint's name {error}")))
            });
            match read {
                Ok(name) => {
                    let no = self.roster.number(&name);
                    // A name may stand twice after a failed commit; both numbers then lead to it.
                    let local = u16::try_from(names.by_local.len()).unwrap_or(u16::MAX);
                    names.by_local.push(no);
                    names.to_local.insert(no, local);
                }
                Err(error) => failure = Err(error),
            }
            failure.is_ok()
        })?;
        failure?;
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    /// Finds where the next rows go, and drops the heads of a commit that never finished: it was never acknowledged.
    fn find_tail(&self) -> Result<(), StoreError> {
        let mut tail = Tail::default();
        while let Some((found, value)) = self.engine.last(keys::HEADS)? {
            let payload = self.open_value(&found, &value)?;
            let (flags, rows) = rows::unpack(payload, |_: HeadRow<'_>| false)
                .map_err(|error| self.damaged(format!("the last pack of event heads: {error}")))?;
            if flags & COMMIT_ENDS == 0 {
                self.engine.remove(&found)?;
                continue;
            }
            let first = keys::number(&found).and_then(|first| u32::try_from(first).ok()).unwrap_or(0);
            tail.seq = first + rows;
            break;
        }
        if let Some((found, value)) = self.engine.last(keys::BODY)? {
            let piece = self.open_value(&found, &value)?;
            tail.offset = keys::number(&found).unwrap_or(0) + piece.len() as u64;
        }
        let next = |last: Option<(Value, Value)>| {
            last.and_then(|(found, _)| keys::number(&found)).map_or(0, |number| number as u32 + 1)
        };
        tail.state_pack = next(self.engine.last(keys::STATES)?);
        tail.attempt_pack = next(self.engine.last(keys::ATTEMPTS)?);
        *self.tail() = tail;
        Ok(())
    }
}
