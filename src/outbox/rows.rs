//! The rows of a generation and their encoding: bincode (variable-length integers) inside packs of at most one stored value.
//!
//! A pack's payload is `flags u8 | rows u32 LE | row, row, …`. Rows borrow from the value they are read from.

use bincode::Options;
use serde::{Deserialize, Serialize};

use super::frame::{self, Mark};
use super::ids;
use super::keys::Key;
use crate::clock::UnixMs;
use crate::limits::STORED_VALUE_BYTES_MAX;
use crate::model::attempt::{Attempt, AttemptError};
use crate::model::delivery::{DeadReason, KeyHash, Progress, Standing};
use crate::model::text::OrderingKey;

/// Bytes of payload that a stored value holds.
pub(super) const PAYLOAD_BYTES_MAX: usize = STORED_VALUE_BYTES_MAX - frame::OVERHEAD;
const PACK_HEAD_BYTES: usize = 5;
/// Flag of the last pack of heads of a commit: without it the commit never finished.
pub(super) const COMMIT_ENDS: u8 = 1;

fn codec() -> impl Options {
    bincode::DefaultOptions::new().with_limit(STORED_VALUE_BYTES_MAX as u64)
}

/// An event without its body.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct HeadRow<'a> {
    pub(super) id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) key: Option<&'a str>,
    pub(super) at: UnixMs,
    pub(super) timestamp: Option<&'a str>,
    pub(super) deliver_at: Option<UnixMs>,
    pub(super) content_type: &'a str,
    pub(super) json: bool,
    pub(super) traceparent: Option<&'a str>,
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) fingerprint: [u8; 16],
    /// Where extras and body lie in the stream of bodies.
    pub(super) offset: u64,
    pub(super) extras_bytes: u32,
    pub(super) body_bytes: u32,
    /// The first pack of states that can speak of this event.
    pub(super) states_from: u32,
    /// The endpoints that take it, by the generation's own numbers.
    pub(super) targets: Vec<u16>,
}

impl HeadRow<'_> {
    /// The hashes under which the event is found: of its id, and of its key where it has one.
    pub(super) fn id_hashes(&self) -> impl Iterator<Item = u64> + use<> {
        ids::of(self.id, self.idempotency_key)
    }

    /// What stands for its ordering key.
    pub(super) fn key_hash(&self) -> Option<KeyHash> {
        self.key.map(OrderingKey::hash_of)
    }

    /// As [`Event::first_due`](crate::model::event::Event::first_due).
    pub(super) fn first_due(&self) -> UnixMs {
        self.deliver_at.unwrap_or(self.at)
    }
}

/// What an event has beside its body that few events have; stored in front of the body.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Extras<'a> {
    #[serde(borrow)]
    pub(super) cloud_attributes: Option<&'a str>,
    #[serde(borrow)]
    pub(super) headers: Vec<(&'a str, &'a serde_bytes::Bytes)>,
}

impl Extras<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.cloud_attributes.is_none() && self.headers.is_empty()
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, bincode::Error> {
        bincode::DefaultOptions::new().serialize(self)
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Extras<'_>, bincode::Error> {
        bincode::DefaultOptions::new().with_limit(bytes.len() as u64).deserialize(bytes)
    }
}

/// Where a delivery stands after something happened to it. The last row of a delivery counts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StateRow {
    pub(super) seq: u32,
    pub(super) endpoint: u16,
    kind: u8,
    /// Of one that is pending, when its next attempt is due; of one that is dead, when it died, 0 in rows of the first versions.
    next_at: UnixMs,
    tries: u16,
    made: u16,
    /// The pack that holds the attempt, plus one; 0: no attempt was made.
    pub(super) attempt_pack: u32,
}

