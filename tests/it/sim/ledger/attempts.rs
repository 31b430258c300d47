//! Deliveries: when each is due, which lanes are open, what the network saw.

use std::collections::BTreeSet;

use webhookd::clock::{MonoMs, UnixMs};
use webhookd::deliver::Job;
use webhookd::limits::ATTEMPTS_MAX;
use webhookd::model::delivery::{DeadReason, DeliveryRef, EventRef, Progress, Waiting};
use webhookd::outbox::FreshEvent;
use webhookd::policy::retry::RetryPolicy;

use super::{Delivery, Fate, Ledger, Now, Point, Stand};
use crate::sim::network::{Answer, Meaning};

/// An endpoint's state, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LaneState {
    Active,
    Paused,
    Disabled,
}

/// An endpoint is closed by an answer once that is stored; at the next rest it is. So it is with a hold.
const ONCE_STORED: i128 = i128::MAX;

/// An endpoint's account.
#[derive(Debug)]
pub(super) struct Lane {
    /// The states that it may have on the disk; more than one only where a crash came in between.
    pub(super) states: BTreeSet<LaneState>,
    /// No attempt begins after this moment; `None`: it is open.
    closed: Option<i128>,
    /// No attempt begins after the first moment and before the second.
    held: Option<(MonoMs, MonoMs)>,
    in_flight: u32,
}

impl Default for Lane {
    fn default() -> Self {
        Self { states: [LaneState::Active].into(), closed: None, held: None, in_flight: 0 }
    }
}

/// An attempt that the network saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) at: UnixMs,
    pub(super) status: Option<u16>,
}

/// Which attempt it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trial {
    pub(crate) post: usize,
    pub(crate) endpoint: usize,
    n: u16,
}

impl Ledger {
    /// The dispatcher is told of a fresh event.
    pub(crate) fn announced(&mut self, fresh: &FreshEvent, now: Now) {
        let Some(post) = self.post_of(fresh.event.traceparent.as_deref()) else { return };
        self.lies_at(post, fresh.place);
        if !matches!(self.posts[post].fate, Fate::Stored | Fate::Maybe) {
            self.breach(format!("{} was announced and never accepted", self.name(post)));
        }
        let due = now.mono.plus_ms(self.first_due(post).since(now.wall));
        for no in &fresh.targets {
            match self.deliveries.get_mut(&(post, usize::from(no.0))) {
                Some(delivery) => delivery.due = Some((due, due)),
                None => self.breach(format!("{} was announced to endpoint {}", self.name(post), no.0)),
            }
        }
    }

    /// Deliveries are about to be put back.
    pub(crate) fn replay_asked(&mut self, deliveries: &[DeliveryRef], now: Now) {
        for delivery in deliveries {
            if let Some(post) = self.post_at(delivery.event) {
                self.replays.insert((post, usize::from(delivery.endpoint.0)), now.wall);
            }
        }
    }

    /// The dispatcher is told of a delivery that was put back, or found again late.
    pub(crate) fn revived(&mut self, waiting: &Waiting, now: Now) {
        let Some(post) = self.post_at(waiting.delivery.event) else {
            self.breach(format!("{waiting:?} was revived, and nobody knows its event"));
            return;
        };
        let way = (post, usize::from(waiting.delivery.endpoint.0));
        let point = Point { at: Stand::Pending(waiting.next_at, waiting.next_at), progress: waiting.progress };
        self.replays.remove(&way);
        let known = self.deliveries.entry(way).or_insert_with(|| Delivery::at(Point::NEVER));
        let wrong = if known.last().is_pending() {
            known.due.is_some() && !known.open
        } else {
            let made = known.last().progress.made;
            known.history.push(point);
            point.progress != Progress { tries: 0, made }
        };
        known.due = Some(due(waiting, now));
        self.posts[post].expired = false;
        if wrong && !self.is_shaky(post) {
            self.breach(format!("{} was revived as {point:?}", self.way(way)));
        }
    }

