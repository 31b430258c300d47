//! Random operations, against the model.

use proptest::prelude::*;

use super::model::{LANES, Model, ModelLane};
use super::*;
use crate::model::delivery::Fallen;
use crate::policy::rate::RateLimit;

/// Events of one generation.
const GENERATION: u32 = 16;

#[derive(Clone, Debug)]
enum Op {
    Admit { lane: u16, key: Option<u64>, ahead: u64, fresh: bool },
    Replay { which: prop::sample::Index, ahead: u64 },
    ReplayUnderWay { which: prop::sample::Index, ahead: u64 },
    AdmitDead { lane: u16, key: Option<u64>, died_at: u64 },
    ForgetGeneration { which: u32 },
    Turn { by: u64 },
    TurnAtWake,
    Finish { which: prop::sample::Index, end: End, signal: Signal },
    Active { lane: u16, active: bool },
    Rules { lane: u16, rules: LaneRules, kept: Kept },
    Close { lane: u16 },
    Resume { lane: u16 },
    Hold { lane: u16, ahead: u64 },
}

#[derive(Clone, Copy, Debug)]
enum End {
    Delivered,
    Dead,
    Retry { ahead: u64 },
}

fn ahead() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 2 => 1..100_u64, 1 => 1..20_000_u64]
}

fn key() -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.8, 1..4_u64)
}

fn lane_rules() -> impl Strategy<Value = LaneRules> {
    let order = prop::sample::select(vec![Order::None, Order::Key, Order::Key, Order::Strict]);
    let on_dead = prop::sample::select(vec![OnDead::Skip, OnDead::Block]);
    let rate = prop::option::weighted(0.3, (1..5_u32, 1..4_u32))
        .prop_map(|rate| rate.map(|(count, burst)| RateLimit { count, per_ms: 500, burst }));
    let breaker = prop::option::weighted(0.6, (1..4_u32, 1..500_u64, 1..3_000_u64)).prop_map(|breaker| {
        breaker.map(|(failures, cooldown_ms, cooldown_ms_max)| BreakerRules { failures, cooldown_ms, cooldown_ms_max })
    });
    let waits = prop::collection::vec(1..4_000_u64, 0..3);
    (1..6_u32, order, on_dead, rate, breaker, waits).prop_map(
        |(in_flight_max, order, on_dead, rate, breaker, waits)| LaneRules {
            in_flight_max,
            order,
            on_dead,
            rate,
            breaker,
            waits_ms: waits.into(),
        },
    )
}

fn kept() -> impl Strategy<Value = Kept> {
    let moment = || (0..5_000_u64).prop_map(MonoMs);
    (
        any::<bool>(),
        prop::option::weighted(0.2, moment()),
        prop::option::weighted(0.3, (moment(), 1..400_u64)),
        0..3_u64,
    )
        .prop_map(|(active, held_until, open_breaker, resumed_at)| Kept {
            active,
            held_until,
            open_breaker,
            resumed_at: UnixMs(resumed_at),
        })
}

fn op() -> impl Strategy<Value = Op> {
    let which = || any::<prop::sample::Index>();
    let end = prop_oneof![
        2 => Just(End::Delivered),
        1 => Just(End::Dead),
        3 => ahead().prop_map(|ahead| End::Retry { ahead }),
    ];
    let signals = vec![Signal::Success, Signal::Failure, Signal::Failure, Signal::Limited, Signal::Nothing];
    prop_oneof![
        10 => (0..LANES, key(), ahead(), any::<bool>())
            .prop_map(|(lane, key, ahead, fresh)| Op::Admit { lane, key, ahead, fresh }),
        2 => (which(), ahead()).prop_map(|(which, ahead)| Op::Replay { which, ahead }),
        1 => (which(), ahead()).prop_map(|(which, ahead)| Op::ReplayUnderWay { which, ahead }),
        1 => (0..LANES, key(), 0..3_u64).prop_map(|(lane, key, died_at)| Op::AdmitDead { lane, key, died_at }),
        1 => (0..8_u32).prop_map(|which| Op::ForgetGeneration { which }),
        3 => ahead().prop_map(|by| Op::Turn { by }),
        4 => Just(Op::TurnAtWake),
        8 => (which(), end, prop::sample::select(signals))
            .prop_map(|(which, end, signal)| Op::Finish { which, end, signal }),
        1 => (0..LANES, any::<bool>()).prop_map(|(lane, active)| Op::Active { lane, active }),
        2 => (0..LANES, lane_rules(), kept()).prop_map(|(lane, rules, kept)| Op::Rules { lane, rules, kept }),
        1 => (0..LANES).prop_map(|lane| Op::Close { lane }),
        1 => (0..LANES).prop_map(|lane| Op::Resume { lane }),
        1 => (0..LANES, ahead()).prop_map(|(lane, ahead)| Op::Hold { lane, ahead }),
    ]
}

