//! Questions to the outbox and their answers.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::ReadError;
use super::generation::{Generation, Head, State};
use super::ids::id_hash;
use super::store::Store;
use crate::clock::UnixMs;
use crate::model::attempt::Attempt;
use crate::model::delivery::{DeliveryState, EventRef, Progress, Standing};
use crate::model::event::Event;
use crate::model::roster::EndpointNo;
use crate::model::text::{EndpointName, EventId, EventType, OrderingKey};
use crate::policy::routing::TypeFilter;

/// Which events to list.
#[derive(Clone, Debug, Default)]
pub struct ListQuery {
    /// Types to show; `None`: all.
    pub types: Option<TypeFilter>,
    /// Only events with a delivery to this endpoint.
    pub endpoint: Option<EndpointNo>,
    /// Only events with a delivery in this state (to that endpoint, where one is named).
    pub state: Option<DeliveryState>,
    /// Accepted at or after this moment.
    pub since: Option<UnixMs>,
    /// Accepted before this moment.
    pub until: Option<UnixMs>,
    /// At most so many.
    pub limit: usize,
    /// Where the page before ended.
    pub cursor: Option<Cursor>,
}

/// A place in the list: the events before it are still to come. Opaque to users.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor(pub EventRef);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}{:08x}", self.0.generation, self.0.seq)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != 16 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(());
        }
        let (generation, seq) = text.split_at(8);
        let parse = |part| u32::from_str_radix(part, 16).map_err(drop);
        Ok(Self(EventRef { generation: parse(generation)?, seq: parse(seq)? }))
    }
}

/// A page of the list.
#[derive(Clone, Debug)]
pub struct Page {
    /// Newest first.
    pub events: Vec<EventSummary>,
    /// Where to go on; `None` at the end.
    pub next: Option<Cursor>,
}

/// An event without its body.
#[derive(Clone, Debug)]
pub struct EventSummary {
    /// Where it lies.
    pub place: EventRef,
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Its ordering key.
    pub key: Option<OrderingKey>,
    /// When it was accepted.
    pub at: UnixMs,
    /// Its deliveries.
    pub deliveries: Vec<(EndpointName, Standing, Progress)>,
}

/// An event with everything that happened to it.
#[derive(Clone, Debug)]
pub struct StoredEvent {
    /// Where it lies.
    pub place: EventRef,
    /// The event.
    pub event: Arc<Event>,
    /// Whether its body was lost with a damaged generation.
    pub body_lost: bool,
    /// Its deliveries.
    pub deliveries: Vec<StoredDelivery>,
}

/// A delivery with its attempts.
#[derive(Clone, Debug)]
pub struct StoredDelivery {
    /// To which endpoint.
    pub endpoint: EndpointName,
    /// Where it stands.
    pub standing: Standing,
    /// How far it has come.
    pub progress: Progress,
    /// Its attempts, the first first.
    pub attempts: Vec<Attempt>,
}

/// The whole event under an id.
pub(super) fn find(store: &Store, id: &EventId) -> Result<Option<StoredEvent>, ReadError> {
    let fits = |head: &Head| head.event.id == *id;
    let Some((place, head)) = store.lookup(id_hash(id.as_str()), 0, fits)? else { return Ok(None) };
    let Some(slot) = store.slot(place.generation) else { return Ok(None) };
    let found = store.read(&slot, |generation| {
        let mut deliveries = Vec::new();
        for (endpoint, state, mut attempts) in generation.deliveries(place.seq, &head)? {
            attempts.sort_by_key(|attempt| attempt.n);
            deliveries.push(StoredDelivery {
                endpoint: store.roster().name(endpoint),
                standing: state.standing,
                progress: state.progress,
                attempts,
            });
        }
        // Without its body there is still everything to tell about what happened to it.
        let without_body = head.event.clone();
        let (event, body_lost) = match generation.event(head) {
            Ok(event) => (event, false),
            Err(ReadError::Lost(_)) => (without_body, true),
            Err(error) => return Err(error),
        };
        Ok(StoredEvent { place, event: Arc::new(event), body_lost, deliveries })
    });
    Ok(found?)
}

