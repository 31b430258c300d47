//! Who goes next: a lane for each endpoint with its gates, a wheel for what must wait, permits for what may run.
//!
//! Synchronous and pure: it reads no clock, does no I/O and never blocks. One task owns it and turns it:
//! [`Schedule::admit`] what was accepted or recovered, [`Schedule::start_due`] whenever something was admitted or
//! finished, or [`Schedule::next_wake`] has come, [`Schedule::finish`] each attempt. The outbox holds the truth; what
//! stands here is made anew from it whenever the daemon starts.
//!
//! # A delivery's way
//! ```text
//!            no order                             ┌─ share ─┐
//! admit ──┬──due now────────► ready of its lane ──┤  gates  ├──► under way ──► delivered, dead
//!         ├──later──► wheel ──due──┘  ▲           └─────────┘        │
//!         │    ▲                      │                              │
//!         │    └──────────────────────┼───────────Retry──────────────┤
//!         │  keeps its order          │ the head, once it is due     │
//!         └──────────────────────► chain ◄────────Retry──────────────┘
//! ```
//!
//! A lane takes what is ready in the order of acceptance, retries included: the reads from the disk lie together. What is
//! under way and comes to [`Outcome::Retry`] waits again as before.
//!
//! # Order
//! With `order = "key"` the deliveries of one key make a chain, with `order = "strict"` all of the lane (`ordered`). Of a
//! chain at most one is under way, and only its head may start: the one accepted first. A head that waits for a retry, or
//! whose `deliver_at` lies ahead, holds its chain up; other chains go on. A delivery that is replayed takes its old place:
//! it goes before younger ones, after the one under way. With `on_dead = "block"` a dead delivery holds up those of its
//! chain that were accepted after it, until it is replayed, the endpoint is resumed, or its generation is gone (`blocks`).
//!
//! # Gates
//! Between a lane and its next attempt stand, all in one place (`gates`): whether the endpoint is active, whether the config
//! names it, its permits, a hold that it has asked for, its breaker and its rate. Lanes that may start something stand in a
//! line; each turn starts one delivery, and a lane that may go on joins the end again: ten thousand ready deliveries of one
//! endpoint delay another's by one start. A lane that may not start is not in the line and costs nothing, however much is in
//! it. Where time opens its gates, one timer looks at it again at that moment; otherwise whatever opens them lines it up.
//!
//! While a breaker is open, one attempt each cooldown goes out as the probe, and deliveries that have waited for what is
//! left of their retry schedule are handed out to be given up ([`Act::Expire`], `expiry`).
//!
//! # Shares
//! The permits of all lanes together are shared (`share`): a lane may take one more while more are left to share than it
//! has, and half of them is left for lanes that have none. Whatever an endpoint does, each other one that has a lane finds a
//! permit at once. Lanes that must wait for their share are not looked at until it has grown.
//!
//! # Memory and time
//! A waiting delivery takes 56 bytes on the wheel and 40 once it is ready. In a chain it takes 48 in a tree, which with the
//! tree's slack and the head's place among the ready ones comes to 90 to 115, and to 50 to 80 for what was there when the
//! lane was opened. All of it is given back as it drains. `admit`, `finish` and each start take constant time, logarithmic
//! where order is kept or what was accepted earlier comes back, whatever the backlog (and see `tally` for counting seconds).
//! Three things walk through what waits in a lane: a look for what has expired (seldom, see `expiry`), the end of an open
//! breaker where some had expired, and a change of the order, which walks through the wheel too.
//!
//! Events stay in memory from their acceptance to their first attempt, within [`limits::FRESH_BYTES_MAX`]; the body of one
//! that must wait, or for which the budget has no room, is read back from the outbox when its turn comes.
//!
//! # Once at a time
//! A delivery is admitted once, until it is done; the outbox sees to that. The one overlap it cannot rule out is a
//! replay that is admitted before the attempt that settled the delivery was finished here. Such a delivery waits for
//! that attempt and goes again: no delivery ever has two attempts under way.
//!
//! # Endpoints without a lane
//! The deliveries of an endpoint that the config does not name are kept, unfiled, and so is which of its deliveries are
//! dead: by which order they go is known when its lane is opened. So it is with all that is recovered at the start.

mod bell;
mod blocks;
mod expiry;
mod fifo;
mod free;
mod fresh;
mod gates;
mod intake;
mod lane;
mod lanes;
mod ordered;
mod queue;
mod rules;
mod share;
mod tally;
#[cfg(test)]
mod tests;
mod views;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bell::Wake;
use fresh::FreshBudget;
use lane::{Lane, Spot, Step};
use share::Share;
use waiting::{Key, Sleeper, Waiting};

pub use rules::{Kept, LaneRules};

use crate::clock::{MonoMs, UnixMs};
use crate::limits;
use crate::model::delivery::{DeliveryRef, KeyHash, Progress};
use crate::model::event::Event;
use crate::model::roster::EndpointNo;
use crate::policy::breaker::{Signal, Turn};
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
    /// Its event's ordering key.
    pub key: Option<KeyHash>,
}

