//! The breaker: after so many failures in a row nothing begins but probes, one at a time and a cooldown apart, and after a
//! success there are no more attempts under way than successes since have given permits.

use webhookd::clock::{MonoMs, UnixMs};
use webhookd::model::endpoint::OpenBreaker;
use webhookd::policy::breaker::{BreakerPhase, BreakerRules, Signal};

use super::Now;
use super::lanes::Calm;

/// What is kept over a restart is written within so long, in milliseconds.
const WRITTEN_MS: u64 = 1_000;

/// A delivery, by event and endpoint.
type Way = (usize, usize);

/// What has happened since the last rest.
#[derive(Clone, Copy, Debug, Default)]
struct Since {
    successes: u32,
    /// Answers that asked for fewer requests.
    limited: u32,
    failures: u32,
    /// Those of them that count for sure.
    sure_failures: u32,
    probe_begun: bool,
    probe_ended: Option<Signal>,
}

impl Since {
    fn is_nothing(self) -> bool {
        let Self { successes, limited, failures, sure_failures: _, probe_begun, probe_ended } = self;
        successes + failures + limited == 0 && !probe_begun && probe_ended.is_none()
    }
}

/// One endpoint's breaker.
#[derive(Debug)]
pub(super) struct Gate {
    rules: BreakerRules,
    /// Where it stood at the last rest.
    phase: BreakerPhase,
    /// The time from the last probe to the next, in milliseconds. `None`: it is not known, or it is closed.
    cooldown_ms: Option<u64>,
    /// That, and when the next probe may begin, as it is kept: other rules do not change it.
    kept_cooldown_ms: u64,
    probe_wall: UnixMs,
    /// Since when it is open in this life.
    pub(super) open_since: Option<MonoMs>,
    /// Failures in a row, at least and at most.
    row: (u32, u32),
    probe: Option<Way>,
    /// It is closed and has asked for fewer requests: permits that are back since, at least and at most. `None`: all are.
    back: (Option<u32>, Option<u32>),
    since: Since,
    /// When it last began or ceased to be open, or waited longer: what is kept may lag behind.
    changed: MonoMs,
    /// Whether what it is now is kept, for sure.
    kept: bool,
    /// It stands as it is told at the next rest: nothing is known of it.
    doubt: bool,
    /// How often it may have opened, and closed again, since that was asked for.
    pub(super) openings: u32,
    pub(super) recoveries: u32,
}

impl Gate {
    pub(super) fn new(rules: BreakerRules) -> Self {
        Self {
            rules,
            phase: BreakerPhase::Closed,
            cooldown_ms: None,
            kept_cooldown_ms: 0,
            probe_wall: UnixMs(0),
            open_since: None,
            row: (0, 0),
            probe: None,
            back: (None, None),
            since: Since::default(),
            changed: MonoMs(0),
            kept: false,
            doubt: false,
            openings: 0,
            recoveries: 0,
        }
    }

    /// One that goes on as it is kept: it waits no longer than its cooldown, however the wall clock was set.
    pub(super) fn open(rules: BreakerRules, kept: OpenBreaker, now: Now) -> Self {
        let probe_at = now.mono.plus_ms(kept.probe_at.since(now.wall).min(kept.cooldown_ms));
        Self {
            phase: BreakerPhase::Open { probe_at },
            cooldown_ms: Some(kept.cooldown_ms),
            kept_cooldown_ms: kept.cooldown_ms,
            probe_wall: kept.probe_at,
            open_since: Some(now.mono),
            ..Self::new(rules)
        }
    }

    /// With or without a doubt how it stands.
    pub(super) fn doubted(self, doubt: bool) -> Self {
        Self { doubt, ..self }
    }

    /// What is kept of it.
    pub(super) fn keeps(&self) -> Option<OpenBreaker> {
        let kept = OpenBreaker { since: UnixMs(0), probe_at: self.probe_wall, cooldown_ms: self.kept_cooldown_ms };
        self.is_open().then_some(kept)
    }

    /// Whether what is kept of it is known; `in_order`: the life has ended so, and calmly.
    pub(super) fn is_kept(&self, in_order: bool) -> bool {
        // What ended since the last rest may have moved it, and be kept already.
        in_order || (self.kept && self.since.is_nothing())
    }

