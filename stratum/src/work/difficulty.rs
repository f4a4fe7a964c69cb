//! Difficulty and target: what the miner is told, what it really works at, and the exact rule a
//! hash is judged by.
//!
//! A pool that credits a difficulty the wire cannot express pays wrongly: a 4-byte target at 10⁹
//! makes the miner work 7 % unpaid. So a job's difficulty is snapped to what XMRig works at, and
//! exactly that is credited. Everything is pure.

/// Requested difficulties below this go out as 4-byte targets, which every miner knows; from here
/// on the loss of the short form would exceed 0.1 %, so 8 bytes are sent.
pub const SHORT_TARGET_LIMIT: u64 = 4_000_000;

/// A job's difficulty as the miner will work at it, with its wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difficulty {
    effective: u64,
    wire: Wire,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wire {
    Short(u32),
    Long(u64),
}

impl Difficulty {
    /// The closest difficulty the wire can express for `requested` hashes (0 counts as 1). A target
    /// is never zero, which would crash miners.
    pub fn assign(requested: u64) -> Self {
        let requested = requested.max(1);
        if requested >= SHORT_TARGET_LIMIT {
            return Self::assign_long(requested);
        }
        // Below the limit the quotient is at least 1073, so it is neither zero nor wider than 32
        // bits.
        let short = u32::try_from(u64::from(u32::MAX) / requested).unwrap_or(u32::MAX);
        Self {
            effective: u64::MAX / expand(short),
            wire: Wire::Short(short),
        }
    }

    /// The same, but never so high that the miner would keep a block to itself: every hash that is
    /// enough for `network`, of which XMRig sees the top 64 bits and compares strictly, is one it
    /// submits.
    pub fn capped(requested: u64, network: u128) -> Self {
        let network = u64::try_from(network).unwrap_or(u64::MAX).max(1);
        let assigned = Self::assign(requested.min(network));
        let lowest = (u64::MAX / network).saturating_add(1);
        if assigned.target() < lowest {
            Self::long(lowest)
        } else {
            assigned
        }
    }

    /// The same in the 8-byte form whatever the size.
    pub fn assign_long(requested: u64) -> Self {
        Self::long(u64::MAX / requested.max(1))
    }

    fn long(target: u64) -> Self {
        Self {
            effective: u64::MAX / target,
            wire: Wire::Long(target),
        }
    }

    /// What XMRig compares the top 64 bits of a hash with.
    fn target(self) -> u64 {
        match self.wire {
            Wire::Short(target) => expand(target),
            Wire::Long(target) => target,
        }
    }

    /// Hashes a share of this job is worth: what the miner works at and is credited.
    pub fn hashes(self) -> u64 {
        self.effective
    }

    /// The target as the wire carries it: 8 or 16 hex digits, little-endian.
    pub fn target_hex(self) -> String {
        match self.wire {
            Wire::Short(target) => hex::encode(target.to_le_bytes()),
            Wire::Long(target) => hex::encode(target.to_le_bytes()),
        }
    }

    /// Whether a hash earns this job's credit, by the exact rule.
    pub fn is_met_by(self, hash: &[u8; 32]) -> bool {
        meets(hash, u128::from(self.effective))
    }
}

/// Monero's rule: the hash, read as a 256-bit little-endian number, times `difficulty` stays below
/// 2²⁵⁶.
pub fn meets(hash: &[u8; 32], difficulty: u128) -> bool {
    let factor = [
        (difficulty & u128::from(u64::MAX)) as u64,
        (difficulty >> 64) as u64,
    ];
    let mut product = [0u64; 6];
    for (shift, &by) in factor.iter().enumerate() {
        let mut carry = 0u128;
        for (place, limb) in limbs(hash).into_iter().enumerate() {
            let sum =
                u128::from(limb) * u128::from(by) + u128::from(product[place + shift]) + carry;
            product[place + shift] = sum as u64;
            carry = sum >> 64;
        }
        product[shift + 4] = carry as u64;
    }
    product[4] == 0 && product[5] == 0
}

/// The 64-bit target XMRig compares with, out of the wire form; `None` for what it refuses (or dies
/// of).
pub fn target_from_hex(text: &str) -> Option<u64> {
    let bytes = hex::decode(text).ok()?;
    let target = match bytes.len() {
        4 => match u32::from_le_bytes(bytes.try_into().ok()?) {
            0 => return None,
            short => expand(short),
        },
        8 => u64::from_le_bytes(bytes.try_into().ok()?),
        _ => return None,
    };
    (target != 0).then_some(target)
}

/// Whether XMRig would submit this hash: the top 64 bits are strictly below the target.
pub fn miner_submits(hash: &[u8; 32], target: u64) -> bool {
    limbs(hash)[3] < target
}

/// How XMRig widens a 4-byte target. `short` must not be zero.
fn expand(short: u32) -> u64 {
    u64::MAX / u64::from(u32::MAX / short)
}

fn limbs(hash: &[u8; 32]) -> [u64; 4] {
    let mut limbs = [0; 4];
    for (limb, bytes) in limbs.iter_mut().zip(hash.chunks_exact(8)) {
        let mut word = [0; 8];
        word.copy_from_slice(bytes);
        *limb = u64::from_le_bytes(word);
    }
    limbs
}