impl StateRow {
    /// `at`: when that happened.
    pub(super) fn new(
        (seq, endpoint): (u32, u16),
        standing: Standing,
        progress: Progress,
        attempt_pack: u32,
        at: UnixMs,
    ) -> Self {
        let (kind, next_at) = match standing {
            Standing::Pending { next_at } => (0, next_at),
            Standing::Delivered => (1, UnixMs(0)),
            Standing::Dead(DeadReason::Exhausted) => (2, at),
            Standing::Dead(DeadReason::Permanent) => (3, at),
            Standing::Dead(DeadReason::Aborted) => (4, at),
            Standing::Dead(DeadReason::Lost) => (5, at),
            Standing::Dead(DeadReason::BreakerOpen) => (6, at),
        };
        Self { seq, endpoint, kind, next_at, tries: progress.tries, made: progress.made, attempt_pack }
    }

    /// `None` for a kind that this version does not know.
    pub(super) fn standing(&self) -> Option<Standing> {
        Some(match self.kind {
            0 => Standing::Pending { next_at: self.next_at },
            1 => Standing::Delivered,
            2 => Standing::Dead(DeadReason::Exhausted),
            3 => Standing::Dead(DeadReason::Permanent),
            4 => Standing::Dead(DeadReason::Aborted),
            5 => Standing::Dead(DeadReason::Lost),
            6 => Standing::Dead(DeadReason::BreakerOpen),
            _ => return None,
        })
    }

    /// When the delivery died; 0 where it did not, or that was not kept.
    pub(super) fn died_at(&self) -> UnixMs {
        if self.kind > 1 { self.next_at } else { UnixMs(0) }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress { tries: self.tries, made: self.made }
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AttemptRow<'a> {
    pub(super) seq: u32,
    pub(super) endpoint: u16,
    n: u16,
    at: UnixMs,
    /// 0: no answer came.
    status: u16,
    /// 0: a success.
    error: u8,
    duration_ms: u32,
    #[serde(borrow)]
    response: &'a serde_bytes::Bytes,
}

impl<'a> AttemptRow<'a> {
    pub(super) fn new(seq: u32, endpoint: u16, attempt: &'a Attempt) -> Self {
        Self {
            seq,
            endpoint,
            n: attempt.n,
            at: attempt.at,
            status: attempt.status.unwrap_or(0),
            error: attempt.error.map_or(0, AttemptError::code),
            duration_ms: attempt.duration_ms,
            response: serde_bytes::Bytes::new(&attempt.response),
        }
    }

    pub(super) fn attempt(&self) -> Attempt {
        Attempt {
            n: self.n,
            at: self.at,
            status: (self.status != 0).then_some(self.status),
            error: AttemptError::from_code(self.error),
            duration_ms: self.duration_ms,
            response: self.response.to_vec(),
        }
    }
}

/// What is known of a generation that takes no more events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SealRow {
    pub(super) events: u32,
    pub(super) last_at: UnixMs,
    /// Whether it was saved from a damaged one: what is missing in it is known and was told.
    pub(super) rescued: bool,
}

/// That no delivery of a generation is pending, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DoneRow {
    pub(super) at: UnixMs,
    /// How many packs of delivery states there were then. Where there are more, it is true no longer.
    pub(super) state_packs: u32,
}

/// Collects rows into packs that fit a stored value.
#[derive(Debug, Default)]
pub(super) struct Packer {
    packs: Vec<Pack>,
}

/// A pack on its way into the store.
#[derive(Debug)]
pub(super) struct Pack {
    value: Vec<u8>,
    rows: u32,
}

impl Packer {
    /// Adds a row.
    ///
    /// # Errors
    /// When the row alone is larger than a pack, which the program's limits rule out.
    pub(super) fn push(&mut self, row: &impl Serialize) -> Result<(), bincode::Error> {
        let bytes = codec().serialized_size(row)? as usize;
        let full = |pack: &Pack| pack.value.len() + bytes > STORED_VALUE_BYTES_MAX;
        if self.packs.last().is_none_or(full) {
            let mut value = frame::begin(PACK_HEAD_BYTES + bytes);
            value.extend_from_slice(&[0; PACK_HEAD_BYTES]);
            self.packs.push(Pack { value, rows: 0 });
        }
        let pack = self.packs.last_mut().expect("a pack was pushed where there was none");
        pack.rows += 1;
        codec().serialize_into(&mut pack.value, row)
    }

    /// Packs so far, the one being filled included.
    pub(super) fn len(&self) -> usize {
        self.packs.len()
    }

