//! The frame around every stored value: a version byte and a CRC.
//!
//! ```text
//! version u8 | crc32 u32 LE, over key and payload | payload
//! ```
//!
//! The CRC covers the key, so that a value under a wrong key is found as well as a flipped bit.

use thiserror::Error;

/// The version of every row and key written today.
const VERSION: u8 = 1;
/// Bytes that a frame adds.
pub(super) const OVERHEAD: usize = 5;

/// Why a stored value is not believed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum FrameError {
    /// Too short to be one.
    #[error("it is cut short")]
    Short,
    /// Written by another version.
    #[error("it has version {0}, this program reads version 1")]
    Version(u8),
    /// The checksum does not fit.
    #[error("its checksum does not fit")]
    Crc,
}

fn crc(key: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(payload);
    hasher.finalize()
}

/// A value that is being put together; the payload is appended to it.
pub(super) fn begin(payload_bytes: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(OVERHEAD + payload_bytes);
    value.extend_from_slice(&[VERSION, 0, 0, 0, 0]);
    value
}

/// Closes a value from [`begin`] for its key.
pub(super) fn close(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let crc = crc(key, &value[OVERHEAD..]);
    value[1..OVERHEAD].copy_from_slice(&crc.to_le_bytes());
    value
}

/// The payload of a stored value.
pub(super) fn open<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], FrameError> {
    let (head, payload) = value.split_at_checked(OVERHEAD).ok_or(FrameError::Short)?;
    if head[0] != VERSION {
        return Err(FrameError::Version(head[0]));
    }
    if head[1..] != crc(key, payload).to_le_bytes() {
        return Err(FrameError::Crc);
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(key: &[u8], payload: &[u8]) -> Vec<u8> {
        let mut value = begin(payload.len());
        value.extend_from_slice(payload);
        close(key, value)
    }

    #[test]
    fn golden_bytes_of_version_1() {
        assert_eq!(hex::encode(framed(b"h\0\0\0\x01", b"payload")), "016c6961467061796c6f6164");
    }

    #[test]
    fn any_flipped_bit_and_any_other_key_is_found() {
        let value = framed(b"key", b"some payload");
        assert_eq!(open(b"key", &value), Ok(&b"some payload"[..]));
        assert_eq!(open(b"kex", &value), Err(FrameError::Crc));
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(b"key", &damaged).is_err(), "bit {bit}");
        }
        for len in 0..value.len() {
            assert!(open(b"key", &value[..len]).is_err(), "cut at {len}");
        }
    }
}
