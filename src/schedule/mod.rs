//! Who goes next: a lane for each endpoint, a wheel for what must wait, permits for what may run.
//!
//! Synchronous and pure: it reads no clock, does no I/O and never blocks. One task owns it and turns it:
//! [`Schedule::admit`] what was accepted or recovered, [`Schedule::start_due`] whenever something was admitted or
//! finished, or [`Schedule::next_wake`] has come, [`Schedule::finish`] each attempt. The outbox holds the truth; what
//! stands here is made anew from it whenever the daemon starts.
//!
//! # A delivery's way
//! ```text
//! admit ──due now──► ready queue of its lane ──permit──► in flight ──Done──► gone
//!   └────later─────► wheel ──due──┘  ▲                      │
//!                      └─────────────┴─────────Retry────────┘
//! ```
//!
//! # Fairness
//! Lanes that may start something stand in a line. Each turn starts one delivery, and a lane that may go on joins the
//! end again: when permits are short, ten thousand ready deliveries of one endpoint delay another's by one start. A
//! lane that may not start (paused, disabled, held, without permits, not in the config) is not in the line and costs
//! nothing. Whatever lets it start again puts it back.
//!
//! # Memory and time
//! A waiting delivery takes 48 bytes on the wheel, a ready one 32. Both give their memory back as they drain. `admit`,
//! `finish` and each start take constant time, but for counting seconds (see `tally`); none depends on the
//! backlog. Events stay in memory from their acceptance to their first attempt, within [`limits::FRESH_BYTES_MAX`]; the
//! body of one that must wait, or for which the budget has no room, is read back from the outbox when its turn comes.
//!
//! # Once at a time
//! A delivery is admitted once, until it is done; the outbox sees to that. The one overlap it cannot rule out is a
//! replay that is admitted before the attempt that settled the delivery was finished here. Such a delivery waits for
//! that attempt and goes again: no delivery ever has two attempts under way.

mod fifo;
mod fresh;
mod lane;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use fresh::FreshBudget;
use lane::{Lane, Ready, Sleeper};

pub use lane::LaneLimits;

use crate::clock::{MonoMs, UnixMs};
use crate::limits;
use crate::model::delivery::{DeliveryRef, Progress};
use crate::model::endpoint::EndpointState;
use crate::model::event::Event;
use crate::model::roster::EndpointNo;
use crate::wheel::Wheel;

/// A pending delivery, on its way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The delivery.
    pub delivery: DeliveryRef,
    /// When its event was accepted.
    pub accepted_at: UnixMs,
    /// No attempt is made before this moment.
    pub due: MonoMs,
    /// How far it has come.
    pub progress: Progress,
}

/// An attempt to make now. Its permit is taken, until [`Schedule::finish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The delivery.
    pub delivery: DeliveryRef,
    /// When its event was accepted.
    pub accepted_at: UnixMs,
    /// How far it had come before this attempt.
    pub progress: Progress,
    /// The event; `None`: to be read from the outbox.
    pub fresh: Option<Arc<Event>>,
}

/// What came of an attempt, as far as the schedule is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The delivery is delivered or dead.
    Done,
    /// It stays pending.
    Retry {
        /// When its next attempt is due.
        due: MonoMs,
        /// How far it has come.
        progress: Progress,
    },
}

/// An attempt under way.
#[derive(Debug)]
struct Flight {
    accepted_at: UnixMs,
    /// The same delivery, admitted again meanwhile.
    again: Option<Entry>,
}

/// See the module.
#[derive(Debug)]
pub struct Schedule {
    in_flight_total_max: usize,
    /// By endpoint number. The roster counts from 0, so there are no gaps to speak of.
    lanes: Vec<Lane>,
    /// Lanes that may start something, or could when they joined.
    line: VecDeque<EndpointNo>,
    wheel: Wheel<Sleeper>,
    holds: Wheel<EndpointNo>,
    flights: HashMap<DeliveryRef, Flight>,
    fresh: FreshBudget,
    pending: u64,
}

