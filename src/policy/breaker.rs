//! The circuit breaker of an endpoint: whether anything may start, and how much.
//!
//! ```text
//!            N failures in a row              probe begins
//!   closed ───────────────────────► open ◄──────────────────► probing
//!     ▲                              ▲      it fails, longer     │
//!     │ as many permits as ever      │ N failures in a row       │ a success
//!     └───────────────────────── recovering ◄────────────────────┘
//! ```
//!
//! While it is open nothing starts but one probe each cooldown, so that an endpoint that is down costs a request now and then
//! and nothing else. Each probe that fails doubles the cooldown up to a maximum: an endpoint is found well again after at most
//! as long as it was down. A success closes it, with one permit at first and one more for each further success: what has piled
//! up meanwhile does not fall upon an endpoint that has just come back.
//!
//! An endpoint that asks for fewer requests (429) is not failing, so its breaker stays closed; but permits begin with one again
//! and come back in the same way. Otherwise as many requests as ever would meet the next 429 together once its wait is over.

use crate::clock::MonoMs;

/// The cooldown grows by this factor with each probe that fails.
const GROWTH: u64 = 2;

/// `breaker`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRules {
    /// This many failures in a row open it.
    pub failures: u32,
    /// The first probe comes so many milliseconds after it opened.
    pub cooldown_ms: u64,
    /// The longest time between two probes, in milliseconds.
    pub cooldown_ms_max: u64,
}

/// What an attempt tells of its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It took the event.
    Success,
    /// It did not answer, or answered that it is not well.
    Failure,
    /// It is well, and asked for fewer requests.
    Limited,
    /// Nothing: it refused this one event, or no request was made.
    Nothing,
}

/// Where a breaker stands, for those who look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerPhase {
    /// All is well.
    Closed,
    /// Nothing starts before the next probe.
    Open {
        /// When that may start.
        probe_at: MonoMs,
    },
    /// The probe is under way.
    Probing,
    /// It was closed by a success, and permits come back one by one.
    Recovering {
        /// How many there are by now.
        permits: u32,
    },
}

impl BreakerPhase {
    /// The word, as the API and the metrics show it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::Probing | Self::Recovering { .. } => "half_open",
        }
    }
}

/// Whether an attempt may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// It may.
    Granted,
    /// It may, and it is the probe: tell [`Breaker::probe_begins`].
    Probe,
    /// Not before this moment.
    NotBefore(MonoMs),
    /// Not before an attempt under way has ended.
    AfterAnother,
}

/// What has changed with the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It opened.
    Opened,
    /// It was open, a probe failed, and it stays so.
    StaysOpen,
    /// It was open, and a success has closed it.
    Recovered,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    rules: BreakerRules,
    phase: BreakerPhase,
    /// Failures since the last success.
    failures: u32,
    /// The time to the next probe, in milliseconds; not 0 until all permits are back.
    cooldown_ms: u64,
    /// Permits that are back since it asked for fewer requests, while it is closed.
    limited: Option<u32>,
}

impl Breaker {
    /// A closed one.
    #[must_use]
    pub fn new(rules: BreakerRules) -> Self {
        Self { rules, phase: BreakerPhase::Closed, failures: 0, cooldown_ms: 0, limited: None }
    }

    /// One that was open when the daemon stopped.
    #[must_use]
    pub fn open(rules: BreakerRules, probe_at: MonoMs, cooldown_ms: u64) -> Self {
        Self { phase: BreakerPhase::Open { probe_at }, cooldown_ms: cooldown_ms.max(1), ..Self::new(rules) }
    }

