//! One endpoint's lane: what waits for it, and whether it may start now.
//!
//! [`Lane::may_start`] is the one question that stands between a ready delivery and its attempt. What else may forbid a
//! start (a rate, an open breaker, an order to keep) belongs in it; whatever turns its answer to yes must
//! call [`Lane::line_up`], for a lane that is not in the line is not looked at.

use std::collections::VecDeque;
use std::sync::Arc;

use super::fifo::Fifo;
use super::tally::Tally;
use crate::clock::{MonoMs, UnixMs};
use crate::model::delivery::{DeliveryRef, Progress};
use crate::model::event::Event;
use crate::model::roster::EndpointNo;
use crate::wheel::Timer;

/// What an endpoint's config allows its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneLimits {
    /// Most attempts at once.
    pub in_flight_max: u32,
}

/// A delivery that waits, in 24 bytes: there may be a million.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sleeper {
    pub(super) delivery: DeliveryRef,
    pub(super) progress: Progress,
    pub(super) accepted_at: UnixMs,
}

/// A delivery that is due, with its event where that is still in memory.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) sleeper: Sleeper,
    pub(super) fresh: Option<Arc<Event>>,
}

#[derive(Debug)]
pub(super) struct Lane {
    /// `None`: the config does not name the endpoint.
    pub(super) limits: Option<LaneLimits>,
    /// Whether the endpoint is active.
    pub(super) active: bool,
    /// Nothing starts before this moment, and the timer that ends it.
    pub(super) hold: Option<(MonoMs, Timer)>,
    /// What is due, in the order it became so.
    pub(super) ready: Fifo<Ready>,
    /// Attempts under way.
    pub(super) in_flight: u32,
    /// Deliveries that are not finished: ready, under way or on the wheel.
    pub(super) pending: u64,
    /// When those were accepted.
    pub(super) accepted: Tally,
    /// When those on the wheel are due.
    pub(super) due: Tally,
    /// Bytes of the events that `ready` keeps in memory.
    pub(super) fresh_bytes: usize,
    /// Whether the lane stands in line for its next start.
    pub(super) in_line: bool,
}

impl Lane {
    /// The lane of an endpoint that the config does not name.
    pub(super) fn orphan() -> Self {
        Self {
            limits: None,
            active: true,
            hold: None,
            ready: Fifo::new(),
            in_flight: 0,
            pending: 0,
            accepted: Tally::default(),
            due: Tally::default(),
            fresh_bytes: 0,
            in_line: false,
        }
    }

    /// Whether deliveries go out at all: not to an orphan, nor to a paused or disabled endpoint.
    pub(super) fn is_open(&self) -> bool {
        self.active && self.limits.is_some()
    }

    /// Whether an attempt may start at this moment, global permits aside.
    pub(super) fn may_start(&self) -> bool {
        let permits = self.limits.map_or(0, |limits| limits.in_flight_max);
        self.active && self.hold.is_none() && self.in_flight < permits && !self.ready.is_empty()
    }

    /// Joins the end of the line, if the lane may start something and is not in it.
    pub(super) fn line_up(&mut self, endpoint: EndpointNo, line: &mut VecDeque<EndpointNo>) {
        if !self.in_line && self.may_start() {
            self.in_line = true;
            line.push_back(endpoint);
        }
    }
}
