//! An event: one thing that happened.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use ulid::Ulid;

use super::roster::EndpointNo;
use super::text::{EventId, EventType, IdempotencyKey, OrderingKey};
use crate::clock::UnixMs;

/// An accepted event, as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Its ordering key, if it has one.
    pub key: Option<OrderingKey>,
    /// When webhookd accepted it.
    pub at: UnixMs,
    /// When it happened, as the producer wrote it (RFC 3339); without it, [`Event::at`] stands for it.
    pub timestamp: Option<Box<str>>,
    /// No attempt is made before this moment.
    pub deliver_at: Option<UnixMs>,
    /// What it says.
    pub content: Content,
    /// The producer's W3C trace context, passed on with each attempt.
    pub traceparent: Option<Box<str>>,
    /// The CloudEvents attributes it came with, all but the data, as the text of one JSON object.
    pub cloud_attributes: Option<Box<str>>,
    /// The headers kept of an inbound request, in order.
    pub headers: Vec<KeptHeader>,
}

impl Event {
    /// The event's own time as RFC 3339 text.
    #[must_use]
    pub fn timestamp_text(&self) -> Cow<'_, str> {
        self.timestamp.as_deref().map_or_else(|| self.at.to_string().into(), Cow::Borrowed)
    }

    /// When its first attempt is due.
    #[must_use]
    pub fn first_due(&self) -> UnixMs {
        self.deliver_at.unwrap_or(self.at)
    }

    /// Bytes that the event occupies while it is kept in memory, roughly.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len() + 32).sum();
        self.content.body.len() + self.cloud_attributes.as_deref().map_or(0, str::len) + headers + 256
    }
}

/// One header of an inbound request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptHeader {
    /// Its name in lower case.
    pub name: Box<str>,
    /// Its value, byte for byte.
    pub value: Box<[u8]>,
}

/// The body of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its content type, valid as a header value.
    pub content_type: Box<str>,
    /// True where `body` is valid JSON text, kept as it came: numbers and unknown fields come out as they went in.
    pub json: bool,
    /// The bytes: for `POST /v1/events` the text of `data` alone, for raw and inbound events the whole body.
    pub body: Bytes,
}

/// An event on its way into the outbox.
#[derive(Clone, Debug)]
pub struct NewEvent {
    /// The event itself.
    pub event: Arc<Event>,
    /// True where the producer chose the id; a chosen id is looked up among those known.
    pub id_given: bool,
    /// The producer's `Idempotency-Key`, looked up as well.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What tells a repeat from another event under the same id.
    pub fingerprint: Fingerprint,
    /// The endpoints that take it.
    pub targets: Vec<EndpointNo>,
}

/// What the ids that webhookd makes begin with.
const ID_PREFIX: &str = "evt_";

/// A new id: `evt_` and a ULID of this moment, its random part from the system. `None` where that gives no randomness.
#[must_use]
pub fn new_id(now: UnixMs) -> Option<EventId> {
    let mut random = [0; 16];
    getrandom::fill(&mut random[..10]).ok()?;
    let ulid = Ulid::from_parts(now.0, u128::from_le_bytes(random));
    Some(EventId::parse(&format!("{ID_PREFIX}{ulid}")).expect("a prefix of letters and a ULID keep the rule of ids"))
}

/// A digest of everything that the producer chose about an event, without its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 16]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_carry_their_moment_and_differ() {
        let now = UnixMs(1_700_000_000_000);
        let (one, other) = (new_id(now).unwrap(), new_id(now).unwrap());
        assert_ne!(one, other);
        let ulid = Ulid::from_string(one.as_str().strip_prefix(ID_PREFIX).unwrap()).unwrap();
        assert_eq!(ulid.timestamp_ms(), now.0);
    }
}
