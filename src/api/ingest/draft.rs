//! A draft: what a producer has asked for, checked, on its way to an event.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::clock::UnixMs;
use crate::front::problem::{Problem, ProblemKind};
use crate::intake::targets::Targets;
use crate::model::event::{Content, Event, Fingerprint, NewEvent, new_id};
use crate::model::roster::EndpointNo;
use crate::model::text::{EndpointName, EventId, EventType, IdempotencyKey, OrderingKey};

/// `deliver_at`, as it was written and as it is meant.
#[derive(Clone, Debug)]
pub struct DeliverAt {
    /// The text.
    pub text: Box<str>,
    /// The moment.
    pub at: UnixMs,
}

/// An event as a producer has asked for it. Everything in it keeps its rule.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Its id, where one was chosen.
    pub id: Option<EventId>,
    /// Its type.
    pub event_type: EventType,
    /// Its ordering key.
    pub key: Option<OrderingKey>,
    /// When it happened, as written.
    pub timestamp: Option<Box<str>>,
    /// No attempt before this moment.
    pub deliver_at: Option<DeliverAt>,
    /// The endpoints that it is for, where they were named: exactly these, whatever types they take.
    pub endpoints: Option<Vec<(EndpointName, EndpointNo)>>,
    /// What it says.
    pub content: Content,
    /// The trace context.
    pub traceparent: Option<Box<str>>,
    /// The CloudEvents attributes, as one JSON object.
    pub cloud_attributes: Option<Box<str>>,
}

impl Draft {
    /// The event, ready for the outbox.
    ///
    /// # Errors
    /// 503 where the system gives no randomness for an id.
    pub fn into_event(
        self,
        targets: &Targets,
        now: UnixMs,
        idempotency_key: Option<IdempotencyKey>,
    ) -> Result<NewEvent, Problem> {
        let fingerprint = self.fingerprint();
        let id_given = self.id.is_some();
        let id = self
            .id
            .or_else(|| new_id(now))
            .ok_or_else(|| Problem::new(ProblemKind::Busy, "the system gave no randomness for an id; try again"))?;
        let targets = match self.endpoints {
            None => targets.taking(self.event_type.as_str()),
            Some(named) => {
                let mut numbers: Vec<_> = named.into_iter().map(|(_, no)| no).collect();
                numbers.sort_unstable();
                numbers.dedup();
                numbers
            }
        };
        let event = Event {
            id,
            event_type: self.event_type,
            key: self.key,
            at: now,
            timestamp: self.timestamp,
            deliver_at: self.deliver_at.map(|deliver_at| deliver_at.at).filter(|at| *at > now),
            content: self.content,
            traceparent: self.traceparent,
            cloud_attributes: self.cloud_attributes,
            headers: Vec::new(),
        };
        Ok(NewEvent { event: Arc::new(event), id_given, idempotency_key, fingerprint, targets })
    }

    /// The digest of everything that the producer chose, less the id: the first 16 bytes of a SHA-256 over each field
    /// with its length before it. It is stored; changing it would turn repeats into conflicts. The trace context is left
    /// out: it differs when a producer tries again.
    fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        let mut field = |value: Option<&[u8]>| match value {
            None => hash.update([0]),
            Some(bytes) => {
                hash.update([1]);
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(bytes);
            }
        };
        field(Some(self.event_type.as_str().as_bytes()));
        field(self.key.as_ref().map(|key| key.as_str().as_bytes()));
        field(self.timestamp.as_deref().map(str::as_bytes));
        field(self.deliver_at.as_ref().map(|deliver_at| deliver_at.text.as_bytes()));
        for (name, _) in self.endpoints.iter().flatten() {
            field(Some(name.as_str().as_bytes()));
        }
        // Ends the list; tells an empty one from none.
        field(self.endpoints.as_ref().map(|_| &[][..]));
        field(Some(self.content.content_type.as_bytes()));
        field(self.cloud_attributes.as_deref().map(str::as_bytes));
        field(Some(&self.content.body));
        let digest: [u8; 32] = hash.finalize().into();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Fingerprint(first)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn draft() -> Draft {
        Draft {
            id: None,
            event_type: EventType::parse("invoice.paid").unwrap(),
            key: None,
            timestamp: None,
            deliver_at: None,
            endpoints: None,
            content: Content { content_type: "application/json".into(), json: true, body: Bytes::from_static(b"{}") },
            traceparent: None,
            cloud_attributes: None,
        }
    }

    #[test]
    fn the_fingerprint_is_what_it_always_was() {
        assert_eq!(hex::encode(draft().fingerprint().0), "bb8d469b316e9c093d735b1116ff3fe6");
    }

    #[test]
    fn every_choice_of_the_producer_but_the_id_tells_in_the_fingerprint() {
        let key = |text| Some(OrderingKey::parse(text).unwrap());
        let endpoint = |name| (EndpointName::parse(name).unwrap(), EndpointNo(0));
        let deliver_at = |text: &str| Some(DeliverAt { text: text.into(), at: UnixMs(0) });
        let content = |content_type: &str, body: &'static [u8]| Content {
            content_type: content_type.into(),
            json: true,
            body: Bytes::from_static(body),
        };
        let variants = [
            draft(),
            Draft { event_type: EventType::parse("invoice.lost").unwrap(), ..draft() },
            Draft { key: key("a"), ..draft() },
            Draft { timestamp: Some("a".into()), ..draft() },
            Draft { deliver_at: deliver_at("a"), ..draft() },
            Draft { endpoints: Some(vec![]), ..draft() },
            Draft { endpoints: Some(vec![endpoint("a")]), ..draft() },
            Draft { endpoints: Some(vec![endpoint("a"), endpoint("b")]), ..draft() },
            Draft { endpoints: Some(vec![endpoint("b"), endpoint("a")]), ..draft() },
            Draft { cloud_attributes: Some("a".into()), ..draft() },
            Draft { content: content("application/json", b"{ }"), ..draft() },
            Draft { content: content("text/json", b"{}"), ..draft() },
        ];
        for (at, one) in variants.iter().enumerate() {
            for other in &variants[..at] {
                assert_ne!(one.fingerprint(), other.fingerprint(), "{one:?} {other:?}");
            }
        }
        let id = Some(EventId::parse("other").unwrap());
        let traced = Draft { id, traceparent: Some("00-…".into()), ..draft() };
        assert_eq!(traced.fingerprint(), draft().fingerprint());
    }
}
