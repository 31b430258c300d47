//! What must hold: an independent account of what was asked, answered and seen.
//!
//! It is far simpler than what it judges: lists in memory, no threads, no disk. It knows nothing of generations but which one
//! an event lies in, and computes when an attempt is due from the contract alone. What it finds wrong it notes as a breach;
//! the run goes on to the next rest, where the first breach ends it.
//!
//! | file | keeps |
//! |---|---|
//! | `answers` | events that were handed in, and what was answered: stored, a repeat, another under the same id, refused |
//! | `attempts` | deliveries, when each is due, what the network saw |
//! | `order` | which delivery has to wait for which |
//! | `lanes` | endpoints: which are open, held, in the config; what they are told to be |
//! | `rests` | what must have happened once nothing more happens in a moment |
//! | `pace` | how many attempts a rate allows |
//! | `breaker` | who may be tried while an endpoint is down, and after |
//! | `failing` | for how long an endpoint has not succeeded |
//! | `expiry` | what may be given up while a breaker is open |
//! | `reports` | the daemon's own events: what it tells of all this |
//! | `audit` | the outbox's own account, at its start, by id, as a list, and of damage, against all this |
//!
//! # What cannot be known
//! Answers that come in one moment reach the dispatcher in an order that nobody outside knows, and a crash may take what was
//! not durable. So a rule is put in two halves: what may be, by the most that can have reached it, and what must be, by the
//! least. At a rest the daemon tells how its endpoints stand. That must be one of the states that may be, and counts from there.

mod answers;
mod attempts;
mod audit;
mod breaker;
mod expiry;
mod failing;
mod lanes;
mod order;
mod pace;
mod reports;
mod rests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use webhookd::clock::{MonoMs, SharedClock, UnixMs};
use webhookd::config::Endpoint;
use webhookd::model::delivery::{DeadReason, EventRef, Progress, Standing};

pub(crate) use answers::{Fate, Heard, Post};
pub(crate) use lanes::{Calm, LaneState};

use super::report::Counts;

/// Both clocks in one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) wall: UnixMs,
    pub(crate) mono: MonoMs,
}

impl Now {
    pub(crate) fn of(clock: &SharedClock) -> Self {
        Self { wall: clock.wall(), mono: clock.mono() }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Ledger {
    /// The config of each endpoint, or the last one that it had.
    endpoints: Vec<Arc<Endpoint>>,
    in_flight_total_max: usize,
    retention_ms: u64,
    /// Events are acknowledged before they are durable (`durability = "interval"`).
    pub(crate) lazy: bool,
    posts: Vec<Post>,
    by_id: HashMap<String, Vec<usize>>,
    by_key: HashMap<String, Vec<usize>>,
    by_place: HashMap<EventRef, usize>,
    deliveries: BTreeMap<(usize, usize), Delivery>,
    lanes: Vec<lanes::Lane>,
    reports: reports::Reports,
    /// How many things the dispatcher was told, and how many of them it surely knows.
    told: u64,
    heard: u64,
    /// The moment for which it was looked what may be given up.
    marked_at: Option<MonoMs>,
    /// What the network saw: by post, endpoint and the attempt's number; a number can come again after a crash.
    seen: HashMap<(usize, usize, u16), Vec<attempts::Seen>>,
    /// Generations that an event was ever found in.
    generations: BTreeSet<u32>,
    /// Generations that the simulation damaged: of their events it only asks that what is missing is named.
    harmed: BTreeSet<u32>,
    /// Replays that were asked for and not heard of yet, with the moment.
    replays: BTreeMap<(usize, usize), UnixMs>,
    /// Events of these that were not found, and deliveries that stand where they never stood.
    missing: BTreeSet<usize>,
    strayed: BTreeSet<usize>,
    breaches: Vec<String>,
    pub(crate) counts: Counts,
}

/// One delivery's account.
#[derive(Debug)]
struct Delivery {
    /// Where it stood, one point after another.
    history: Vec<Point>,
    /// The last point that is known to be durable: after a crash it stands there or at a later one.
    sure: usize,
    /// Whether a crash has left open at which of these points it stands.
    open: bool,
    /// On the schedule of this life: no attempt before the first moment, and one by the second if nothing stands in its way.
    due: Option<(MonoMs, MonoMs)>,
    in_flight: bool,
    /// How often the endpoint took it.
    taken: u32,
    /// What the dispatcher was told before it was told of this one.
    told: u64,
    /// It is dead, and holds up those behind it where the endpoint's rules say so.
    fallen: Option<order::Fallen>,
    /// Its schedule has passed while the breaker was open: it may have been given up.
    overdue: bool,
    /// It was, and no attempt has begun since: if it was given up then, it may be told late.
    was_overdue: bool,
    /// And that was first seen at this moment.
    overdue_since: MonoMs,
    /// How often it died, and how often that was told.
    deaths: u32,
    deaths_told: u32,
}

/// Where a delivery stands, as far as it can be known from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Point {
    at: Stand,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// The endpoint was never given the event.
    Never,
    /// Its next attempt is due between these moments, both included.
    Pending(UnixMs, UnixMs),
    Delivered,
    Dead(DeadReason),
}

impl Point {
    fn fits(&self, standing: Standing, progress: Progress) -> bool {
        let stands = match (self.at, standing) {
            (Stand::Pending(from, to), Standing::Pending { next_at }) => from <= next_at && next_at <= to,
            (Stand::Delivered, Standing::Delivered) => true,
            (Stand::Dead(one), Standing::Dead(other)) => one == other,
            _ => false,
        };
        stands && self.progress == progress
    }