/// Schedule and model, side by side.
struct Pair {
    schedule: Schedule,
    model: Model,
    now: u64,
    seq: u32,
    /// Delivered and dead ones.
    finished: Vec<Entry>,
}

impl Pair {
    fn new(total_max: usize) -> Self {
        let schedule = Schedule::with_fresh_bytes(total_max, 10_000);
        Self { schedule, model: Model::new(total_max), now: 0, seq: 0, finished: Vec::new() }
    }

    fn next_entry(&mut self, lane: u16, key: Option<u64>, ahead: u64) -> Entry {
        self.seq += 1;
        let event = EventRef { generation: self.seq / GENERATION, seq: self.seq % GENERATION };
        Entry {
            delivery: DeliveryRef { event, endpoint: EndpointNo(lane) },
            accepted_at: UnixMs(1_000_000 + u64::from(self.seq) * 777 % 5_000),
            due: MonoMs(self.now + ahead),
            progress: Progress::default(),
            key: key.map(KeyHash),
        }
    }

    fn apply(&mut self, op: Op) -> Result<(), TestCaseError> {
        let now = MonoMs(self.now);
        match op {
            Op::Admit { lane, key, ahead, fresh } => {
                let entry = self.next_entry(lane, key, ahead);
                self.schedule.admit(entry, fresh.then(|| event(500)), now);
                self.model.waiting.push(entry);
            }
            Op::Replay { which, ahead } => {
                if !self.finished.is_empty() {
                    let before = self.finished.swap_remove(which.index(self.finished.len()));
                    let entry = Entry { due: now.plus_ms(ahead), progress: Progress::default(), ..before };
                    self.schedule.admit(entry, None, now);
                    self.model.dead.retain(|(dead, _)| dead.delivery != entry.delivery);
                    self.model.waiting.push(entry);
                }
            }
            Op::ReplayUnderWay { which, ahead } => {
                let count = self.model.flying.len();
                if count > 0 {
                    let flying = &mut self.model.flying[which.index(count)];
                    let entry = Entry { due: now.plus_ms(ahead), progress: Progress::default(), ..flying.entry };
                    flying.again = Some(entry);
                    self.schedule.admit(entry, None, now);
                }
            }
            Op::AdmitDead { lane, key, died_at } => {
                let entry = self.next_entry(lane, key, 0);
                let died_at = UnixMs(died_at);
                self.schedule.admit_dead(&Fallen { delivery: entry.delivery, died_at, key: entry.key });
                if self.model.lanes[usize::from(lane)].keeps_dead(died_at) {
                    self.model.dead.push((entry, died_at));
                }
                self.finished.push(entry);
            }
            Op::ForgetGeneration { which } => {
                self.schedule.forget_generation(which);
                self.model.dead.retain(|(dead, _)| dead.delivery.event.generation != which);
                self.finished.retain(|entry| entry.delivery.event.generation != which);
            }
            Op::Turn { by } => {
                self.now += by;
                self.turn()?;
            }
            Op::TurnAtWake => {
                self.now = self.schedule.next_wake().map_or(self.now, |at| at.0.max(self.now));
                self.turn()?;
            }
            Op::Finish { which, end, signal } => {
                let count = self.model.flying.len();
                if count > 0 {
                    self.finish(which.index(count), end, signal)?;
                }
            }
            Op::Active { lane, active } => {
                self.model.lanes[usize::from(lane)].active = active;
                self.schedule.set_active(EndpointNo(lane), active);
            }
            Op::Rules { lane, rules, kept } => {
                let there = &mut self.model.lanes[usize::from(lane)];
                if there.rules.is_some() {
                    there.change(&rules, self.now);
                    self.schedule.change_lane(EndpointNo(lane), &rules, now);
                } else {
                    *there = ModelLane::opened(&rules, kept, self.now);
                    self.schedule.open_lane(EndpointNo(lane), &rules, kept, now);
                }
                self.model.file_dead(EndpointNo(lane));
            }
            Op::Close { lane } => {
                let there = &mut self.model.lanes[usize::from(lane)];
                *there = ModelLane { active: there.active, resumed_at: there.resumed_at, ..ModelLane::closed() };
                self.schedule.close_lane(EndpointNo(lane));
            }
            Op::Resume { lane } => {
                self.model.lanes[usize::from(lane)].resume();
                self.model.dead.retain(|(dead, _)| dead.delivery.endpoint != EndpointNo(lane));
                self.schedule.resume(EndpointNo(lane), now);
            }
            Op::Hold { lane, ahead } => {
                let there = &mut self.model.lanes[usize::from(lane)];
                there.held_until = there.held_until.max(self.now + ahead);
                self.schedule.hold(EndpointNo(lane), now.plus_ms(ahead));
            }
        }
        prop_assert!(self.schedule.fresh_bytes() <= 10_000);
        Ok(())
    }

