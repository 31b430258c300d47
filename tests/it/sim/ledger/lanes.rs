//! Endpoints: which are open, held, in the config, and what they are told to be.

use std::collections::BTreeSet;
use std::sync::Arc;

use webhookd::clock::{MonoMs, UnixMs};
use webhookd::config::Endpoint;
use webhookd::dispatch::EndpointHealth;
use webhookd::model::endpoint::{DisabledReason, EndpointRecord, EndpointState};

use super::breaker::Gate;
use super::failing::{Failing, GivenUp};
use super::pace::Starts;
use super::reports::Turns;
use super::{Delivery, Ledger, Now};

/// An endpoint's state, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LaneState {
    Active,
    Paused,
    /// It answered 410.
    Gone,
    /// It asked to be disabled.
    Asked,
    /// It did not succeed for too long.
    Failing,
}

impl LaneState {
    /// Whether it is not disabled.
    fn is_on(self) -> bool {
        matches!(self, Self::Active | Self::Paused)
    }
}

impl From<EndpointState> for LaneState {
    fn from(state: EndpointState) -> Self {
        match state {
            EndpointState::Active => Self::Active,
            EndpointState::Paused => Self::Paused,
            EndpointState::Disabled { reason: DisabledReason::Gone, .. } => Self::Gone,
            EndpointState::Disabled { reason: DisabledReason::Asked, .. } => Self::Asked,
            EndpointState::Disabled { reason: DisabledReason::Failing, .. } => Self::Failing,
        }
    }
}

/// An endpoint's account.
#[derive(Debug)]
pub(super) struct Lane {
    /// The config does not name it.
    pub(super) gone: bool,
    /// Its state since the last rest, or since an operator's answer.
    pub(super) state: LaneState,
    /// What answers since then have asked for.
    pub(super) asked: BTreeSet<LaneState>,
    /// The states that it may have on the disk.
    kept: BTreeSet<LaneState>,
    /// When it was last resumed, as the disk told at the start of this life.
    pub(super) resumed_at: UnixMs,
    /// How often it was resumed in this life: what an attempt from before says disables nobody.
    pub(super) resumes: u32,
    /// No attempt begins before this moment.
    pub(super) held: MonoMs,
    /// Nor before this one, from the next rest on.
    pub(super) asked_hold: MonoMs,
    /// Whether the hold is as it is told: after a time out of the config nobody else knows.
    doubt_hold: bool,
    pub(super) in_flight: u32,
    pub(super) starts: Starts,
    pub(super) gate: Option<Gate>,
    pub(super) failing: Failing,
    /// What has happened to it that is told.
    pub(super) turns: Turns,
}

/// How sure a rest is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calm {
    /// Nothing has been wrong with the disk for a while, and no damage may be met.
    pub(crate) sound: bool,
    /// And what is written now outlives the life.
    pub(crate) kept: bool,
    /// And there is room for whatever is told, and the dispatcher hears all.
    pub(crate) told: bool,
}

impl Lane {
    pub(super) fn new(endpoint: &Endpoint) -> Self {
        Self {
            gone: false,
            state: LaneState::Active,
            asked: BTreeSet::new(),
            kept: [LaneState::Active].into(),
            resumed_at: UnixMs(0),
            resumes: 0,
            held: MonoMs(0),
            asked_hold: MonoMs(0),
            doubt_hold: false,
            in_flight: 0,
            starts: Starts::default(),
            gate: endpoint.breaker.map(Gate::new),
            failing: Failing::default(),
            turns: Turns::default(),
        }
    }

    /// Why no attempt may begin.
    fn refuse(&self, config: &Endpoint, now: Now) -> Option<String> {
        if self.gone {
            return Some("though the config does not name its endpoint".to_owned());
        }
        if self.state != LaneState::Active {
            return Some(format!("though its endpoint is {:?}", self.state));
        }
        if self.held > now.mono {
            return Some(format!("though its endpoint waits for {} ms more", self.held.since(now.mono)));
        }
        let paced = config.rate_limit.and_then(|limit| self.starts.refuse(limit, now.mono));
        let gate = self.gate.as_ref();
        paced.or_else(|| gate.and_then(|gate| gate.refuse(self.in_flight, config.in_flight_max, now.mono)))
    }

