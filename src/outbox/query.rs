//! Questions to the outbox and their answers.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

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
