//! One generation: a small database with the events of a span of time, their deliveries' states and their attempts.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use super::engine::Engine;
use super::filter::Filter;
use super::keys::{self, key};
use super::rows::{
    self, AttemptRow, COMMIT_ENDS, DoneRow, Extras, HeadRow, IndexRow, PAYLOAD_BYTES_MAX, Packer, SealRow, StateRow,
};
use super::{ReadError, StoreError, frame};
use crate::clock::UnixMs;
use crate::model::attempt::Attempt;
use crate::model::delivery::{EventRef, Progress, Settlement, Standing};
use crate::model::event::{Content, Event, Fingerprint, KeptHeader, NewEvent};
use crate::model::roster::{EndpointNo, Roster};
use crate::model::text::{EndpointName, EventId, EventType, OrderingKey};

/// What an event's head counts for in the size of a generation.
const HEAD_BYTES: u64 = 256;

/// An open generation.
#[derive(Debug)]
pub(super) struct Generation {
    no: u32,
    engine: Engine,
    roster: Arc<Roster>,
    names: RwLock<Names>,
    tail: Mutex<Tail>,
}

/// The generation's own numbers for endpoints; they are stored, the process's are not.
#[derive(Debug, Default)]
struct Names {
    by_local: Vec<EndpointNo>,
    to_local: HashMap<EndpointNo, u16>,
}

/// Where the next rows go.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    seq: u32,
    offset: u64,
    state_pack: u32,
    attempt_pack: u32,
}

/// An event's head, read back.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) event: Event,
    pub(super) idempotency_key: Option<Box<str>>,
    pub(super) fingerprint: Fingerprint,
    pub(super) targets: Vec<EndpointNo>,
    states_from: u32,
    offset: u64,
    extras_bytes: u32,
    body_bytes: u32,
}

/// Where a delivery stands, folded from its rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) standing: Standing,
    pub(super) progress: Progress,
}

impl State {
    /// What a delivery is at acceptance.
    pub(super) fn fresh(event: &Event) -> Self {
        let next_at = event.deliver_at.unwrap_or(event.at);
        Self { standing: Standing::Pending { next_at }, progress: Progress::default() }
    }
}

impl Generation {
    /// Opens the generation in `dir`, making it if it is not there.
    pub(super) fn open(dir: &Path, no: u32, roster: Arc<Roster>) -> Result<Self, StoreError> {
        let engine = Engine::open(dir)?;
        let generation = Self { no, engine, roster, names: RwLock::default(), tail: Mutex::default() };
        generation.read_names()?;
        generation.find_tail()?;
        Ok(generation)
    }

    /// Its number.
    pub(super) fn no(&self) -> u32 {
        self.no
    }

    /// How many events it holds.
    pub(super) fn events(&self) -> u32 {
        self.tail().seq
    }

    /// Bytes of its events, as [`Generation::append_events`] counts them.
    pub(super) fn bytes(&self) -> u64 {
        let tail = *self.tail();
        tail.offset + u64::from(tail.seq) * HEAD_BYTES
    }

    /// Whether only opening it anew can mend it.
    pub(super) fn failed(&self) -> bool {
        self.engine.failed()
    }