    fn stops(&mut self, noted: bool, now: MonoMs) {
        self.failing.stops(noted, now);
        self.asked.clear();
    }
}

impl Ledger {
    pub(super) fn lane_refuses(&self, endpoint: usize, now: Now) -> Option<String> {
        let (lane, config) = (&self.lanes[endpoint], &self.endpoints[endpoint]);
        let total: u32 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        if let Some(why) = lane.refuse(config, now) {
            return Some(why);
        }
        let full = lane.in_flight >= config.in_flight_max || total as usize >= self.in_flight_total_max;
        full.then(|| format!("though {} of {total} requests are under way already", lane.in_flight))
    }

    /// An operator is about to resume an endpoint: its history begins anew, and what waits may go before the answer comes.
    pub(crate) fn opens(&mut self, endpoint: usize) {
        let config = Arc::clone(&self.endpoints[endpoint]);
        let lane = &mut self.lanes[endpoint];
        lane.state = LaneState::Active;
        lane.kept.insert(LaneState::Active);
        lane.asked.clear();
        lane.resumes += 1;
        (lane.held, lane.asked_hold, lane.doubt_hold) = (MonoMs(0), MonoMs(0), false);
        lane.starts = Starts::default();
        lane.gate = config.breaker.map(Gate::new);
        lane.failing = Failing::default();
        self.forget_fallen(endpoint);
    }

    /// An operator has resumed or paused an endpoint. `cut`: the image of a crash was taken before or meanwhile.
    pub(crate) fn operated(&mut self, endpoint: usize, state: LaneState, cut: bool) {
        let lane = &mut self.lanes[endpoint];
        if state != LaneState::Active {
            // The answer has come: from here on nothing begins, not even in this moment.
            lane.state = state;
            lane.asked.clear();
        }
        // What it let go may have closed it again.
        if !cut {
            lane.kept = [state].into();
        } else {
            lane.kept.insert(state);
        }
        let asked = lane.asked.clone();
        lane.kept.extend(asked);
    }

    /// Another config is about to come into force; `None`: it does not name this endpoint.
    pub(crate) fn reconfigures(&mut self, endpoint: usize, config: Option<Arc<Endpoint>>, now: Now) {
        let was_gone = std::mem::replace(&mut self.lanes[endpoint].gone, config.is_none());
        let before = Arc::clone(&self.endpoints[endpoint]);
        let Some(config) = config else {
            if !was_gone {
                self.lanes[endpoint].stops(true, now.mono);
            }
            return;
        };
        let lane = &mut self.lanes[endpoint];
        if was_gone {
            lane.failing.goes_on(now.mono);
            // A short hold is forgotten meanwhile.
            (lane.held, lane.asked_hold, lane.doubt_hold) = (MonoMs(0), MonoMs(0), true);
            lane.starts = Starts::default();
            let kept = lane.gate.as_ref().and_then(Gate::keeps);
            lane.gate = config.breaker.map(|rules| match kept {
                Some(kept) => Gate::open(rules, kept, now),
                None => Gate::new(rules).doubted(before.breaker.is_none()),
            });
        } else {
            if before.rate_limit != config.rate_limit {
                lane.starts = Starts::default();
                lane.starts.unsure = true;
            }
            match (&mut lane.gate, config.breaker) {
                (Some(gate), Some(rules)) => gate.change(rules, now.mono),
                (gate, rules) => *gate = rules.map(Gate::new),
            }
        }
        if before.on_dead != config.on_dead || before.order != config.order {
            self.doubt_fallen(endpoint);
        }
        self.endpoints[endpoint] = config;
    }

