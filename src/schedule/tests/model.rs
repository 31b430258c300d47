//! The same rules over plain lists, with a scan for every question. The breaker and the rate are those of the policy, which
//! have tests of their own.

use proptest::prelude::*;

use super::*;
use crate::policy::breaker::{Breaker, BreakerPhase, Leave};
use crate::policy::rate::Pace;

pub(super) const LANES: u16 = 4;

/// A sweep for what has expired comes at most so late where no span is longer than ten seconds, in milliseconds.
const SWEEP_LATE_MS: u64 = 1_000;

pub(super) struct Model {
    pub(super) total_max: usize,
    pub(super) lanes: Vec<ModelLane>,
    pub(super) waiting: Vec<Entry>,
    pub(super) flying: Vec<Flying>,
    pub(super) dead: Vec<(Entry, UnixMs)>,
}

pub(super) struct Flying {
    pub(super) entry: Entry,
    pub(super) act: Act,
    pub(super) again: Option<Entry>,
}

pub(super) struct ModelLane {
    pub(super) rules: Option<LaneRules>,
    pub(super) active: bool,
    pub(super) held_until: u64,
    pub(super) resumed_at: UnixMs,
    pub(super) breaker: Option<Breaker>,
    pub(super) open_since: Option<u64>,
    pub(super) probe: Option<DeliveryRef>,
    pub(super) pace: Option<Pace>,
}

impl ModelLane {
    pub(super) fn closed() -> Self {
        Self {
            rules: None,
            active: true,
            held_until: 0,
            resumed_at: UnixMs(0),
            breaker: None,
            open_since: None,
            probe: None,
            pace: None,
        }
    }

    pub(super) fn opened(rules: &LaneRules, kept: Kept, now: u64) -> Self {
        let breaker = rules.breaker.map(|rules| match kept.open_breaker {
            Some((probe_at, cooldown_ms)) => Breaker::open(rules, probe_at, cooldown_ms),
            None => Breaker::new(rules),
        });
        let mut lane = Self {
            rules: Some(rules.clone()),
            active: kept.active,
            held_until: kept.held_until.map_or(0, |at| at.0),
            resumed_at: kept.resumed_at,
            breaker,
            pace: rules.rate.map(Pace::new),
            ..Self::closed()
        };
        lane.heed_breaker(now);
        lane
    }

    pub(super) fn change(&mut self, rules: &LaneRules, now: u64) {
        match (&mut self.breaker, rules.breaker) {
            (Some(breaker), Some(rules)) => breaker.set_rules(rules, MonoMs(now)),
            (breaker, rules) => (*breaker, self.probe) = (rules.map(Breaker::new), None),
        }
        match (&mut self.pace, rules.rate) {
            (Some(pace), Some(limit)) => pace.set_limit(limit),
            (pace, limit) => *pace = limit.map(Pace::new),
        }
        self.rules = Some(rules.clone());
        self.heed_breaker(now);
    }

    pub(super) fn resume(&mut self) {
        let rules = self.rules.take();
        *self = Self { active: true, resumed_at: self.resumed_at, ..Self::closed() };
        if let Some(rules) = rules {
            self.breaker = rules.breaker.map(Breaker::new);
            self.pace = rules.rate.map(Pace::new);
            self.rules = Some(rules);
        }
    }

    fn heed_breaker(&mut self, now: u64) {
        let open = self.breaker.is_some_and(|breaker| breaker.is_open());
        self.open_since = if open { self.open_since.or(Some(now)) } else { None };
    }

    /// No attempt before this moment.
    fn not_before(&self) -> u64 {
        let probe_at = match self.breaker.map(|breaker| breaker.phase()) {
            Some(BreakerPhase::Open { probe_at }) => probe_at.0,
            _ => 0,
        };
        probe_at.max(self.held_until).max(self.pace.map_or(0, |pace| pace.ready_at().0))
    }

    /// When a delivery expires, as things are.
    fn expires_at(&self, entry: &Entry) -> Option<u64> {
        let (rules, since) = (self.rules.as_ref()?, self.open_since?);
        let left: u64 = rules.waits_ms.iter().skip(usize::from(entry.progress.tries)).sum();
        let longest = rules.breaker?.cooldown_ms_max.max(rules.breaker?.cooldown_ms);
        Some(entry.due.0.max(since) + left.max(longest))
    }

    fn is_open(&self) -> bool {
        self.active && self.rules.is_some()
    }

    pub(super) fn keeps_dead(&self, died_at: UnixMs) -> bool {
        self.rules.as_ref().is_none_or(|rules| rules.on_dead == OnDead::Block && died_at >= self.resumed_at)
    }
}

impl Model {
    pub(super) fn new(total_max: usize) -> Self {
        let lanes = (0..LANES).map(|_| ModelLane::closed()).collect();
        Self { total_max, lanes, waiting: Vec::new(), flying: Vec::new(), dead: Vec::new() }
    }

