//! The 256-bit target of a Bitcoin-shaped chain: its compact form, the exact comparison, and the
//! work it stands for.
//!
//! A hash is good when it is at most the target; Monero's rule is strict. The two differ by one
//! value of 2²⁵⁶, but a rule that is nearly right is a wrong verdict some day.

use crate::chain::Hash;

/// A target, as 64-bit limbs, least significant first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target([u64; 4]);

impl Target {
    /// The target of a header's bits; `None` for a negative, zero or overflowing one, which no
    /// block can meet.
    pub fn from_compact(bits: u32) -> Option<Self> {
        let (size, word) = (bits >> 24, bits & 0x007f_ffff);
        let overflows = size > 34 || (word > 0xff && size > 33) || (word > 0xffff && size > 32);
        if bits & 0x0080_0000 != 0 || overflows {
            return None;
        }
        let mut limbs = [0; 4];
        if size <= 3 {
            limbs[0] = u64::from(word >> (8 * (3 - size)));
        } else {
            let shift = 8 * (size - 3);
            let (limb, within) = ((shift / 64) as usize, shift % 64);
            // A word whose high bytes are zero may begin beyond the top; what is shifted out is
            // zero then.
            let wide = u128::from(word) << within;
            if let Some(low) = limbs.get_mut(limb) {
                *low = wide as u64;
            }
            if let Some(high) = limbs.get_mut(limb + 1) {
                *high = (wide >> 64) as u64;
            }
        }
        (limbs != [0; 4]).then_some(Self(limbs))
    }

    /// The compact form, rounded down to its 23 bits as the daemon does.
    pub fn to_compact(self) -> u32 {
        let bits = 256 - self.leading_zeros();
        let mut size = bits.div_ceil(8);
        let mut word = if size <= 3 {
            (self.0[0] as u32) << (8 * (3 - size))
        } else {
            self.shifted_down(8 * (size - 3))
        };
        // The top bit of the word is the sign.
        if word & 0x0080_0000 != 0 {
            word >>= 8;
            size += 1;
        }
        word | (size << 24)
    }

    /// Reads 64 hex digits, most significant first, as daemons print targets.
    pub fn from_printed(text: &str) -> Option<Self> {
        super::sha256d::from_printed(text).map(|bytes| Self(limbs(&bytes)))
    }

    /// Whether a hash, read as a little-endian number, is at most the target.
    pub fn is_met_by(&self, hash: &Hash) -> bool {
        limbs(hash).iter().rev().le(self.0.iter().rev())
    }

    /// The most significant 64 bits, which is all a miner compares.
    pub fn top_limb(&self) -> u64 {
        self.0[3]
    }

    /// Hashes a block costs on average: ⌊2²⁵⁶ / (target + 1)⌋, the figure the daemon adds to its
    /// chain work.
    /// [`u128::MAX`] when it is more than that.
    pub fn difficulty(&self) -> u128 {
        let divisor = self.plus_one();
        // Schoolbook division of 2²⁵⁶: the remainder begins as its leading one.
        let (mut remainder, mut quotient) = ([1, 0, 0, 0], 0u128);
        for _ in 0..256 {
            if quotient >> 127 != 0 {
                return u128::MAX;
            }
            quotient <<= 1;
            let carried = double(&mut remainder);
            if carried || remainder.iter().rev().ge(divisor.iter().rev()) {
                subtract(&mut remainder, &divisor);
                quotient |= 1;
            }
        }
        quotient
    }

    fn leading_zeros(&self) -> u32 {
        let whole = self.0.iter().rev().take_while(|limb| **limb == 0).count();
        let partial = self
            .0
            .iter()
            .rev()
            .nth(whole)
            .map_or(0, |limb| limb.leading_zeros());
        64 * whole as u32 + partial
    }

    /// The lowest 32 bits after a shift to the right.
    fn shifted_down(&self, shift: u32) -> u32 {
        let (limb, within) = ((shift / 64) as usize, shift % 64);
        let at = |limb: usize| u128::from(self.0.get(limb).copied().unwrap_or(0));
        ((at(limb) | at(limb + 1) << 64) >> within) as u32
    }

    /// No target is all ones: the compact form ends below 2²⁵⁶ − 2²³².
    fn plus_one(self) -> [u64; 4] {
        let mut limbs = self.0;
        for limb in &mut limbs {
            let (next, carry) = limb.overflowing_add(1);
            *limb = next;
            if !carry {
                break;
            }
        }
        limbs
    }
}

fn double(number: &mut [u64; 4]) -> bool {
    let mut carry = 0;
    for limb in number {
        let next = *limb >> 63;
        *limb = *limb << 1 | carry;
        carry = next;
    }
    carry == 1
}

fn subtract(from: &mut [u64; 4], what: &[u64; 4]) {
    let mut borrow = false;
    for (limb, take) in from.iter_mut().zip(what) {
        let (step, first) = limb.overflowing_sub(*take);
        let (step, second) = step.overflowing_sub(u64::from(borrow));
        *limb = step;
        borrow = first || second;
    }
}

fn limbs(bytes: &Hash) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(bytes.chunks_exact(8)) {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        *limb = u64::from_le_bytes(word);
    }
    limbs
}