    /// Another config comes into force with the next life.
    pub(crate) fn reconfigures_meanwhile(&mut self, endpoint: usize, config: Option<Arc<Endpoint>>) {
        self.lanes[endpoint].gone = config.is_none();
        if let Some(config) = config {
            self.doubt_fallen(endpoint);
            self.endpoints[endpoint] = config;
        }
    }

    /// A rest: the dispatcher knows all that has ended, and tells how its endpoints stand.
    pub(crate) fn lanes_are_told(&mut self, told: &[EndpointHealth], calm: Calm, now: Now) {
        self.heard = if calm.sound { self.told } else { self.heard };
        self.mark_overdue(now);
        self.marked_at = None;
        let mut wrong = Vec::new();
        for endpoint in 0..self.lanes.len() {
            let health = told.iter().find(|health| health.name == self.endpoints[endpoint].name);
            let config = Arc::clone(&self.endpoints[endpoint]);
            let lane = &mut self.lanes[endpoint];
            let Some(health) = health.filter(|health| !health.orphaned) else {
                if !lane.gone {
                    wrong.push(format!("e{endpoint} is in the config and is not told of, or as an orphan"));
                }
                lane.asked.clear();
                continue;
            };
            if lane.gone {
                wrong.push(format!("e{endpoint} is not in the config and is told of as if it were"));
                continue;
            }
            let given_up = lane.failing.rest(config.disable_after_ms, now.mono);
            let asked = std::mem::take(&mut lane.asked);
            let mut may_be = if asked.is_empty() || !lane.state.is_on() { [lane.state].into() } else { asked };
            match given_up {
                // The first reason stands.
                _ if !lane.state.is_on() => {}
                GivenUp::No => {}
                GivenUp::Perhaps => drop(may_be.insert(LaneState::Failing)),
                GivenUp::Surely => {
                    may_be.retain(|state| !state.is_on());
                    may_be.insert(LaneState::Failing);
                }
            }
            let state = LaneState::from(health.state);
            if !may_be.contains(&state) {
                wrong.push(format!("e{endpoint} is told to be {state:?} and should be {may_be:?}"));
            }
            let disabled = lane.state.is_on() && !state.is_on();
            lane.turns.disabled += u32::from(disabled);
            self.counts.disabled += u64::from(disabled);
            lane.state = state;
            lane.kept.insert(state);
            if calm.kept {
                lane.kept = [state].into();
            }
            let held = lane.held.max(lane.asked_hold);
            let held_told = health.held_until.filter(|until| *until > now.wall);
            let held_told = held_told.map(|until| now.mono.plus_ms(until.since(now.wall)));
            if lane.doubt_hold {
                (lane.held, lane.doubt_hold) = (held_told.unwrap_or_default(), false);
            } else if held_told != (held > now.mono).then_some(held) {
                wrong.push(format!("e{endpoint} is told to wait until {held_told:?}, and it is {held:?}"));
            }
            lane.held = lane.held.max(held);
            if !calm.sound {
                lane.starts.unsure = true;
            }
            match (&mut lane.gate, health.breaker) {
                (None, None) => {}
                (Some(gate), Some(told)) => {
                    let wrong_gate = gate.rest(told.phase, config.in_flight_max, calm, now);
                    wrong.extend(wrong_gate.map(|what| format!("the breaker of e{endpoint} {what}")));
                    self.counts.openings += u64::from(gate.openings);
                    lane.turns.opened += std::mem::take(&mut gate.openings);
                    lane.turns.recovered += std::mem::take(&mut gate.recoveries);
                    if told.open_since.is_some() != gate.is_open() {
                        wrong.push(format!("the breaker of e{endpoint} is told as {told:?}"));
                    }
                }
                (_, told) => wrong.push(format!("the breaker of e{endpoint} is told as {told:?}")),
            }
        }
        if calm.sound {
            self.orphans_are_told(told, &mut wrong);
        }
        self.breaches.extend(wrong);
        self.reports_at_rest(calm.told);
    }

