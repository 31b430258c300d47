//! What must have happened once nothing more happens before the clock moves on.

use webhookd::clock::MonoMs;
use webhookd::config::OnDead;

use super::lanes::Lane;
use super::{Fate, LaneState, Ledger, Now};

impl Ledger {
    /// Whatever is due and might go must be under way.
    pub(crate) fn at_rest(&mut self, now: Now) {
        let total: usize = self.lanes.iter().map(|lane| lane.in_flight as usize).sum();
        let ahead = self.ahead();
        let mut late = Vec::new();
        for (way, delivery) in &self.deliveries {
            let waits = self.posts[way.0].fate == Fate::Stored && delivery.last().is_pending() && !delivery.in_flight;
            if !waits || delivery.open || delivery.overdue || self.is_shaky(way.0) || self.waits_for_the_lost(*way) {
                continue;
            }
            let Some((_, by)) = delivery.due else {
                late.push(format!("{} is pending and on no schedule", self.way(*way)));
                continue;
            };
            let waits_for_another = self.chain(*way).and_then(|chain| ahead.get(&(way.1, chain)));
            let place = self.posts[way.0].place;
            let is_next = waits_for_another.is_none_or(|ahead| place.is_some_and(|place| !ahead.holds_up(place)));
            if by <= now.mono && is_next && self.lets_go(way.1, total, now.mono) {
                late.push(format!("{} is {} ms late", self.way(*way), now.mono.since(by)));
            }
        }
        self.breaches.extend(late);
    }

    /// Whether one of its key may be dead because it was lost with a damaged generation. Where the dead hold up those behind them,
    /// it does so too, until the endpoint is resumed: it cannot be replayed.
    fn waits_for_the_lost(&self, way: (usize, usize)) -> bool {
        let Some(chain) = self.chain(way).filter(|_| self.endpoints[way.1].on_dead == OnDead::Block) else {
            return false;
        };
        let of_it = |other: &(usize, usize)| other.1 == way.1 && self.chain(*other).as_ref() == Some(&chain);
        self.deliveries.keys().any(|other| *other != way && of_it(other) && self.is_shaky(other.0))
    }

    /// Whether an endpoint must be tried now if something is due.
    fn lets_go(&self, endpoint: usize, total: usize, now: MonoMs) -> bool {
        let (lane, config): (&Lane, _) = (&self.lanes[endpoint], &self.endpoints[endpoint]);
        let paced = config.rate_limit.is_none_or(|limit| !lane.starts.unsure && lane.starts.ready_at(limit) <= now);
        let gate = lane.gate.as_ref().is_none_or(|gate| gate.lets_go(lane.in_flight, now));
        let open = !lane.gone && lane.state == LaneState::Active && lane.held <= now;
        open && paced && gate && lane.in_flight < config.in_flight_max && self.has_share(lane.in_flight, total)
    }

    /// Whether an endpoint gets another permit of those that all share: the first one as long as there is any, and more
    /// while what is left for all, half of them kept for first ones, is more than it has.
    fn has_share(&self, in_flight: u32, total: usize) -> bool {
        if in_flight == 0 {
            return total < self.in_flight_total_max;
        }
        let shared = self.in_flight_total_max - self.in_flight_total_max / 2;
        (in_flight as usize) < shared.saturating_sub(total)
    }

    /// Milliseconds until the next attempt that nothing but a rate keeps waiting.
    pub(crate) fn next_pace_ms(&self, now: Now) -> Option<u64> {
        let waits = |endpoint: &usize| {
            let of_it = |(way, delivery): (&(usize, usize), &super::Delivery)| {
                way.1 == *endpoint && delivery.due.is_some_and(|(_, by)| by <= now.mono) && !delivery.in_flight
            };
            self.deliveries.iter().any(of_it)
        };
        let paced = (0..self.lanes.len()).filter(waits).filter_map(|endpoint| {
            let limit = self.endpoints[endpoint].rate_limit?;
            let wait_ms = self.lanes[endpoint].starts.ready_at(limit).since(now.mono);
            (wait_ms > 0).then_some(wait_ms)
        });
        paced.min()
    }

    /// Milliseconds until each of the moments at which something may happen: a delivery is due, an endpoint may be tried.
    pub(crate) fn next_moments_ms(&self, now: Now) -> Vec<u64> {
        let due = self.deliveries.values().filter_map(|delivery| delivery.due).map(|(due, _)| due);
        let mut moments: Vec<MonoMs> = due.filter(|due| *due > now.mono).min().into_iter().collect();
        for (lane, config) in self.lanes.iter().zip(&self.endpoints) {
            moments.push(lane.held);
            moments.extend(lane.gate.as_ref().and_then(|gate| gate.probe_at()));
            moments.extend(config.rate_limit.map(|limit| lane.starts.ready_at(limit)));
        }
        moments.into_iter().filter(|at| *at > now.mono).map(|at| at.since(now.mono)).collect()
    }

    /// Deliveries that are not finished, in words; without those of damaged generations, which may end without an attempt.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let open = self.deliveries.iter().filter(|(way, delivery)| {
            self.posts[way.0].fate == Fate::Stored && delivery.last().is_pending() && !self.is_shaky(way.0)
        });
        open.map(|(way, delivery)| format!("{}: {:?}", self.way(*way), delivery.last())).collect()
    }
}
