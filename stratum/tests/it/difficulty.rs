//! Difficulty: the published vectors, and no honest share refused over the whole range.

use headframe_stratum::work::difficulty::{Difficulty, meets, miner_submits, target_from_hex};
use proptest::prelude::*;

fn hash(limbs: [u64; 4]) -> [u8; 32] {
    let mut hash = [0; 32];
    for (bytes, limb) in hash.chunks_exact_mut(8).zip(limbs) {
        bytes.copy_from_slice(&limb.to_le_bytes());
    }
    hash
}

/// The hash one higher or lower, as a 256-bit little-endian number.
fn step(mut limbs: [u64; 4], up: bool) -> [u64; 4] {
    for limb in &mut limbs {
        let (next, carry) = if up {
            limb.overflowing_add(1)
        } else {
            limb.overflowing_sub(1)
        };
        *limb = next;
        if !carry {
            break;
        }
    }
    limbs
}

#[test]
fn the_exact_rule_meets_its_vectors() {
    let highest_that_passes = [
        (1u128 << 38, step([0, 0, 0, 1 << 26], false)),
        (
            67_280_421_310_721,
            [
                0xffff_ffff_fffb_d0ff,
                0x42f00,
                0xffff_ffff_fffb_d0ff,
                0x42f00,
            ],
        ),
        (
            (309u128 << 64) | 4_645_281_908_877_605_377,
            [0xff2c_1503_c50e_b9ff, u64::MAX, 0x00d3_eafc_3af1_4600, 0],
        ),
        (
            1_238_926_361_552_897,
            step(
                [
                    0x49ba_a0ba_2c91_1801,
                    0x6ee3_637c_ab25_86d0,
                    0x4c58_5a8f_5c70_73e3,
                    0x3a29,
                ],
                false,
            ),
        ),
    ];
    for (difficulty, limbs) in highest_that_passes {
        assert!(meets(&hash(limbs), difficulty), "{difficulty}");
        assert!(!meets(&hash(step(limbs, true)), difficulty), "{difficulty}");
    }
    assert!(meets(&[0xff; 32], 1));
    assert!(!meets(&[0xff; 32], 2));
    assert!(meets(&[0; 32], u128::MAX));
}

#[test]
fn targets_and_effective_difficulties_are_those_miners_use() {
    let table = [
        (16, "ffffff0f", 16),
        (1_000, "37894100", 1_000),
        (50_000, "8b4f0100", 50_000),
        (480_045, "f3220000", 480_045),
        (1_000_000, "c6100000", 1_000_225),
        (10_000_000, "caab297fad010000", 10_000_000),
        (100_000_000, "61c41df32a000000", 100_000_000),
        (1_000_000_000, "09fa824b04000000", 1_000_000_000),
        (2_147_483_648, "ffffffff01000000", 2_147_483_648),
    ];
    for (requested, target, effective) in table {
        let assigned = Difficulty::assign(requested);
        assert_eq!(
            (assigned.target_hex().as_str(), assigned.hashes()),
            (target, effective),
            "difficulty {requested}"
        );
    }
    assert_eq!(
        Difficulty::assign_long(1_000).target_hex(),
        "efa7c64b37894100"
    );
    assert_eq!(Difficulty::assign(3_999_999).target_hex().len(), 8);
    assert_eq!(Difficulty::assign(4_000_000).target_hex().len(), 16);
}

#[test]
fn targets_that_crash_or_confuse_miners_are_not_read() {
    for bad in [
        "00000000",
        "0000000000000000",
        "",
        "ffffff",
        "ffffff0f00",
        "zzzzzzzz",
    ] {
        assert_eq!(target_from_hex(bad), None, "{bad}");
    }
}

/// Difficulties of every magnitude, not mostly huge ones.
fn difficulties() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..63u32).prop_map(|(bits, shift)| (bits >> 1 >> shift).max(1))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_honest_share_is_refused(requested in difficulties(), below in any::<u64>(),
        low in any::<[u64; 3]>(), edge: bool) {
        let assigned = Difficulty::assign(requested);
        let target = target_from_hex(&assigned.target_hex()).unwrap();
        // The highest hash that XMRig submits is where a mistake would show first.
        let share = if edge { hash([u64::MAX, u64::MAX, u64::MAX,
            target - 1]) } else { hash([low[0], low[1], low[2], below % target]) };
        prop_assert!(miner_submits(&share, target));
        prop_assert!(assigned.is_met_by(&share));
    }

    #[test]
    fn no_share_is_credited_above_its_work(requested in difficulties(), low in any::<[u64; 3]>(),
        top in any::<u64>()) {
        let assigned = Difficulty::assign(requested);
        let share = hash([low[0], low[1], low[2], top]);
        // Credited implies that the hash is below 2²⁵⁶ / difficulty, checked by division instead of
        // multiplication.
        if assigned.is_met_by(&share) {
            prop_assert!(top <= u64::MAX / assigned.hashes());
        }
    }

    #[test]
    fn the_wire_says_what_is_credited(requested in difficulties()) {
        let assigned = Difficulty::assign(requested);
        let target = target_from_hex(&assigned.target_hex()).unwrap();
        prop_assert_eq!(u64::MAX / target, assigned.hashes());
        // Snapping again changes nothing, and below a billion it moves the difficulty by less than
        // 0.2 %.
        prop_assert_eq!(Difficulty::assign_long(assigned.hashes()).hashes(), assigned.hashes());
        if requested < 1_000_000_000 {
            prop_assert!(assigned.hashes().abs_diff(requested) * 500 <= requested.max(500));
        }
    }

    #[test]
    fn the_rule_is_exact(limbs in any::<[u64; 4]>(), shift in 0..256u32, by in any::<u64>()) {
        // hash × d < 2²⁵⁶ holds iff hash ≤ (2²⁵⁶ − 1) / d; for powers of two the quotient is a
        // shift.
        let power = shift % 128;
        let value = hash(limbs);
        let top = (u128::from(limbs[3]) << 64) | u128::from(limbs[2]);
        prop_assert_eq!(meets(&value, 1u128 << power), power == 0 || top >> (128 - power) == 0);
        // And a larger difficulty is never easier.
        let difficulty = u128::from(by) + 1;
        prop_assert!(!meets(&value, difficulty + 1) || meets(&value, difficulty));
    }
}