    /// Endpoints whose breaker is open.
    pub(crate) fn down(&self) -> Vec<usize> {
        let is_down = |at: &usize| self.lanes[*at].gate.as_ref().is_some_and(Gate::is_open);
        (0..self.lanes.len()).filter(is_down).collect()
    }

    /// What waits for an endpoint that the config does not name is told as such.
    fn orphans_are_told(&self, told: &[EndpointHealth], wrong: &mut Vec<String>) {
        for (endpoint, lane) in self.lanes.iter().enumerate().filter(|(_, lane)| lane.gone) {
            let waits = |delivery: &&Delivery| delivery.due.is_some() || delivery.in_flight;
            let of_it = self.deliveries.iter().filter(|(way, _)| way.1 == endpoint).map(|(_, delivery)| delivery);
            let waiting: Vec<&Delivery> = of_it.filter(waits).collect();
            let (most, overdue) = (waiting.len() as u64, waiting.iter().filter(|one| one.overdue).count() as u64);
            let name = &self.endpoints[endpoint].name;
            let told = told.iter().find(|health| health.orphaned && health.name == *name);
            let pending = told.map_or(0, |health| health.pending);
            if pending > most || pending < most - overdue {
                wrong.push(format!("{pending} deliveries are told to wait for the orphan e{endpoint}, and {most} do"));
            }
            if let Some(state) = told.map(|health| LaneState::from(health.state)).filter(|state| *state != lane.state) {
                wrong.push(format!("the orphan e{endpoint} is told to be {state:?} and was {:?}", lane.state));
            }
        }
    }

    /// What the disk tells of the endpoints at a start.
    pub(crate) fn lanes_begin(&mut self, told: &[EndpointRecord], sure: bool, now: Now) {
        let mut wrong = Vec::new();
        for (endpoint, record) in told.iter().enumerate() {
            let config = &self.endpoints[endpoint];
            let lane = &mut self.lanes[endpoint];
            let state = LaneState::from(record.state);
            if !lane.kept.contains(&state) {
                wrong.push(format!("e{endpoint} is {state:?} after a restart and was {:?}", lane.kept));
            }
            let wrong_time = lane.failing.begins(record.failing, sure && !lane.gone, now.mono);
            wrong.extend(wrong_time.map(|what| format!("e{endpoint} {what}")));
            let kept = lane.gate.as_ref().filter(|gate| gate.is_kept(sure)).map(Gate::keeps);
            let cooldown_ms = |kept: Option<webhookd::model::endpoint::OpenBreaker>| kept.map(|open| open.cooldown_ms);
            if let Some(kept) = kept.filter(|kept| cooldown_ms(*kept) != cooldown_ms(record.breaker)) {
                wrong.push(format!(
                    "the breaker of e{endpoint} is {:?} after a restart and was {kept:?}",
                    record.breaker
                ));
            }
            let failing = std::mem::take(&mut lane.failing);
            let gate = config.breaker.map(|rules| match record.breaker {
                Some(kept) => Gate::open(rules, kept, now),
                None => Gate::new(rules),
            });
            let held_ms = record.held_until.since(now.wall).min(config.retry.retry_after_ms_max);
            *lane = Lane {
                gone: lane.gone,
                state,
                kept: [state].into(),
                resumed_at: record.resumed_at,
                held: if held_ms > 0 { now.mono.plus_ms(held_ms) } else { MonoMs(0) },
                failing,
                gate,
                ..Lane::new(config)
            };
        }
        self.breaches.extend(wrong);
    }

    /// The lanes at the end of a life.
    pub(super) fn lanes_end(&mut self, now: Now) {
        self.reports_at_rest(false);
        for lane in &mut self.lanes {
            if !lane.gone {
                lane.stops(false, now.mono);
            }
            lane.in_flight = 0;
        }
    }
}