    /// Changes its rules. An open one stays open, and its next probe comes no later than the new rules allow.
    pub fn set_rules(&mut self, rules: BreakerRules, now: MonoMs) {
        self.rules = rules;
        self.cooldown_ms = self.cooldown_ms.min(rules.cooldown_ms_max);
        if let BreakerPhase::Open { probe_at } = &mut self.phase {
            *probe_at = (*probe_at).min(now.plus_ms(rules.cooldown_ms_max));
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> BreakerPhase {
        self.phase
    }

    /// The time between the last probe and the next, in milliseconds.
    #[must_use]
    pub fn cooldown_ms(&self) -> u64 {
        self.cooldown_ms
    }

    /// Whether nothing but probes goes out.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, BreakerPhase::Open { .. } | BreakerPhase::Probing)
    }

    /// Whether an attempt may start now, while `in_flight` are under way.
    #[must_use]
    pub fn leave(&self, in_flight: u32, now: MonoMs) -> Leave {
        match self.phase {
            BreakerPhase::Closed if self.limited.is_none_or(|permits| in_flight < permits) => Leave::Granted,
            BreakerPhase::Recovering { permits } if in_flight < permits => Leave::Granted,
            BreakerPhase::Open { probe_at } if probe_at <= now => Leave::Probe,
            BreakerPhase::Open { probe_at } => Leave::NotBefore(probe_at),
            BreakerPhase::Closed | BreakerPhase::Recovering { .. } | BreakerPhase::Probing => Leave::AfterAnother,
        }
    }

    /// The probe starts.
    pub fn probe_begins(&mut self) {
        self.phase = BreakerPhase::Probing;
    }

    /// An attempt has ended; `probe`: it was the probe. `permits_max` are the endpoint's permits when all is well.
    pub fn attempt_ends(&mut self, signal: Signal, probe: bool, permits_max: u32, now: MonoMs) -> Option<Turn> {
        match (signal, self.phase) {
            (Signal::Success, BreakerPhase::Closed) => {
                self.failures = 0;
                self.limited = self.limited.map(|permits| permits.saturating_add(1)).filter(|all| *all < permits_max);
                None
            }
            (Signal::Limited, BreakerPhase::Closed) => {
                self.limited = Some(1);
                None
            }
            (Signal::Limited, BreakerPhase::Recovering { .. }) => {
                self.phase = BreakerPhase::Recovering { permits: 1 };
                None
            }
            (Signal::Success, BreakerPhase::Recovering { permits }) => {
                self.failures = 0;
                self.phase = BreakerPhase::Recovering { permits: permits.saturating_add(1) };
                if permits.saturating_add(1) >= permits_max {
                    (self.phase, self.cooldown_ms) = (BreakerPhase::Closed, 0);
                }
                None
            }
            (Signal::Success, BreakerPhase::Open { .. } | BreakerPhase::Probing) => {
                self.failures = 0;
                self.phase = BreakerPhase::Recovering { permits: 1 };
                if permits_max <= 1 {
                    (self.phase, self.cooldown_ms) = (BreakerPhase::Closed, 0);
                }
                Some(Turn::Recovered)
            }
            (Signal::Failure, BreakerPhase::Closed | BreakerPhase::Recovering { .. }) => {
                self.failures = self.failures.saturating_add(1);
                if let BreakerPhase::Recovering { permits } = &mut self.phase {
                    *permits = (*permits / 2).max(1);
                }
                if self.failures < self.rules.failures {
                    return None;
                }
                self.wait_longer(now);
                Some(Turn::Opened)
            }
            (Signal::Failure, BreakerPhase::Probing) if probe => {
                self.wait_longer(now);
                Some(Turn::StaysOpen)
            }
            (Signal::Limited | Signal::Nothing, BreakerPhase::Probing) if probe => {
                self.phase = BreakerPhase::Open { probe_at: now.plus_ms(self.cooldown_ms) };
                Some(Turn::StaysOpen)
            }
            // What began before it opened says nothing new.
            (Signal::Failure, BreakerPhase::Open { .. } | BreakerPhase::Probing) => None,
            (Signal::Limited | Signal::Nothing, _) => None,
        }
    }

    fn wait_longer(&mut self, now: MonoMs) {
        self.limited = None;
        self.cooldown_ms = match self.cooldown_ms {
            0 => self.rules.cooldown_ms,
            before => before.saturating_mul(GROWTH).min(self.rules.cooldown_ms_max.max(self.rules.cooldown_ms)),
        };
        self.phase = BreakerPhase::Open { probe_at: now.plus_ms(self.cooldown_ms) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: BreakerRules = BreakerRules { failures: 3, cooldown_ms: 1_000, cooldown_ms_max: 5_000 };

    fn fail(breaker: &mut Breaker, now: u64) -> Option<Turn> {
        breaker.attempt_ends(Signal::Failure, false, 4, MonoMs(now))
    }

    fn open_at(now: u64) -> Breaker {
        let mut breaker = Breaker::new(RULES);
        let turns: Vec<_> = (0..3).map(|_| fail(&mut breaker, now)).collect();
        assert_eq!(turns, [None, None, Some(Turn::Opened)]);
        breaker
    }

    /// The probe ends as told; when the next may start.
    fn probe(breaker: &mut Breaker, signal: Signal, now: u64) -> Option<u64> {
        assert_eq!(breaker.leave(0, MonoMs(now)), Leave::Probe);
        breaker.probe_begins();
        assert_eq!(breaker.leave(1, MonoMs(now)), Leave::AfterAnother, "one at a time");
        breaker.attempt_ends(signal, true, 4, MonoMs(now));
        match breaker.leave(0, MonoMs(now)) {
            Leave::NotBefore(at) => Some(at.0),
            _ => None,
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_success_breaks_the_row() {
        let mut breaker = Breaker::new(RULES);
        fail(&mut breaker, 0);
        fail(&mut breaker, 0);
        breaker.attempt_ends(Signal::Success, false, 4, MonoMs(0));
        assert_eq!([fail(&mut breaker, 0), fail(&mut breaker, 0)], [None, None]);
        assert_eq!(breaker.leave(100, MonoMs(0)), Leave::Granted);
        assert_eq!(fail(&mut breaker, 7), Some(Turn::Opened));
        assert_eq!(breaker.leave(0, MonoMs(1_006)), Leave::NotBefore(MonoMs(1_007)));
        assert_eq!(breaker.leave(0, MonoMs(1_007)), Leave::Probe);
    }

    #[test]
    fn each_probe_that_fails_makes_the_next_wait_longer_up_to_the_maximum() {
        let mut breaker = open_at(0);
        let mut at = 1_000;
        let mut gaps = Vec::new();
        for _ in 0..5 {
            let next = probe(&mut breaker, Signal::Failure, at).unwrap();
            gaps.push(next - at);
            at = next;
        }
        assert_eq!(gaps, [2_000, 4_000, 5_000, 5_000, 5_000]);
    }

    #[test]
    fn what_began_before_it_opened_does_not_put_the_probe_off() {
        let mut breaker = open_at(0);
        assert_eq!(fail(&mut breaker, 900), None);
        assert_eq!(breaker.leave(5, MonoMs(1_000)), Leave::Probe);
        breaker.probe_begins();
        assert_eq!(fail(&mut breaker, 1_001), None);
        assert_eq!(breaker.phase(), BreakerPhase::Probing, "only the probe's end counts");
    }

    #[test]
    fn a_success_closes_it_and_permits_come_back_one_by_one() {
        let mut breaker = open_at(0);
        assert_eq!(probe(&mut breaker, Signal::Success, 1_000), None);
        assert_eq!(breaker.phase(), BreakerPhase::Recovering { permits: 1 });
        for permits in 1..4 {
            assert_eq!(breaker.leave(permits - 1, MonoMs(1_000)), Leave::Granted);
            assert_eq!(breaker.leave(permits, MonoMs(1_000)), Leave::AfterAnother);
            assert_eq!(breaker.attempt_ends(Signal::Success, false, 4, MonoMs(1_000)), None);
        }
        assert_eq!(breaker.phase(), BreakerPhase::Closed);
        assert_eq!(breaker.cooldown_ms(), 0, "the next opening begins anew");
    }

    #[test]
    fn a_relapse_takes_permits_and_opens_it_for_longer() {
        let mut breaker = open_at(0);
        probe(&mut breaker, Signal::Success, 1_000);
        breaker.attempt_ends(Signal::Success, false, 9, MonoMs(1_000));
        breaker.attempt_ends(Signal::Success, false, 9, MonoMs(1_000));
        breaker.attempt_ends(Signal::Success, false, 9, MonoMs(1_000));
        assert_eq!(breaker.phase(), BreakerPhase::Recovering { permits: 4 });
        fail(&mut breaker, 1_000);
        assert_eq!(breaker.phase(), BreakerPhase::Recovering { permits: 2 });
        fail(&mut breaker, 1_000);
        assert_eq!(fail(&mut breaker, 1_000), Some(Turn::Opened));
        assert_eq!(breaker.leave(0, MonoMs(1_000)), Leave::NotBefore(MonoMs(3_000)));
    }

    #[test]
    fn an_answer_that_says_nothing_against_the_endpoint_opens_nothing() {
        let mut breaker = Breaker::new(RULES);
        for signal in [Signal::Limited, Signal::Nothing].repeat(50) {
            assert_eq!(breaker.attempt_ends(signal, false, 4, MonoMs(0)), None);
        }
        assert_eq!(breaker.phase(), BreakerPhase::Closed);
        let mut breaker = open_at(0);
        assert_eq!(probe(&mut breaker, Signal::Limited, 1_000), Some(2_000), "asked again after the same time");
        assert_eq!(probe(&mut breaker, Signal::Nothing, 2_000), Some(3_000));
    }

    #[test]
    fn an_endpoint_that_asks_for_fewer_requests_gets_them_one_by_one_again() {
        let mut breaker = Breaker::new(RULES);
        assert_eq!(breaker.attempt_ends(Signal::Limited, false, 4, MonoMs(0)), None);
        assert_eq!(breaker.phase(), BreakerPhase::Closed, "it is well");
        for permits in 1..4 {
            assert_eq!(breaker.leave(permits - 1, MonoMs(0)), Leave::Granted);
            assert_eq!(breaker.leave(permits, MonoMs(0)), Leave::AfterAnother);
            breaker.attempt_ends(Signal::Success, false, 4, MonoMs(0));
        }
        assert_eq!(breaker.leave(100, MonoMs(0)), Leave::Granted, "all are back");
        breaker.attempt_ends(Signal::Limited, false, 1, MonoMs(0));
        breaker.attempt_ends(Signal::Success, false, 1, MonoMs(0));
        assert_eq!(breaker.leave(100, MonoMs(0)), Leave::Granted, "as many as there ever were");
    }

    #[test]
    fn one_that_was_open_goes_on_where_it_stood() {
        let mut breaker = Breaker::open(RULES, MonoMs(50), 4_000);
        assert_eq!(breaker.leave(0, MonoMs(49)), Leave::NotBefore(MonoMs(50)));
        assert_eq!(probe(&mut breaker, Signal::Failure, 50), Some(5_050));
    }

    #[test]
    fn shorter_rules_bring_the_next_probe_forward() {
        let mut breaker = Breaker::open(RULES, MonoMs(600_000), 600_000);
        breaker.set_rules(RULES, MonoMs(0));
        assert_eq!(breaker.leave(0, MonoMs(0)), Leave::NotBefore(MonoMs(5_000)));
    }
}
