//! The outbox's own account against the ledger's.

use std::collections::{BTreeMap, BTreeSet};

use webhookd::config::OnDead;
use webhookd::model::delivery::{DeadReason, Fallen, Progress, Standing, Waiting};
use webhookd::outbox::{Damage, EventSummary, StoredDelivery, StoredEvent};

use super::{Delivery, Fate, Ledger, Now, Point, Post, Stand, attempts, order};

impl Ledger {
    /// What waits and what is dead at a start, each with its event. `complete`: every generation could be opened.
    pub(crate) fn begins(&mut self, waiting: &[(usize, Waiting)], dead: &[(usize, Fallen)], complete: bool, now: Now) {
        self.told += 1;
        let mut told = BTreeSet::new();
        for (post, waiting) in waiting {
            let way = (*post, usize::from(waiting.delivery.endpoint.0));
            if !told.insert(way) {
                self.breach(format!("{} waits twice", self.way(way)));
            }
            match self.posts[*post].fate {
                Fate::Stored => {}
                Fate::Maybe => {
                    self.store(*post, now);
                    self.posts[*post].revenant = true;
                }
                _ => self.breach(format!("{} waits after a restart", self.way(way))),
            }
            self.waits(way, waiting, now);
        }
        self.replays.clear();
        self.dead_begin(dead, complete, now);
        // What died in the last life was told in it, or never will be.
        self.reports_at_rest(false);
        let mut lost = Vec::new();
        let shaky: BTreeSet<usize> = (0..self.posts.len()).filter(|post| self.is_shaky(*post)).collect();
        for (way, delivery) in &mut self.deliveries {
            if self.posts[way.0].fate != Fate::Stored || told.contains(way) {
                continue;
            }
            let from = if delivery.open { delivery.sure } else { delivery.history.len() - 1 };
            match (from..delivery.history.len()).rev().find(|at| !delivery.history[*at].is_pending()) {
                // Which of them it is the audit tells.
                Some(last) => delivery.history.truncate(last + 1),
                // It was given up, and is past retention since.
                None if std::mem::take(&mut delivery.was_overdue) => {}
                None if complete && !shaky.contains(&way.0) => lost.push(*way),
                None => {}
            }
        }
        for way in lost {
            let delivery = &self.deliveries[&way];
            let known = &delivery.history[delivery.sure..];
            self.breach(format!("{} stood at {known:?} and does not wait after a restart", self.way(way)));
        }
    }

    /// What is dead at a start is told, since it may hold up others.
    fn dead_begin(&mut self, dead: &[(usize, Fallen)], complete: bool, now: Now) {
        let told: BTreeMap<_, _> =
            dead.iter().map(|(post, one)| ((*post, usize::from(one.delivery.endpoint.0)), one.died_at)).collect();
        for way in told.keys() {
            if let Some(progress) = self.deliveries.get(way).map(|delivery| delivery.last().progress) {
                self.settle_overdue(*way, Standing::Dead(DeadReason::BreakerOpen), progress, now);
            }
        }
        let mut wrong = Vec::new();
        for (way, delivery) in &self.deliveries {
            let stored = self.posts[way.0].fate == Fate::Stored && !self.is_shaky(way.0);
            let may_be = if delivery.open { &delivery.history[delivery.sure..] } else { &[delivery.last()][..] };
            let is_dead = |point: &Point| matches!(point.at, Stand::Dead(_));
            let is_told = told.contains_key(way);
            if stored && is_told && !may_be.iter().any(is_dead) {
                wrong.push(format!("{} is told as dead at the start, and stood at {may_be:?}", self.way(*way)));
            }
            if stored && complete && !is_told && may_be.iter().all(is_dead) && !self.may_be_gone(way.0, now) {
                wrong.push(format!("{} is dead and not told so at the start", self.way(*way)));
            }
        }
        self.breaches.extend(wrong);
        for (way, delivery) in &mut self.deliveries {
            let Some(died_at) = told.get(way).copied() else {
                delivery.fallen = None;
                continue;
            };
            // Of an endpoint that is not in the config at the start nothing dead is remembered.
            let blocking = self.endpoints[way.1].on_dead == OnDead::Block && !self.lanes[way.1].gone;
            let resumed_at = self.lanes[way.1].resumed_at;
            let known = delivery.fallen.filter(|known| blocking && !delivery.open && known.at > resumed_at);
            delivery.fallen = Some(order::Fallen { at: died_at, blocks: known.is_some() });
            if known.is_none() && died_at < resumed_at {
                delivery.fallen = None;
            }
        }
    }

