//! A Bloom filter over the ids of a closed generation: says "surely not here" without opening it.
//!
//! 12 bits an id and 6 probes give about one false "maybe" in 300 (Bloom 1970; the double hashing of Kirsch and
//! Mitzenmacher 2006).

const BITS_EACH: usize = 12;
const PROBES: u32 = 6;

/// The filter. A few bytes for each id of a generation stay in memory while it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Filter {
    bits: Vec<u8>,
}

impl Filter {
    /// A filter over `hashes`.
    pub(super) fn over(hashes: impl ExactSizeIterator<Item = u64>) -> Self {
        let bytes = (hashes.len() * BITS_EACH).div_ceil(8).max(8);
        let mut filter = Self { bits: vec![0; bytes] };
        for hash in hashes {
            for bit in filter.probes(hash) {
                filter.bits[bit / 8] |= 1 << (bit % 8);
            }
        }
        filter
    }

    /// A filter from its stored bytes; `None` where they cannot be one.
    pub(super) fn from_bytes(bits: Vec<u8>) -> Option<Self> {
        (bits.len() >= 8).then_some(Self { bits })
    }

    /// The bytes to store.
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// False only where `hash` is not among those it was made over.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        self.probes(hash).all(|bit| self.bits[bit / 8] & (1 << (bit % 8)) != 0)
    }

    fn probes(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let bits = self.bits.len() as u64 * 8;
        let (first, step) = (hash, (hash >> 32) | 1);
        (0..u64::from(PROBES)).map(move |n| (first.wrapping_add(n.wrapping_mul(step)) % bits) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes as evenly spread as the real ones.
    fn hash(n: u64) -> u64 {
        super::super::ids::id_hash(&format!("evt_{n}"))
    }

    #[test]
    fn it_never_denies_what_it_holds_and_seldom_claims_what_it_does_not() {
        let filter = Filter::over((0..20_000).map(hash).collect::<Vec<_>>().into_iter());
        assert!((0..20_000).all(|n| filter.may_hold(hash(n))));
        let wrong = (20_000..120_000).filter(|n| filter.may_hold(hash(*n))).count();
        assert!(wrong < 1_000, "{wrong} of 100,000");
        assert_eq!(Filter::from_bytes(filter.as_bytes().to_vec()), Some(filter));
    }
}
