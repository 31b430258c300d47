//! A verified request to an event, durable before it is acknowledged.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Body as HttpBody;
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderMap, TRANSFER_ENCODING};
use sha2::{Digest, Sha256};

use super::Inbound;
use super::pick::pick;
use crate::config::{Source, Verification};
use crate::front::answer::{Answer, with_body};
use crate::front::body;
use crate::front::problem::{Problem, ProblemKind};
use crate::intake::content::{self, UNKNOWN};
use crate::intake::tally::{EventsAccepted, Via};
use crate::model::event::{Event, Fingerprint, KeptHeader, NewEvent, new_id};
use crate::model::text::{EventType, IdempotencyKey};
use crate::signature::{Received, verify};

/// Takes one request.
pub(super) async fn accept<B>(inbound: &Inbound, source: &Source, request: Request<B>) -> Result<Answer, Problem>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    let (head, body) = request.into_parts();
    let body = body::read(&head.headers, body, inbound.body_bytes_max, &inbound.holdings).await?;
    let started = Instant::now();
    let now = inbound.clock.wall();
    if let Verification::Schemes(schemes) = &source.verify {
        let received = Received { headers: &head.headers, body: body.bytes(), now_secs: now.secs(), url: None };
        verify(schemes, &received)
            .map_err(|_| Problem::new(ProblemKind::SignatureRefused, "the request could not be verified"))?;
    }
    let word = pick(&source.event_type, &head.headers, body.bytes()).unwrap_or_else(|| "event".to_owned());
    let event_type = EventType::parse(&format!("{}.{word}", source.name))
        .map_err(|error| Problem::new(ProblemKind::InvalidField, error.to_string()))?;
    let dedup = pick(&source.dedup, &head.headers, body.bytes());
    let key = dedup.and_then(|id| IdempotencyKey::parse(&format!("in/{}/{id}", source.name)).ok());
    let content_type = content::content_type(&head.headers)?.unwrap_or_else(|| UNKNOWN.into());
    let event = Event {
        id: new_id(now).ok_or_else(|| Problem::new(ProblemKind::Busy, "no randomness"))?,
        key: None,
        at: now,
        timestamp: None,
        deliver_at: None,
        content: content::content(content_type, &body),
        traceparent: content::traceparent(&head.headers),
        cloud_attributes: None,
        headers: kept(&head.headers),
        event_type,
    };
    let targets = inbound.targets.taking(event.event_type.as_str());
    let new = NewEvent {
        event: Arc::new(event),
        id_given: false,
        fingerprint: fingerprint(source, key.as_ref()),
        idempotency_key: key,
        targets,
    };
    let accepted = inbound.readiness.core()?.outbox.accept(vec![new]).await?;
    let duplicates = accepted.iter().filter(|one| one.duplicate).count();
    let stored = accepted.len() - duplicates;
    EventsAccepted { via: Via::Inbound, stored, duplicates, took: started.elapsed() }.tell(&inbound.metrics);
    Ok(with_body(source.respond.status, "text/plain; charset=utf-8", source.respond.body.clone()))
}

/// The same for every request under one id, whatever else it says: the third party's word counts.
fn fingerprint(source: &Source, key: Option<&IdempotencyKey>) -> Fingerprint {
    let mut hash = Sha256::new_with_prefix(b"inbound\0");
    hash.update(source.name.as_str());
    hash.update([0]);
    hash.update(key.map_or("", IdempotencyKey::as_str));
    let digest: [u8; 32] = hash.finalize().into();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    Fingerprint(first)
}

fn kept(headers: &HeaderMap) -> Vec<KeptHeader> {
    let dropped = [AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, TRANSFER_ENCODING];
    headers
        .iter()
        .filter(|(name, _)| !dropped.contains(name))
        .map(|(name, value)| KeptHeader { name: name.as_str().into(), value: value.as_bytes().into() })
        .collect()
}