    /// A request reaches the network.
    pub(crate) fn attempt_begins(&mut self, job: &Job, now: Now) -> Trial {
        let endpoint = job.endpoint.name.as_str()[1..].parse().expect("endpoints are e0, e1, …");
        self.counts.attempts += 1;
        let Some(post) = self.post_of(job.event.traceparent.as_deref()) else {
            return Trial { post: 0, endpoint, n: job.n };
        };
        let way = (post, endpoint);
        if !matches!(self.posts[post].fate, Fate::Stored | Fate::Maybe) {
            self.breach(format!("{} is delivered and was never accepted", self.way(way)));
        }
        let content = &self.posts[post].content;
        if job.event.content.body != content.body() || job.event.id.as_str() != self.posts[post].id {
            self.breach(format!("{} is delivered with another body or id ({})", self.way(way), job.event.id));
        }
        let shaky = self.is_shaky(post);
        let wrong = match self.deliveries.get_mut(&way) {
            None => Some("and was never meant for it".to_owned()),
            Some(delivery) => {
                let last = delivery.last();
                let under_way = std::mem::replace(&mut delivery.in_flight, true);
                if under_way {
                    Some("while an attempt is under way".to_owned())
                } else if !last.is_pending() && !shaky {
                    Some(format!("and stands at {last:?}"))
                } else if job.n != last.progress.made + 1 && !shaky {
                    Some(format!("and it is the one after {}", last.progress.made))
                } else {
                    match delivery.due {
                        // Where it lies could not be told at the start, if that was damaged.
                        None if shaky => None,
                        None => Some("and is not on the schedule".to_owned()),
                        Some((due, _)) if due > now.mono => Some(format!("{} ms early", due.since(now.mono))),
                        Some(_) => None,
                    }
                }
            }
        };
        let wrong = wrong.or_else(|| self.lane_refuses(endpoint, now));
        if let Some(wrong) = wrong {
            self.breach(format!("attempt {} of {} {wrong}", job.n, self.way(way)));
        }
        self.lanes[endpoint].in_flight += 1;
        Trial { post, endpoint, n: job.n }
    }

    fn lane_refuses(&self, endpoint: usize, now: Now) -> Option<String> {
        let lane = &self.lanes[endpoint];
        let total: u32 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        if lane.closed.is_some_and(|at| i128::from(now.mono.0) > at) {
            return Some(format!("though its endpoint is {:?}", lane.states));
        }
        if let Some((_, until)) = lane.held.filter(|(since, until)| *since < now.mono && now.mono < *until) {
            return Some(format!("though its endpoint waits for {} ms more", until.since(now.mono)));
        }
        let full =
            lane.in_flight >= self.endpoints[endpoint].in_flight_max || total as usize >= self.in_flight_total_max;
        full.then(|| format!("though {} of {total} requests are under way already", lane.in_flight))
    }

    /// The network has answered it.
    pub(crate) fn attempt_ends(&mut self, trial: &Trial, answer: Answer, begun: Now, ended: Now) {
        let Trial { post, endpoint, n } = *trial;
        let policy = &self.endpoints[endpoint].retry;
        let meaning = answer.meaning(&self.endpoints[endpoint].permanent, ended.wall);
        self.seen.entry((post, endpoint, n)).or_default().push(Seen { at: begun.wall, status: answer.status() });
        let lane = &mut self.lanes[endpoint];
        lane.in_flight -= 1;
        let Some(delivery) = self.deliveries.get_mut(&(post, endpoint)) else { return };
        delivery.in_flight = false;
        let before = delivery.last().progress;
        let progress = Progress { tries: before.tries + 1, made: n };
        let (point, due) = match meaning {
            Meaning::Delivered(_) => (Point { at: Stand::Delivered, progress }, None),
            Meaning::Dead(reason) => (Point { at: Stand::Dead(reason), progress }, None),
            Meaning::Again(hint_ms, _) => match wait_ms(policy, progress, hint_ms) {
                Some((least, most)) => {
                    let at = Stand::Pending(ended.wall.plus_ms(least), ended.wall.plus_ms(most));
                    (Point { at, progress }, Some((ended.mono.plus_ms(least), ended.mono.plus_ms(most))))
                }
                None => (Point { at: Stand::Dead(DeadReason::Exhausted), progress }, None),
            },
            Meaning::Disabled => {
                let at = Stand::Pending(ended.wall, ended.wall);
                (Point { at, progress: Progress { tries: before.tries, made: n } }, Some((ended.mono, ended.mono)))
            }
        };
        delivery.history.push(point);
        delivery.due = due;
        self.posts[post].quiet_since = ended.wall;
        match meaning {
            Meaning::Delivered(last) => {
                delivery.taken += 1;
                self.counts.taken += 1;
                if last {
                    lane.close(LaneState::Disabled, ONCE_STORED);
                }
            }
            Meaning::Disabled => lane.close(LaneState::Disabled, ONCE_STORED),
            Meaning::Again(hint_ms, true) => {
                let first = policy.waits_ms.first().copied().unwrap_or(5_000);
                let until = ended.mono.plus_ms(first.max(hint_ms.unwrap_or(0).min(policy.retry_after_ms_max)));
                if lane.held.is_none_or(|(_, known)| known < until) {
                    lane.held = Some((MonoMs(u64::MAX), until));
                }
            }
            Meaning::Again(_, false) | Meaning::Dead(_) => {}
        }
    }