    /// Makes everything written so far durable.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        Ok(self.engine.sync()?)
    }

    /// Hands everything written so far to the operating system.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        Ok(self.engine.flush()?)
    }

    /// Writes events as one commit; the first gets the number that [`Generation::events`] tells. Bodies go first, so that a
    /// head that is there has its body. Returns the bytes written.
    pub(super) fn append_events(&self, events: &[NewEvent]) -> Result<u64, StoreError> {
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
            self.engine.put(&key, pack.close(&key, flags))?;
        }
        *self.tail() = tail;
        Ok(bytes)
    }

    /// Writes what has happened to deliveries of this generation.
    pub(super) fn append_settlements(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        let mut tail = *self.tail();
        let (mut states, mut attempts) = (Packer::default(), Packer::default());
        for settlement in settlements {
            let seq = settlement.delivery.event.seq;
            let endpoint = self.local(settlement.delivery.endpoint)?;
            let mut attempt_pack = 0;
            if let Some(attempt) = &settlement.attempt {
                attempts.push(&AttemptRow::new(seq, endpoint, attempt))?;
                attempt_pack = tail.attempt_pack + u32::try_from(attempts.len()).map_err(|_| StoreError::TooLarge)?;
            }
            states.push(&StateRow::new(seq, endpoint, settlement.standing, settlement.progress, attempt_pack))?;
        }
        // Attempts first: a state never points at a pack that is not there.
        for (kind, packs, next) in [
            (keys::ATTEMPTS, attempts.finish(), &mut tail.attempt_pack),
            (keys::STATES, states.finish(), &mut tail.state_pack),
        ] {
            for pack in packs {
                let key = key(kind, u64::from(*next));
                self.engine.put(&key, pack.close(&key, 0))?;
                *next += 1;
            }
        }
        *self.tail() = tail;
        Ok(())
    }

    /// The head of an event.
    pub(super) fn head(&self, seq: u32) -> Result<Option<Head>, ReadError> {
        let wanted = key(keys::HEADS, u64::from(seq));
        let Some((found, value)) = self.engine.at_or_before(keys::HEADS, &wanted)? else { return Ok(None) };
        let mut head = None;
        self.each_head(&found, &value, |at, row| {
            if at == seq {
                head = Some(self.head_of(row));
            }
            at < seq
        })?;
        head.transpose()
    }

    /// Calls `each` with every event from number `from` on, until it says `false`.
    pub(super) fn scan_heads(
        &self,
        from: u32,
        mut each: impl FnMut(u32, &HeadRow<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let mut failure = Ok(());
        self.engine.scan(keys::HEADS, &key(keys::HEADS, u64::from(from)), |found, value| {
            let mut more = true;
            failure = self.each_head(&found, &value, |seq, row| {
                more = each(seq, row);
                more
            });
            failure.is_ok() && more
        })?;
        failure
    }

    /// The heads of the pack that holds the last event before number `before`, each with its number, in order; `None` where there is none.
    pub(super) fn heads_before(&self, before: u32) -> Result<Option<Vec<(u32, Head)>>, ReadError> {
        let Some(last) = before.checked_sub(1) else { return Ok(None) };
        let wanted = key(keys::HEADS, u64::from(last));
        let Some((found, value)) = self.engine.at_or_before(keys::HEADS, &wanted)? else { return Ok(None) };
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
    pub(super) fn event(&self, head: Head) -> Result<Event, ReadError> {
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
    pub(super) fn scan_states(&self, from: u32, mut each: impl FnMut(StateRow, State)) -> Result<(), ReadError> {
        let mut failure = Ok(());
        self.engine.scan(keys::STATES, &key(keys::STATES, u64::from(from)), |found, value| {
            failure = self.open_value(&found, &value).and_then(|payload| {
                let mut strange = false;
                let unpacked = rows::unpack(payload, |row: StateRow| {
                    match row.standing() {
                        Some(standing) => each(row, State { standing, progress: row.progress() }),
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
    pub(super) fn deliveries(
        &self,
        seq: u32,
        head: &Head,
    ) -> Result<Vec<(EndpointNo, State, Vec<Attempt>)>, ReadError> {
        let fresh = State::fresh(&head.event);
        let mut deliveries: Vec<_> = head.targets.iter().map(|no| (*no, fresh, Vec::new())).collect();
        let mut packs = BTreeMap::new();
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
                packs.insert(row.attempt_pack - 1, ());
            }
        })?;
        for pack in packs.into_keys() {
            let key = key(keys::ATTEMPTS, u64::from(pack));
            let value = self
                .engine
                .get(&key)?
                .ok_or_else(|| self.damaged(format!("attempts of event {} are missing", head.event.id)))?;
            let payload = self.open_value(&key, &value)?;
            rows::unpack(payload, |row: AttemptRow<'_>| {
                let endpoint = self.global(row.endpoint);
                if row.seq == seq
                    && let Some((_, _, attempts)) = deliveries.iter_mut().find(|(no, ..)| Some(*no) == endpoint)
                {
                    attempts.push(row.attempt());
                }
                true
            })
            .map_err(|error| self.damaged(format!("a pack of attempts: {error}")))?;
        }
        Ok(deliveries)
    }

    /// Writes the id index, the filter and the seal: from here on the generation takes no events.
    pub(super) fn seal(&self, ids: &HashMap<u64, u32>, last_at: UnixMs) -> Result<Filter, StoreError> {
        let mut index: Vec<IndexRow> = ids.iter().map(|(hash, seq)| IndexRow { hash: *hash, seq: *seq }).collect();
        index.sort_unstable();
        let mut packer = Packer::default();
        for row in &index {
            packer.push(row)?;
        }
        let mut first = 0;
        for pack in packer.finish() {
            let key = key(keys::INDEX, index[first].hash);
            first += pack.rows() as usize;
            self.engine.put(&key, pack.close(&key, 0))?;
        }
        let filter = Filter::over(index.iter().map(|row| row.hash));
        for (number, piece) in filter.as_bytes().chunks(PAYLOAD_BYTES_MAX).enumerate() {
            let key = key(keys::FILTER, number as u64);
            let mut value = frame::begin(piece.len());
            value.extend_from_slice(piece);
            self.engine.put(&key, frame::close(&key, value))?;
        }
        let key = key(keys::SEAL, 0);
        self.engine.put(&key, rows::single(&key, &SealRow { events: self.events(), last_at })?)?;
        self.engine.sync()?;
        Ok(filter)
    }

    /// The seal, where there is one.
    pub(super) fn sealed(&self) -> Result<Option<SealRow>, ReadError> {
        self.single(&key(keys::SEAL, 0))
    }

    /// The mark that nothing is pending, where there is one.
    pub(super) fn done(&self) -> Result<Option<DoneRow>, ReadError> {
        self.single(&key(keys::DONE, 0))
    }

    /// Sets or removes the mark that nothing is pending.
    pub(super) fn set_done(&self, done: Option<UnixMs>) -> Result<(), StoreError> {
        let key = key(keys::DONE, 0);
        match done {
            Some(at) => self.engine.put(&key, rows::single(&key, &DoneRow { at })?)?,
            None => self.engine.remove(&key)?,
        }
        Ok(())
    }

    /// The filter of a sealed generation.
    pub(super) fn filter(&self) -> Result<Option<Filter>, ReadError> {
        let mut bits = Vec::new();
        let mut failure = Ok(());
        self.engine.scan(keys::FILTER, &[keys::FILTER], |found, value| {
            match self.open_value(&found, &value) {
                Ok(piece) => bits.extend_from_slice(piece),
                Err(error) => failure = Err(error),
            }
            failure.is_ok()
        })?;
        failure?;
        Ok(Filter::from_bytes(bits))
    }

    /// The event that a sealed generation's index names for a hash.
    pub(super) fn indexed(&self, hash: u64) -> Result<Option<u32>, ReadError> {
        let wanted = key(keys::INDEX, hash);
        let Some((found, value)) = self.engine.at_or_before(keys::INDEX, &wanted)? else { return Ok(None) };
        let mut seq = None;
        rows::unpack(self.open_value(&found, &value)?, |row: IndexRow| {
            if row.hash == hash {
                seq = Some(row.seq);
            }
            row.hash < hash
        })
        .map_err(|error| self.damaged(format!("the id index: {error}")))?;
        Ok(seq)
    }

    /// The process's number for a stored endpoint.
    pub(super) fn global(&self, local: u16) -> Option<EndpointNo> {
        self.names.read().unwrap_or_else(PoisonError::into_inner).by_local.get(usize::from(local)).copied()
    }

    /// The head that a row tells, without its body.
    pub(super) fn head_of(&self, row: &HeadRow<'_>) -> Result<Head, ReadError> {
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

    /// Where a number of this generation lies.
    pub(super) fn place(&self, seq: u32) -> EventRef {
        EventRef { generation: self.no, seq }
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn damaged(&self, what: String) -> ReadError {
        ReadError::Damaged(format!("generation {}: {what}", self.no))
    }

    fn open_value<'a>(&self, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], ReadError> {
        frame::open(key, value).map_err(|error| {
            let kind = char::from(key.first().copied().unwrap_or(b'?'));
            self.damaged(format!("value {kind}{}: {error}", keys::number(key).unwrap_or(0)))
        })
    }

    fn single<R: for<'a> serde::Deserialize<'a>>(&self, key: &[u8]) -> Result<Option<R>, ReadError> {
        let Some(value) = self.engine.get(key)? else { return Ok(None) };
        rows::decode_single(self.open_value(key, &value)?)
            .map(Some)
            .map_err(|error| self.damaged(format!("value {}: {error}", char::from(key[0]))))
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
        let missing = || self.damaged(format!("the body at offset {offset} is missing"));
        let (mut found, mut value) = self.engine.at_or_before(keys::BODY, &wanted)?.ok_or_else(missing)?;
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
            let next = self.engine.after(keys::BODY, &found)?.ok_or_else(missing)?;
            // Pieces follow each other without a gap within one body.
            if keys::number(&next.0) != Some(start + piece.len() as u64) {
                return Err(missing());
            }
            (found, value) = next;
        }
    }

    /// The generation's own number for an endpoint; a new one is written with the commit that first needs it.
    fn local(&self, no: EndpointNo) -> Result<u16, StoreError> {
        if let Some(local) = self.names.read().unwrap_or_else(PoisonError::into_inner).to_local.get(&no) {
            return Ok(*local);
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        let local = u16::try_from(names.by_local.len()).map_err(|_| StoreError::TooLarge)?;
        let key = key(keys::NAME, u64::from(local));
        self.engine.put(&key, rows::single(&key, &self.roster.name(no).as_str())?)?;
        names.by_local.push(no);
        names.to_local.insert(no, local);
        Ok(local)
    }

    fn read_names(&self) -> Result<(), StoreError> {
        let mut names = Names::default();
        let mut failure = Ok(());
        self.engine.scan(keys::NAME, &[keys::NAME], |found, value| {
            let read = self.open_value(&found, &value).and_then(|payload| {
                let text: &str = rows::decode_single(payload)
                    .map_err(|error| self.damaged(format!("an endpoint's name: {error}")))?;
                EndpointName::parse(text).map_err(|error| self.damaged(format!("an endpoint's name {error}")))
            });
            match read {
                Ok(name) => {
                    let no = self.roster.number(&name);
                    // A name may stand twice after a failed commit; both numbers then lead to it.
                    let local = u16::try_from(names.by_local.len()).unwrap_or(u16::MAX);
                    names.by_local.push(no);
                    names.to_local.insert(no, local);
                }
                Err(error) => failure = Err(error),
            }
            failure.is_ok()
        })?;
        failure?;
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = names;
        Ok(())
    }

    /// Finds where the next rows go, and drops the heads of a commit that never finished: it was never acknowledged.
    fn find_tail(&self) -> Result<(), StoreError> {
        let mut tail = Tail::default();
        while let Some((found, value)) = self.engine.last(keys::HEADS)? {
            let payload = self.open_value(&found, &value)?;
            let (flags, rows) = rows::unpack(payload, |_: HeadRow<'_>| false)
                .map_err(|error| self.damaged(format!("the last pack of event heads: {error}")))?;
            if flags & COMMIT_ENDS == 0 {
                self.engine.remove(&found)?;
                continue;
            }
            let first = keys::number(&found).and_then(|first| u32::try_from(first).ok()).unwrap_or(0);
            tail.seq = first + rows;
            break;
        }
        if let Some((found, value)) = self.engine.last(keys::BODY)? {
            let piece = self.open_value(&found, &value)?;
            tail.offset = keys::number(&found).unwrap_or(0) + piece.len() as u64;
        }
        let next = |last: Option<(super::engine::Value, super::engine::Value)>| {
            last.and_then(|(found, _)| keys::number(&found)).map_or(0, |number| number as u32 + 1)
        };
        tail.state_pack = next(self.engine.last(keys::STATES)?);
        tail.attempt_pack = next(self.engine.last(keys::ATTEMPTS)?);
        *self.tail() = tail;
        Ok(())
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
        Ok(self.generation.engine.put(&key, frame::close(&key, piece))?)
    }

    fn finish(mut self) -> Result<u64, StoreError> {
        if !self.piece.is_empty() {
            self.put()?;
        }
        Ok(self.offset)
    }
}