/// The event in a place.
pub(super) fn load(store: &Store, event: EventRef) -> Result<Option<Arc<Event>>, ReadError> {
    let Some(slot) = store.slot(event.generation) else { return Ok(None) };
    let found = store.read(&slot, |generation| {
        let Some(head) = generation.head(event.seq)? else { return Ok(None) };
        Ok(Some(Arc::new(generation.event(head)?)))
    });
    Ok(found?.flatten())
}

/// A page of events, newest first.
pub(super) fn list(store: &Store, query: &ListQuery) -> Result<Page, ReadError> {
    let mut events = Vec::new();
    let newest = query.cursor.map_or(u32::MAX, |cursor| cursor.0.generation);
    for slot in store.slots().iter().rev().filter(|slot| slot.no() <= newest) {
        let life = slot.life(|life| *life);
        if query.since.is_some_and(|since| life.last_at < since) {
            // Older ones may end later all the same: the clock may have been set back.
            continue;
        }
        let full = store.read(slot, |generation| {
            let before = match query.cursor {
                Some(Cursor(at)) if at.generation == slot.no() => at.seq,
                _ => generation.events(),
            };
            list_generation(store, generation, query, (before, life.disorder_ms), &mut events)
        })?;
        if full == Some(true) {
            break;
        }
    }
    // One more than asked for tells that there is a next page.
    let more = events.len() > query.limit;
    events.truncate(query.limit);
    let next = events.last().filter(|_| more).map(|event| Cursor(event.place));
    Ok(Page { events, next })
}

/// Adds what fits of one generation; true once the page is full.
fn list_generation(
    store: &Store,
    generation: &Generation,
    query: &ListQuery,
    (mut before, disorder_ms): (u32, u64),
    events: &mut Vec<EventSummary>,
) -> Result<bool, ReadError> {
    let mut states: HashMap<u32, Vec<(EndpointNo, State)>> = HashMap::new();
    if before > 0 {
        generation.scan_states(0, |row, state| {
            let Some(endpoint) = generation.global(row.endpoint) else { return };
            overlay(states.entry(row.seq).or_default(), endpoint, state);
        })?;
    }
    while let Some(heads) = generation.heads_before(before)? {
        for (seq, head) in heads.into_iter().rev() {
            before = seq;
            if query.since.is_some_and(|since| head.event.at.plus_ms(disorder_ms) < since) {
                // So are all with lower numbers.
                return Ok(false);
            }
            let known = states.remove(&seq).unwrap_or_default();
            let fresh = State::fresh(head.event.first_due());
            let mut deliveries: Vec<_> = head.targets.iter().map(|endpoint| (*endpoint, fresh)).collect();
            for (endpoint, state) in known {
                overlay(&mut deliveries, endpoint, state);
            }
            if !query.fits(&head.event, &deliveries) {
                continue;
            }
            let deliveries = deliveries
                .into_iter()
                .map(|(endpoint, state)| (store.roster().name(endpoint), state.standing, state.progress));
            events.push(EventSummary {
                place: generation.place(seq),
                deliveries: deliveries.collect(),
                id: head.event.id,
                event_type: head.event.event_type,
                key: head.event.key,
                at: head.event.at,
            });
            if events.len() > query.limit {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The newer state of an endpoint's delivery takes the older one's place.
fn overlay(deliveries: &mut Vec<(EndpointNo, State)>, endpoint: EndpointNo, state: State) {
    match deliveries.iter_mut().find(|(no, _)| *no == endpoint) {
        Some((_, known)) => *known = state,
        None => deliveries.push((endpoint, state)),
    }
}

impl ListQuery {
    fn fits(&self, event: &Event, deliveries: &[(EndpointNo, State)]) -> bool {
        let delivery = |(no, state): &(EndpointNo, State)| {
            self.endpoint.is_none_or(|endpoint| endpoint == *no)
                && self.state.is_none_or(|wanted| wanted == state.standing.state())
        };
        self.since.is_none_or(|since| event.at >= since)
            && self.until.is_none_or(|until| event.at < until)
            && self.types.as_ref().is_none_or(|types| types.takes(event.event_type.as_str()))
            && ((self.endpoint.is_none() && self.state.is_none()) || deliveries.iter().any(delivery))
    }
}
