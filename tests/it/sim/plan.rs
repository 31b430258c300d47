//! What a seed does: the setup, the acts of each life, how each ends, and the end of all.

mod ending;

use std::sync::Arc;

use webhookd::clock::UnixMs;
use webhookd::config::Endpoint;
use webhookd::limits::ATTEMPTS_MAX;
use webhookd::model::delivery::{DeliveryRef, DeliveryState, EventRef};
use webhookd::model::roster::EndpointNo;

use super::content::{BODY_BYTES_MAX, Content, spread};
use super::disk::{Refusal, Trouble};
use super::ledger::{Fate, LaneState, Post};
use super::network::{Answer, Behaviour};
use super::report::{Counts, Failure};
use super::setup::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, altered, behaviour, endpoint, pick, setup};
use super::world::{Setup, World, described};

const START: UnixMs = UnixMs(1_700_000_000_000);

/// Lives a seed through. Tells how much happened, or what did not hold.
pub(crate) fn live(seed: u64) -> Result<Counts, Box<Failure>> {
    let mut random = fastrand::Rng::with_seed(spread(seed));
    let setup = setup(seed, &mut random);
    let endpoints = setup.endpoints.len();
    let behaviours = (0..endpoints).map(|_| behaviour(&mut random)).collect();
    let (damages, slow) = (random.u32(..100) < 12, random.u32(..100) < 15);
    let mut plan = Plan { world: World::new(setup, START, behaviours), random, events: 0, contents: 0, damages, slow };
    plan.introduce();
    plan.lives();
    let breaches = plan.world.ledger().breaches().to_vec();
    if breaches.is_empty() {
        return Ok(plan.world.ledger().counts);
    }
    let story = std::mem::take(&mut plan.world.story);
    Err(Box::new(Failure { seed, breaches, story }))
}

struct Plan {
    world: World,
    random: fastrand::Rng,
    events: u64,
    contents: u64,
    /// Whether generations are damaged between lives.
    damages: bool,
    /// Whether much time passes between acts.
    slow: bool,
}

impl Plan {
    fn is_over(&self) -> bool {
        !self.world.is_alive() || !self.world.ledger().breaches().is_empty()
    }

    fn introduce(&mut self) {
        let Setup { endpoints, in_flight_total_max, generation_bytes, retention_ms, .. } = self.world.setup.clone();
        let Setup { size_bytes_max, durability, .. } = self.world.setup;
        self.world.tell(format!(
            "in flight {in_flight_total_max}, generations of {generation_bytes} B, retention {retention_ms} ms, at most \
             {size_bytes_max} B, {durability:?}, damage {}",
            self.damages
        ));
        for (at, endpoint) in endpoints.iter().enumerate() {
            let behaviour = self.world.behaviour(at);
            self.world.tell(format!("e{at}: {}, {behaviour:?}", described(endpoint)));
        }
    }

    fn lives(&mut self) {
        let lives = self.random.u32(1..=4);
        for _ in 0..lives {
            self.begin();
            let acts = self.random.u32(4..25);
            self.acts(acts, false);
            if self.is_over() {
                return;
            }
            self.end();
            if !self.world.ledger().breaches().is_empty() {
                return;
            }
        }
        self.begin();
        if !self.is_over() {
            self.finish();
        }
    }

    fn begin(&mut self) {
        self.world.start();
        if self.is_over() {
            return;
        }
        self.world.rest();
        let page = self.random.usize(1..30);
        self.world.audit_all(page);
    }

    fn acts(&mut self, count: u32, until_cut: bool) {
        for _ in 0..count {
            if self.is_over() || (until_cut && self.world.cut()) {
                return;
            }
            self.act();
            if self.random.u32(..8) != 0 {
                self.world.rest();
            }
            if self.random.u32(..4) == 0 {
                self.world.rest();
                let from = self.random.usize(..3);
                self.world.audit(|post| post % 3 == from);
            }
        }
    }

    fn end(&mut self) {
        match self.random.u32(..100) {
            0..=29 => self.world.crash(),
            30..=69 => {
                let passes = self.random.u32(..30);
                self.world.crash_after(passes);
                self.acts(8, true);
                if self.is_over() {
                    return;
                }
                self.world.crash();
            }
            70..=89 => {
                self.world.rest();
                let page = self.random.usize(1..30);
                self.world.audit_all(page);
                if self.is_over() {
                    return;
                }
                self.world.stop(true);
            }
            _ => self.world.stop(false),
        }
        let wall = self.world.wall();
        let wall = match self.random.u32(..10) {
            0 => UnixMs(wall.0 - self.random.u64(..DAY_MS)),
            1 => wall.plus_ms(self.random.u64(..3 * DAY_MS)),
            _ => wall.plus_ms(self.random.u64(..5 * MINUTE_MS)),
        };
        self.world.set_wall(wall);
        if self.damages && self.random.bool() {
            self.world.damage(&mut self.random);
        }
        if self.random.u32(..8) == 0 {
            self.world.leave_residue(&mut self.random);
        }
        if self.random.u32(..5) == 0 {
            self.reconfigure();
        }
    }

