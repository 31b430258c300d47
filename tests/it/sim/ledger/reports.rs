//! Operational events: what the daemon tells of endpoints and deliveries. Nobody hands them in; they are delivered like others.
//!
//! Those who subscribe are told, nobody of itself, and never of what became of such an event. Each thing is told once; a crash,
//! or a disk that refuses, may lose it.

use std::collections::{BTreeSet, HashMap};

use std::sync::Arc;

use webhookd::model::delivery::{DeadReason, EventRef, Standing};
use webhookd::model::event::Event;
use webhookd::outbox::FreshEvent;

use super::{Fate, Ledger, Now, Post, Stand};
use crate::sim::content::Content;

/// Their types begin so.
const PREFIX: &str = "webhookd.";

/// The daemon's own events.
#[derive(Debug, Default)]
pub(super) struct Reports {
    by_id: HashMap<String, usize>,
    /// Those of which nobody was told in the life that made them: to whom they go is seen at the start.
    pub(super) unannounced: BTreeSet<usize>,
    /// Deaths that must be told by the next rest.
    owed: BTreeSet<(usize, usize)>,
}

/// How often something has happened at most in this life, and was told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turns {
    pub(super) disabled: u32,
    pub(super) opened: u32,
    pub(super) recovered: u32,
    disabled_told: u32,
    opened_told: u32,
    recovered_told: u32,
}

impl Turns {
    /// What was told more often than it happened.
    pub(super) fn wrong(&self) -> Option<&'static str> {
        let told = [
            (self.disabled_told, self.disabled, "disabled"),
            (self.opened_told, self.opened, "opened"),
            (self.recovered_told, self.recovered, "recovered"),
        ];
        told.into_iter().find(|(told, happened, _)| told > happened).map(|(.., what)| what)
    }
}

fn is_report(event: &Event) -> bool {
    event.event_type.as_str().starts_with(PREFIX)
}

impl Ledger {
    /// Which of the daemon's own events it is.
    pub(super) fn reported(&self, event: &Event) -> Option<usize> {
        self.reports.by_id.get(event.id.as_str()).copied()
    }

    /// The dispatcher is told of an event; perhaps it is one of the daemon's own. `cut`: it may not outlive this life.
    pub(super) fn report_is_stored(&mut self, fresh: &FreshEvent, cut: bool, now: Now) {
        let event = &fresh.event;
        if !is_report(event) || self.reported(event).is_some() {
            return;
        }
        let targets: Vec<usize> = fresh.targets.iter().map(|no| usize::from(no.0)).collect();
        if let Some(wrong) = self.judge_report(event, &targets, now) {
            let body = String::from_utf8_lossy(&event.content.body).into_owned();
            self.breach(format!("{} {body} to {targets:?}: {wrong}", event.event_type));
        }
        let post = self.add_report(event, targets);
        if cut {
            self.leave_open(post);
        } else {
            self.store(post, now);
        }
    }

    /// An event that nobody handed in lies in a place; `None`: it is none of the daemon's own.
    pub(crate) fn report_lies_at(&mut self, event: &Arc<Event>, place: EventRef, now: Now) -> Option<usize> {
        if !is_report(event) {
            return None;
        }
        let post = self.reported(event).unwrap_or_else(|| {
            let post = self.add_report(event, Vec::new());
            self.reports.unannounced.insert(post);
            self.store(post, now);
            post
        });
        self.lies_at(post, place);
        Some(post)
    }

    fn add_report(&mut self, event: &Arc<Event>, targets: Vec<usize>) -> usize {
        let content = Content { no: 0, len: 0, targets, deliver_at: None, key: None };
        let (post, id) = (self.posts.len(), event.id.to_string());
        self.posts.push(Post::of_the_daemon(event, content));
        self.reports.by_id.insert(id, post);
        self.counts.reports += 1;
        post
    }

