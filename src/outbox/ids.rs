//! Hashes of ids: what the id index and the filters hold instead of the ids themselves.

use sha2::{Digest, Sha256};

/// The hash of an event id.
pub(super) fn id_hash(id: &str) -> u64 {
    hash(b'i', id)
}

/// The hash of an `Idempotency-Key`. Never that of an id.
pub(super) fn idempotency_hash(key: &str) -> u64 {
    hash(b'k', key)
}

/// The hashes under which an event is found.
pub(super) fn of(id: &str, idempotency_key: Option<&str>) -> impl Iterator<Item = u64> + use<> {
    std::iter::once(id_hash(id)).chain(idempotency_key.map(idempotency_hash))
}

/// The first eight bytes of SHA-256: stored, so the same in every version, and even enough for the filters.
fn hash(kind: u8, text: &str) -> u64 {
    let digest = Sha256::new_with_prefix([kind]).chain_update(text.as_bytes()).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_stored_and_must_never_change() {
        assert_eq!(format!("{:016x}", id_hash("evt_1")), "ba1cdc59b2fdd119");
        assert_ne!(id_hash("evt_1"), idempotency_hash("evt_1"));
    }
}
