//! What stands between a lane and its next attempt: everything that may forbid it, in one place.

use super::Act;
use super::rules::{Kept, LaneRules};
use crate::clock::MonoMs;
use crate::model::delivery::EventRef;
use crate::policy::breaker::{Breaker, BreakerPhase, Leave, Signal, Turn};
use crate::policy::rate::Pace;

/// The gates of one lane. [`Gates::has_permit`] and [`Gates::leave`] tell how they stand; whatever may open one must line
/// the lane up afterwards, for a lane that is not in the line is not looked at. One that opens with time is told by
/// [`Leave::NotBefore`].
#[derive(Debug)]
pub(super) struct Gates {
    /// `None`: the config does not name the endpoint.
    rules: Option<LaneRules>,
    /// Whether the endpoint is active.
    active: bool,
    /// The endpoint asked that nothing be sent before. Past, or 0: it did not.
    held_until: MonoMs,
    breaker: Option<Breaker>,
    /// The attempt that the breaker has let through to see how the endpoint is.
    probe: Option<EventRef>,
    pace: Option<Pace>,
    /// Attempts under way.
    in_flight: u32,
}

impl Gates {
    /// Those of an endpoint that the config does not name.
    pub(super) fn closed() -> Self {
        Self { rules: None, active: true, held_until: MonoMs(0), breaker: None, probe: None, pace: None, in_flight: 0 }
    }

    pub(super) fn open(&mut self, rules: &LaneRules, kept: Kept) {
        self.rules = Some(rules.clone());
        self.active = kept.active;
        self.held_until = kept.held_until.unwrap_or_default();
        self.breaker = rules.breaker.map(|rules| match kept.open_breaker {
            Some((probe_at, cooldown_ms)) => Breaker::open(rules, probe_at, cooldown_ms),
            None => Breaker::new(rules),
        });
        self.probe = None;
        self.pace = rules.rate.map(Pace::new);
    }

    /// Other rules. Where each gate stands is kept, as far as they allow it.
    pub(super) fn change(&mut self, rules: &LaneRules, now: MonoMs) {
        self.rules = Some(rules.clone());
        match (&mut self.breaker, rules.breaker) {
            (Some(breaker), Some(rules)) => breaker.set_rules(rules, now),
            (breaker, rules) => {
                *breaker = rules.map(Breaker::new);
                self.probe = None;
            }
        }
        match (&mut self.pace, rules.rate) {
            (Some(pace), Some(limit)) => pace.set_limit(limit),
            (pace, limit) => *pace = limit.map(Pace::new),
        }
    }

    pub(super) fn close(&mut self) {
        *self = Self { active: self.active, in_flight: self.in_flight, ..Self::closed() };
    }

    /// Everything is as at the beginning, but for what is under way.
    pub(super) fn reset(&mut self) {
        self.active = true;
        self.held_until = MonoMs(0);
        self.breaker = self.rules.as_ref().and_then(|rules| rules.breaker).map(Breaker::new);
        self.probe = None;
        self.pace = self.rules.as_ref().and_then(|rules| rules.rate).map(Pace::new);
    }

    pub(super) fn set_active(&mut self, active: bool) {
        self.active = active;
    }

    pub(super) fn hold(&mut self, until: MonoMs) {
        self.held_until = self.held_until.max(until);
    }

    /// Whether the config names the endpoint.
    pub(super) fn has_rules(&self) -> bool {
        self.rules.is_some()
    }

    /// Whether deliveries go out at all: not to an orphan, nor to a paused or disabled endpoint.
    pub(super) fn is_open(&self) -> bool {
        self.active && self.has_rules()
    }

    /// Whether something due would start soon, as far as is known.
    pub(super) fn may_start_soon(&self, now: MonoMs) -> bool {
        self.is_open() && self.held_until <= now && !self.is_breaker_open()
    }

    pub(super) fn held_until(&self) -> MonoMs {
        self.held_until
    }

    pub(super) fn breaker(&self) -> Option<&Breaker> {
        self.breaker.as_ref()
    }

    pub(super) fn is_breaker_open(&self) -> bool {
        self.breaker.as_ref().is_some_and(Breaker::is_open)
    }

    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Whether the lane may start anything at all. This is all that giving a delivery up needs.
    pub(super) fn has_permit(&self) -> bool {
        self.active && self.rules.as_ref().is_some_and(|rules| self.in_flight < rules.in_flight_max)
    }

    /// Whether an attempt may start, permits aside.
    pub(super) fn leave(&self, now: MonoMs) -> Leave {
        let leave = self.breaker.as_ref().map_or(Leave::Granted, |breaker| breaker.leave(self.in_flight, now));
        let not_before = self.not_before();
        match leave {
            Leave::AfterAnother => Leave::AfterAnother,
            _ if not_before > now => Leave::NotBefore(not_before),
            leave => leave,
        }
    }

    /// No attempt starts before this moment, as things are.
    pub(super) fn not_before(&self) -> MonoMs {
        let probe_at = match self.breaker.as_ref().map(Breaker::phase) {
            Some(BreakerPhase::Open { probe_at }) => probe_at,
            _ => MonoMs(0),
        };
        let paced = self.pace.as_ref().map_or(MonoMs(0), Pace::ready_at);
        self.held_until.max(probe_at).max(paced)
    }

    pub(super) fn begins(&mut self, event: EventRef, act: Act, now: MonoMs) {
        self.in_flight += 1;
        let Act::Attempt { probe } = act else { return };
        if let Some(pace) = &mut self.pace {
            pace.take(now);
        }
        if let Some(breaker) = self.breaker.as_mut().filter(|_| probe) {
            breaker.probe_begins();
            self.probe = Some(event);
        }
    }

    pub(super) fn ends(&mut self, event: EventRef, signal: Signal, now: MonoMs) -> Option<Turn> {
        self.in_flight -= 1;
        let probe = self.probe.take_if(|probe| *probe == event).is_some();
        let permits_max = self.rules.as_ref().map_or(0, |rules| rules.in_flight_max);
        self.breaker.as_mut()?.attempt_ends(signal, probe, permits_max, now)
    }
}