impl Schedule {
    /// An empty schedule that lets at most `in_flight_total_max` attempts run at once.
    #[must_use]
    pub fn new(in_flight_total_max: usize) -> Self {
        Self::with_fresh_bytes(in_flight_total_max, limits::FRESH_BYTES_MAX)
    }

    fn with_fresh_bytes(in_flight_total_max: usize, fresh_bytes_max: usize) -> Self {
        Self {
            in_flight_total_max,
            lanes: Vec::new(),
            line: VecDeque::new(),
            wheel: Wheel::new(),
            holds: Wheel::new(),
            flights: HashMap::new(),
            fresh: FreshBudget::new(fresh_bytes_max),
            pending: 0,
        }
    }

    /// Opens an endpoint's lane, or gives it other limits. Deliveries to endpoints without this wait, for as long as it
    /// takes. Attempts above a lowered limit run to their end.
    pub fn set_lane(&mut self, endpoint: EndpointNo, limits: LaneLimits, state: EndpointState) {
        self.lane_mut(endpoint).limits = Some(limits);
        self.set_state(endpoint, state);
    }

    /// Takes the lane of an endpoint that the config does not name any more. Its deliveries are kept and wait.
    pub fn close_lane(&mut self, endpoint: EndpointNo) {
        self.lane_mut(endpoint).limits = None;
        self.forget_bodies(endpoint);
    }

    /// Opens or closes an endpoint's lane. A closed one keeps its deliveries and starts none; attempts under way run to
    /// their end. Opening a closed lane ends a hold as well: an operator's resume overrules the endpoint.
    pub fn set_state(&mut self, endpoint: EndpointNo, state: EndpointState) {
        let active = state == EndpointState::Active;
        let lane = self.lane_mut(endpoint);
        let was_active = std::mem::replace(&mut lane.active, active);
        if active {
            if !was_active && let Some((_, timer)) = lane.hold.take() {
                self.holds.cancel(timer);
            }
            self.line_up(endpoint);
        } else {
            self.forget_bodies(endpoint);
        }
    }

    /// Starts nothing to this endpoint before `until`; a hold that ends later stands. Attempts under way run to their
    /// end.
    pub fn hold(&mut self, endpoint: EndpointNo, until: MonoMs) {
        let held_until = self.lane_mut(endpoint).hold.map(|(at, _)| at);
        if until <= self.holds.now() || held_until.is_some_and(|at| at >= until) {
            return;
        }
        let timer = self.holds.insert(until, endpoint);
        if let Some((_, earlier)) = self.lane_mut(endpoint).hold.replace((until, timer)) {
            self.holds.cancel(earlier);
        }
    }

    /// Takes in a pending delivery. `fresh` is its event, where that is in memory anyway: it is kept for the first
    /// attempt if that may come soon and the budget has room.
    pub fn admit(&mut self, entry: Entry, fresh: Option<Arc<Event>>, now: MonoMs) {
        // A fresh event was never under way before.
        if fresh.is_none()
            && let Some(flight) = self.flights.get_mut(&entry.delivery)
        {
            flight.again = Some(entry);
            return;
        }
        self.pending += 1;
        let lane = self.lane_mut(entry.delivery.endpoint);
        lane.pending += 1;
        lane.accepted.add(entry.accepted_at.0);
        self.enqueue(entry, fresh, now);
    }

    /// Appends what may start now to `starts`, a permit taken for each.
    pub fn start_due(&mut self, now: MonoMs, starts: &mut Vec<Start>) {
        self.collect_due(now);
        while self.flights.len() < self.in_flight_total_max
            && let Some(endpoint) = self.line.pop_front()
        {
            let lane = self.lane_mut(endpoint);
            lane.in_line = false;
            if !lane.may_start() {
                continue;
            }
            if let Some(ready) = lane.ready.pop() {
                self.start(ready, now, starts);
            }
            self.line_up(endpoint);
        }
    }