    /// The packs, in the order of their rows.
    pub(super) fn finish(self) -> Vec<Pack> {
        self.packs
    }
}

impl Pack {
    /// How many rows it holds.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    /// The stored value.
    pub(super) fn close(mut self, mark: Mark, key: &Key, flags: u8) -> Vec<u8> {
        let head = &mut self.value[frame::OVERHEAD..frame::OVERHEAD + PACK_HEAD_BYTES];
        head[0] = flags;
        head[1..].copy_from_slice(&self.rows.to_le_bytes());
        frame::close(mark, key, self.value)
    }
}

/// A pack's flags and number of rows, and then its rows through `each`, until that says `false`.
pub(super) fn unpack<'a, R: Deserialize<'a>>(
    payload: &'a [u8],
    mut each: impl FnMut(R) -> bool,
) -> Result<(u8, u32), bincode::Error> {
    let short = || bincode::Error::from(bincode::ErrorKind::Custom("a pack is cut short".to_owned()));
    let (head, body) = payload.split_at_checked(PACK_HEAD_BYTES).ok_or_else(short)?;
    let rows = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let mut decoder = bincode::Deserializer::from_slice(body, codec());
    for _ in 0..rows {
        if !each(R::deserialize(&mut decoder)?) {
            break;
        }
    }
    Ok((head[0], rows))
}

/// The stored value of a pack once more, with `flags` added to its own.
pub(super) fn flagged(mark: Mark, value: &[u8], flags: u8) -> Result<Vec<u8>, frame::FrameError> {
    let record = frame::read(value)?;
    let mut anew = frame::begin(record.payload.len());
    anew.extend_from_slice(record.payload);
    if let Some(own) = anew.get_mut(frame::OVERHEAD) {
        *own |= flags;
    }
    Ok(frame::close(Mark { epoch: record.epoch, ..mark }, &record.key, anew))
}

/// A single row as a stored value.
pub(super) fn single(mark: Mark, key: &Key, row: &impl Serialize) -> Result<Vec<u8>, bincode::Error> {
    let mut value = frame::begin(64);
    codec().serialize_into(&mut value, row)?;
    Ok(frame::close(mark, key, value))
}

