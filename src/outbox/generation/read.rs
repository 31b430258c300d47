//! Reading a generation: heads, bodies, states, attempts, the id index.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use super::{Generation, Head, State};
use crate::clock::UnixMs;
use crate::model::attempt::Attempt;
use crate::model::event::{Content, Event, Fingerprint, KeptHeader};
use crate::model::roster::EndpointNo;
use crate::model::text::{EventId, EventType, OrderingKey};
use crate::outbox::ReadError;
use crate::outbox::engine::Value;
use crate::outbox::keys::{self, Key, key};
use crate::outbox::rows::{self, AttemptRow, DoneRow, Extras, HeadRow, SealRow, StateRow};

impl Generation {
    /// The head of an event.
    pub(in crate::outbox) fn head(&self, seq: u32) -> Result<Option<Head>, ReadError> {
        if seq >= self.events() {
            return Ok(None);
        }
        let wanted = key(keys::HEADS, u64::from(seq));
        let Some((found, value)) = self.shelf.at_or_before(keys::HEADS, &wanted)? else { return Ok(None) };
        let mut head = None;
        self.each_head(&found, &value, |at, row| {
            if at == seq {
                head = Some(self.head_of(row));
            }
            at < seq
        })?;
        head.transpose()
    }

    /// Calls `each` with every event, in order.
    pub(in crate::outbox) fn scan_heads(&self, mut each: impl FnMut(u32, &HeadRow<'_>)) -> Result<(), ReadError> {
        let events = self.events();
        let (mut failure, mut expected) = (Ok(()), 0);
        self.shelf.scan(keys::HEADS, 0, |found, value| {
            failure = self.each_head(&found, &value, |seq, row| {
                if seq > expected && !self.rescued {
                    return false;
                }
                expected = seq + 1;
                if seq < events {
                    each(seq, row);
                }
                seq < events
            });
            let pack = keys::number(&found).unwrap_or(0);
            failure.is_ok() && u64::from(expected) > pack && expected <= events
        })?;
        failure?;
        if expected < events && !self.rescued {
            return Err(self.damaged(format!("events from {expected} on are missing")));
        }
        Ok(())
    }

    /// The heads of the pack that holds the last event before number `before`, each with its number, in order; `None` where there is none.
    pub(in crate::outbox) fn heads_before(&self, before: u32) -> Result<Option<Vec<(u32, Head)>>, ReadError> {
        let Some(last) = before.checked_sub(1) else { return Ok(None) };
        let wanted = key(keys::HEADS, u64::from(last));
        let Some((found, value)) = self.shelf.at_or_before(keys::HEADS, &wanted)? else { return Ok(None) };
        let mut heads = Vec::new();
        let mut failure = None;
        self.each_head(&found, &value, |seq, row| {
            match self.head_of(row) {
                Ok(head) if seq < before => heads.push((seq, head)),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
            seq < last && failure.is_none()
        })?;
        failure.map_or(Ok(Some(heads)), Err)
    }

    /// The whole event behind a head.
    pub(in crate::outbox) fn event(&self, head: Head) -> Result<Event, ReadError> {
        let extras_bytes = head.extras_bytes as usize;
        let stored = self.body(head.offset, extras_bytes + head.body_bytes as usize)?;
        let mut event = head.event;
        if extras_bytes > 0 {
            let extras = Extras::decode(&stored[..extras_bytes])
                .map_err(|error| self.damaged(format!("what belongs to event {}: {error}", event.id)))?;
            event.cloud_attributes = extras.cloud_attributes.map(Into::into);
            event.headers = extras
                .headers
                .iter()
                .map(|(name, value)| KeptHeader { name: (*name).into(), value: value.to_vec().into() })
                .collect();
        }
        event.content.body = stored.slice(extras_bytes..);
        Ok(event)
    }

    /// Folds every state row from pack `from` on, the oldest first.
    pub(in crate::outbox) fn scan_states(
        &self,
        from: u32,
        mut each: impl FnMut(StateRow, State),
    ) -> Result<(), ReadError> {
        let (mut failure, mut expected) = (Ok(()), u64::from(from));
        self.shelf.scan(keys::STATES, u64::from(from), |found, value| {
            if keys::number(&found) != Some(expected) && !self.rescued {
                failure = Err(self.missing(format!("pack {expected} of delivery states is missing")));
                return false;
            }
            expected += 1;
            failure = self.open_value(&found, &value).and_then(|payload| {
                let mut strange = false;
                let unpacked = rows::unpack(payload, |row: StateRow| {
                    match row.standing() {
                        Some(standing) => {
                            each(row, State { standing, progress: row.progress(), died_at: row.died_at() });
                        }
                        None => strange = true,
                    }
                    true
                });
                match unpacked {
                    Ok(_) if !strange => Ok(()),
                    Ok(_) => Err(self.damaged("a delivery's state is of an unknown kind".to_owned())),
                    Err(error) => Err(self.damaged(format!("a pack of delivery states: {error}"))),
                }
            });
            failure.is_ok()
        })?;
        failure
    }

    /// The deliveries of one event with their attempts, in the order of its targets; later replays to other endpoints
    /// behind them.
    pub(in crate::outbox) fn deliveries(
        &self,
        seq: u32,
        head: &Head,
    ) -> Result<Vec<(EndpointNo, State, Vec<Attempt>)>, ReadError> {
        let fresh = State::fresh(head.event.first_due());
        let mut deliveries: Vec<_> = head.targets.iter().map(|no| (*no, fresh, Vec::new())).collect();
        let mut packs = BTreeSet::new();
        self.scan_states(head.states_from, |row, state| {
            if row.seq != seq {
                return;
            }
            let Some(endpoint) = self.global(row.endpoint) else { return };
            match deliveries.iter_mut().find(|(no, ..)| *no == endpoint) {
                Some((_, old, _)) => *old = state,
                None => deliveries.push((endpoint, state, Vec::new())),
            }
            if row.attempt_pack > 0 {
                packs.insert(row.attempt_pack - 1);
            }
        })?;
        for pack in packs {
            let there = self.each_attempt(pack, |row| {
                let endpoint = self.global(row.endpoint);
                if row.seq == seq
                    && let Some((_, _, attempts)) = deliveries.iter_mut().find(|(no, ..)| Some(*no) == endpoint)
                {
                    attempts.push(row.attempt());
                }
            })?;
            if !there && !self.rescued {
                return Err(self.missing(format!("attempts of event {} are missing", head.event.id)));
            }
        }
        Ok(deliveries)
    }

    /// Calls `each` with every attempt of a pack. False where the pack is not there.
    pub(in crate::outbox) fn each_attempt(
        &self,
        pack: u32,
        mut each: impl FnMut(AttemptRow<'_>),
    ) -> Result<bool, ReadError> {
        let key = key(keys::ATTEMPTS, u64::from(pack));
        let Some(value) = self.shelf.get(&key)? else { return Ok(false) };
        rows::unpack(self.open_value(&key, &value)?, |row: AttemptRow<'_>| {
            each(row);
            true
        })
        .map_err(|error| self.damaged(format!("a pack of attempts: {error}")))?;
        Ok(true)
    }

    /// Calls `each` with every record of `kind`, as it is stored.
    pub(in crate::outbox) fn scan_records(&self, kind: u8, mut each: impl FnMut(Key, Value)) -> Result<(), ReadError> {
        Ok(self.shelf.scan(kind, 0, |key, value| {
            each(key, value);
            true
        })?)
    }

    /// The seal, where there is one.
    pub(in crate::outbox) fn sealed(&self) -> Result<Option<SealRow>, ReadError> {
        self.single(&key(keys::SEAL, 0))
    }

    /// Since when nothing is pending, where that is known to be so.
    pub(in crate::outbox) fn done(&self) -> Result<Option<UnixMs>, ReadError> {
        let done: Option<DoneRow> = self.single(&key(keys::DONE, 0))?;
        Ok(done.filter(|done| done.state_packs == self.state_packs()).map(|done| done.at))
    }

    /// The hashes of all ids and keys, each with its event's number.
    pub(in crate::outbox) fn ids(&self) -> Result<HashMap<u64, u32>, ReadError> {
        let mut known = HashMap::new();
        self.scan_heads(|seq, row| known.extend(row.id_hashes().map(|hash| (hash, seq))))?;
        Ok(known)
    }

    /// The head that a row tells, without its body.
    pub(in crate::outbox) fn head_of(&self, row: &HeadRow<'_>) -> Result<Head, ReadError> {
        let wrong = |what: &str| self.damaged(format!("an event's {what} is none"));
        let targets = row.targets.iter().map(|local| self.global(*local).ok_or_else(|| wrong("endpoint")));
        Ok(Head {
            event: Event {
                id: EventId::parse(row.id).map_err(|_| wrong("id"))?,
                event_type: EventType::parse(row.event_type).map_err(|_| wrong("type"))?,
                key: row.key.map(OrderingKey::parse).transpose().map_err(|_| wrong("key"))?,
                at: row.at,
                timestamp: row.timestamp.map(Into::into),
                deliver_at: row.deliver_at,
                content: Content { content_type: row.content_type.into(), json: row.json, body: Bytes::new() },
                traceparent: row.traceparent.map(Into::into),
                cloud_attributes: None,
                headers: Vec::new(),
            },
            idempotency_key: row.idempotency_key.map(Into::into),
            fingerprint: Fingerprint(row.fingerprint),
            targets: targets.collect::<Result<_, _>>()?,
            states_from: row.states_from,
            offset: row.offset,
            extras_bytes: row.extras_bytes,
            body_bytes: row.body_bytes,
        })
    }

    fn each_head(
        &self,
        found: &[u8],
        value: &[u8],
        mut each: impl FnMut(u32, &HeadRow<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let first = keys::number(found).and_then(|first| u32::try_from(first).ok());
        let mut seq = first.ok_or_else(|| self.damaged("a key of event heads is none".to_owned()))?;
        rows::unpack(self.open_value(found, value)?, |row: HeadRow<'_>| {
            let more = each(seq, &row);
            seq += 1;
            more
        })
        .map(drop)
        .map_err(|error| self.damaged(format!("a pack of event heads: {error}")))
    }

    fn body(&self, offset: u64, len: usize) -> Result<Bytes, ReadError> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let wanted = key(keys::BODY, offset);
        let missing = || self.missing(format!("the body at offset {offset} is missing"));
        let (mut found, mut value) = self.shelf.at_or_before(keys::BODY, &wanted)?.ok_or_else(missing)?;
        let mut bytes = Vec::with_capacity(len);
        loop {
            let start = keys::number(&found).ok_or_else(missing)?;
            let piece = self.open_value(&found, &value)?;
            let at = offset + bytes.len() as u64;
            let skip = usize::try_from(at - start).map_err(|_| missing())?;
            let rest = piece.get(skip..).filter(|rest| !rest.is_empty()).ok_or_else(missing)?;
            bytes.extend_from_slice(&rest[..rest.len().min(len - bytes.len())]);
            if bytes.len() == len {
                return Ok(bytes.into());
            }
            let next = self.shelf.after(keys::BODY, &found)?.ok_or_else(missing)?;
            // Pieces follow each other without a gap within one body.
            if keys::number(&next.0) != Some(start + piece.len() as u64) {
                return Err(missing());
            }
            (found, value) = next;
        }
    }
}
