//! Events that were handed in, and what was answered.

use std::sync::Arc;

use bytes::Bytes;
use webhookd::clock::{MonoMs, UnixMs};
use webhookd::model::delivery::{EventRef, Progress};
use webhookd::model::event::{Content as Body, Event, Fingerprint, NewEvent};
use webhookd::model::roster::EndpointNo;
use webhookd::model::text::{EventId, EventType, IdempotencyKey, OrderingKey};
use webhookd::outbox::{AcceptError, Accepted};

use super::{Delivery, Ledger, Now, Point, Stand};
use crate::sim::content::Content;

/// What became of an event that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// No answer yet.
    Asked,
    /// It was acknowledged: it is there.
    Stored,
    /// It was refused with 503, or a crash came before the answer: it may be there or not.
    Maybe,
    /// It is not there: it was answered with 409, or is known to have left no trace.
    Refused,
    /// It is another one, which was there before.
    Repeat,
    /// It was finished and past retention, and is gone.
    Gone,
}

/// One event handed in. Its number in the ledger travels in its `traceparent`.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) id: String,
    pub(crate) id_given: bool,
    pub(crate) key: Option<String>,
    pub(crate) content: Content,
    pub(crate) at: UnixMs,
    pub(crate) fate: Fate,
    pub(crate) place: Option<EventRef>,
    /// Retention counts from here or later.
    pub(crate) quiet_since: UnixMs,
    /// Whether it is known to be durable: damage may take the last moments before a crash, and nobody can tell.
    pub(crate) durable: bool,
    /// Whether it has been past retention already: the clock may have been set back since.
    pub(crate) expired: bool,
    /// Whether it was refused with 503 and came back with a restart. Another may have taken its id meanwhile.
    pub(crate) revenant: bool,
    /// The daemon's own event, where it is one.
    pub(super) report: Option<Arc<Event>>,
}

/// How an answer was heard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard {
    pub(crate) now: Now,
    /// The image of the crash was taken before or while it came: it is not known which.
    pub(crate) cut: bool,
    /// Nothing has been wrong with the disk for a while, and there is room.
    pub(crate) calm: bool,
}

impl Post {
    /// An event that is handed in now.
    pub(crate) fn new(id: String, id_given: bool, key: Option<String>, content: Content, now: Now) -> Self {
        let at = now.wall;
        Self {
            id,
            id_given,
            key,
            content,
            at,
            fate: Fate::Asked,
            place: None,
            quiet_since: at,
            durable: false,
            expired: false,
            revenant: false,
            report: None,
        }
    }

    /// An event of the daemon's own.
    pub(super) fn of_the_daemon(event: &Arc<Event>, content: Content) -> Self {
        let now = Now { wall: event.at, mono: MonoMs(0) };
        Self { report: Some(Arc::clone(event)), ..Self::new(event.id.to_string(), false, None, content, now) }
    }

    /// Its body.
    pub(super) fn body(&self) -> Bytes {
        self.report.as_ref().map_or_else(|| self.content.body(), |event| event.content.body.clone())
    }

    /// Its ordering key.
    pub(super) fn ordering_key(&self) -> Option<String> {
        match &self.report {
            Some(event) => event.key.as_ref().map(ToString::to_string),
            None => self.content.key.map(|key| format!("k{key}")),
        }
    }

    /// As the API would hand it to the outbox.
    fn event(&self, no: usize) -> NewEvent {
        let event = Event {
            id: EventId::parse(&self.id).unwrap(),
            event_type: EventType::parse(&format!("sim.{no}")).unwrap(),
            key: self.ordering_key().map(|key| OrderingKey::parse(&key).unwrap()),
            at: self.at,
            timestamp: None,
            deliver_at: self.content.deliver_at.map(UnixMs),
            content: Body { content_type: "text/plain".into(), json: false, body: self.content.body() },
            traceparent: Some(no.to_string().into()),
            cloud_attributes: None,
            headers: Vec::new(),
        };
        NewEvent {
            event: Arc::new(event),
            id_given: self.id_given,
            idempotency_key: self.key.as_deref().map(|key| IdempotencyKey::parse(key).unwrap()),
            fingerprint: Fingerprint(self.content.fingerprint()),
            targets: self.content.targets.iter().map(|at| EndpointNo(*at as u16)).collect(),
        }
    }
}