    /// An endpoint gets another config, or leaves it, or comes back.
    fn reconfigure(&mut self) {
        let at = self.random.usize(..self.world.setup.endpoints.len());
        let before = Arc::clone(&self.world.setup.endpoints[at]);
        let config = match self.random.u32(..4) {
            0 if self.world.is_present(at) => None,
            1 => Some(Arc::new(altered(&before, &mut self.random))),
            2 => Some(Arc::new(Endpoint { events: before.events.clone(), ..endpoint(at, &mut self.random) })),
            _ => Some(before),
        };
        self.world.reconfigure(at, config);
    }

    fn act(&mut self) {
        match self.random.u32(..100) {
            0..=29 => {
                let post = self.fresh();
                self.world.post(vec![vec![post]]);
            }
            30..=37 => {
                let count = self.random.usize(2..20);
                let mut batch: Vec<Post> = (0..count).map(|_| self.fresh()).collect();
                if self.random.u32(..4) == 0 {
                    let again = self.again();
                    let at = self.random.usize(..=batch.len());
                    batch.splice(at..at, again);
                }
                self.world.post(vec![batch]);
            }
            38..=44 => {
                let again = self.again();
                let twin = |post: &Post, now| {
                    Post::new(post.id.clone(), post.id_given, post.key.clone(), post.content.clone(), now)
                };
                let (now, fresh) = (self.world.now(), self.fresh());
                let mut groups: Vec<_> = (0..self.random.usize(1..5)).map(|_| vec![self.fresh()]).collect();
                groups.extend(again.map(|post| vec![post]));
                if fresh.id_given {
                    groups.extend([vec![twin(&fresh, now)], vec![twin(&fresh, now)]]);
                }
                self.world.post(groups);
            }
            45..=51 => {
                if let Some(again) = self.again() {
                    self.world.post(vec![vec![again]]);
                }
            }
            52..=73 => self.let_time_pass(),
            74..=81 => {
                let down = self.world.ledger().down();
                let well = Behaviour::Steady(Answer::Taken, *pick(&mut self.random, &[0, 1, 300, 300]));
                let (endpoint, behaviour) = match self.random.choice(down).filter(|_| self.random.bool()) {
                    Some(endpoint) => (endpoint, well),
                    None => (self.random.usize(..self.world.setup.endpoints.len()), behaviour(&mut self.random)),
                };
                self.world.behave(endpoint, behaviour);
            }
            82..=87 => {
                let endpoint = self.random.usize(..self.world.setup.endpoints.len());
                let state = if self.random.u32(..3) == 0 { LaneState::Paused } else { LaneState::Active };
                self.world.rest();
                if self.world.is_present(endpoint) {
                    self.world.operate(endpoint, state);
                }
            }
            88..=91 => self.replay(),
            92..=94 => self.trouble(),
            95..=96 => {
                self.world.rest();
                if !self.is_over() {
                    self.reconfigure();
                }
            }
            97 => {
                let by = self.random.u64(..2 * DAY_MS);
                let wall = self.world.now().wall;
                let to = if self.random.bool() { UnixMs(wall.0 - by) } else { wall.plus_ms(by) };
                self.world.tell(format!("the wall clock is set to {to}"));
                self.world.set_wall(to);
            }
            _ => {
                let rests = self.random.u32(1..4);
                self.world.hold_news_back(rests);
                self.world.tell(format!("the dispatcher hears nothing for {rests} rests"));
            }
        }
    }

    fn let_time_pass(&mut self) {
        let kind = if self.slow && self.random.bool() { self.random.u32(15..20) } else { self.random.u32(..20) };
        let ms = match kind {
            0..=1 => self.random.u64(1..SECOND_MS),
            // To the last moment in which nothing may happen, or to the first in which something must.
            2..=4 => self.until_due_ms() - self.random.u64(..2),
            5..=9 => *pick(&mut self.random, &[1, 200, SECOND_MS, 5 * SECOND_MS, 10 * SECOND_MS, 15 * SECOND_MS]),
            10..=14 => self.random.u64(SECOND_MS..MINUTE_MS),
            15..=17 => self.random.u64(MINUTE_MS..HOUR_MS),
            18 => self.random.u64(HOUR_MS..10 * HOUR_MS),
            _ => self.random.u64(10 * HOUR_MS..3 * DAY_MS),
        };
        self.world.tell(format!("{ms} ms pass"));
        self.world.advance(ms);
    }