    fn waits(&mut self, way: (usize, usize), waiting: &Waiting, now: Now) {
        let shaky = self.is_shaky(way.0);
        if shaky && way.1 >= self.endpoints.len() {
            // The name of its endpoint was lost with the damage: it waits under another, to be replayed by hand.
            self.strayed.insert(way.0);
            return;
        }
        let standing = Standing::Pending { next_at: waiting.next_at };
        if let Some(at) = self.replays.get(&way) {
            // A crash came between the replay and the news of it.
            let delivery = self.deliveries.entry(way).or_insert_with(|| Delivery::at(Point::NEVER));
            let progress = Progress { tries: 0, made: waiting.progress.made };
            let known = &delivery.history[delivery.sure..];
            if known.iter().any(|point| !point.is_pending() && point.progress.made == progress.made) {
                delivery.history.push(Point { at: Stand::Pending(*at, *at), progress });
            }
        }
        if self.is_unannounced(way.0) {
            let at = Stand::Pending(waiting.next_at, waiting.next_at);
            self.deliveries.entry(way).or_insert_with(|| Delivery::at(Point { at, progress: waiting.progress }));
        }
        let told = self.told;
        let Some(delivery) = self.deliveries.get_mut(&way) else {
            self.breach(format!("{} waits and was never meant for it", self.way(way)));
            return;
        };
        (delivery.due, delivery.told, delivery.overdue) = (Some(attempts::due(waiting, now)), told, false);
        if delivery.stands(standing, waiting.progress) {
            return;
        }
        let known = delivery.history[delivery.sure.min(delivery.history.len() - 1)..].to_vec();
        if shaky {
            let at = Stand::Pending(waiting.next_at, waiting.next_at);
            let taken = delivery.taken;
            let due = delivery.due;
            *delivery = Delivery { taken, due, told, ..Delivery::at(Point { at, progress: waiting.progress }) };
            self.strayed.insert(way.0);
        } else {
            self.breach(format!("{} waits as {waiting:?} and stood at {known:?}", self.way(way)));
        }
    }

    /// Events whose account has to be compared with the outbox's: all that are or may be there.
    pub(crate) fn to_audit(&self) -> Vec<usize> {
        let there = |post: &usize| matches!(self.posts[*post].fate, Fate::Stored | Fate::Maybe);
        (0..self.posts.len()).filter(there).collect()
    }

    /// What the outbox tells of an event by its id. `calm`: nothing is wrong with the disk.
    pub(crate) fn audit(&mut self, post: usize, found: Option<&StoredEvent>, calm: bool, now: Now) {
        let reported = self.posts[post].report.as_ref().map(|event| event.id.clone());
        let is_it = |found: &&StoredEvent| match &reported {
            Some(id) => found.event.id == *id,
            None => found.event.traceparent.as_deref() == Some(post.to_string().as_str()),
        };
        if let Some(other) = found.filter(|found| !is_it(found)) {
            let other = other.event.traceparent.as_deref().and_then(|mark| mark.parse().ok());
            let came_back = |post: &Post| post.revenant || post.fate == Fate::Maybe;
            // One that was refused and came back stands under the id of another, or another under its.
            if self.posts[post].revenant || other.and_then(|other: usize| self.posts.get(other)).is_some_and(came_back)
            {
                return;
            }
        }
        let found = found.filter(is_it);
        let Some(found) = found else {
            match self.posts[post].fate {
                Fate::Maybe if calm && !self.is_shaky(post) => self.posts[post].fate = Fate::Refused,
                Fate::Stored if self.may_be_gone(post, now) => self.posts[post].fate = Fate::Gone,
                // Its deliveries may have ended without an attempt, and retention may have come after that.
                Fate::Stored
                    if self.is_shaky(post) && (self.posts[post].expired || self.is_expired(post, now.wall)) => {}
                Fate::Stored if self.is_shaky(post) && !self.posts[post].durable => {}
                Fate::Stored if self.is_shaky(post) => drop(self.missing.insert(post)),
                Fate::Stored => self.breach(format!("{} is lost", self.name(post))),
                _ => {}
            }
            return;
        };
        if self.posts[post].fate == Fate::Maybe {
            // It is there after all, but perhaps on no schedule before the next start.
            return;
        }
        self.missing.remove(&post);
        self.lies_at(post, found.place);
        let shaky = self.is_shaky(post);
        if found.body_lost && shaky {
            self.strayed.insert(post);
        } else if found.event.content.body != self.posts[post].body() {
            self.breach(format!("{} has another body", self.name(post)));
        }
        let ways: Vec<_> = self.deliveries.range((post, 0)..(post + 1, 0)).map(|(way, _)| *way).collect();
        let known = |endpoint: &str| ways.iter().any(|way| endpoint == format!("e{}", way.1));
        if let Some(strange) = found.deliveries.iter().find(|one| !known(one.endpoint.as_str())).filter(|_| !shaky) {
            self.breach(format!("{} has a delivery that was never asked for: {strange:?}", self.name(post)));
        }
        for way in ways {
            let name = format!("e{}", way.1);
            let told = found.deliveries.iter().find(|delivery| delivery.endpoint.as_str() == name);
            if let Some(told) = told {
                self.settle_overdue(way, told.standing, told.progress, now);
            }
            let known = self.deliveries.get_mut(&way).expect("it was just found");
            if told.is_none() && known.may_never_be() {
                continue;
            }
            let fits = told.is_some_and(|told| known.stands(told.standing, told.progress));
            if !fits && shaky {
                self.strayed.insert(post);
                continue;
            }
            let known = known.history[known.sure.min(known.history.len() - 1)..].to_vec();
            let Some(told) = told.filter(|_| fits) else {
                let told = told.map(|told| (told.standing, told.progress));
                self.breach(format!("{} stands at {told:?} and not at {known:?}", self.way(way)));
                continue;
            };
            let numbers = told.attempts.iter().map(|attempt| attempt.n);
            let seen = told.attempts.iter().all(|attempt| {
                let seen = self.seen.get(&(post, way.1, attempt.n)).into_iter().flatten();
                seen.clone().any(|seen| (seen.at, seen.status) == (attempt.at, attempt.status))
            });
            if (!numbers.eq(1..=told.progress.made) || !seen) && !shaky {
                self.breach(format!("{} has attempts that were not seen: {:?}", self.way(way), told.attempts));
            }
        }
    }

