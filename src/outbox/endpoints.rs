//! What endpoints or operators asked for, kept in one small file that is replaced whole.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::folder::write_durably;
use super::frame::Mark;
use super::keys::{self, key};
use super::{OpenError, frame};
use crate::clock::UnixMs;
use crate::model::endpoint::{DisabledReason, EndpointState};
use crate::model::text::EndpointName;

/// The states of all endpoints that are not simply active.
#[derive(Debug)]
pub(super) struct EndpointStates {
    path: PathBuf,
    mark: Mark,
    states: BTreeMap<EndpointName, EndpointState>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    name: String,
    /// 1 paused, 2 disabled.
    kind: u8,
    /// 1 gone, 2 asked; 0 where it is paused.
    reason: u8,
    at: UnixMs,
}

impl EndpointStates {
    /// Reads the file; a missing one means that all are active.
    pub(super) fn open(path: PathBuf, mark: Mark) -> Result<Self, OpenError> {
        let damaged = |what: String| OpenError::Damaged { path: path.clone(), what };
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { path, mark, states: BTreeMap::new() });
            }
            Err(source) => return Err(OpenError::Io { what: "cannot read", path, source }),
        };
        let payload = frame::open(&key(keys::ENDPOINTS, 0), &bytes).map_err(|error| damaged(error.to_string()))?;
        let rows: Vec<Row> = bincode::deserialize(payload).map_err(|error| damaged(error.to_string()))?;
        let mut states = BTreeMap::new();
        for row in rows {
            let name =
                EndpointName::parse(&row.name).map_err(|error| damaged(format!("an endpoint's name {error}")))?;
            let state = match (row.kind, row.reason) {
                (1, _) => EndpointState::Paused,
                (2, 1) => EndpointState::Disabled { reason: DisabledReason::Gone, at: row.at },
                (2, 2) => EndpointState::Disabled { reason: DisabledReason::Asked, at: row.at },
                (2, 3) => EndpointState::Disabled { reason: DisabledReason::Failing, at: row.at },
                _ => return Err(damaged(format!("endpoint {name} has an unknown state"))),
            };
            states.insert(name, state);
        }
        Ok(Self { path, mark, states })
    }

    /// The state of every endpoint that is not active.
    pub(super) fn all(&self) -> Vec<(EndpointName, EndpointState)> {
        self.states.iter().map(|(name, state)| (name.clone(), *state)).collect()
    }

    /// Changes one state and writes all, durably.
    pub(super) fn set(&mut self, name: EndpointName, state: EndpointState) -> io::Result<()> {
        let mut states = self.states.clone();
        match state {
            EndpointState::Active => states.remove(&name),
            other => states.insert(name, other),
        };
        let rows: Vec<Row> = states.iter().map(|(name, state)| row(name, *state)).collect();
        let mut value = frame::begin(64 * rows.len());
        bincode::serialize_into(&mut value, &rows).map_err(io::Error::other)?;
        write_durably(&self.path, &frame::close(self.mark, &key(keys::ENDPOINTS, 0), value))?;
        // Only now: a state that was refused must not be written later, along with another endpoint's.
        self.states = states;
        Ok(())
    }
}

fn row(name: &EndpointName, state: EndpointState) -> Row {
    let (kind, reason, at) = match state {
        EndpointState::Active => (0, 0, UnixMs(0)),
        EndpointState::Paused => (1, 0, UnixMs(0)),
        EndpointState::Disabled { reason: DisabledReason::Gone, at } => (2, 1, at),
        EndpointState::Disabled { reason: DisabledReason::Asked, at } => (2, 2, at),
        EndpointState::Disabled { reason: DisabledReason::Failing, at } => (2, 3, at),
    };
    Row { name: name.as_str().to_owned(), kind, reason, at }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { bytes: [5; 8], epoch: 0 };

    #[test]
    fn states_survive_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("endpoints");
        let name = |text| EndpointName::parse(text).unwrap();
        let gone = EndpointState::Disabled { reason: DisabledReason::Gone, at: UnixMs(7) };
        let mut states = EndpointStates::open(path.clone(), MARK).unwrap();
        states.set(name("a"), gone).unwrap();
        states.set(name("b"), EndpointState::Paused).unwrap();
        states.set(name("c"), EndpointState::Paused).unwrap();
        states.set(name("c"), EndpointState::Active).unwrap();
        let read = EndpointStates::open(path.clone(), MARK).unwrap().all();
        assert_eq!(read, [(name("a"), gone), (name("b"), EndpointState::Paused)]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[30] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(EndpointStates::open(path, MARK), Err(OpenError::Damaged { .. })));
    }
}