/// A row from [`single`].
pub(super) fn decode_single<'a, R: Deserialize<'a>>(payload: &'a [u8]) -> Result<R, bincode::Error> {
    codec().deserialize(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::keys;

    fn head(id: &str) -> HeadRow<'_> {
        HeadRow {
            id,
            event_type: "invoice.paid",
            key: Some("customer-7"),
            at: UnixMs(1_614_265_330_007),
            timestamp: None,
            deliver_at: None,
            content_type: "application/json",
            json: true,
            traceparent: None,
            idempotency_key: None,
            fingerprint: [9; 16],
            offset: 70_000,
            extras_bytes: 0,
            body_bytes: 1024,
            states_from: 3,
            targets: vec![0, 1],
        }
    }

    /// Rows of version 1 as they were first written: an older folder must stay readable.
    #[test]
    fn golden_bytes_of_version_1() {
        let bytes = |row: &dyn erased::Row| hex::encode(row.bytes());
        assert_eq!(
            bytes(&head("evt_1")),
            "056576745f310c696e766f6963652e70616964010a637573746f6d65722d37fd5729b6d9770100000000\
             106170706c69636174696f6e2f6a736f6e01000009090909090909090909090909090909fc7011010000fb0004030200 01"
                .replace(' ', "")
        );
        let (at, progress) = (UnixMs(1_614_265_330_007), Progress { tries: 1, made: 4 });
        let state = StateRow::new((300, 2), Standing::Pending { next_at: at }, progress, 5, UnixMs(9));
        assert_eq!(bytes(&state), "fb2c010200fd5729b6d977010000010405");
        let dead = StateRow::new((300, 2), Standing::Dead(DeadReason::Exhausted), progress, 5, at);
        assert_eq!(bytes(&dead), "fb2c010202fd5729b6d977010000010405");
        let attempt = Attempt {
            n: 4,
            at: UnixMs(1_614_265_330_007),
            status: Some(503),
            error: Some(AttemptError::Status),
            duration_ms: 12,
            response: b"busy".to_vec(),
        };
        assert_eq!(bytes(&AttemptRow::new(300, 2, &attempt)), "fb2c010204fd5729b6d977010000fbf701060c0462757379");
    }

    #[test]
    fn a_key_that_would_not_be_taken_any_more_has_its_hash_all_the_same() {
        let with = |key: &'static str| HeadRow { key: Some(key), ..head("e") }.key_hash();
        assert_eq!(with("customer-7"), Some(OrderingKey::parse("customer-7").unwrap().hash()));
        assert!(OrderingKey::parse("customer\u{1}7").is_err());
        assert_eq!(with("customer\u{1}7"), Some(KeyHash(0x2a0c_446a_9e7d_72e6)));
        assert_eq!(HeadRow { key: None, ..head("e") }.key_hash(), None);
    }

    /// The first versions did not keep when a delivery died.
    #[test]
    fn the_time_of_a_death_is_kept_and_an_old_row_has_none() {
        let dead = Standing::Dead(DeadReason::Permanent);
        let row = StateRow::new((1, 2), dead, Progress::default(), 0, UnixMs(77));
        assert_eq!(row.died_at(), UnixMs(77));
        let old: StateRow = decode_single(&hex::decode("fb2c010203000104 05".replace(' ', "")).unwrap()).unwrap();
        assert_eq!((old.standing(), old.died_at()), (Some(dead), UnixMs(0)));
        assert_eq!(StateRow::new((1, 2), Standing::Delivered, Progress::default(), 0, UnixMs(77)).died_at(), UnixMs(0));
        let pending = Standing::Pending { next_at: UnixMs(5) };
        assert_eq!(StateRow::new((1, 2), pending, Progress::default(), 0, UnixMs(77)).died_at(), UnixMs(0));
    }

    mod erased {
        use super::*;
        pub(super) trait Row {
            fn bytes(&self) -> Vec<u8>;
        }
        impl<T: Serialize> Row for T {
            fn bytes(&self) -> Vec<u8> {
                codec().serialize(self).unwrap()
            }
        }
    }

    #[test]
    fn packs_hold_what_fits_and_keep_the_order() {
        let ids: Vec<String> = (0..500).map(|n| format!("evt_{n:0100}")).collect();
        let mut packer = Packer::default();
        for id in &ids {
            packer.push(&head(id)).unwrap();
        }
        let packs = packer.finish();
        assert!(packs.len() > 3);
        let mut read = Vec::new();
        for pack in packs {
            let rows = pack.rows();
            let key = keys::key(b'h', 0);
            let value = pack.close(Mark::new([1; 8]), &key, COMMIT_ENDS);
            assert!(value.len() <= STORED_VALUE_BYTES_MAX);
            let payload = frame::open(&key, &value).unwrap();
            let told = unpack(payload, |row: HeadRow<'_>| {
                read.push(row.id.to_owned());
                true
            });
            assert_eq!(told.unwrap(), (COMMIT_ENDS, rows));
        }
        assert_eq!(read, ids);
    }

    #[test]
    fn every_standing_survives() {
        for standing in [
            Standing::Pending { next_at: UnixMs(5) },
            Standing::Delivered,
            Standing::Dead(DeadReason::Exhausted),
            Standing::Dead(DeadReason::Permanent),
            Standing::Dead(DeadReason::Aborted),
            Standing::Dead(DeadReason::Lost),
            Standing::Dead(DeadReason::BreakerOpen),
        ] {
            let row = StateRow::new((1, 2), standing, Progress { tries: 3, made: 4 }, 0, UnixMs(9));
            assert_eq!(row.standing(), Some(standing));
        }
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(bytes: Vec<u8>) {
            let _ = unpack(&bytes, |_: HeadRow<'_>| true);
            let _ = unpack(&bytes, |_: StateRow| true);
            let _ = unpack(&bytes, |_: AttemptRow<'_>| true);
            let _ = Extras::decode(&bytes);
        }
    }
}