    const NEVER: Self = Self { at: Stand::Never, progress: Progress { tries: 0, made: 0 } };

    fn is_pending(&self) -> bool {
        matches!(self.at, Stand::Pending(..))
    }
}

impl Delivery {
    fn at(point: Point) -> Self {
        Self {
            history: vec![point],
            sure: 0,
            open: false,
            due: None,
            in_flight: false,
            taken: 0,
            told: 0,
            fallen: None,
            overdue: false,
            was_overdue: false,
            overdue_since: MonoMs(0),
            deaths: 0,
            deaths_told: 0,
        }
    }

    fn last(&self) -> Point {
        *self.history.last().expect("a delivery stands somewhere")
    }

    /// Whether the endpoint may never have been given the event; settles that it was not.
    fn may_never_be(&mut self) -> bool {
        let from = if self.open { self.sure } else { self.history.len() - 1 };
        let Some(at) = (from..self.history.len()).find(|at| self.history[*at] == Point::NEVER) else { return false };
        self.history.truncate(at + 1);
        self.open = false;
        true
    }

    /// Whether it may have ended after so many attempts; settles where it had, where a crash left that open.
    fn ended_with(&mut self, made: u16) -> bool {
        let from = if self.open { self.sure } else { self.history.len() - 1 };
        let ended = |at: &usize| !self.history[*at].is_pending() && self.history[*at].progress.made == made;
        let Some(at) = (from..self.history.len()).rev().find(ended) else { return false };
        self.history.truncate(at + 1);
        self.open = false;
        true
    }

    /// Whether it may stand so; settles which point that is, where a crash left it open.
    fn stands(&mut self, standing: Standing, progress: Progress) -> bool {
        let from = if self.open { self.sure } else { self.history.len() - 1 };
        let Some(at) = (from..self.history.len()).rev().find(|at| self.history[*at].fits(standing, progress)) else {
            return false;
        };
        self.history.truncate(at + 1);
        self.open = false;
        true
    }
}

impl Ledger {
    /// An empty ledger for these endpoints.
    pub(crate) fn new(endpoints: Vec<Arc<Endpoint>>, in_flight_total_max: usize, retention_ms: u64) -> Self {
        let lanes = endpoints.iter().map(|endpoint| lanes::Lane::new(endpoint)).collect();
        Self {
            endpoints,
            in_flight_total_max,
            retention_ms,
            lazy: false,
            posts: Vec::new(),
            by_id: HashMap::new(),
            by_key: HashMap::new(),
            by_place: HashMap::new(),
            deliveries: BTreeMap::new(),
            lanes,
            reports: reports::Reports::default(),
            told: 0,
            heard: 0,
            marked_at: None,
            seen: HashMap::new(),
            generations: BTreeSet::new(),
            harmed: BTreeSet::new(),
            replays: BTreeMap::new(),
            missing: BTreeSet::new(),
            strayed: BTreeSet::new(),
            breaches: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// What was found wrong.
    pub(crate) fn breaches(&self) -> &[String] {
        &self.breaches
    }

    /// Notes something wrong.
    pub(crate) fn breach(&mut self, what: impl Into<String>) {
        self.breaches.push(what.into());
    }

    /// Everything that was ever handed in.
    pub(crate) fn posts(&self) -> &[Post] {
        &self.posts
    }

    /// The simulation has damaged a generation.
    pub(crate) fn harm(&mut self, generation: u32) {
        self.harmed.insert(generation);
    }

    /// Whether it has damaged any.
    pub(crate) fn is_harmed(&self) -> bool {
        !self.harmed.is_empty()
    }

    /// Whether an event may have been damaged.
    fn is_shaky(&self, post: usize) -> bool {
        match self.posts[post].place {
            Some(place) => self.harmed.contains(&place.generation),
            None => !self.harmed.is_empty(),
        }
    }

    /// What has happened so far is durable.
    pub(crate) fn make_sure(&mut self) {
        for delivery in self.deliveries.values_mut().filter(|delivery| !delivery.open) {
            delivery.sure = delivery.history.len() - 1;
        }
        for post in 0..self.posts.len() {
            self.posts[post].durable |= self.posts[post].fate == Fate::Stored && !self.is_shaky(post);
        }
    }

    fn name(&self, post: usize) -> String {
        let post = &self.posts[post];
        let place = post.place.map_or_else(String::new, |at| format!(" at {}/{}", at.generation, at.seq));
        format!("event {} ({:?}{place})", post.id, post.fate)
    }

    fn way(&self, (post, endpoint): (usize, usize)) -> String {
        format!("{} to e{endpoint}", self.name(post))
    }
}