/// Something to do now. Its permit is taken, until [`Schedule::finish`].
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
    /// What is to be done.
    pub act: Act,
}

/// What is to be done with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// An attempt is to be made.
    Attempt {
        /// It shows whether the endpoint is well again: its breaker is open.
        probe: bool,
    },
    /// Nothing is to be sent: an open breaker has kept it waiting for longer than its schedule lasts. It is to be settled as
    /// dead, and finished with [`Outcome::Dead`] and [`Signal::Nothing`].
    Expire,
}

/// What came of it, as far as the schedule is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The delivery is delivered.
    Delivered,
    /// It is dead.
    Dead,
    /// It stays pending.
    Retry {
        /// When its next attempt is due.
        due: MonoMs,
        /// How far it has come.
        progress: Progress,
    },
}

/// A delivery under way: an attempt, or one that is being given up.
#[derive(Debug)]
struct Flight {
    accepted_at: UnixMs,
    key: Option<Key>,
    /// The same delivery, admitted again meanwhile.
    again: Option<Waiting>,
}

/// See the module.
#[derive(Debug)]
pub struct Schedule {
    /// By endpoint number. The roster counts from 0, so there are no gaps to speak of.
    lanes: Vec<Lane>,
    /// Lanes that may start something, or could when they joined.
    line: VecDeque<EndpointNo>,
    share: Share,
    /// Deliveries that keep no order and are not due.
    sleepers: Wheel<Sleeper>,
    /// Lanes and chains that are to be looked at again.
    wakes: Wheel<Wake>,
    flights: HashMap<DeliveryRef, Flight>,
    fresh: FreshBudget,
    pending: u64,
}

impl Schedule {
    /// An empty schedule that lets at most `in_flight_total_max` attempts run at once, half of them kept for endpoints
    /// that have none under way.
    #[must_use]
    pub fn new(in_flight_total_max: usize) -> Self {
        Self::with_fresh_bytes(in_flight_total_max, limits::FRESH_BYTES_MAX)
    }

    fn with_fresh_bytes(in_flight_total_max: usize, fresh_bytes_max: usize) -> Self {
        Self {
            lanes: Vec::new(),
            line: VecDeque::new(),
            share: Share::new(in_flight_total_max),
            sleepers: Wheel::new(),
            wakes: Wheel::new(),
            flights: HashMap::new(),
            fresh: FreshBudget::new(fresh_bytes_max),
            pending: 0,
        }
    }

    /// Takes in a pending delivery. `fresh` is its event, where that is in memory anyway: it is kept for the first
    /// attempt if that may come soon and the budget has room.
    pub fn admit(&mut self, entry: Entry, fresh: Option<Arc<Event>>, now: MonoMs) {
        let Entry { delivery, accepted_at, due, progress, key } = entry;
        let DeliveryRef { event, endpoint } = delivery;
        let waiting = Waiting { event, accepted_at, due, key: key.map(Key::of), progress };
        let now = self.at_least(now);
        // A fresh event was never under way before, nor dead.
        if fresh.is_none() {
            if let Some(flight) = self.flights.get_mut(&delivery) {
                flight.again = Some(waiting);
                return;
            }
            let (lane, mut bell) = self.lane_at(endpoint, now);
            lane.queue.revives(event, &mut lane.expiry, &mut bell);
        }
        self.pending += 1;
        let lane = self.lane_mut(endpoint);
        lane.pending += 1;
        lane.accepted.add(accepted_at.0);
        self.enqueue(endpoint, waiting, fresh, now);
    }

    /// Appends what is to be done now to `starts`, a permit taken for each.
    pub fn start_due(&mut self, now: MonoMs, starts: &mut Vec<Start>) {
        self.collect_due(now);
        let now = self.now();
        while let Some(endpoint) = self.next_lane() {
            let lane = self.lane_mut(endpoint);
            lane.spot = Spot::Aside;
            let (step, in_flight) = (lane.step(now), lane.gates.in_flight());
            let act = match step {
                Step::Attempt { probe } => Act::Attempt { probe },
                Step::Expire => Act::Expire,
                Step::Sweep => {
                    lane.sweep(now);
                    self.line_up(endpoint, now);
                    continue;
                }
                Step::Wait(until) => {
                    self.set_timer(endpoint, until);
                    continue;
                }
            };
            if self.share.admits(in_flight, self.flights.len()) {
                self.start(endpoint, act, now, starts);
                self.line_up(endpoint, now);
            } else {
                let seat = self.share.refuse(endpoint, in_flight);
                self.lane_mut(endpoint).spot = Spot::Crowd(seat);
            }
        }
    }

