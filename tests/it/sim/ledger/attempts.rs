//! Deliveries: when each is due, what the network saw.

use std::sync::Arc;

use webhookd::clock::{MonoMs, UnixMs};
use webhookd::config::Endpoint;
use webhookd::deliver::Job;
use webhookd::limits::ATTEMPTS_MAX;
use webhookd::model::delivery::{DeadReason, DeliveryRef, EventRef, Progress, Standing, Waiting};
use webhookd::model::event::Event;
use webhookd::outbox::FreshEvent;
use webhookd::policy::breaker::Signal;
use webhookd::policy::retry::RetryPolicy;

use super::lanes::LaneState;
use super::{Delivery, Fate, Ledger, Now, Point, Stand};
use crate::sim::network::{Answer, Meaning};

/// An attempt that the network saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) at: UnixMs,
    pub(super) status: Option<u16>,
}

/// Which attempt it is.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) post: usize,
    pub(crate) endpoint: usize,
    n: u16,
    /// The config that it is made by.
    config: Arc<Endpoint>,
    /// How often its endpoint had been resumed before.
    resumes: u32,
}

impl Ledger {
    /// The dispatcher is told of a fresh event.
    pub(crate) fn announced(&mut self, fresh: &FreshEvent, cut: bool, now: Now) {
        self.told += 1;
        let told = self.told;
        self.report_is_stored(fresh, cut, now);
        let Some(post) = self.post_of(&fresh.event) else { return };
        self.lies_at(post, fresh.place);
        if !matches!(self.posts[post].fate, Fate::Stored | Fate::Maybe) {
            self.breach(format!("{} was announced and never accepted", self.name(post)));
        }
        let due = now.mono.plus_ms(self.first_due(post).since(now.wall));
        for no in &fresh.targets {
            match self.deliveries.get_mut(&(post, usize::from(no.0))) {
                Some(delivery) => (delivery.due, delivery.told) = (Some((due, due)), told),
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
        self.told += 1;
        let told = self.told;
        // Nobody is put back who is not dead or delivered: it was given up before.
        if let Some(progress) = self.deliveries.get(&way).map(|delivery| delivery.last().progress) {
            self.settle_overdue(way, Standing::Dead(DeadReason::BreakerOpen), progress, now);
        }
        let known = self.deliveries.entry(way).or_insert_with(|| Delivery::at(Point::NEVER));
        let wrong = if known.last().is_pending() {
            known.due.is_some() && !known.open
        } else {
            let goes_on = known.ended_with(point.progress.made);
            known.history.push(point);
            !goes_on || point.progress.tries != 0
        };
        (known.due, known.told, known.fallen) = (Some(due(waiting, now)), told, None);
        self.posts[post].expired = false;
        if wrong && !self.is_shaky(post) {
            self.breach(format!("{} was revived as {point:?}", self.way(way)));
        }
    }

    /// A request reaches the network.
    pub(crate) fn attempt_begins(&mut self, job: &Job, now: Now) -> Trial {
        let endpoint: usize = job.endpoint.name.as_str()[1..].parse().expect("endpoints are e0, e1, …");
        self.counts.attempts += 1;
        self.mark_overdue(now);
        let resumes = self.lanes[endpoint].resumes;
        let trial = |post| Trial { post, endpoint, n: job.n, config: Arc::clone(&job.endpoint), resumes };
        let Some(post) = self.post_of(&job.event) else { return trial(0) };
        let way = (post, endpoint);
        if !matches!(self.posts[post].fate, Fate::Stored | Fate::Maybe) {
            self.breach(format!("{} is delivered and was never accepted", self.way(way)));
        }
        if job.event.content.body != self.posts[post].body() || job.event.id.as_str() != self.posts[post].id {
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
        let wrong = wrong.or_else(|| self.order_refuses(way)).or_else(|| self.lane_refuses(endpoint, now));
        if let Some(wrong) = wrong {
            self.breach(format!("attempt {} of {} {wrong}", job.n, self.way(way)));
        }
        if let Some(delivery) = self.deliveries.get_mut(&way) {
            (delivery.overdue, delivery.was_overdue) = (false, false);
        }
        let lane = &mut self.lanes[endpoint];
        lane.in_flight += 1;
        lane.starts.begins(now.mono);
        if let Some(gate) = &mut lane.gate {
            gate.begins(way);
        }
        trial(post)
    }

    /// The network has answered it.
    pub(crate) fn attempt_ends(&mut self, trial: &Trial, answer: Answer, begun: Now, ended: Now) {
        let Trial { post, endpoint, n, ref config, resumes } = *trial;
        let way = (post, endpoint);
        let policy = &config.retry;
        let meaning = answer.meaning(&config.permanent, ended.wall);
        self.seen.entry((post, endpoint, n)).or_default().push(Seen { at: begun.wall, status: answer.status() });
        self.lanes[endpoint].in_flight -= 1;
        let Some(delivery) = self.deliveries.get_mut(&way) else { return };
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
        if let Meaning::Delivered(_) = meaning {
            delivery.taken += 1;
            self.counts.taken += 1;
        }
        self.posts[post].quiet_since = ended.wall;
        if matches!(point.at, Stand::Dead(_)) {
            self.falls(way, ended.wall);
        }
        self.lane_hears(way, answer.signal(&config.permanent, ended.wall), resumes);
        let lane = &mut self.lanes[endpoint];
        match meaning {
            _ if lane.gone => {}
            // What was asked before an operator resumed it is answered by that.
            Meaning::Delivered(true) if lane.resumes == resumes => drop(lane.asked.insert(LaneState::Asked)),
            Meaning::Disabled if lane.resumes == resumes => drop(lane.asked.insert(LaneState::Gone)),
            Meaning::Again(hint_ms, true) => {
                let first = policy.waits_ms.first().copied().unwrap_or(5_000);
                let until = ended.mono.plus_ms(first.max(hint_ms.unwrap_or(0).min(policy.retry_after_ms_max)));
                lane.asked_hold = lane.asked_hold.max(until);
            }
            _ => {}
        }
    }

    /// An attempt has told something of its endpoint.
    fn lane_hears(&mut self, way: (usize, usize), signal: Signal, resumes: u32) {
        let lane = &mut self.lanes[way.1];
        if lane.gone {
            return;
        }
        let blame = lane.resumes == resumes;
        if let Some(gate) = &mut lane.gate {
            gate.ends(way, signal, blame);
        }
        match signal {
            Signal::Success => lane.failing.succeeds(),
            Signal::Failure | Signal::Limited => lane.failing.fails(blame),
            Signal::Nothing => {}
        }
    }

    /// A life has ended: nothing is under way and nothing on the schedule.
    pub(crate) fn life_ends(&mut self, crashed: bool, now: Now) {
        for delivery in self.deliveries.values_mut() {
            delivery.in_flight = false;
            delivery.due = None;
            delivery.open |= crashed;
        }
        self.lanes_end(now);
        // What may not be there may not lie there either: the next event may get its place.
        for post in self.posts.iter_mut().filter(|post| post.fate == Fate::Maybe) {
            if let Some(place) = post.place.take() {
                self.by_place.remove(&place);
            }
        }
    }

    /// Which event it is, by its mark.
    fn post_of(&mut self, event: &Event) -> Option<usize> {
        let post = self.reported(event).or_else(|| event.traceparent.as_deref()?.parse().ok());
        let post = post.filter(|post| *post < self.posts.len());
        if post.is_none() {
            self.breach(format!("an event with the mark {:?} was never handed in", event.traceparent));
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
