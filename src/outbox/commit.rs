//! What goes into a commit: new events by the group they were handed in with, each group whole or not at all, and repeats
//! told from new ones.

use std::collections::HashMap;
use std::sync::Arc;

use super::generation::Head;
use super::store::Store;
use super::{AcceptError, Accepted, StoreError, ids};
use crate::model::event::{Fingerprint, NewEvent};
use crate::model::roster::EndpointNo;
use crate::model::text::EventId;

/// An event that is known already.
#[derive(Clone, Debug)]
pub(super) struct Known {
    id: EventId,
    fingerprint: Fingerprint,
    targets: Vec<EndpointNo>,
}

impl From<Head> for Known {
    fn from(head: Head) -> Self {
        Self { id: head.event.id, fingerprint: head.fingerprint, targets: head.targets }
    }
}

/// Looks a new event up by its id and its key, where the producer gave them, from generation `from` on.
pub(super) fn look_up(store: &Store, new: &NewEvent, from: u32) -> Result<Option<Known>, StoreError> {
    for (hash, subject) in subjects(new) {
        let fits = |head: &Head| match subject {
            Subject::Id(id) => head.event.id.as_str() == id,
            Subject::Key(key) => head.idempotency_key.as_deref() == Some(key),
        };
        if let Some((_, head)) = store.lookup(hash, from, fits)? {
            return Ok(Some(head.into()));
        }
    }
    Ok(None)
}

/// Whether [`look_up`] has to read old generations, where the writer looks from `horizon` on.
pub(super) fn needs_disk(store: &Store, new: &NewEvent, horizon: u32) -> bool {
    subjects(new).any(|(hash, _)| store.may_be_old(hash, horizon))
}

enum Subject<'a> {
    Id(&'a str),
    Key(&'a str),
}

fn subjects(new: &NewEvent) -> impl Iterator<Item = (u64, Subject<'_>)> {
    let id = new.id_given.then(|| new.event.id.as_str()).map(|id| (ids::id_hash(id), Subject::Id(id)));
    let key = new.idempotency_key.as_ref().map(|key| key.as_str());
    id.into_iter().chain(key.map(|key| (ids::idempotency_hash(key), Subject::Key(key))))
}

/// The events of a commit that is being put together.
#[derive(Debug)]
pub(super) struct Stage {
    store: Arc<Store>,
    events: Vec<NewEvent>,
    by_hash: HashMap<u64, usize>,
}

impl Stage {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, events: Vec::new(), by_hash: HashMap::new() }
    }

    /// Adds a group. On an error nothing of it is added.
    pub(super) fn add(
        &mut self,
        group: Vec<NewEvent>,
        known: Vec<Option<Known>>,
        horizon: u32,
    ) -> Result<Vec<Accepted>, AcceptError> {
        let first = self.events.len();
        let mut accepted = Vec::with_capacity(group.len());
        for (index, (new, known)) in group.into_iter().zip(known).enumerate() {
            match self.add_one(index, new, known, horizon) {
                Ok(one) => accepted.push(one),
                Err(error) => {
                    if self.events.len() > first {
                        self.by_hash.retain(|_, staged| *staged < first);
                    }
                    self.events.truncate(first);
                    return Err(error);
                }
            }
        }
        Ok(accepted)
    }

    /// The events that are new, in order.
    pub(super) fn into_events(self) -> Vec<NewEvent> {
        self.events
    }

    fn add_one(
        &mut self,
        index: usize,
        new: NewEvent,
        known: Option<Known>,
        horizon: u32,
    ) -> Result<Accepted, AcceptError> {
        let known = match known.or_else(|| self.staged(&new)) {
            Some(known) => Some(known),
            None => look_up(&self.store, &new, horizon).map_err(|error| {
                tracing::error!(%error, "an event's id could not be looked up; the event was refused with 503");
                AcceptError::Failed
            })?,
        };
        let roster = self.store.roster();
        let names = |targets: &[EndpointNo]| targets.iter().map(|no| roster.name(*no)).collect();
        if let Some(known) = known {
            let same = known.fingerprint == new.fingerprint && (!new.id_given || known.id == new.event.id);
            if !same {
                return Err(AcceptError::Conflict { index, id: known.id });
            }
            return Ok(Accepted { endpoints: names(&known.targets), id: known.id, duplicate: true });
        }
        for (hash, _) in subjects(&new) {
            self.by_hash.insert(hash, self.events.len());
        }
        let accepted = Accepted { id: new.event.id.clone(), endpoints: names(&new.targets), duplicate: false };
        self.events.push(new);
        Ok(accepted)
    }

    fn staged(&self, new: &NewEvent) -> Option<Known> {
        let staged = subjects(new).find_map(|(hash, _)| self.by_hash.get(&hash)).and_then(|at| self.events.get(*at))?;
        Some(Known { id: staged.event.id.clone(), fingerprint: staged.fingerprint, targets: staged.targets.clone() })
    }
}