    fn lane(&self, entry: &Entry) -> &ModelLane {
        &self.lanes[usize::from(entry.delivery.endpoint.0)]
    }

    fn flying_to(&self, endpoint: EndpointNo) -> usize {
        self.flying.iter().filter(|flying| flying.entry.delivery.endpoint == endpoint).count()
    }

    /// Whether two deliveries keep their order.
    fn chained(&self, one: &Entry, other: &Entry) -> bool {
        let order = self.lane(one).rules.as_ref().map_or(Order::None, |rules| rules.order);
        one.delivery.endpoint == other.delivery.endpoint
            && match order {
                Order::None => false,
                Order::Key => one.key.is_some() && one.key == other.key,
                Order::Strict => true,
            }
    }

    fn under_way(&self, entry: &Entry) -> bool {
        self.flying.iter().any(|flying| self.chained(entry, &flying.entry))
    }

    fn is_head(&self, entry: &Entry) -> bool {
        !self.waiting.iter().any(|other| self.chained(entry, other) && other.delivery < entry.delivery)
    }

    fn is_blocked(&self, entry: &Entry) -> bool {
        self.dead.iter().any(|(dead, _)| self.chained(entry, dead) && dead.delivery < entry.delivery)
    }

    /// Whether order allows it to go once it is due.
    fn may_go(&self, entry: &Entry) -> bool {
        !self.under_way(entry) && self.is_head(entry) && !self.is_blocked(entry)
    }

    /// Whether there is a permit for it, of the lane and of all.
    fn has_permit(&self, entry: &Entry) -> bool {
        let (lane, mine, all) = (self.lane(entry), self.flying_to(entry.delivery.endpoint), self.flying.len());
        let shared_free = (self.total_max - self.total_max / 2).saturating_sub(all);
        let shared = if mine == 0 { all < self.total_max } else { mine < shared_free };
        lane.is_open() && lane.rules.as_ref().is_some_and(|rules| mine < rules.in_flight_max as usize) && shared
    }

    /// When an attempt may be made, as things are.
    fn attempt_at(&self, entry: &Entry) -> Option<u64> {
        let lane = self.lane(entry);
        let mine = u32::try_from(self.flying_to(entry.delivery.endpoint)).unwrap();
        let leave = lane.breaker.map_or(Leave::Granted, |breaker| breaker.leave(mine, MonoMs(0)));
        let allowed = leave != Leave::AfterAnother && self.has_permit(entry) && self.may_go(entry);
        allowed.then_some(entry.due.0.max(lane.not_before()))
    }

    /// When it may be given up, as things are.
    fn expire_at(&self, entry: &Entry) -> Option<u64> {
        self.lane(entry).expires_at(entry).filter(|_| self.has_permit(entry) && self.may_go(entry))
    }

    /// Takes what the schedule starts, which must be allowed.
    pub(super) fn start(&mut self, start: &Start, now: u64) -> Result<(), TestCaseError> {
        let at = self.waiting.iter().position(|entry| entry.delivery == start.delivery);
        let Some(at) = at else {
            return Err(TestCaseError::fail(format!("{start:?} was not waiting")));
        };
        let entry = self.waiting[at];
        prop_assert_eq!((start.progress, start.accepted_at), (entry.progress, entry.accepted_at));
        let allowed = match start.act {
            Act::Attempt { .. } => self.attempt_at(&entry),
            Act::Expire => self.expire_at(&entry),
        };
        prop_assert!(allowed.is_some_and(|at| at <= now), "{start:?} may start at {allowed:?}, not at {now}");
        let mine = u32::try_from(self.flying_to(entry.delivery.endpoint)).unwrap();
        if let Act::Attempt { probe } = start.act {
            let passed_over = self.waiting.iter().find(|other| {
                let expired = self.lane(other).expires_at(other).is_some_and(|at| at <= now);
                other.delivery.endpoint == entry.delivery.endpoint
                    && other.delivery < entry.delivery
                    && self.attempt_at(other).is_some_and(|at| at <= now)
                    && !expired
            });
            prop_assert!(passed_over.is_none(), "{start:?} was started before {passed_over:?}");
            let lane = &mut self.lanes[usize::from(entry.delivery.endpoint.0)];
            let leave = lane.breaker.map_or(Leave::Granted, |breaker| breaker.leave(mine, MonoMs(now)));
            prop_assert_eq!(probe, leave == Leave::Probe);
            if let Some(breaker) = lane.breaker.as_mut().filter(|_| probe) {
                breaker.probe_begins();
                lane.probe = Some(entry.delivery);
            }
            if let Some(pace) = &mut lane.pace {
                pace.take(MonoMs(now));
            }
        }
        self.waiting.swap_remove(at);
        self.flying.push(Flying { entry, act: start.act, again: None });
        Ok(())
    }

