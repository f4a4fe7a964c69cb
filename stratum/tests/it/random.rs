//! Random numbers from a seed, cheap enough for a million cases without optimisation, and the same
//! on every machine.

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    pub fn hash(&mut self) -> [u8; 32] {
        let words = [
            self.next_u64(),
            self.next_u64(),
            self.next_u64(),
            self.next_u64(),
        ];
        let mut hash = [0; 32];
        for (bytes, next_u64) in hash.as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *bytes = next_u64.to_le_bytes();
        }
        hash
    }
}
