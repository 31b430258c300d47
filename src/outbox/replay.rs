//! Replays: deliveries that are delivered or dead, or that an endpoint never had, become pending again.

use std::collections::{BTreeMap, HashMap};

use super::generation::{Generation, State};
use super::settling::Outcome;
use super::slot::Slot;
use super::writer::Writer;
use super::{AcceptError, News, StoreError};
use crate::limits::ATTEMPTS_MAX;
use crate::model::delivery::{DeliveryRef, Progress, Settlement, Standing, Waiting};
use crate::model::roster::EndpointNo;
use crate::model::text::OrderingKey;
use crate::observe::storage::CommitFailed;

impl Writer {
    /// Puts deliveries back to pending, durably.
    pub(super) fn replay(&mut self, deliveries: &[DeliveryRef]) -> Result<usize, AcceptError> {
        let mut by_generation: BTreeMap<u32, Vec<DeliveryRef>> = BTreeMap::new();
        for delivery in deliveries {
            by_generation.entry(delivery.event.generation).or_default().push(*delivery);
        }
        // What the disk refused before comes first: the attempts that these rows count are told there.
        self.write_owed();
        let (mut revived, mut failed) = (Vec::new(), false);
        for (no, deliveries) in by_generation {
            let Some(slot) = self.store.slot(no) else { continue };
            let written = self.open(&slot).and_then(|generation| {
                let outcomes = self.to_revive(&generation, &deliveries, &mut revived)?;
                Ok((outcomes, generation))
            });
            let written = written.and_then(|(outcomes, generation)| {
                slot.life(|life| life.pending += outcomes.len() as u64);
                let written = if !outcomes.is_empty() && self.outcomes.owed_to(no).next().is_some() {
                    Err(StoreError::Resting)
                } else {
                    self.write_revived(&slot, &generation, &outcomes)
                };
                if written.is_err() {
                    // They are on the schedule, so they must stand on the disk before long.
                    self.owe(outcomes);
                }
                written
            });
            if let Err(error) = written {
                CommitFailed { error: &error.to_string(), events: 0, known: self.trouble.is_some() }
                    .tell(&self.metrics);
                self.trouble = Some(error.to_string());
                self.abandon(no);
                failed = true;
            }
        }
        let count = revived.len();
        // Also after a failure: what counts as pending is on the schedule, or nobody would ever try it.
        if count > 0 {
            let _ = self.news.blocking_send(News::Revived(revived));
        }
        if failed { Err(AcceptError::Failed) } else { Ok(count) }
    }

    /// What brings those back to pending that are not; each is added to `revived`.
    fn to_revive(
        &self,
        generation: &Generation,
        deliveries: &[DeliveryRef],
        revived: &mut Vec<Waiting>,
    ) -> Result<Vec<Outcome>, StoreError> {
        let now = self.clock.wall();
        let mut wanted: HashMap<(u32, EndpointNo), Option<State>> = HashMap::new();
        let mut events = HashMap::new();
        for delivery in deliveries {
            let seq = delivery.event.seq;
            let Some(head) = generation.head(seq)? else { continue };
            let fresh = head.targets.contains(&delivery.endpoint).then(|| State::fresh(head.event.first_due()));
            wanted.insert((seq, delivery.endpoint), fresh);
            events.insert(seq, (head.event.at, head.event.key.as_ref().map(OrderingKey::hash)));
        }
        generation.scan_states(0, |row, state| {
            if let Some(endpoint) = generation.global(row.endpoint)
                && let Some(known) = wanted.get_mut(&(row.seq, endpoint))
            {
                *known = Some(state);
            }
        })?;
        // Also what was put back already, and is on the schedule: twice there it would be tried twice.
        for Outcome { settlement: owed, at } in self.outcomes.owed_to(generation.no()) {
            if let Some(known) = wanted.get_mut(&(owed.delivery.event.seq, owed.delivery.endpoint)) {
                *known = Some(State { standing: owed.standing, progress: owed.progress, died_at: *at });
            }
        }
        let mut settlements = Vec::new();
        for ((seq, endpoint), state) in wanted {
            let made = state.map_or(0, |state| state.progress.made);
            let pending = state.is_some_and(|state| matches!(state.standing, Standing::Pending { .. }));
            if pending || made >= ATTEMPTS_MAX {
                continue;
            }
            settlements.push(Settlement {
                delivery: DeliveryRef { event: generation.place(seq), endpoint },
                attempt: None,
                standing: Standing::Pending { next_at: now },
                progress: Progress { tries: 0, made },
            });
        }
        settlements.sort_unstable_by_key(|settlement| settlement.delivery);
        revived.extend(settlements.iter().map(|settlement| {
            let (accepted_at, key) = events.get(&settlement.delivery.event.seq).copied().unwrap_or((now, None));
            let Settlement { delivery, progress, .. } = *settlement;
            Waiting { delivery, accepted_at, next_at: now, progress, key }
        }));
        Ok(settlements.into_iter().map(|settlement| Outcome { settlement, at: now }).collect())
    }

    fn write_revived(&self, slot: &Slot, generation: &Generation, outcomes: &[Outcome]) -> Result<(), StoreError> {
        if outcomes.is_empty() {
            return Ok(());
        }
        generation.append_settlements(outcomes)?;
        slot.life(|life| (life.changed_at, life.summarised, life.marked_done) = (self.clock.wall(), false, false));
        generation.sync()
    }
}