    /// Ends an attempt. Returns what the breaker must tell, and the entry where it is finished.
    pub(super) fn finish(&mut self, which: usize, outcome: Outcome, signal: Signal, now: u64) -> (Option<Turn>, bool) {
        let Flying { entry, again, .. } = self.flying.swap_remove(which);
        let lane = &mut self.lanes[usize::from(entry.delivery.endpoint.0)];
        let probe = lane.probe.take_if(|probe| *probe == entry.delivery).is_some();
        let permits_max = lane.rules.as_ref().map_or(0, |rules| rules.in_flight_max);
        let turn =
            lane.breaker.as_mut().and_then(|breaker| breaker.attempt_ends(signal, probe, permits_max, MonoMs(now)));
        lane.heed_breaker(now);
        let keeps_dead = lane.keeps_dead(UnixMs(u64::MAX));
        let retry = match outcome {
            Outcome::Retry { due, progress } => Some(Entry { due, progress, ..entry }),
            Outcome::Delivered | Outcome::Dead => None,
        };
        let back = again.or(retry);
        self.waiting.extend(back);
        if back.is_none() && outcome == Outcome::Dead && keeps_dead {
            self.dead.push((entry, UnixMs(u64::MAX)));
        }
        (turn, back.is_none())
    }

    /// The rules of a lane have changed: those dead stay that hold somebody up by them.
    pub(super) fn file_dead(&mut self, endpoint: EndpointNo) {
        let lane = &self.lanes[usize::from(endpoint.0)];
        self.dead.retain(|(dead, died_at)| dead.delivery.endpoint != endpoint || lane.keeps_dead(*died_at));
    }

    /// Nothing that could go was left standing, and the schedule wakes in time for the next.
    pub(super) fn check_rest(&self, schedule: &Schedule, now: u64) -> Result<(), TestCaseError> {
        let mut next = u64::MAX;
        for entry in &self.waiting {
            let attempt_at = self.attempt_at(entry).unwrap_or(u64::MAX);
            prop_assert!(attempt_at > now, "{entry:?} could have started at {now}");
            let expire_by = self.expire_at(entry).map_or(u64::MAX, |at| at + SWEEP_LATE_MS);
            prop_assert!(expire_by > now, "{entry:?} was to be given up before {now}");
            next = next.min(attempt_at).min(expire_by);
        }
        let wake = schedule.next_wake();
        prop_assert!(wake.is_none_or(|wake| now < wake.0), "{wake:?} at {now}");
        prop_assert!(next == u64::MAX || wake.is_some_and(|wake| wake.0 <= next), "{wake:?} for {next}");
        Ok(())
    }

    /// Every figure that the schedule tells.
    pub(super) fn check_views(&self, schedule: &Schedule, now: u64) -> Result<(), TestCaseError> {
        for (no, lane) in (0..).zip(&self.lanes) {
            let endpoint = EndpointNo(no);
            let waiting = || self.waiting.iter().filter(|entry| entry.delivery.endpoint == endpoint);
            let flying =
                || self.flying.iter().map(|flying| &flying.entry).filter(|entry| entry.delivery.endpoint == endpoint);
            prop_assert_eq!(schedule.pending(endpoint), waiting().chain(flying()).count() as u64);
            prop_assert_eq!(schedule.in_flight(endpoint) as usize, flying().count());
            let oldest = waiting().chain(flying()).map(|entry| entry.accepted_at.0 / 1000).min();
            prop_assert_eq!(schedule.oldest_accepted(endpoint).map(|at| at.0 / 1000), oldest);
            let orphan = lane.rules.is_none() && waiting().chain(flying()).next().is_some();
            prop_assert_eq!(schedule.orphans().contains(&endpoint), orphan);
            let breaker = lane.breaker.map(|breaker| (breaker.phase(), breaker.cooldown_ms()));
            prop_assert_eq!(schedule.breaker(endpoint), breaker);
            prop_assert_eq!(schedule.held_until(endpoint), Some(MonoMs(lane.held_until)).filter(|at| at.0 > now));

            let heads = || waiting().filter(|entry| self.is_head(entry) && !self.under_way(entry));
            let blocked = heads().filter(|entry| self.is_blocked(entry)).count();
            prop_assert_eq!(schedule.blocked(endpoint), if lane.rules.is_some() { blocked } else { 0 });
            let second = |at: u64| if at <= now { now } else { at / 1000 * 1000 };
            let next = heads().filter(|entry| !self.is_blocked(entry)).map(|entry| second(entry.due.0)).min();
            let next = next.filter(|_| lane.is_open()).map(|at| MonoMs(at.max(lane.not_before()).max(now)));
            prop_assert_eq!(schedule.next_due(endpoint, MonoMs(now)), next);
        }
        prop_assert_eq!(schedule.total_in_flight(), self.flying.len());
        prop_assert_eq!(schedule.total_pending(), (self.waiting.len() + self.flying.len()) as u64);
        Ok(())
    }
}
