//! The frame around every stored value: what it is, how long it is, and a checksum.
//!
//! ```text
//! mark 8 bytes | version u8 | kind u8 | number u64 LE | epoch u32 LE | payload bytes u32 LE | crc32 u32 LE | payload
//! ```
//!
//! Kind and number are the key that the value is stored under, and the CRC covers all but the mark and itself: a value under
//! a wrong key is found as well as a flipped bit. The mark is random and the same for everything in one data folder. With it
//! a record can be recognised in the engine's file even where the engine cannot read that file any more (see `carve.rs`), and
//! nobody who posts an event can forge one, since nobody knows the mark. The epoch counts how often a generation was opened:
//! of two records under one key, the one of the later epoch is the newer.

use thiserror::Error;

use super::keys::{self, Key};
use crate::limits::STORED_VALUE_BYTES_MAX;

/// The version of every row and key written today.
const VERSION: u8 = 1;
const VERSION_AT: usize = MARK_BYTES;
const KIND_AT: usize = VERSION_AT + 1;
const NUMBER_AT: usize = KIND_AT + 1;
const EPOCH_AT: usize = NUMBER_AT + 8;
const LEN_AT: usize = EPOCH_AT + 4;
const CRC_AT: usize = LEN_AT + 4;
/// Bytes of a mark.
pub(super) const MARK_BYTES: usize = 8;
/// Bytes that a frame adds.
pub(super) const OVERHEAD: usize = CRC_AT + 4;

/// What every value of one data folder begins with, and when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) bytes: [u8; MARK_BYTES],
    pub(super) epoch: u32,
}

impl Mark {
    /// The mark in the first epoch.
    pub(super) fn new(bytes: [u8; MARK_BYTES]) -> Self {
        Self { bytes, epoch: 0 }
    }
}

/// A record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) key: Key,
    pub(super) epoch: u32,
    pub(super) payload: &'a [u8],
}

/// Why a stored value is not believed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum FrameError {
    /// Too short or too long to be one.
    #[error("it is cut short")]
    Short,
    /// Written by another version.
    #[error("it has version {0}, this program reads version 1")]
    Version(u8),
    /// The checksum or the key does not fit.
    #[error("its checksum does not fit")]
    Crc,
}

/// A value that is being put together; the payload is appended to it.
pub(super) fn begin(payload_bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(OVERHEAD + payload_bytes);
    value.resize(OVERHEAD, 0);
    value
}

/// Closes a value from [`begin`] for its key.
pub(super) fn close(mark: Mark, key: &Key, mut value: Vec<u8>) -> Vec<u8> {
    // A length that does not fit is far beyond what the store takes; such a value would not pass `open`.
    let payload_bytes = u32::try_from(value.len() - OVERHEAD).unwrap_or(u32::MAX);
    value[..MARK_BYTES].copy_from_slice(&mark.bytes);
    value[VERSION_AT] = VERSION;
    value[KIND_AT] = key[0];
    value[NUMBER_AT..EPOCH_AT].copy_from_slice(&keys::number(key).unwrap_or(0).to_le_bytes());
    value[EPOCH_AT..LEN_AT].copy_from_slice(&mark.epoch.to_le_bytes());
    value[LEN_AT..CRC_AT].copy_from_slice(&payload_bytes.to_le_bytes());
    let crc = crc(&value);
    value[CRC_AT..OVERHEAD].copy_from_slice(&crc.to_le_bytes());
    value
}

/// The payload of a stored value.
pub(super) fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], FrameError> {
    let Record { key: found, payload, .. } = read(value)?;
    if found != key || OVERHEAD + payload.len() != value.len() {
        return Err(FrameError::Crc);
    }
    Ok(payload)
}

/// The record that `bytes` begin with. What stands behind it is left alone.
pub(super) fn read(bytes: &[u8]) -> Result<Record<'_>, FrameError> {
    let head = bytes.get(..OVERHEAD).ok_or(FrameError::Short)?;
    if head[VERSION_AT] != VERSION {
        return Err(FrameError::Version(head[VERSION_AT]));
    }
    let field = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let payload_bytes = u32::from_le_bytes(field(LEN_AT)) as usize;
    if OVERHEAD + payload_bytes > STORED_VALUE_BYTES_MAX {
        return Err(FrameError::Short);
    }
    let whole = bytes.get(..OVERHEAD + payload_bytes).ok_or(FrameError::Short)?;
    if u32::from_le_bytes(field(CRC_AT)) != crc(whole) {
        return Err(FrameError::Crc);
    }
    let mut number = [0; 8];
    number.copy_from_slice(&head[NUMBER_AT..EPOCH_AT]);
    Ok(Record {
        key: keys::key(head[KIND_AT], u64::from_le_bytes(number)),
        epoch: u32::from_le_bytes(field(EPOCH_AT)),
        payload: &whole[OVERHEAD..],
    })
}

/// Gives the frame that `bytes` begin with the version, a length that fits and the checksum that it lacks; for
/// [`super::fuzzing`].
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn mend(bytes: &mut [u8]) {
    let Some(rest) = bytes.len().checked_sub(OVERHEAD) else { return };
    bytes[VERSION_AT] = VERSION;
    let mut len = [0; 4];
    len.copy_from_slice(&bytes[LEN_AT..CRC_AT]);
    let len = (u32::from_le_bytes(len) as usize).min(rest).min(STORED_VALUE_BYTES_MAX - OVERHEAD);
    bytes[LEN_AT..CRC_AT].copy_from_slice(&u32::try_from(len).unwrap_or(0).to_le_bytes());
    let crc = crc(&bytes[..OVERHEAD + len]);
    bytes[CRC_AT..OVERHEAD].copy_from_slice(&crc.to_le_bytes());
}

fn crc(value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&value[VERSION_AT..CRC_AT]);
    hasher.update(&value[OVERHEAD..]);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { bytes: *b"\xC3mark\xFF\0\x01", epoch: 5 };

    fn framed(key: &Key, payload: &[u8]) -> Vec<u8> {
        let mut value = begin(payload.len());
        value.extend_from_slice(payload);
        close(MARK, key, value)
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let value = framed(&keys::key(b'h', 0x0102), b"payload");
        let golden = "c36d61726bff0001016802010000000000000500000007000000ba0f01797061796c6f6164";
        assert_eq!(hex::encode(value), golden);
    }

    #[test]
    fn any_flipped_bit_behind_the_mark_and_any_other_key_is_found() {
        let key = keys::key(b'h', 7);
        let value = framed(&key, b"some payload");
        assert_eq!(open(&key, &value), Ok(&b"some payload"[..]));
        assert_eq!(open(&keys::key(b'h', 8), &value), Err(FrameError::Crc));
        for bit in MARK_BYTES * 8..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key, &damaged).is_err(), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(open(&key, &value[..len]).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn a_record_is_read_off_the_front_of_other_bytes() {
        let key = keys::key(b'b', 70_000);
        let mut bytes = framed(&key, b"body");
        bytes.extend_from_slice(b"and what follows");
        assert_eq!(read(&bytes), Ok(Record { key, epoch: 5, payload: b"body" }));
        assert!(open(&key, &bytes).is_err(), "as a value it is too long");
    }
}
