//! What has happened to the deliveries of one generation, folded once for all its events.

use std::collections::{BTreeSet, HashMap};

use crate::model::attempt::Attempt;
use crate::model::roster::EndpointNo;
use crate::outbox::ReadError;
use crate::outbox::generation::{Generation, Head, State};

/// Everything that is told of deliveries, by their event's number.
#[derive(Debug, Default)]
pub(super) struct Histories {
    by_event: HashMap<u32, Vec<Past>>,
}

/// One delivery and where its attempts are.
#[derive(Clone, Debug)]
pub(super) struct Past {
    pub(super) endpoint: EndpointNo,
    pub(super) state: State,
    /// Whether its endpoint got the event by a replay, and not when it was accepted.
    pub(super) by_replay: bool,
    /// The packs with its attempts; one for each.
    pub(super) packs: Vec<u32>,
}

impl Histories {
    /// Folds all states of a generation. Where they end in damage, what was read before that is kept.
    pub(super) fn read(generation: &Generation) -> (Self, Result<(), ReadError>) {
        let mut histories = Self::default();
        let read = generation.scan_states(0, |row, state| {
            let Some(endpoint) = generation.global(row.endpoint) else { return };
            let pasts = histories.by_event.entry(row.seq).or_default();
            let at = pasts.iter().position(|past| past.endpoint == endpoint).unwrap_or(pasts.len());
            if at == pasts.len() {
                pasts.push(Past { endpoint, state, by_replay: true, packs: Vec::new() });
            }
            pasts[at].state = state;
            if row.attempt_pack > 0 {
                pasts[at].packs.push(row.attempt_pack - 1);
            }
        });
        (histories, read)
    }

    /// The deliveries of an event: those to its targets in their order, then those that came by replays.
    pub(super) fn take(&mut self, seq: u32, head: &Head) -> Vec<Past> {
        let mut pasts = self.by_event.remove(&seq).unwrap_or_default();
        let fresh = State::fresh(head.event.first_due());
        let mut deliveries: Vec<Past> = Vec::with_capacity(head.targets.len() + pasts.len());
        for endpoint in &head.targets {
            let known = pasts.iter().position(|past| past.endpoint == *endpoint).map(|at| pasts.remove(at));
            let past = known.unwrap_or(Past { endpoint: *endpoint, state: fresh, by_replay: false, packs: Vec::new() });
            deliveries.push(Past { by_replay: false, ..past });
        }
        deliveries.extend(pasts);
        deliveries
    }

    /// How many events are left that were not taken.
    pub(super) fn len(&self) -> usize {
        self.by_event.len()
    }
}

/// The attempts of an event's deliveries, each in the place of its delivery; without those whose pack is gone.
pub(super) fn attempts(generation: &Generation, seq: u32, deliveries: &[Past]) -> Result<Vec<Vec<Attempt>>, ReadError> {
    let mut attempts = vec![Vec::new(); deliveries.len()];
    let packs: BTreeSet<u32> = deliveries.iter().flat_map(|past| past.packs.iter().copied()).collect();
    for pack in packs {
        generation.each_attempt(pack, |row| {
            let endpoint = generation.global(row.endpoint);
            if row.seq == seq
                && let Some(at) = deliveries.iter().position(|past| Some(past.endpoint) == endpoint)
            {
                attempts[at].push(row.attempt());
            }
        })?;
    }
    for attempts in &mut attempts {
        attempts.sort_by_key(|attempt| attempt.n);
    }
    Ok(attempts)
}
