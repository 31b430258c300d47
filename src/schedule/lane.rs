//! One endpoint's lane: its gates, what waits for it, and what it may do next.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bell::Bell;
use super::expiry::Expiry;
use super::fifo::Fifo;
use super::gates::Gates;
use super::queue::Queue;
use super::share::Seat;
use super::tally::Tally;
use super::waiting::Waiting;
use crate::clock::{MonoMs, UnixMs};
use crate::model::delivery::EventRef;
use crate::model::event::Event;
use crate::policy::breaker::{Leave, Signal, Turn};
use crate::wheel::Timer;

/// What a lane may do now, global permits aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Start an attempt.
    Attempt { probe: bool },
    /// Give up what has expired.
    Expire,
    /// Find what has expired.
    Sweep,
    /// Nothing before this moment; `None`: nothing before something happens to it.
    Wait(Option<MonoMs>),
}

/// Where a lane stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// It may do nothing.
    Aside,
    /// In the line.
    Line,
    /// It may start something but for its share of the permits.
    Crowd(Seat),
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) gates: Gates,
    /// What waits, filed by the lane's rules.
    pub(super) queue: Queue,
    /// What came while there were no rules, due or not.
    pub(super) unfiled: Fifo<Waiting>,
    pub(super) expiry: Expiry,
    /// Events that are kept in memory for their first attempt, and their bytes.
    pub(super) fresh: BTreeMap<EventRef, Arc<Event>>,
    pub(super) fresh_bytes: usize,
    /// Deliveries that are not finished: filed or not, on the wheel or under way.
    pub(super) pending: u64,
    /// When those were accepted.
    pub(super) accepted: Tally,
    /// Deliveries on the wheel.
    pub(super) asleep: u64,
    /// When those are due.
    pub(super) due: Tally,
    /// When the lane is to be looked at again.
    pub(super) timer: Option<(MonoMs, Timer)>,
    pub(super) spot: Spot,
}

impl Lane {
    /// The lane of an endpoint that the config does not name.
    pub(super) fn orphan() -> Self {
        Self {
            gates: Gates::closed(),
            queue: Queue::default(),
            unfiled: Fifo::default(),
            expiry: Expiry::default(),
            fresh: BTreeMap::new(),
            fresh_bytes: 0,
            pending: 0,
            accepted: Tally::default(),
            asleep: 0,
            due: Tally::default(),
            timer: None,
            spot: Spot::Aside,
        }
    }

    pub(super) fn step(&self, now: MonoMs) -> Step {
        if !self.gates.has_permit() {
            return Step::Wait(None);
        }
        if self.queue.has_expired() {
            return Step::Expire;
        }
        if !self.queue.has_ready() {
            return Step::Wait(None);
        }
        let sweep_at = self.expiry.sweep_at();
        if sweep_at.is_some_and(|at| at <= now) {
            return Step::Sweep;
        }
        match self.gates.leave(now) {
            Leave::Granted => Step::Attempt { probe: false },
            Leave::Probe => Step::Attempt { probe: true },
            Leave::NotBefore(at) => Step::Wait(Some(sweep_at.map_or(at, |sweep_at| sweep_at.min(at)))),
            Leave::AfterAnother => Step::Wait(sweep_at),
        }
    }

    pub(super) fn put(&mut self, waiting: Waiting, bell: &mut Bell<'_>) -> Option<Waiting> {
        self.queue.put(waiting, &mut self.expiry, bell)
    }

    pub(super) fn sweep(&mut self, now: MonoMs) {
        self.queue.sweep(&mut self.expiry, now);
    }

    /// An attempt has ended, or what was given up is settled.
    pub(super) fn ends(&mut self, event: EventRef, signal: Signal, now: MonoMs) -> Option<Turn> {
        let turn = self.gates.ends(event, signal, now);
        self.heed_breaker(now);
        turn
    }

    /// The breaker may stand otherwise than before: only while it is open does anything expire.
    pub(super) fn heed_breaker(&mut self, now: MonoMs) {
        if self.gates.is_breaker_open() {
            self.expiry.breaker_is_open(now);
        } else if self.expiry.is_open() {
            self.expiry.breaker_is_closed();
            self.queue.pardon();
        }
    }

    /// Counts a delivery as finished.
    pub(super) fn forget(&mut self, accepted_at: UnixMs) {
        self.pending -= 1;
        self.accepted.remove(accepted_at.0);
    }
}
