//! Order: no attempt of a delivery begins while an earlier one of the same endpoint and key is unfinished, nor where a dead one
//! blocks it.

use std::collections::{BTreeMap, BTreeSet};

use webhookd::clock::UnixMs;
use webhookd::config::{OnDead, Order};
use webhookd::model::delivery::EventRef;

use super::{Delivery, Ledger};

/// Deliveries that keep their order: those of one endpoint and key, or all of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Chain {
    Key(String),
    Whole,
}

/// A delivery that has died since its endpoint was last resumed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fallen {
    pub(super) at: UnixMs,
    /// Whether it surely holds up those behind it.
    pub(super) blocks: bool,
}

/// What stands in the way of the deliveries of a chain.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    under_way: bool,
    /// The first that may not have ended.
    first: Option<EventRef>,
    /// The first that may block those behind it.
    fallen: Option<EventRef>,
}

impl Ahead {
    /// Whether a delivery may have to wait for another.
    pub(super) fn holds_up(&self, place: EventRef) -> bool {
        let before = |one: Option<EventRef>| one.is_some_and(|one| one < place);
        self.under_way || before(self.first) || before(self.fallen)
    }
}

impl Ledger {
    /// The chain that a delivery belongs to, under its endpoint's rules.
    pub(super) fn chain(&self, (post, endpoint): (usize, usize)) -> Option<Chain> {
        match self.endpoints[endpoint].order {
            Order::None => None,
            Order::Key => self.posts[post].ordering_key().map(Chain::Key),
            Order::Strict => Some(Chain::Whole),
        }
    }

    /// Why an attempt of this delivery may not begin.
    pub(super) fn order_refuses(&self, way: (usize, usize)) -> Option<String> {
        let chain = self.chain(way)?;
        let blocks = self.endpoints[way.1].on_dead == OnDead::Block;
        let one = self.deliveries.get(&way)?;
        let others = self.deliveries.iter().filter(|(other, _)| other.1 == way.1 && other.0 != way.0);
        for (other, delivery) in others.filter(|(other, _)| self.chain(**other).as_ref() == Some(&chain)) {
            if delivery.in_flight {
                return Some(format!("while an attempt of {}, of the same key, is under way", self.way(*other)));
            }
            let earlier = self.posts[other.0].place < self.posts[way.0].place && self.posts[other.0].place.is_some();
            if !earlier || self.is_shaky(other.0) {
                continue;
            }
            if self.surely_waits(delivery, one) {
                return Some(format!("before {}, which is earlier and of the same key", self.way(*other)));
            }
            if blocks && delivery.fallen.is_some_and(|fallen| fallen.blocks) {
                return Some(format!(
                    "though {}, earlier and of the same key, is dead and blocks it",
                    self.way(*other)
                ));
            }
        }
        None
    }

    /// Whether the dispatcher knew that a delivery waits when it let another one go.
    fn surely_waits(&self, delivery: &Delivery, before: &Delivery) -> bool {
        let waits = delivery.due.is_some() && delivery.last().is_pending() && !delivery.overdue;
        waits && delivery.told <= self.heard.max(before.told)
    }

    /// What stands in the way of each chain.
    pub(super) fn ahead(&self) -> BTreeMap<(usize, Chain), Ahead> {
        let mut all: BTreeMap<_, Ahead> = BTreeMap::new();
        let earlier = |known: Option<EventRef>, place: EventRef| Some(known.map_or(place, |known| known.min(place)));
        for (way, delivery) in &self.deliveries {
            let (Some(chain), Some(place)) = (self.chain(*way), self.posts[way.0].place) else { continue };
            let ahead = all.entry((way.1, chain)).or_default();
            ahead.under_way |= delivery.in_flight;
            if delivery.last().is_pending() {
                ahead.first = earlier(ahead.first, place);
            }
            if delivery.fallen.is_some() && self.endpoints[way.1].on_dead == OnDead::Block {
                ahead.fallen = earlier(ahead.fallen, place);
            }
        }
        all
    }

    /// A delivery has died.
    pub(super) fn falls(&mut self, way: (usize, usize), at: UnixMs) {
        let blocks = self.endpoints[way.1].on_dead == OnDead::Block;
        if let Some(delivery) = self.deliveries.get_mut(&way) {
            delivery.fallen = Some(Fallen { at, blocks });
            delivery.deaths += 1;
        }
        self.owe_report(way);
    }

    /// The dispatcher is told that a generation is gone: its dead hold nobody up any more.
    pub(crate) fn removed(&mut self, generation: u32, wall: UnixMs) {
        let of_it = |post: &usize| self.posts[*post].place.is_some_and(|place| place.generation == generation);
        let gone: BTreeSet<usize> = (0..self.posts.len()).filter(of_it).collect();
        for post in &gone {
            let kept = self.posts[*post].fate == super::Fate::Stored && !self.may_be_gone_at(*post, wall);
            if kept && !self.is_shaky(*post) {
                self.breach(format!("{} is removed before its time", self.name(*post)));
            }
        }
        for (way, delivery) in &mut self.deliveries {
            if gone.contains(&way.0) {
                delivery.fallen = None;
            }
        }
    }

    /// An operator has resumed an endpoint: what is dead holds nobody up any more.
    pub(super) fn forget_fallen(&mut self, endpoint: usize) {
        let of_it = self.deliveries.iter_mut().filter(|(way, _)| way.1 == endpoint);
        of_it.for_each(|(_, delivery)| delivery.fallen = None);
    }

    /// The endpoint's rules have changed while it was in force or not: what died under others may block or not.
    pub(super) fn doubt_fallen(&mut self, endpoint: usize) {
        let of_it = self.deliveries.iter_mut().filter(|(way, _)| way.1 == endpoint);
        of_it.filter_map(|(_, delivery)| delivery.fallen.as_mut()).for_each(|fallen| fallen.blocks = false);
    }
}