    fn finish(&mut self, which: usize, end: End, signal: Signal) -> Result<(), TestCaseError> {
        let flying = &self.model.flying[which];
        let (entry, expired) = (flying.entry, flying.act == Act::Expire);
        let progress = Progress { tries: entry.progress.tries + 1, made: entry.progress.made + 1 };
        let (outcome, signal) = match end {
            _ if expired => (Outcome::Dead, Signal::Nothing),
            End::Delivered => (Outcome::Delivered, signal),
            End::Dead => (Outcome::Dead, signal),
            End::Retry { ahead } => (Outcome::Retry { due: MonoMs(self.now + ahead), progress }, signal),
        };
        let turn = self.schedule.finish(entry.delivery, outcome, signal, MonoMs(self.now));
        let (expected, finished) = self.model.finish(which, outcome, signal, self.now);
        prop_assert_eq!(turn, expected);
        self.finished.extend(finished.then_some(entry));
        Ok(())
    }

    fn turn(&mut self) -> Result<(), TestCaseError> {
        for start in starts(&mut self.schedule, self.now) {
            self.model.start(&start, self.now)?;
        }
        self.model.check_rest(&self.schedule, self.now)?;
        self.model.check_views(&self.schedule, self.now)
    }

    /// Everything can be brought to its end, and nothing is left behind.
    fn wind_up(&mut self, rules: LaneRules) -> Result<(), TestCaseError> {
        // Nobody would lift the block of what is given up on the way; and a rate only takes turns.
        let rules = LaneRules { on_dead: OnDead::Skip, rate: None, ..rules };
        for lane in 0..LANES {
            self.apply(Op::Rules { lane, rules: rules.clone(), kept: Kept::default() })?;
            self.apply(Op::Resume { lane })?;
        }
        let mut turns = 0;
        while self.schedule.total_pending() > 0 {
            turns += 1;
            prop_assert!(turns < 2_000, "it goes round and round");
            self.apply(Op::TurnAtWake)?;
            while !self.model.flying.is_empty() {
                self.finish(0, End::Delivered, Signal::Success)?;
            }
        }
        prop_assert!(self.model.waiting.is_empty());
        prop_assert_eq!(self.schedule.fresh_bytes(), 0);
        prop_assert_eq!(self.schedule.oldest_accepted_of_all(), None);
        prop_assert!((0..LANES).all(|no| self.schedule.next_due(EndpointNo(no), MonoMs(self.now)).is_none()));
        // Wake-ups of heads that have gone meanwhile may be left, and come to nothing.
        while let Some(at) = self.schedule.next_wake() {
            self.now = at.0.max(self.now);
            prop_assert_eq!(starts(&mut self.schedule, self.now), []);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    /// Never out of order within a key, never two of a key under way, never above a permit, a share, a rate or what a breaker
    /// allows, never early, never from a lane that is closed or held, never given up too soon or far too late; nothing lost
    /// or doubled, nothing left standing that could go, and every view is right.
    #[test]
    fn keeps_every_rule(
        first in prop::collection::vec(lane_rules(), 3),
        ops in prop::collection::vec(op(), 1..150),
        last in lane_rules(),
        total_max in 2..16_usize,
    ) {
        let mut pair = Pair::new(total_max);
        for (lane, rules) in (0..).zip(first) {
            pair.apply(Op::Rules { lane, rules, kept: Kept::default() })?;
        }
        for op in ops {
            pair.apply(op)?;
        }
        pair.wind_up(last)?;
    }
}
