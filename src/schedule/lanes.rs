//! Lanes are opened, changed, closed, held and resumed.

use super::Schedule;
use super::bell::Bell;
use super::expiry::Expiry;
use super::lane::Lane;
use super::rules::{Kept, LaneRules};
use super::waiting::{Key, Waiting};
use crate::clock::{MonoMs, UnixMs};
use crate::model::delivery::Fallen;
use crate::model::roster::EndpointNo;
use crate::policy::order::Order;

impl Schedule {
    /// Opens an endpoint's lane. What was admitted before, or was left when the lane was closed, is filed under its rules.
    pub fn open_lane(&mut self, endpoint: EndpointNo, rules: &LaneRules, kept: Kept, now: MonoMs) {
        let now = self.at_least(now);
        let lane = self.lane_mut(endpoint);
        lane.gates.open(rules, kept);
        lane.expiry = Expiry::new(&rules.waits_ms, rules.breaker);
        lane.queue.pardon();
        lane.heed_breaker(now);
        self.file(endpoint, rules, Some(kept.resumed_at), now);
        if !kept.active {
            self.forget_bodies(endpoint);
        }
        self.line_up(endpoint, now);
    }

    /// Gives an open lane other rules. Where its breaker stands, its pace, a hold and those that its dead hold up are kept, as
    /// far as the rules allow it; attempts above a lowered limit run to their end. Another order takes time in the
    /// number of deliveries that wait in the lane, and on the wheel.
    pub fn change_lane(&mut self, endpoint: EndpointNo, rules: &LaneRules, now: MonoMs) {
        let now = self.at_least(now);
        let lane = self.lane_mut(endpoint);
        lane.gates.change(rules, now);
        lane.expiry.change(&rules.waits_ms, rules.breaker, now);
        lane.queue.pardon();
        lane.heed_breaker(now);
        self.file(endpoint, rules, None, now);
        self.line_up(endpoint, now);
    }

    /// Takes the lane of an endpoint that the config does not name any more. Its deliveries are kept and wait; attempts
    /// under way run to their end.
    pub fn close_lane(&mut self, endpoint: EndpointNo) {
        let now = self.now();
        let lane = self.lane_mut(endpoint);
        lane.gates.close();
        lane.heed_breaker(now);
        lane.queue.keep_dead();
        self.forget_bodies(endpoint);
        self.line_up(endpoint, now);
    }

    /// Says whether an endpoint is active: neither paused nor disabled. A lane that is not keeps its deliveries and starts
    /// none; attempts under way run to their end.
    pub fn set_active(&mut self, endpoint: EndpointNo, active: bool) {
        self.lane_mut(endpoint).gates.set_active(active);
        if !active {
            self.forget_bodies(endpoint);
        }
        self.line_up(endpoint, self.now());
    }

    /// Begins anew with an endpoint, as an operator asks for it: active, no hold, its breaker closed, its pace unused, and
    /// nobody waits behind a dead delivery.
    pub fn resume(&mut self, endpoint: EndpointNo, now: MonoMs) {
        let now = self.at_least(now);
        let (lane, mut bell) = self.lane_at(endpoint, now);
        lane.gates.reset();
        lane.heed_breaker(now);
        lane.queue.forget_dead(&mut lane.expiry, &mut bell);
        self.line_up(endpoint, now);
    }

    /// Starts no attempt to this endpoint before `until`; a hold that ends later stands. Attempts under way run to their
    /// end.
    pub fn hold(&mut self, endpoint: EndpointNo, until: MonoMs) {
        self.lane_mut(endpoint).gates.hold(until);
    }

    /// Takes in a dead delivery: it holds up those of its key that were accepted after it, where the endpoint's config
    /// says so. Its lane may be opened later.
    pub fn admit_dead(&mut self, fallen: &Fallen) {
        let Fallen { delivery, died_at, key } = *fallen;
        let now = self.now();
        let (lane, mut bell) = self.lane_at(delivery.endpoint, now);
        lane.queue.dies(delivery.event, key.map(Key::of), died_at, &mut lane.expiry, &mut bell);
    }

    /// The events of a generation are gone: its dead hold nobody up any more. Takes time in the number of lanes.
    pub fn forget_generation(&mut self, generation: u32) {
        let now = self.now();
        for endpoint in (0..=u16::MAX).map(EndpointNo).take(self.lanes.len()) {
            let (lane, mut bell) = self.lane_at(endpoint, now);
            lane.queue.forget_generation(generation, &mut lane.expiry, &mut bell);
            self.line_up(endpoint, now);
        }
    }

    /// Files what waits under the lane's rules.
    fn file(&mut self, endpoint: EndpointNo, rules: &LaneRules, resumed_at: Option<UnixMs>, now: MonoMs) {
        let mut all = Vec::new();
        if self.lane_mut(endpoint).queue.order() != rules.order {
            self.lane_mut(endpoint).queue.drain(rules.order, &mut all);
            if rules.order != Order::None {
                self.wake_all(endpoint, &mut all);
            }
            all.sort_unstable_by_key(|waiting| waiting.event);
            let lane = &mut self.lanes[usize::from(endpoint.0)];
            for (_, flight) in self.flights.iter().filter(|(delivery, _)| delivery.endpoint == endpoint) {
                lane.queue.begins(flight.key);
            }
        }
        let (lane, mut bell) = self.lane_at(endpoint, now);
        lane.queue.set_on_dead(rules.on_dead, resumed_at, &mut lane.expiry, &mut bell);
        if rules.order != Order::None {
            all.extend(std::iter::from_fn(|| lane.unfiled.pop()));
            for twice in lane.queue.fill(&mut all, &mut lane.expiry, &mut bell) {
                self.forget(endpoint, twice.accepted_at);
            }
        }
        for waiting in all {
            self.enqueue(endpoint, waiting, None, now);
        }
        let mut unfiled = std::mem::take(&mut self.lane_mut(endpoint).unfiled);
        while let Some(waiting) = unfiled.pop() {
            self.enqueue(endpoint, waiting, None, now);
        }
    }

    /// Takes the lane's deliveries off the wheel: where the order is to be kept, they hold their place.
    fn wake_all(&mut self, endpoint: EndpointNo, into: &mut Vec<Waiting>) {
        if self.lane_mut(endpoint).asleep > 0 {
            let sleepers = self.sleepers.take_if(|sleeper| sleeper.endpoint == endpoint);
            into.extend(sleepers.into_iter().map(|(due, sleeper)| sleeper.wake(due)));
            let lane = self.lane_mut(endpoint);
            (lane.asleep, lane.due) = (0, Default::default());
        }
    }

    /// The endpoint's lane, an orphan if it has none yet.
    pub(super) fn lane_mut(&mut self, endpoint: EndpointNo) -> &mut Lane {
        let index = usize::from(endpoint.0);
        if index >= self.lanes.len() {
            self.lanes.resize_with(index + 1, Lane::orphan);
        }
        &mut self.lanes[index]
    }

    /// The endpoint's lane, and the way to wake its chains.
    pub(super) fn lane_at(&mut self, endpoint: EndpointNo, now: MonoMs) -> (&mut Lane, Bell<'_>) {
        self.lane_mut(endpoint);
        (&mut self.lanes[usize::from(endpoint.0)], Bell { now, endpoint, wheel: &mut self.wakes })
    }
}
