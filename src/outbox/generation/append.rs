//! Writing to a generation: commits of events, settlements, the seal.

use std::collections::HashMap;

use super::{Generation, HEAD_BYTES};
use crate::clock::UnixMs;
use crate::model::delivery::Settlement;
use crate::model::event::NewEvent;
use crate::model::text::OrderingKey;
use crate::outbox::keys::{self, key};
use crate::outbox::rows::{
    self, AttemptRow, COMMIT_ENDS, DoneRow, Extras, HeadRow, PAYLOAD_BYTES_MAX, Packer, SealRow, StateRow,
};
use crate::outbox::settling::Outcome;
use crate::outbox::{StoreError, frame, index};

impl Generation {
    /// Writes events as one commit; the first gets the number that [`Generation::events`] tells. Bodies go first, so that a
    /// head that is there has its body. Returns the bytes written.
    pub(in crate::outbox) fn append_events(&self, events: &[NewEvent]) -> Result<u64, StoreError> {
        let mut tail = *self.tail();
        let mut bodies = BodyStream { generation: self, offset: tail.offset, piece: Vec::new() };
        let mut packer = Packer::default();
        let mut bytes = 0;
        for new in events {
            let event = &*new.event;
            let extras = Extras {
                cloud_attributes: event.cloud_attributes.as_deref(),
                headers: event.headers.iter().map(|h| (&*h.name, serde_bytes::Bytes::new(&h.value))).collect(),
            };
            let extras = if extras.is_empty() { Vec::new() } else { extras.encode()? };
            let offset = bodies.end();
            bodies.write(&extras)?;
            bodies.write(&event.content.body)?;
            let targets = new.targets.iter().map(|no| self.local(*no)).collect::<Result<_, _>>()?;
            packer.push(&HeadRow {
                id: event.id.as_str(),
                event_type: event.event_type.as_str(),
                key: event.key.as_ref().map(OrderingKey::as_str),
                at: event.at,
                timestamp: event.timestamp.as_deref(),
                deliver_at: event.deliver_at,
                content_type: &event.content.content_type,
                json: event.content.json,
                traceparent: event.traceparent.as_deref(),
                idempotency_key: new.idempotency_key.as_ref().map(|key| key.as_str()),
                fingerprint: new.fingerprint.0,
                offset,
                extras_bytes: u32::try_from(extras.len()).map_err(|_| StoreError::TooLarge)?,
                body_bytes: u32::try_from(event.content.body.len()).map_err(|_| StoreError::TooLarge)?,
                states_from: tail.state_pack,
                targets,
            })?;
            bytes += HEAD_BYTES + (extras.len() + event.content.body.len()) as u64;
        }
        tail.offset = bodies.finish()?;
        let packs = packer.finish();
        let count = packs.len();
        for (index, pack) in packs.into_iter().enumerate() {
            let key = key(keys::HEADS, u64::from(tail.seq));
            tail.seq += pack.rows();
            let flags = if index + 1 == count { COMMIT_ENDS } else { 0 };
            self.writable()?.put(&key, pack.close(self.mark, &key, flags))?;
        }
        *self.tail() = tail;
        Ok(bytes)
    }

    /// Writes what has happened to deliveries of this generation.
    pub(in crate::outbox) fn append_settlements(&self, outcomes: &[Outcome]) -> Result<(), StoreError> {
        let mut tail = *self.tail();
        let (mut states, mut attempts) = (Packer::default(), Packer::default());
        for Outcome { settlement, at } in outcomes {
            let seq = settlement.delivery.event.seq;
            let endpoint = self.local(settlement.delivery.endpoint)?;
            let mut attempt_pack = 0;
            if let Some(attempt) = &settlement.attempt {
                attempts.push(&AttemptRow::new(seq, endpoint, attempt))?;
                attempt_pack = tail.attempt_pack + u32::try_from(attempts.len()).map_err(|_| StoreError::TooLarge)?;
            }
            let Settlement { standing, progress, .. } = *settlement;
            states.push(&StateRow::new((seq, endpoint), standing, progress, attempt_pack, *at))?;
        }
        // Attempts first: a state never points at a pack that is not there.
        for (kind, packs, next) in [
            (keys::ATTEMPTS, attempts.finish(), &mut tail.attempt_pack),
            (keys::STATES, states.finish(), &mut tail.state_pack),
        ] {
            for pack in packs {
                let key = key(kind, u64::from(*next));
                self.writable()?.put(&key, pack.close(self.mark, &key, 0))?;
                *next += 1;
            }
        }
        *self.tail() = tail;
        Ok(())
    }

    /// Writes the seal: from here on the generation takes no events. `rescued`: what is missing in it is known.
    pub(in crate::outbox) fn seal(
        &self,
        ids: &HashMap<u64, u32>,
        last_at: UnixMs,
        rescued: bool,
    ) -> Result<(), StoreError> {
        let key = key(keys::SEAL, 0);
        let seal = SealRow { events: self.events(), last_at, rescued };
        self.writable()?.put(&key, rows::single(self.mark, &key, &seal)?)?;
        self.sync()?;
        self.write_index(ids);
        Ok(())
    }

    /// Writes the file that ids are looked up in, once the generation is sealed. Without it looking one up is slow, that is
    /// all.
    pub(in crate::outbox) fn write_index(&self, ids: &HashMap<u64, u32>) {
        if let Some(dir) = &self.dir
            && let Err(error) = index::write(dir, self.mark, ids)
        {
            tracing::debug!(generation = self.no, %error, "the file with the ids of a generation could not be written");
        }
    }

    /// Writes that nothing is pending, and since when. It holds until the next settlement.
    pub(in crate::outbox) fn set_done(&self, at: UnixMs) -> Result<(), StoreError> {
        let key = key(keys::DONE, 0);
        let done = DoneRow { at, state_packs: self.state_packs() };
        Ok(self.writable()?.put(&key, rows::single(self.mark, &key, &done)?)?)
    }
}

/// The bodies of a commit as one stream, cut into pieces that fit a stored value: small bodies share a piece, a large one
/// spans several.
struct BodyStream<'a> {
    generation: &'a Generation,
    /// Where the piece that is being filled begins.
    offset: u64,
    piece: Vec<u8>,
}

impl BodyStream<'_> {
    fn end(&self) -> u64 {
        self.offset + self.piece.len().saturating_sub(frame::OVERHEAD) as u64
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            if self.piece.is_empty() {
                self.piece = frame::begin(bytes.len().min(PAYLOAD_BYTES_MAX));
            }
            let room = PAYLOAD_BYTES_MAX + frame::OVERHEAD - self.piece.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.piece.extend_from_slice(now);
            if now.len() == room {
                self.put()?;
            }
            bytes = later;
        }
        Ok(())
    }

    fn put(&mut self) -> Result<(), StoreError> {
        let key = key(keys::BODY, self.offset);
        self.offset = self.end();
        let piece = std::mem::take(&mut self.piece);
        Ok(self.generation.writable()?.put(&key, frame::close(self.generation.mark, &key, piece))?)
    }

    fn finish(mut self) -> Result<u64, StoreError> {
        if !self.piece.is_empty() {
            self.put()?;
        }
        Ok(self.offset)
    }
}
