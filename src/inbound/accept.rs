//! A verified request to an event, durable before it is acknowledged.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Body as HttpBody;
use hyper::header::{CONTENT_TYPE, HeaderMap};

use super::pick::{Looked, Picked};
use super::refused::Refused;
use super::served::Served;
use super::{Inbound, handshake, kept, names, verify};
use crate::clock::UnixMs;
use crate::config::Respond;
use crate::front::Peer;
use crate::front::answer::{Answer, with_body};
use crate::front::body::{self, Body};
use crate::front::problem::{Problem, ProblemKind};
use crate::intake::content::{self, UNKNOWN};
use crate::intake::tally::{EventsAccepted, Via};
use crate::model::event::{Event, NewEvent, new_id};
use crate::observe::inbound::{EventTaken, KeyTaken, TypeMissing};
use crate::outbox::{AcceptError, Accepted};

/// Takes one request.
pub(super) async fn accept<B>(
    inbound: &Inbound,
    served: &Served,
    peer: &Peer,
    request: Request<B>,
) -> Result<Answer, Refused>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let Served { source, places, pace } = served;
    let (head, body) = request.into_parts();
    body::announced(&head.headers, &body, inbound.body_bytes_max, &inbound.holdings)?;
    verify::foresee(source, &head, body.size_hint().upper(), inbound.clock.wall())?;
    let body = body::read(&head.headers, body, inbound.body_bytes_max, &inbound.holdings).await?;
    let started = Instant::now();
    let now = inbound.clock.wall();
    verify::check(source, &head, body.bytes(), now, peer.tls)?;
    if let Some(pace) = pace {
        pace.take(inbound.clock.mono())?;
    }
    let picked = {
        let looked = Looked::at(&head.headers, body.bytes());
        if let Some(challenge) = places.challenge(&looked) {
            return Ok(handshake::text(challenge));
        }
        places.pick(&looked)
    };
    let untyped = picked.event_type.is_none() && places.name_a_type();
    let new = event(inbound, served, &head.headers, picked, &body, now)?;
    let event_type = new.event.event_type.clone();
    let accepted = store(inbound, served, new).await?;
    let took = started.elapsed();
    if untyped && !accepted.duplicate {
        TypeMissing { source: &source.name, event_type: &event_type }.tell(&inbound.lines);
    }
    let duplicates = usize::from(accepted.duplicate);
    EventsAccepted { via: Via::Inbound, stored: 1 - duplicates, duplicates, took }.tell(&inbound.metrics);
    EventTaken { source: &source.name, duplicate: accepted.duplicate, took }.tell(&inbound.metrics);
    Ok(acknowledgement(&source.respond))
}

/// The event of a request.
fn event(
    inbound: &Inbound,
    served: &Served,
    headers: &HeaderMap,
    picked: Picked,
    body: &Body,
    now: UnixMs,
) -> Result<NewEvent, Problem> {
    let source = &served.source.name;
    let word = match &picked.event_type {
        Some(word) => word,
        None if served.places.name_a_type() => names::UNKNOWN,
        None => names::EVENT,
    };
    let idempotency_key = picked.id.map(|id| names::idempotency_key(source, &id));
    // Nothing is refused for its content type: the vendor would not send it in another one.
    let content_type = content::content_type(headers).ok().flatten().unwrap_or_else(|| UNKNOWN.into());
    let no_id = || Problem::new(ProblemKind::Busy, "the system gave no randomness for an id; try again");
    let event = Event {
        id: new_id(now).ok_or_else(no_id)?,
        key: picked.key.map(|key| names::ordering_key(&key)),
        at: now,
        timestamp: None,
        deliver_at: None,
        content: content::content(content_type, body),
        traceparent: content::traceparent(headers),
        cloud_attributes: None,
        headers: kept::kept(headers),
        event_type: names::event_type(source, word),
    };
    Ok(NewEvent {
        targets: inbound.targets.taking(event.event_type.as_str()),
        event: Arc::new(event),
        id_given: false,
        fingerprint: names::fingerprint(source, idempotency_key.as_ref()),
        idempotency_key,
    })
}

/// Stores an event. A producer of the API can have used its key for another one; that must not cost the third party's event, so
/// it is stored without.
async fn store(inbound: &Inbound, served: &Served, new: NewEvent) -> Result<Accepted, Refused> {
    let outbox = &inbound.readiness.core_to_change()?.outbox;
    let without_key = new.idempotency_key.is_some().then(|| NewEvent { idempotency_key: None, ..new.clone() });
    let mut accepted = match (outbox.accept(vec![new]).await, without_key) {
        (Err(AcceptError::Conflict { .. }), Some(without_key)) => {
            KeyTaken { source: &served.source.name }.tell(&inbound.lines);
            outbox.accept(vec![without_key]).await?
        }
        (accepted, _) => accepted?,
    };
    Ok(accepted.pop().expect("the outbox answers for each event that it was given"))
}

/// What the third party gets once its event is durable.
fn acknowledgement(respond: &Respond) -> Answer {
    let mut answer = with_body(respond.status, "text/plain; charset=utf-8", respond.body.clone());
    if let Some(content_type) = &respond.content_type {
        answer.headers_mut().insert(CONTENT_TYPE, content_type.clone());
    } else if respond.body.is_empty() {
        answer.headers_mut().remove(CONTENT_TYPE);
    }
    answer
}