impl Ledger {
    /// Notes an event that is about to be handed in, and makes it.
    pub(crate) fn ask(&mut self, post: Post) -> (usize, NewEvent) {
        let no = self.posts.len();
        let event = post.event(no);
        self.by_id.entry(post.id.clone()).or_default().push(no);
        if let Some(key) = &post.key {
            self.by_key.entry(key.clone()).or_default().push(no);
        }
        self.posts.push(post);
        (no, event)
    }

    /// Judges the answer to events that were handed in together.
    pub(crate) fn answered(&mut self, posts: &[usize], answer: &Result<Vec<Accepted>, AcceptError>, heard: Heard) {
        match answer {
            Ok(accepted) => {
                if accepted.len() != posts.len() {
                    self.breach(format!("{} answers to {} events", accepted.len(), posts.len()));
                }
                for (post, accepted) in posts.iter().zip(accepted) {
                    self.accepted(*post, accepted, heard);
                }
            }
            Err(AcceptError::Conflict { index, id }) => {
                self.counts.conflicts += 1;
                let one = posts.get(*index).copied();
                let known = |(other, _): &(usize, bool)| self.posts[*other].id == id.as_str();
                let fits = one.is_some_and(|one| {
                    // Others of the same request may stand in its way too.
                    let mut rivals = self.rivals(one, heard.now).into_iter().filter(known);
                    rivals.any(|(other, _)| !self.is_repeat(one, other))
                });
                if !fits {
                    let name = one.map_or_else(|| format!("number {index}"), |one| self.name(one));
                    self.breach(format!("{name} was refused for another event known as {id}, and there is none"));
                }
                posts.iter().for_each(|post| self.posts[*post].fate = Fate::Refused);
            }
            Err(error) => {
                self.counts.refused += 1;
                if heard.calm {
                    self.breach(format!("{} was refused ({error}) though nothing is wrong", self.name(posts[0])));
                }
                posts.iter().for_each(|post| self.leave_open(*post));
            }
        }
    }

    fn accepted(&mut self, post: usize, accepted: &Accepted, heard: Heard) {
        let rivals = self.rivals(post, heard.now);
        let names: Vec<&str> = accepted.endpoints.iter().map(|name| name.as_str()).collect();
        let wanted: Vec<String> = self.posts[post].content.targets.iter().map(|at| format!("e{at}")).collect();
        // The names of a damaged generation may be lost: what it holds for them is told under names made up for it.
        let lost = |name: &str| accepted.duplicate && self.is_harmed() && name.starts_with("lost-name-");
        let kept: Vec<&str> = names.iter().copied().filter(|name| !lost(name)).collect();
        let mut left = wanted.iter();
        let in_order = kept.iter().all(|name| left.any(|wanted| wanted == name));
        if names.len() != wanted.len() || !in_order {
            self.breach(format!("{} goes to {names:?} and not to {wanted:?}", self.name(post)));
        }
        if accepted.duplicate {
            self.counts.repeats += 1;
            self.posts[post].fate = Fate::Repeat;
            let same = |other: usize| self.posts[other].id == accepted.id.as_str() && self.is_repeat(post, other);
            let known =
                |fate| rivals.iter().find(|(other, _)| same(*other) && self.posts[*other].fate == fate).copied();
            let first = known(Fate::Stored).or_else(|| known(Fate::Maybe)).or_else(|| known(Fate::Asked));
            match first {
                // The daemon has said that it has it, so it must be there.
                Some((other, _)) if self.posts[other].fate == Fate::Maybe && !heard.cut => self.store(other, heard.now),
                Some(_) => {}
                None => self.breach(format!(
                    "{} was answered as a repeat of {}, which was never stored",
                    self.name(post),
                    accepted.id
                )),
            }
            if let Some((other, _)) = rivals.iter().find(|(other, sure)| *sure && !self.is_repeat(post, *other)) {
                self.breach(format!("{} was answered as a repeat in spite of {}", self.name(post), self.name(*other)));
            }
            return;
        }
        self.counts.stored += 1;
        if accepted.id.as_str() != self.posts[post].id {
            self.breach(format!("{} was stored as {}", self.name(post), accepted.id));
        }
        for (other, sure) in rivals {
            if sure {
                self.breach(format!("{} was stored beside {}", self.name(post), self.name(other)));
            } else if self.posts[other].fate == Fate::Stored && !self.is_shaky(other) && !self.posts[other].revenant {
                self.posts[other].fate = Fate::Gone;
            }
        }
        if heard.cut {
            self.leave_open(post);
        } else {
            self.store(post, heard.now);
        }
    }