    /// Ends what a [`Start`] has begun: gives its permit back and, for a retry, queues the delivery again. `signal` is what
    /// the attempt tells of its endpoint; returned is what that has changed about its breaker. A delivery that is not under
    /// way is left alone.
    pub fn finish(&mut self, delivery: DeliveryRef, outcome: Outcome, signal: Signal, now: MonoMs) -> Option<Turn> {
        let Flight { accepted_at, key, again } = self.flights.remove(&delivery)?;
        let DeliveryRef { event, endpoint } = delivery;
        let now = self.at_least(now);
        if let Spot::Crowd(seat) = self.lane_mut(endpoint).spot {
            self.share.recall(seat);
            self.lane_mut(endpoint).spot = Spot::Aside;
        }
        let (lane, mut bell) = self.lane_at(endpoint, now);
        let turn = lane.ends(event, signal, now);
        lane.queue.ends(key, &mut lane.expiry, &mut bell);
        // Admitted again: the outbox has put it back, whatever this attempt came to.
        let back = match (again, outcome) {
            (Some(again), _) => Some(Waiting { accepted_at, key, ..again }),
            (None, Outcome::Retry { due, progress }) => Some(Waiting { event, accepted_at, due, key, progress }),
            (None, Outcome::Dead) => {
                // Whenever the endpoint was resumed, that was before.
                lane.queue.dies(event, key, UnixMs(u64::MAX), &mut lane.expiry, &mut bell);
                None
            }
            (None, Outcome::Delivered) => None,
        };
        if turn == Some(Turn::Opened) {
            self.forget_bodies(endpoint);
        }
        match back {
            Some(waiting) => self.enqueue(endpoint, waiting, None, now),
            None => self.forget(endpoint, accepted_at),
        }
        self.line_up(endpoint, now);
        turn
    }

    /// When to call [`Schedule::start_due`] next, if nothing else happens; `None`: there is nothing to wait for.
    ///
    /// A moment that is past means at once. It may be too early a few times for a long wait (see
    /// [`Wheel::next_due`]), never too late.
    #[must_use]
    pub fn next_wake(&self) -> Option<MonoMs> {
        if !self.line.is_empty() || self.share.has_next(self.flights.len()) {
            return Some(self.now());
        }
        [self.sleepers.next_due(), self.wakes.next_due()].into_iter().flatten().min()
    }

    /// The moment that the wheels stand at.
    fn now(&self) -> MonoMs {
        self.sleepers.now()
    }

    /// The present, which never goes back.
    fn at_least(&self, now: MonoMs) -> MonoMs {
        now.max(self.now())
    }

    /// The lane whose turn it is. Those that were refused before go first, once their share has grown.
    fn next_lane(&mut self) -> Option<EndpointNo> {
        self.share.next(self.flights.len()).or_else(|| self.line.pop_front())
    }

    /// Puts a lane at the end of the line, if it may start something and waits for no share; else sees to it that it is
    /// looked at again once it may.
    fn line_up(&mut self, endpoint: EndpointNo, now: MonoMs) {
        let lane = self.lane_mut(endpoint);
        if lane.spot != Spot::Aside {
            return;
        }
        match lane.step(now) {
            Step::Wait(until) => self.set_timer(endpoint, until),
            Step::Attempt { .. } | Step::Expire | Step::Sweep => {
                lane.spot = Spot::Line;
                self.line.push_back(endpoint);
            }
        }
    }

    /// Sets the lane's one timer, or takes it off.
    fn set_timer(&mut self, endpoint: EndpointNo, at: Option<MonoMs>) {
        let (lane, bell) = self.lane_at(endpoint, MonoMs(0));
        if lane.timer.map(|(at, _)| at) == at {
            return;
        }
        if let Some((_, timer)) = lane.timer.take() {
            bell.wheel.cancel(timer);
        }
        lane.timer = at.map(|at| (at, bell.wheel.insert(at, Wake { endpoint, chain: None })));
    }

    fn start(&mut self, endpoint: EndpointNo, act: Act, now: MonoMs, starts: &mut Vec<Start>) {
        let lane = &mut self.lanes[usize::from(endpoint.0)];
        let next = if act == Act::Expire { lane.queue.pop_expired() } else { lane.queue.pop() };
        let Some(waiting) = next else {
            debug_assert!(false, "a lane that may start something has something");
            return;
        };
        let Waiting { event, accepted_at, due: _, key, progress } = waiting;
        let fresh = lane.fresh.remove(&event);
        if let Some(kept) = &fresh {
            lane.fresh_bytes -= kept.bytes();
            self.fresh.give_back(event, kept.bytes());
        }
        let delivery = DeliveryRef { event, endpoint };
        if let Some(flight) = self.flights.get_mut(&delivery) {
            // Admitted twice, against the rule. Now it counts once again, and waits for its other attempt.
            flight.again = Some(waiting);
            self.forget(endpoint, accepted_at);
            return;
        }
        self.flights.insert(delivery, Flight { accepted_at, key, again: None });
        lane.queue.begins(key);
        lane.gates.begins(event, act, now);
        let fresh = fresh.filter(|_| act != Act::Expire);
        starts.push(Start { delivery, accepted_at, progress, fresh, act });
    }

    /// Counts a delivery as finished.
    fn forget(&mut self, endpoint: EndpointNo, accepted_at: UnixMs) {
        self.pending -= 1;
        self.lane_mut(endpoint).forget(accepted_at);
    }
}
