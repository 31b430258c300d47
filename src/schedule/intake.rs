//! What comes in, and what wakes, goes where it waits.

use std::sync::Arc;

use super::Schedule;
use super::bell::{Bell, Wake};
use super::waiting::{Sleeper, Waiting};
use crate::clock::MonoMs;
use crate::model::delivery::EventRef;
use crate::model::event::Event;
use crate::model::roster::EndpointNo;

impl Schedule {
    /// Puts a delivery where it waits.
    pub(super) fn enqueue(&mut self, endpoint: EndpointNo, waiting: Waiting, fresh: Option<Arc<Event>>, now: MonoMs) {
        let lane = self.lane_mut(endpoint);
        if !lane.gates.has_rules() {
            lane.unfiled.push(waiting);
            return;
        }
        if waiting.due > now && lane.queue.chain_of(waiting.key).is_none() {
            lane.due.add(waiting.due.0);
            lane.asleep += 1;
            self.sleepers.insert(waiting.due, Sleeper::new(waiting, endpoint));
            return;
        }
        if let Some(event) = fresh.filter(|_| waiting.due <= now) {
            self.keep(endpoint, waiting.event, event, now);
        }
        let (lane, mut bell) = self.lane_at(endpoint, now);
        if let Some(replaced) = lane.put(waiting, &mut bell) {
            self.forget(endpoint, replaced.accepted_at);
        }
        self.line_up(endpoint, now);
    }

    /// Drops the events that a lane keeps in memory: it starts nothing more, perhaps for days.
    pub(super) fn forget_bodies(&mut self, endpoint: EndpointNo) {
        let lane = self.lane_mut(endpoint);
        lane.fresh_bytes = 0;
        for (place, event) in std::mem::take(&mut lane.fresh) {
            self.fresh.give_back(place, event.bytes());
        }
    }

    /// Moves what is due from the wheel to its lane, and looks at the lanes and chains that asked for it.
    pub(super) fn collect_due(&mut self, now: MonoMs) {
        let now = self.at_least(now);
        let mut stirred = Vec::new();
        let Self { lanes, sleepers, wakes, pending, .. } = self;
        sleepers.advance(now, |due, sleeper| {
            let endpoint = sleeper.endpoint;
            let lane = &mut lanes[usize::from(endpoint.0)];
            lane.due.remove(due.0);
            lane.asleep -= 1;
            if let Some(replaced) = lane.put(sleeper.wake(due), &mut Bell { now, endpoint, wheel: wakes }) {
                lane.forget(replaced.accepted_at);
                *pending -= 1;
            }
            if stirred.last() != Some(&endpoint) {
                stirred.push(endpoint);
            }
        });
        let mut woken = Vec::new();
        self.wakes.advance(now, |_, wake| woken.push(wake));
        for endpoint in stirred {
            self.line_up(endpoint, now);
        }
        for Wake { endpoint, chain } in woken {
            let (lane, mut bell) = self.lane_at(endpoint, now);
            match chain {
                Some(chain) => lane.queue.wake(chain, &mut lane.expiry, &mut bell),
                None => drop(lane.timer.take_if(|(at, _)| *at <= now)),
            }
            self.line_up(endpoint, now);
        }
    }

    /// Keeps an event in memory until its first attempt, if that may come soon and the budget has room.
    fn keep(&mut self, endpoint: EndpointNo, place: EventRef, event: Arc<Event>, now: MonoMs) {
        let lane = &mut self.lanes[usize::from(endpoint.0)];
        let bytes = event.bytes();
        if lane.gates.may_start_soon(now)
            && !lane.fresh.contains_key(&place)
            && self.fresh.take(place, bytes, lane.fresh_bytes)
        {
            lane.fresh_bytes += bytes;
            lane.fresh.insert(place, event);
        }
    }
}
