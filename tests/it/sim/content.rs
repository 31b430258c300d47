//! What events say: bodies made from a number alone, so that nobody has to keep them.

use std::sync::OnceLock;

use bytes::Bytes;

/// Longest body, in bytes.
pub(crate) const BODY_BYTES_MAX: usize = 300_000;
const NOISE_BYTES: usize = 1 << 20;

/// One content: what a producer says, apart from the id and the keys that it says it under.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// Its number: the fingerprint and the body follow from it.
    pub(crate) no: u64,
    /// Bytes of the body.
    pub(crate) len: usize,
    /// The endpoints that take it, in rising order.
    pub(crate) targets: Vec<usize>,
    /// Not before this moment, in wall-clock milliseconds.
    pub(crate) deliver_at: Option<u64>,
    /// The ordering key, by its number.
    pub(crate) key: Option<u8>,
}

impl Content {
    /// Its body.
    pub(crate) fn body(&self) -> Bytes {
        let from = spread(self.no) as usize % (NOISE_BYTES - BODY_BYTES_MAX);
        noise().slice(from..from + self.len)
    }

    /// What tells it from another content under the same id.
    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        let (a, b) = (spread(self.no), spread(self.no ^ u64::MAX));
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&a.to_be_bytes());
        bytes[8..].copy_from_slice(&b.to_be_bytes());
        bytes
    }
}

/// Makes a number that looks like chance of one that counts (the finisher of SplitMix64).
pub(crate) fn spread(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

fn noise() -> &'static Bytes {
    static NOISE: OnceLock<Bytes> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut random = fastrand::Rng::with_seed(7);
        Bytes::from((0..NOISE_BYTES).map(|_| random.u8(..)).collect::<Vec<_>>())
    })
}