    /// Other rules: an open one stays open, and its next probe comes no later than they allow.
    pub(super) fn change(&mut self, rules: BreakerRules, now: MonoMs) {
        self.rules = rules;
        self.cooldown_ms = self.cooldown_ms.map(|ms| ms.min(rules.cooldown_ms_max));
        if let BreakerPhase::Open { probe_at } = &mut self.phase {
            *probe_at = (*probe_at).min(now.plus_ms(rules.cooldown_ms_max));
        }
    }

    /// Whether nothing begins but probes.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, BreakerPhase::Open { .. } | BreakerPhase::Probing)
    }

    /// When the next probe may begin.
    pub(super) fn probe_at(&self) -> Option<MonoMs> {
        match self.phase {
            BreakerPhase::Open { probe_at } => Some(probe_at),
            _ => None,
        }
    }

    /// Why no attempt may begin now, with so many under way.
    pub(super) fn refuse(&self, in_flight: u32, in_flight_max: u32, now: MonoMs) -> Option<String> {
        let given = match self.phase {
            BreakerPhase::Recovering { permits } => permits + self.since.successes,
            BreakerPhase::Closed => self.back.1? + self.since.successes,
            _ => self.since.successes,
        };
        match self.phase {
            _ if given > 0 => (in_flight >= given && given < in_flight_max)
                .then(|| format!("beside {in_flight} others, when its breaker allows {given} at once")),
            BreakerPhase::Open { probe_at } if probe_at > now => {
                Some(format!("{} ms before the next probe", probe_at.since(now)))
            }
            BreakerPhase::Open { .. } if !self.since.probe_begun => None,
            _ => Some("beside the probe, or right after it".to_owned()),
        }
    }

    /// Whether something that is due must begin, as it stood at the last rest.
    pub(super) fn lets_go(&self, in_flight: u32, now: MonoMs) -> bool {
        match self.phase {
            BreakerPhase::Closed => self.back.0.is_none_or(|permits| in_flight < permits),
            BreakerPhase::Recovering { permits } => in_flight < permits,
            BreakerPhase::Open { probe_at } => probe_at <= now,
            BreakerPhase::Probing => false,
        }
    }

    pub(super) fn begins(&mut self, way: Way) {
        if matches!(self.phase, BreakerPhase::Open { .. }) && self.since.successes == 0 {
            (self.probe, self.since.probe_begun) = (Some(way), true);
        }
    }

    /// `blame`: the attempt began after the last resume.
    pub(super) fn ends(&mut self, way: Way, signal: Signal, blame: bool) {
        if self.probe == Some(way) {
            (self.probe, self.since.probe_ended) = (None, Some(signal));
        }
        match signal {
            Signal::Success => self.since.successes += 1,
            Signal::Failure => {
                self.since.failures += 1;
                self.since.sure_failures += u32::from(blame);
            }
            Signal::Limited => self.since.limited += 1,
            Signal::Nothing => {}
        }
    }

    /// A rest: so it is told to stand.
    pub(super) fn rest(&mut self, told: BreakerPhase, in_flight_max: u32, calm: Calm, now: Now) -> Option<String> {
        let wrong = if calm.sound && !std::mem::take(&mut self.doubt) && !self.may_stand(told, in_flight_max, now.mono)
        {
            Some(format!("is told to be {told:?} after {self:?}"))
        } else {
            None
        };
        let Since { successes, failures, sure_failures, .. } = self.since;
        self.back = self.permits_back(told, in_flight_max);
        let was_open = self.is_open();
        self.recoveries += successes;
        self.openings += if failures > 0 { successes } else { 0 };
        self.row = match told {
            BreakerPhase::Open { .. } | BreakerPhase::Probing => (0, 0),
            _ if successes > 0 || was_open => (0, failures),
            _ => (self.row.0 + sure_failures, self.row.1 + failures),
        };
        let changed = matches!(told, BreakerPhase::Open { .. }) && told != self.phase;
        if let BreakerPhase::Open { probe_at } = told {
            if changed {
                // It has just opened, or a probe has just failed.
                self.cooldown_ms = Some(probe_at.since(now.mono));
                self.kept_cooldown_ms = probe_at.since(now.mono);
                self.probe_wall = now.wall.plus_ms(probe_at.since(now.mono));
            }
        } else if told == BreakerPhase::Closed {
            self.cooldown_ms = None;
        }
        self.phase = told;
        self.openings += u32::from(!was_open && self.is_open());
        if !self.is_open() {
            self.open_since = None;
        } else if self.open_since.is_none() || successes > 0 {
            self.open_since = Some(now.mono);
        }
        if told != BreakerPhase::Probing {
            self.probe = None;
        }
        if changed || was_open != self.is_open() {
            (self.changed, self.kept) = (now.mono, false);
        } else if calm.kept && now.mono.since(self.changed) > WRITTEN_MS {
            self.kept = true;
        }
        self.since = Since::default();
        wrong
    }

    /// Permits that are back since it asked for fewer requests: one at first, and one more for each success.
    fn permits_back(&self, told: BreakerPhase, in_flight_max: u32) -> (Option<u32>, Option<u32>) {
        let Since { successes, limited, .. } = self.since;
        if told != BreakerPhase::Closed {
            return (None, None);
        }
        let most = match (limited, self.phase) {
            (0, BreakerPhase::Closed) => self.back.1.map(|permits| permits + successes),
            (_, BreakerPhase::Closed) => Some(1 + successes),
            _ => None,
        };
        let least = match (limited, self.phase) {
            (0, BreakerPhase::Closed) => self.back.0.map(|permits| permits + successes),
            (0, _) => None,
            _ => Some(1),
        };
        (least.filter(|permits| *permits < in_flight_max), most.filter(|permits| *permits < in_flight_max))
    }

    fn may_stand(&self, told: BreakerPhase, in_flight_max: u32, now: MonoMs) -> bool {
        let Since { successes, limited, failures, sure_failures, probe_begun, probe_ended } = self.since;
        if self.since.is_nothing() {
            return told == self.phase;
        }
        let was_open = self.is_open();
        let must_open =
            !was_open && successes == 0 && sure_failures > 0 && self.row.0 + sure_failures >= self.rules.failures;
        let at_most = if was_open && successes > 0 { failures } else { self.row.1 + failures };
        let may_open = at_most >= self.rules.failures;
        let permits = match self.phase {
            BreakerPhase::Recovering { permits } => permits + successes,
            _ => successes,
        };
        match told {
            BreakerPhase::Closed => match self.phase {
                BreakerPhase::Closed => !must_open,
                _ => successes > 0 && permits >= in_flight_max,
            },
            BreakerPhase::Recovering { permits: told } => {
                let began = match self.phase {
                    BreakerPhase::Closed => successes > 0 && may_open,
                    BreakerPhase::Recovering { .. } => !must_open,
                    BreakerPhase::Open { .. } | BreakerPhase::Probing => successes > 0,
                };
                began && told <= permits && (failures + limited > 0 || told == permits)
            }
            BreakerPhase::Probing => {
                let runs = self.phase == BreakerPhase::Probing || probe_begun;
                runs && successes == 0 && probe_ended.is_none()
            }
            BreakerPhase::Open { .. } if told == self.phase => !probe_begun && (successes == 0 || may_open),
            BreakerPhase::Open { probe_at } => {
                let probe_failed = was_open && probe_ended.is_some_and(|signal| signal != Signal::Success);
                let opened = probe_failed || (may_open && (!was_open || successes > 0));
                opened && self.may_wait(probe_at.since(now))
            }
        }
    }

    /// Whether the next probe may come after so long, where it has just opened, or a probe has failed.
    fn may_wait(&self, wait_ms: u64) -> bool {
        let BreakerRules { cooldown_ms, cooldown_ms_max, .. } = self.rules;
        let most_ms = cooldown_ms_max.max(cooldown_ms);
        // Each success that came meanwhile may have closed it, to be opened again.
        let grown = |ms: u64, least: u32| {
            let rounds = least..=least + self.since.successes;
            rounds.map(move |round| {
                ms.saturating_mul(1 << round.min(40)).min(most_ms.max(if round == 0 { ms } else { 0 }))
            })
        };
        let anew = self.phase == BreakerPhase::Closed || self.since.successes > 0;
        if anew && grown(cooldown_ms, 0).any(|ms| ms == wait_ms) {
            return true;
        }
        if self.phase == BreakerPhase::Closed {
            return false;
        }
        let Some(before_ms) = self.cooldown_ms else { return wait_ms <= most_ms };
        let tells_nothing = matches!(self.since.probe_ended, Some(Signal::Limited | Signal::Nothing));
        grown(before_ms, u32::from(!tells_nothing)).any(|ms| ms == wait_ms)
    }
}
