//! Seeded choices.

/// The splitmix64 generator (Steele, Lea & Flood 2014): small, and good enough to pick subsets.
#[derive(Debug)]
pub(crate) struct Random(u64);

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(STEP) ^ 0xD1B5_4A32_D192_ED03)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..bound`. `bound` is not zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One of `low..=high`: in a third of the cases each the lowest, the highest, any. The corners are where programs err.
    pub(crate) fn pick(&mut self, low: u64, high: u64) -> u64 {
        if low >= high {
            return low;
        }
        match self.below(3) {
            0 => low,
            1 => high,
            _ => low + self.below(high - low + 1),
        }
    }
}
