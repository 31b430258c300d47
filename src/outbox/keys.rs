//! The keys of a generation: one byte for the kind, then a big-endian number, so that they sort as they are read.

/// `n` + number: an endpoint's name.
pub(super) const NAME: u8 = b'n';
/// `h` + number of the first event: a pack of event heads.
pub(super) const HEADS: u8 = b'h';
/// `b` + offset: a piece of the stream of bodies.
pub(super) const BODY: u8 = b'b';
/// `o` + running number: a pack of delivery states.
pub(super) const STATES: u8 = b'o';
/// `a` + running number: a pack of attempts.
pub(super) const ATTEMPTS: u8 = b'a';
/// `z`: the seal, the last thing written to a generation that takes no more events.
pub(super) const SEAL: u8 = b'z';
/// `l` + running number: what a generation lacks that was rescued, and that was told.
pub(super) const LOST: u8 = b'l';
/// `d`: that no delivery of the generation is pending, as long as nothing is written after it.
pub(super) const DONE: u8 = b'd';
/// Kinds of the small files beside the generations; no generation holds them.
pub(super) const WATERMARK: u8 = b'w';
/// See [`WATERMARK`]: what endpoints or operators asked for.
pub(super) const ENDPOINTS: u8 = b'e';
/// See [`WATERMARK`]: which generations there must be.
pub(super) const ROLL: u8 = b'g';
/// See [`WATERMARK`]: what the start needs to know of a generation.
pub(super) const SUMMARY: u8 = b's';
/// See [`WATERMARK`]: which ids a sealed generation holds.
pub(super) const IDS: u8 = b'i';

/// A kind and its number.
pub(super) type Key = [u8; 9];

/// The key of a kind and a number.
pub(super) fn key(kind: u8, number: u64) -> Key {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The number in a key of [`key`]'s making.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn keys_sort_by_kind_then_number(a: u64, b: u64) {
            assert_eq!(key(HEADS, a).cmp(&key(HEADS, b)), a.cmp(&b));
            assert!(key(BODY, a) < key(HEADS, b));
            assert_eq!(number(&key(STATES, a)), Some(a));
        }
    }
}