    /// Ends an attempt: gives its permit back and, for a retry, queues the delivery again. A delivery that is not under
    /// way is left alone.
    pub fn finish(&mut self, delivery: DeliveryRef, outcome: Outcome, now: MonoMs) {
        let Some(Flight { accepted_at, again }) = self.flights.remove(&delivery) else {
            return;
        };
        let endpoint = delivery.endpoint;
        self.lane_mut(endpoint).in_flight -= 1;
        // Admitted again: the outbox has put it back, whatever this attempt came to.
        let retry = match outcome {
            Outcome::Retry { due, progress } => Some(Entry { delivery, accepted_at, due, progress }),
            Outcome::Done => None,
        };
        match again.or(retry) {
            Some(entry) => self.enqueue(Entry { accepted_at, ..entry }, None, now),
            None => self.forget(endpoint, accepted_at),
        }
        self.line_up(endpoint);
    }

    /// When to call [`Schedule::start_due`] next, if nothing else happens; `None`: there is nothing to wait for.
    ///
    /// A moment that is past means at once. It may be too early a few times for a long wait (see
    /// [`Wheel::next_due`]), never too late.
    #[must_use]
    pub fn next_wake(&self) -> Option<MonoMs> {
        if !self.line.is_empty() && self.flights.len() < self.in_flight_total_max {
            return Some(self.wheel.now());
        }
        [self.wheel.next_due(), self.holds.next_due()].into_iter().flatten().min()
    }

    /// An endpoint's deliveries that are not finished, those under way included.
    #[must_use]
    pub fn pending(&self, endpoint: EndpointNo) -> u64 {
        self.lane(endpoint).map_or(0, |lane| lane.pending)
    }

    /// All deliveries that are not finished.
    #[must_use]
    pub fn total_pending(&self) -> u64 {
        self.pending
    }

    /// An endpoint's attempts under way.
    #[must_use]
    pub fn in_flight(&self, endpoint: EndpointNo) -> u32 {
        self.lane(endpoint).map_or(0, |lane| lane.in_flight)
    }

    /// All attempts under way.
    #[must_use]
    pub fn total_in_flight(&self) -> usize {
        self.flights.len()
    }

    /// When an endpoint's oldest unfinished delivery was accepted, to the second: the last millisecond of that second,
    /// so that an age taken from it is never too high.
    #[must_use]
    pub fn oldest_accepted(&self, endpoint: EndpointNo) -> Option<UnixMs> {
        self.lane(endpoint)?.accepted.earliest().map(|(_, last)| UnixMs(last))
    }

    /// As [`Schedule::oldest_accepted`], over all endpoints, with or without a lane. Takes time in their number.
    #[must_use]
    pub fn oldest_accepted_of_all(&self) -> Option<UnixMs> {
        self.lanes.iter().filter_map(|lane| lane.accepted.earliest()).map(|(_, last)| UnixMs(last)).min()
    }

    /// When an endpoint's next attempt is due, up to a second too early; `now` where one is due already and only
    /// lacks its permit; `None` where nothing waits, or the lane is closed.
    #[must_use]
    pub fn next_due(&self, endpoint: EndpointNo, now: MonoMs) -> Option<MonoMs> {
        let lane = self.lane(endpoint).filter(|lane| lane.is_open())?;
        let due = if lane.ready.is_empty() { lane.due.earliest().map(|(first, _)| MonoMs(first)) } else { Some(now) };
        let held_until = lane.hold.map_or(now, |(until, _)| until);
        due.map(|due| due.max(held_until).max(now))
    }

    /// Bytes of fresh events that ready deliveries keep in memory.
    #[must_use]
    pub fn fresh_bytes(&self) -> usize {
        self.fresh.bytes()
    }

    fn lane(&self, endpoint: EndpointNo) -> Option<&Lane> {
        self.lanes.get(usize::from(endpoint.0))
    }

    /// The endpoint's lane, an orphan if it has none yet.
    fn lane_mut(&mut self, endpoint: EndpointNo) -> &mut Lane {
        let index = usize::from(endpoint.0);
        if index >= self.lanes.len() {
            self.lanes.resize_with(index + 1, Lane::orphan);
        }
        &mut self.lanes[index]
    }