    /// An operator is about to open a lane: what waits may go before the answer comes.
    pub(crate) fn opens(&mut self, endpoint: usize) {
        let lane = &mut self.lanes[endpoint];
        if lane.closed.take().is_some() {
            lane.held = None;
        }
        lane.states.insert(LaneState::Active);
    }

    /// An operator has opened or closed a lane. `cut`: the image of a crash was taken before or meanwhile.
    pub(crate) fn operated(&mut self, endpoint: usize, state: LaneState, cut: bool, now: Now) {
        let lane = &mut self.lanes[endpoint];
        if state != LaneState::Active {
            // The answer has come: from here on nothing begins, not even in this moment.
            lane.close(state, i128::from(now.mono.0) - 1);
        }
        // What it let go may have closed it again.
        let closed_again = state == LaneState::Active && lane.closed.is_some();
        if !cut && !closed_again {
            lane.states = [state].into();
        }
    }

    /// At a rest without a crash the last state is the only one.
    pub(crate) fn lanes_are_settled(&mut self, now: Now) {
        for lane in &mut self.lanes {
            if lane.closed == Some(ONCE_STORED) {
                lane.closed = Some(i128::from(now.mono.0));
            }
            if let Some((since, _)) = &mut lane.held {
                *since = now.mono.min(*since);
            }
            if lane.closed.is_some() && lane.states.len() > 1 {
                lane.states.remove(&LaneState::Active);
            }
        }
    }

    /// The states that the disk tells at a start.
    pub(crate) fn lanes_begin(&mut self, told: &[LaneState]) {
        for (endpoint, state) in told.iter().enumerate() {
            let lane = &self.lanes[endpoint];
            if !lane.states.contains(state) {
                self.breach(format!("endpoint e{endpoint} is {state:?} after a restart and was {:?}", lane.states));
            }
            let closed = (*state != LaneState::Active).then_some(-1);
            self.lanes[endpoint] = Lane { states: [*state].into(), closed, held: None, in_flight: 0 };
        }
    }

    /// A life has ended: nothing is under way and nothing on the schedule.
    pub(crate) fn life_ends(&mut self, crashed: bool) {
        for delivery in self.deliveries.values_mut() {
            delivery.in_flight = false;
            delivery.due = None;
            delivery.open |= crashed;
        }
        self.lanes.iter_mut().for_each(|lane| lane.in_flight = 0);
        // What may not be there may not lie there either: the next event may get its place.
        for post in self.posts.iter_mut().filter(|post| post.fate == Fate::Maybe) {
            if let Some(place) = post.place.take() {
                self.by_place.remove(&place);
            }
        }
    }