    /// What the outbox lists, newest first.
    pub(crate) fn audit_list(&mut self, listed: &[EventSummary], now: Now) {
        if !listed.is_sorted_by(|one, next| one.place > next.place) {
            let places: Vec<_> = listed.iter().map(|one| one.place).collect();
            self.breach(format!("the list is out of order, or names an event twice: {places:?}"));
        }
        let places: BTreeSet<_> = listed.iter().map(|one| one.place).collect();
        for post in 0..self.posts.len() {
            let (fate, place) = (self.posts[post].fate, self.posts[post].place);
            let there = place.is_some_and(|place| places.contains(&place));
            if fate == Fate::Stored && !there && place.is_some() && !self.is_shaky(post) && !self.may_be_gone(post, now)
            {
                self.breach(format!("{} is not in the list", self.name(post)));
            }
        }
        for one in listed {
            let Some(post) = self.post_at(one.place).filter(|post| self.posts[*post].fate == Fate::Stored) else {
                continue;
            };
            if one.id.as_str() != self.posts[post].id {
                self.breach(format!("{} is listed as {}", self.name(post), one.id));
            }
            for (name, standing, progress) in &one.deliveries {
                let Ok(endpoint) = name.as_str()[1..].parse() else { continue };
                self.settle_overdue((post, endpoint), *standing, *progress, now);
                let fits =
                    self.deliveries.get_mut(&(post, endpoint)).is_some_and(|known| known.stands(*standing, *progress));
                if !fits && !self.is_shaky(post) {
                    self.breach(format!("{} is listed at {standing:?} {progress:?}", self.way((post, endpoint))));
                }
            }
        }
    }

    /// What is left of a damaged generation must end like everything else.
    pub(crate) fn audit_harmed_end(&mut self, post: usize, found: Option<&StoredEvent>) {
        let pending = |one: &&StoredDelivery| matches!(one.standing, Standing::Pending { .. });
        let of_ours = |one: &&StoredDelivery| self.endpoints.iter().any(|endpoint| endpoint.name == one.endpoint);
        let left = found.and_then(|found| found.deliveries.iter().filter(of_ours).find(pending));
        if let Some(left) = left {
            self.breach(format!("{} never ends: {left:?}", self.name(post)));
        }
    }

    /// What is missing of damaged generations must be named.
    pub(crate) fn audit_damages(&mut self, damages: &[Damage]) {
        let mut missing: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for post in &self.missing {
            if let Some(place) = self.posts[*post].place {
                missing.entry(place.generation).or_default().push(*post);
            }
        }
        for (generation, posts) in missing {
            let of_it = || damages.iter().filter(|damage| damage.generation == generation);
            let named: u64 = of_it().map(|damage| damage.loss.events_lost).sum();
            if !of_it().any(|damage| damage.loss.unknown) && named < posts.len() as u64 {
                let names: Vec<String> = posts.iter().map(|post| self.name(*post)).collect();
                self.breach(format!(
                    "{named} events are named as lost with generation {generation}, and these are: {names:?}"
                ));
            }
        }
        for damage in damages.iter().filter(|damage| !self.harmed.contains(&damage.generation)) {
            self.breaches.push(format!("damage is told where there was none: {damage:?}"));
        }
        let strayed: BTreeSet<u32> =
            self.strayed.iter().filter_map(|post| Some(self.posts[*post].place?.generation)).collect();
        for generation in strayed {
            if !damages.iter().any(|damage| damage.generation == generation && !damage.loss.is_none()) {
                self.breach(format!("states or bodies of generation {generation} are lost, and no loss is named"));
            }
        }
    }

    /// In the end each event that is there was taken by each of its endpoints, or is dead.
    pub(crate) fn audit_end(&mut self) {
        let never: Vec<_> = self
            .deliveries
            .iter()
            .filter(|(way, delivery)| {
                self.posts[way.0].fate == Fate::Stored
                    && !self.is_shaky(way.0)
                    && delivery.taken == 0
                    && delivery.last() != Point::NEVER
                    && !matches!(delivery.last().at, Stand::Dead(_))
            })
            .map(|(way, _)| *way)
            .collect();
        for way in never {
            self.breach(format!("{} was accepted and never taken", self.way(way)));
        }
    }
}
