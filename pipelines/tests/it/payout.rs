//! Payouts are exact: every split adds up, follows its definition, and agrees with a second way of
//! computing it.

use headframe_pipelines::payout::divide::{divide, scaled};
use headframe_pipelines::payout::merkle::{leaf, proof, root, root_from_proof};
use headframe_pipelines::payout::{self, MAX_WEIGHT, ONE, ShareWork, Split, Window, split, window};
use num_bigint::BigUint;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;

fn share(miner: &str, difficulty: u64, network_difficulty: u128) -> ShareWork<'_> {
    ShareWork {
        miner,
        difficulty,
        network_difficulty,
        is_block: false,
    }
}

fn pplns<'a>(wanted: u128, newest_first: impl IntoIterator<Item = ShareWork<'a>>) -> Window {
    window(payout::find("pplns").unwrap(), wanted, newest_first)
}

fn weights(window: &Window) -> Vec<(&str, u128)> {
    window
        .weights
        .iter()
        .map(|(miner, weight)| (miner.as_str(), *weight))
        .collect()
}

#[test]
fn the_share_at_the_edge_is_trimmed_and_older_ones_do_not_count() {
    let shares = [
        share("b", 100, 100),
        share("a", 100, 100),
        share("c", 100, 100),
        share("d", 100, 100),
    ];
    let found = pplns(ONE * 5 / 2, shares);
    assert_eq!(weights(&found), [("a", ONE), ("b", ONE), ("c", ONE / 2)]);
    assert_eq!(found.shares, 3);
    // An edge that falls between two shares takes nothing of the older one.
    assert_eq!(weights(&pplns(ONE * 2, shares)), [("a", ONE), ("b", ONE)]);
}

#[test]
fn a_window_that_is_not_full_is_shared_out_whole() {
    let found = pplns(2 * ONE, [share("a", 1, 100), share("b", 3, 100)]);
    let Split { fee, amounts } = split(&found, 1_000_000, 100);
    assert_eq!(fee, 10_000);
    assert_eq!(
        amounts,
        [("a".to_owned(), 247_500), ("b".to_owned(), 742_500)]
    );
}

#[test]
fn work_counts_at_the_difficulty_of_its_own_job() {
    // The same hashes were worth twice as much before the network's difficulty doubled.
    let found = pplns(10 * ONE, [share("new", 100, 200), share("old", 100, 100)]);
    assert_eq!(weights(&found), [("new", ONE / 2), ("old", ONE)]);
}

#[test]
fn odd_windows_are_paid_too() {
    assert_eq!(
        split(&pplns(2 * ONE, []), 77, 100),
        Split {
            fee: 77,
            amounts: Vec::new()
        }
    );
    let one = pplns(2 * ONE, [share("a", 1, u128::MAX)]);
    assert_eq!(
        (one.shares, one.weights.len()),
        (1, 0),
        "work too small to weigh anything pays nobody"
    );
    let huge = pplns(2 * ONE, [share("a", u64::MAX, 1), share("b", 1, 1)]);
    assert_eq!(weights(&huge), [("a", 2 * ONE)]);
    assert_eq!(
        split(&huge, u128::from(u64::MAX), 0).amounts,
        [("a".to_owned(), u128::from(u64::MAX))]
    );
    assert_eq!(
        split(&huge, 10, 10_000),
        Split {
            fee: 10,
            amounts: vec![("a".to_owned(), 0)]
        }
    );
}

#[test]
fn no_share_weighs_so_much_that_a_window_does_not_fit_its_columns() {
    let absurd = [
        share("a", i64::MAX as u64, 1),
        share("b", u64::MAX, 0),
        share("a", u64::MAX, 1),
    ];
    let round = window(payout::find("prop").unwrap(), 2 * ONE, absurd);
    assert_eq!(weights(&round), [("a", 2 * MAX_WEIGHT), ("b", MAX_WEIGHT)]);
    assert_eq!(
        split(&round, 900, 0).amounts,
        [("a".to_owned(), 600), ("b".to_owned(), 300)]
    );
    // As many shares as the documentation promises still fit, and an honest share is far below.
    assert!(MAX_WEIGHT << 46 < 10u128.pow(38));
    assert_eq!(share("a", 1 << 40, 1 << 24).weight(), MAX_WEIGHT);
    assert_eq!(
        share("a", (1 << 40) - 1, 1 << 24).weight(),
        MAX_WEIGHT - (1 << 40)
    );
}