    /// Nothing more happens before the clock moves on. Whatever is due and might go must be under way.
    pub(crate) fn at_rest(&mut self, now: Now) {
        let total: u32 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        if total as usize >= self.in_flight_total_max {
            return;
        }
        let mut late = Vec::new();
        for (way, delivery) in &self.deliveries {
            let waits = self.posts[way.0].fate == Fate::Stored && delivery.last().is_pending() && !delivery.in_flight;
            if !waits || delivery.open || self.is_shaky(way.0) {
                continue;
            }
            let lane = &self.lanes[way.1];
            let held = lane.held.is_some_and(|(_, until)| until > now.mono);
            let may_go = lane.closed.is_none() && !held && lane.in_flight < self.endpoints[way.1].in_flight_max;
            match delivery.due {
                None => late.push(format!("{} is pending and on no schedule", self.way(*way))),
                Some((_, by)) if by <= now.mono && may_go => {
                    late.push(format!("{} is {} ms late", self.way(*way), now.mono.since(by)));
                }
                Some(_) => {}
            }
        }
        self.breaches.extend(late);
    }

    /// Milliseconds until the next attempt that waits is due.
    pub(crate) fn next_due_ms(&self, now: Now) -> Option<u64> {
        let dues = self.deliveries.values().filter_map(|delivery| delivery.due);
        dues.filter(|(due, _)| *due > now.mono).map(|(due, _)| due.since(now.mono)).min()
    }

    /// Deliveries that are not finished, in words; without those of damaged generations, which may end without an attempt.
    pub(crate) fn unfinished(&self) -> Vec<String> {
        let open = self.deliveries.iter().filter(|(way, delivery)| {
            self.posts[way.0].fate == Fate::Stored && delivery.last().is_pending() && !self.is_shaky(way.0)
        });
        open.map(|(way, delivery)| format!("{}: {:?}", self.way(*way), delivery.last())).collect()
    }

    fn post_of(&mut self, traceparent: Option<&str>) -> Option<usize> {
        let post = traceparent.and_then(|text| text.parse().ok()).filter(|post| *post < self.posts.len());
        if post.is_none() {
            self.breach(format!("an event with the mark {traceparent:?} was never handed in"));
        }
        post
    }

    /// The event in a place, if it is known.
    pub(crate) fn post_at(&self, place: EventRef) -> Option<usize> {
        self.by_place.get(&place).copied()
    }

    /// An event lies in a place.
    pub(crate) fn lies_at(&mut self, post: usize, place: EventRef) {
        self.counts.generations += u64::from(self.generations.insert(place.generation));
        let other = self.by_place.insert(place, post).filter(|other| *other != post);
        let before = self.posts[post].place.replace(place).filter(|before| *before != place);
        // A number may be given again once a crash has shown that nothing was stored under it, or damage has taken it.
        let other = other.filter(|other| self.posts[*other].fate == Fate::Stored && !self.is_shaky(*other));
        if before.is_some() || other.is_some() {
            self.breach(format!("{} lies where {other:?} lay; before it lay at {before:?}", self.name(post)));
        }
    }
}

impl Lane {
    fn close(&mut self, state: LaneState, after: i128) {
        self.closed = Some(self.closed.map_or(after, |at| at.min(after)));
        self.states.insert(state);
    }
}

/// When a recovered delivery is due: its stored moment on the monotonic clock, as seen from now, or from its acceptance where
/// the clock lies before that.
pub(super) fn due(waiting: &Waiting, now: Now) -> (MonoMs, MonoMs) {
    let due = now.mono.plus_ms(waiting.next_at.since(now.wall.max(waiting.accepted_at)));
    (due, due)
}

/// The shortest and the longest wait that the contract allows after an attempt.
fn wait_ms(policy: &RetryPolicy, progress: Progress, hint_ms: Option<u64>) -> Option<(u64, u64)> {
    if progress.made >= ATTEMPTS_MAX {
        return None;
    }
    let wait = *policy.waits_ms.get(usize::from(progress.tries) - 1)? as f64;
    let hint = hint_ms.unwrap_or(0).min(policy.retry_after_ms_max);
    let (least, most) = ((wait * (1.0 - policy.jitter)).floor() as u64, (wait * (1.0 + policy.jitter)).ceil() as u64);
    Some((least.max(hint), most.max(hint)))
}