    /// Time until something may happen: mostly the next thing, or else one of those after it.
    fn until_due_ms(&mut self) -> u64 {
        let now = self.world.now();
        let moments = self.world.ledger().next_moments_ms(now);
        let next = if self.random.bool() { moments.iter().min().copied() } else { self.random.choice(moments) };
        next.map_or(SECOND_MS, |ms| ms.max(2))
    }

    fn trouble(&mut self) {
        let mut trouble = Trouble::default();
        if !self.world.trouble().any() {
            match self.random.u32(..6) {
                0 => trouble.fsync = Refusal::Always,
                1 | 2 => trouble.fsync = Refusal::OnceAfter(self.random.u32(..6)),
                3 => trouble.write = Refusal::Always,
                4 => trouble.write = Refusal::OnceAfter(self.random.u32(..20)),
                _ => trouble.no_room = true,
            }
            self.world.ledger().counts.troubles += 1;
        }
        self.world.tell(format!("the disk: {trouble:?}"));
        self.world.set_trouble(trouble);
    }

    fn content(&mut self) -> Content {
        self.contents += 1;
        let len = match self.random.u32(..100) {
            0..=4 => 0,
            5..=69 => self.random.usize(1..300),
            70..=89 => self.random.usize(300..6_000),
            90..=97 => self.random.usize(6_000..40_000),
            _ => self.random.usize(40_000..=BODY_BYTES_MAX),
        };
        let endpoints = self.world.setup.endpoints.len();
        let mut targets: Vec<usize> = match self.random.u32(..10) {
            0 => Vec::new(),
            1..=3 => (0..endpoints).collect(),
            _ => (0..endpoints).filter(|_| self.random.bool()).collect(),
        };
        targets.retain(|at| self.world.is_present(*at));
        let key = (self.random.u32(..5) != 0).then(|| self.random.u8(..3));
        let later = (self.random.u32(..10) == 0).then(|| self.random.u64(..2 * HOUR_MS));
        let deliver_at = later.map(|ms| self.world.now().wall.0 + ms);
        Content { no: self.world.setup.seed << 20 | self.contents, len, targets, deliver_at, key }
    }

    /// An event that was never handed in.
    fn fresh(&mut self) -> Post {
        self.events += 1;
        let (n, content, now) = (self.events, self.content(), self.world.now());
        match self.random.u32(..5) {
            0 | 1 => Post::new(format!("own{n}"), true, None, content, now),
            2 => Post::new(format!("evt{n}"), false, Some(format!("key{n}")), content, now),
            3 if n.is_multiple_of(2) => Post::new(format!("own{n}"), true, Some(format!("key{n}")), content, now),
            _ => Post::new(format!("evt{n}"), false, None, content, now),
        }
    }

    /// An id or a key that was used before, with the same content or another.
    fn again(&mut self) -> Option<Post> {
        let known: Vec<(String, bool, Option<String>, Content)> = {
            let ledger = self.world.ledger();
            let named = ledger.posts().iter().filter(|post| post.id_given || post.key.is_some());
            named.map(|post| (post.id.clone(), post.id_given, post.key.clone(), post.content.clone())).collect()
        };
        if known.is_empty() {
            return None;
        }
        let (mut id, id_given, key, mut content) = known[self.random.usize(..known.len())].clone();
        if !id_given {
            self.events += 1;
            id = format!("evt{}", self.events);
        }
        if self.random.u32(..3) == 0 {
            content = self.content();
        }
        Some(Post::new(id, id_given, key, content, self.world.now()))
    }

    fn replay(&mut self) {
        let endpoint = EndpointNo(self.random.usize(..self.world.setup.endpoints.len()) as u16);
        if self.random.bool() {
            let stored: Vec<EventRef> = {
                let ledger = self.world.ledger();
                ledger.posts().iter().filter(|post| post.fate == Fate::Stored).filter_map(|post| post.place).collect()
            };
            if let Some(event) = self.random.choice(stored) {
                self.world.replay("one delivery", vec![DeliveryRef { event, endpoint }]);
            }
            return;
        }
        let page = self.random.usize(1..30);
        let Some(listed) = self.world.list(page) else { return };
        // Dead deliveries, or all that the endpoint has or was never given.
        let any = self.random.bool();
        let name = format!("e{}", endpoint.0);
        let wanted = listed.iter().filter(|event| {
            let delivery = event.deliveries.iter().find(|(other, ..)| other.as_str() == name);
            let made = delivery.map_or(0, |(_, _, progress)| progress.made);
            let state = delivery.map(|(_, standing, _)| standing.state());
            made < ATTEMPTS_MAX && (any && state != Some(DeliveryState::Pending) || state == Some(DeliveryState::Dead))
        });
        let deliveries: Vec<_> = wanted.map(|event| DeliveryRef { event: event.place, endpoint }).collect();
        for group in deliveries.chunks(page) {
            self.world.replay(if any { "all of an endpoint" } else { "what is dead" }, group.to_vec());
        }
    }
}