    /// What is wrong with a report, if anything is.
    fn judge_report(&mut self, event: &Event, targets: &[usize], now: Now) -> Option<String> {
        let Ok(body) = serde_json::from_slice::<serde_json::Value>(&event.content.body) else {
            return Some("is no JSON".to_owned());
        };
        let about = body["endpoint"].as_str().and_then(|name| name.get(1..)?.parse::<usize>().ok());
        let mut targets = targets.to_vec();
        targets.sort_unstable();
        if targets != self.subscribers(event.event_type.as_str(), about) {
            return Some(format!("goes to others than {:?}", self.subscribers(event.event_type.as_str(), about)));
        }
        match (event.event_type.as_str(), about) {
            ("webhookd.storage.low", None) => return None,
            ("webhookd.endpoint.disabled", Some(about)) => self.lanes[about].turns.disabled_told += 1,
            ("webhookd.endpoint.breaker_opened", Some(about)) => self.lanes[about].turns.opened_told += 1,
            ("webhookd.endpoint.recovered", Some(about)) => self.lanes[about].turns.recovered_told += 1,
            ("webhookd.delivery.dead", Some(about)) => return self.judge_death(&body, about, now),
            _ => return Some("is told of nobody".to_owned()),
        }
        None
    }

    /// Who subscribes to reports of a type about an endpoint.
    fn subscribers(&self, event_type: &str, about: Option<usize>) -> Vec<usize> {
        let wants =
            |at: &usize| Some(*at) != about && !self.lanes[*at].gone && self.endpoints[*at].events.takes(event_type);
        (0..self.lanes.len()).filter(wants).collect()
    }

    fn judge_death(&mut self, body: &serde_json::Value, endpoint: usize, now: Now) -> Option<String> {
        let (id, reason) = (body["event"].as_str()?, body["reason"].as_str()?);
        let (made, event_type) = (body["attempts"].as_u64()?, body["type"].as_str()?);
        self.mark_overdue(now);
        let posts = self.by_id.get(id).cloned().unwrap_or_default();
        for post in &posts {
            let way = (*post, endpoint);
            if let Some(known) = self.deliveries.get(&way).filter(|_| reason == DeadReason::BreakerOpen.word()) {
                self.settle_overdue(way, Standing::Dead(DeadReason::BreakerOpen), known.last().progress, now);
            }
            let shaky = self.is_shaky(*post);
            let Some(delivery) = self.deliveries.get_mut(&way) else { continue };
            let died = delivery.history.iter().any(|point| {
                matches!(point.at, Stand::Dead(why) if why.word() == reason) && u64::from(point.progress.made) == made
            });
            if event_type == format!("sim.{post}") && ((died && delivery.deaths_told < delivery.deaths) || shaky) {
                delivery.deaths_told += 1;
                self.reports.owed.remove(&way);
                return None;
            }
        }
        Some("is told of a delivery that did not die so, or was told of before".to_owned())
    }

    /// A delivery has died: those who subscribe are to be told.
    pub(super) fn owe_report(&mut self, way: (usize, usize)) {
        let told = self.posts[way.0].report.is_none() && !self.is_shaky(way.0);
        if told && !self.subscribers("webhookd.delivery.dead", Some(way.1)).is_empty() {
            self.reports.owed.insert(way);
        }
    }

    /// It may have died where that could not be told.
    pub(super) fn forgive_report(&mut self, way: (usize, usize)) {
        self.reports.owed.remove(&way);
    }

    /// A rest, the end of a life, or the start of one. `sure`: nothing stood in the way of what is told.
    pub(super) fn reports_at_rest(&mut self, sure: bool) {
        let owed = std::mem::take(&mut self.reports.owed);
        if sure {
            let wrong: Vec<_> = owed.iter().map(|way| format!("{} died and nobody was told", self.way(*way))).collect();
            self.breaches.extend(wrong);
        }
        for endpoint in 0..self.lanes.len() {
            if let Some(what) = self.lanes[endpoint].turns.wrong() {
                self.breach(format!("that e{endpoint} was {what} is told more often than it happened"));
            }
        }
    }

    /// To whom a report goes that is first met at a start.
    pub(super) fn is_unannounced(&self, post: usize) -> bool {
        self.reports.unannounced.contains(&post) && self.posts[post].fate == Fate::Stored
    }
}