    fn line_up(&mut self, endpoint: EndpointNo) {
        if let Some(lane) = self.lanes.get_mut(usize::from(endpoint.0)) {
            lane.line_up(endpoint, &mut self.line);
        }
    }

    /// Puts an entry where it waits: on the wheel, or into the ready queue.
    fn enqueue(&mut self, entry: Entry, fresh: Option<Arc<Event>>, now: MonoMs) {
        let Entry { delivery, accepted_at, due, progress } = entry;
        let sleeper = Sleeper { delivery, progress, accepted_at };
        if due > now.max(self.wheel.now()) {
            self.lane_mut(delivery.endpoint).due.add(due.0);
            self.wheel.insert(due, sleeper);
            return;
        }
        let fresh = fresh.filter(|event| self.may_keep(delivery, event));
        self.lane_mut(delivery.endpoint).ready.push(Ready { sleeper, fresh });
        self.line_up(delivery.endpoint);
    }

    /// Whether an event stays in memory until its first attempt. A yes is counted.
    fn may_keep(&mut self, delivery: DeliveryRef, event: &Event) -> bool {
        let bytes = event.bytes();
        let lane = self.lane_mut(delivery.endpoint);
        let (soon, lane_bytes) = (lane.is_open() && lane.hold.is_none(), lane.fresh_bytes);
        let keep = soon && self.fresh.take(delivery.event, bytes, lane_bytes);
        if keep {
            self.lane_mut(delivery.endpoint).fresh_bytes += bytes;
        }
        keep
    }

    /// Drops the events that a lane keeps in memory: it was closed, perhaps for days.
    fn forget_bodies(&mut self, endpoint: EndpointNo) {
        let Some(lane) = self.lanes.get_mut(usize::from(endpoint.0)).filter(|lane| lane.fresh_bytes > 0) else {
            return;
        };
        lane.fresh_bytes = 0;
        for ready in lane.ready.iter_mut() {
            if let Some(event) = ready.fresh.take() {
                self.fresh.give_back(ready.sleeper.delivery.event, event.bytes());
            }
        }
    }

    /// Moves what is due from the wheel to the ready queues, and ends the holds that are over.
    fn collect_due(&mut self, now: MonoMs) {
        let (lanes, line) = (&mut self.lanes, &mut self.line);
        self.holds.advance(now, |_, endpoint| {
            if let Some(lane) = lanes.get_mut(usize::from(endpoint.0)) {
                lane.hold = None;
                lane.line_up(endpoint, line);
            }
        });
        self.wheel.advance(now, |due, sleeper| {
            let endpoint = sleeper.delivery.endpoint;
            if let Some(lane) = lanes.get_mut(usize::from(endpoint.0)) {
                lane.due.remove(due.0);
                lane.ready.push(Ready { sleeper, fresh: None });
                lane.line_up(endpoint, line);
            }
        });
    }

    fn start(&mut self, ready: Ready, now: MonoMs, starts: &mut Vec<Start>) {
        let Ready { sleeper: Sleeper { delivery, progress, accepted_at }, fresh } = ready;
        if let Some(event) = &fresh {
            self.lane_mut(delivery.endpoint).fresh_bytes -= event.bytes();
            self.fresh.give_back(delivery.event, event.bytes());
        }
        if let Some(flight) = self.flights.get_mut(&delivery) {
            // Admitted twice, against the rule. Now it counts once again, and waits for its other attempt.
            flight.again = Some(Entry { delivery, accepted_at, due: now, progress });
            self.forget(delivery.endpoint, accepted_at);
            return;
        }
        self.flights.insert(delivery, Flight { accepted_at, again: None });
        self.lane_mut(delivery.endpoint).in_flight += 1;
        starts.push(Start { delivery, accepted_at, progress, fresh });
    }

    /// Counts a delivery as finished.
    fn forget(&mut self, endpoint: EndpointNo, accepted_at: UnixMs) {
        self.pending -= 1;
        let lane = self.lane_mut(endpoint);
        lane.pending -= 1;
        lane.accepted.remove(accepted_at.0);
    }
}