    /// Events that may be known under the same id or key, and whether they surely are.
    fn rivals(&self, post: usize, now: Now) -> Vec<(usize, bool)> {
        let one = &self.posts[post];
        let by_id = self.by_id.get(&one.id).filter(|_| one.id_given);
        let by_key = one.key.as_ref().and_then(|key| self.by_key.get(key));
        let mut others: Vec<usize> =
            by_id.into_iter().chain(by_key).flatten().copied().filter(|no| *no != post).collect();
        others.sort_unstable();
        others.dedup();
        // One that was refused and came back may hide another.
        let haunted = others.iter().any(|other| self.posts[*other].revenant);
        let judged = others.into_iter().filter_map(|other| match self.posts[other].fate {
            Fate::Stored => {
                let sure = !self.may_be_gone(other, now) && !self.is_shaky(other) && !haunted;
                Some((other, sure))
            }
            Fate::Maybe | Fate::Asked => Some((other, false)),
            Fate::Refused | Fate::Repeat | Fate::Gone => None,
        });
        judged.collect()
    }

    /// An event, known by its type, is listed in a place: it lies there.
    pub(crate) fn met(&mut self, event_type: &str, place: EventRef) {
        let there = |post: &Post| matches!(post.fate, Fate::Stored | Fate::Maybe);
        let post = event_type.strip_prefix("sim.").and_then(|no| no.parse::<usize>().ok());
        if let Some(post) = post.filter(|post| self.posts.get(*post).is_some_and(there))
            && self.posts[post].place.is_none()
        {
            self.lies_at(post, place);
        }
    }

    fn is_repeat(&self, post: usize, of: usize) -> bool {
        let (post, of) = (&self.posts[post], &self.posts[of]);
        post.content.no == of.content.no && (!post.id_given || post.id == of.id)
    }

    /// It is there.
    pub(super) fn store(&mut self, post: usize, now: Now) {
        self.posts[post].fate = Fate::Stored;
        self.posts[post].quiet_since = now.wall;
        self.posts[post].durable |= !self.lazy;
        self.expect_deliveries(post);
    }

    /// It may be there or not.
    pub(super) fn leave_open(&mut self, post: usize) {
        self.posts[post].fate = Fate::Maybe;
        self.expect_deliveries(post);
    }

    fn expect_deliveries(&mut self, post: usize) {
        let due = self.first_due(post);
        let fresh = Point { at: Stand::Pending(due, due), progress: Progress::default() };
        for endpoint in self.posts[post].content.targets.clone() {
            self.deliveries.entry((post, endpoint)).or_insert_with(|| Delivery::at(fresh));
        }
    }

    pub(super) fn first_due(&self, post: usize) -> UnixMs {
        let post = &self.posts[post];
        post.content.deliver_at.map_or(post.at, UnixMs)
    }

    /// Whether retention may have removed it.
    pub(super) fn may_be_gone(&self, post: usize, now: Now) -> bool {
        self.may_be_gone_at(post, now.wall)
    }

    pub(super) fn may_be_gone_at(&self, post: usize, wall: UnixMs) -> bool {
        self.is_finished(post) && (self.posts[post].expired || self.is_expired(post, wall))
    }

    pub(super) fn is_expired(&self, post: usize, wall: UnixMs) -> bool {
        wall.since(self.posts[post].quiet_since) >= self.retention_ms
    }

    fn is_finished(&self, post: usize) -> bool {
        self.deliveries
            .range((post, 0)..(post + 1, 0))
            .all(|(_, delivery)| !delivery.last().is_pending() || delivery.overdue)
    }

    /// The wall clock was set: what was later than it counts from it.
    pub(crate) fn clock_was_set(&mut self, before: UnixMs, wall: UnixMs) {
        for post in 0..self.posts.len() {
            // What was damaged may have ended without an attempt.
            let finished = self.is_finished(post) || self.is_shaky(post);
            self.posts[post].expired |= finished && self.is_expired(post, before);
            self.posts[post].quiet_since = self.posts[post].quiet_since.min(wall);
        }
    }
}