#[test]
fn prop_and_solo_pay_by_their_definitions() {
    let block = |miner| ShareWork {
        is_block: true,
        ..share(miner, 50, 100)
    };
    let shares = [
        block("a"),
        share("b", 100, 100),
        block("c"),
        share("d", 100, 100),
    ];
    let round = window(payout::find("prop").unwrap(), 2 * ONE, shares);
    assert_eq!(weights(&round), [("a", ONE / 2), ("b", ONE)]);
    let solo = window(payout::find("solo").unwrap(), 2 * ONE, shares);
    assert_eq!(weights(&solo), [("a", ONE)]);
    let names: Vec<_> = payout::ALL.iter().map(|scheme| scheme.name()).collect();
    assert_eq!(names, ["pplns", "prop", "solo"]);
    assert!(payout::find("pps").is_none());
}

/// The same split another way: oldest first, with running totals over the whole history and numbers
/// without bounds.
fn second_opinion(
    wanted: u128,
    oldest_first: &[ShareWork<'_>],
    reward: u128,
    fee_bp: u16,
) -> (BigUint, BTreeMap<String, BigUint>) {
    let mut totals = vec![BigUint::ZERO];
    for share in oldest_first {
        let weight = (BigUint::from(share.difficulty) << 64u8)
            / BigUint::from(share.network_difficulty.max(1));
        totals.push(&totals[totals.len() - 1] + weight);
    }
    let end = totals[totals.len() - 1].clone();
    let begin = if end > BigUint::from(wanted) {
        &end - BigUint::from(wanted)
    } else {
        BigUint::ZERO
    };
    let mut gathered: BTreeMap<String, BigUint> = BTreeMap::new();
    for (place, share) in oldest_first.iter().enumerate() {
        let from = totals[place].clone().max(begin.clone());
        if totals[place + 1] > from {
            *gathered.entry(share.miner.to_owned()).or_default() += &totals[place + 1] - from;
        }
    }
    let fee = BigUint::from(reward) * BigUint::from(fee_bp) / BigUint::from(10_000u32);
    let rest = BigUint::from(reward) - &fee;
    let whole: BigUint = gathered.values().sum();
    let mut before = BigUint::ZERO;
    let amounts = gathered.into_iter().map(|(miner, weight)| {
        let after = &before + &weight;
        let part = &rest * &after / &whole - &rest * &before / &whole;
        before = after;
        (miner, part)
    });
    (fee, amounts.collect())
}

#[test]
fn ten_blocks_agree_with_an_independent_computation_to_the_unit() {
    let mut random = StdRng::seed_from_u64(20_261_121);
    for block in 0..10u32 {
        let miners: Vec<String> = (0..random.random_range(1..200))
            .map(|number| format!("4{number:03}"))
            .collect();
        let mut network = random.random_range(1_000u128..400_000_000_000);
        let mut history = Vec::new();
        for _ in 0..random.random_range(1..4_000) {
            if random.random_range(0..300) == 0 {
                network = network * random.random_range(80..125) / 100 + 1;
            }
            let miner = miners[random.random_range(0..miners.len())].as_str();
            history.push(share(
                miner,
                random.random_range(1..1 + (network / 300) as u64),
                network,
            ));
        }
        let (wanted, reward) = (
            ONE * random.random_range(1..8) / 2,
            random.random_range(1..10u128.pow(13)),
        );
        let found = pplns(wanted, history.iter().rev().copied());
        let ours = split(&found, reward, 60 + block as u16);
        let (fee, amounts) = second_opinion(wanted, &history, reward, 60 + block as u16);
        assert_eq!(BigUint::from(ours.fee), fee, "block {block}");
        let ours: BTreeMap<String, BigUint> = ours
            .amounts
            .into_iter()
            .map(|(miner, amount)| (miner, BigUint::from(amount)))
            .collect();
        assert_eq!(ours, amounts, "block {block}");
    }
}

fn any_share() -> impl Strategy<Value = (u8, u64, u128)> {
    (
        0u8..20,
        prop_oneof![0..100u64, any::<u64>()],
        prop_oneof![1..100u128, 1..u128::from(u64::MAX), Just(u128::MAX)],
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn amounts_and_fee_always_add_up_to_the_reward(
        shares in proptest::collection::vec(any_share(), 0..60),
        halves in 1u128..9,
        reward in any::<u64>(),
        fee_bp in 0u16..=10_000,
    ) {
        let names: Vec<String> = (0..20).map(|number| format!("miner-{number}")).collect();
        let one = |(miner, own, network): &(u8, u64, u128)| {
            share(&names[usize::from(*miner)], *own, *network)
        };
        let history: Vec<_> = shares.iter().map(one).collect();
        let wanted = ONE * halves / 2;
        let found = pplns(wanted, history.iter().rev().copied());
        let gathered: u128 = found.weights.values().sum();
        prop_assert!(gathered <= wanted);
        let ours = split(&found, u128::from(reward), fee_bp);
        let amounts: u128 = ours.amounts.iter().map(|(_, amount)| amount).sum();
        prop_assert_eq!(ours.fee + amounts, u128::from(reward));
        if gathered > 0 {
            let (fee, amounts) = second_opinion(wanted, &history, u128::from(reward), fee_bp);
            prop_assert_eq!(BigUint::from(ours.fee), fee);
            let ours = ours.amounts.into_iter();
            let ours: BTreeMap<String, BigUint> =
                ours.map(|(miner, amount)| (miner, BigUint::from(amount))).collect();
            prop_assert_eq!(ours, amounts);
        }
    }

    #[test]
    fn parts_are_within_a_unit_of_the_exact_quotient(
        amount in any::<u128>(),
        weights in proptest::collection::vec(0u128..1 << 120, 1..40),
    ) {
        let parts = divide(amount, &weights);
        let whole: u128 = weights.iter().sum();
        if whole == 0 {
            prop_assert!(parts.is_empty());
        } else {
            let sum: BigUint = parts.iter().map(|part| BigUint::from(*part)).sum();
            prop_assert_eq!(sum, BigUint::from(amount));
            for (part, weight) in parts.iter().zip(&weights) {
                let due = BigUint::from(amount) * BigUint::from(*weight) / BigUint::from(whole);
                prop_assert!(BigUint::from(*part) >= due && BigUint::from(*part) <= due + 1u8);
            }
        }
    }

    #[test]
    fn scaling_is_exact(amount in any::<u128>(), a in any::<u128>(), b in any::<u128>()) {
        let (part, whole) = (a.min(b), a.max(b).max(1));
        let expected = BigUint::from(amount) * BigUint::from(part) / BigUint::from(whole);
        prop_assert_eq!(BigUint::from(scaled(amount, part, whole)), expected);
    }

    #[test]
    fn every_row_has_a_proof_and_a_changed_one_has_none(
        rows in proptest::collection::vec("[a-z0-9|]{0,20}", 1..40),
        pick in any::<usize>(),
    ) {
        let leaves: Vec<String> = rows.iter().map(|row| leaf(row)).collect();
        let top = root(&leaves).unwrap();
        let index = pick % rows.len();
        let steps = proof(&leaves, index).unwrap();
        prop_assert_eq!(&root_from_proof(&leaves[index], &steps), &top);
        prop_assert_ne!(root_from_proof(&leaf(&format!("{}x", rows[index])), &steps), top.clone());
        let mut changed = leaves.clone();
        changed[index] = leaf("something else!");
        prop_assert_ne!(root(&changed).unwrap(), top);
        prop_assert!(proof(&leaves, rows.len()).is_none());
    }
}

#[test]
fn an_empty_tree_has_no_root() {
    assert_eq!(root(&[]), None);
    let one = leaf("row");
    assert_eq!(root(std::slice::from_ref(&one)), Some(one));
}
