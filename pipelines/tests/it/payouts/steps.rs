//! The steps of a block's payout as a function of its rows, and what the rows may say.

use std::collections::BTreeMap;

use headframe_pipelines::payout::{freeze, lifecycle};
use headframe_pipelines::signature;
use headframe_schemas::stream::blocks::{Block, Blocks};
use headframe_schemas::stream::shares::Shares;
use headframe_schemas::{Stream, codec};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{NOW, block, hash, share};

fn row_of(n: i64, status: &str, scheme: Option<&str>, reward: Option<i128>) -> lifecycle::BlockRow {
    lifecycle::BlockRow {
        place: lifecycle::RowPosition { seq: n, row: 0 },
        ingest_time: NOW + n,
        event_time: NOW + n,
        pool: "main".to_owned(),
        hash: hash(1),
        height: 10,
        miner: "finder".to_owned(),
        status: status.to_owned(),
        reward,
        reason: None,
        scheme: scheme.map(str::to_owned),
        window_milli: scheme.map(|_| 2_000),
        fee_bp: scheme.map(|_| 150),
        solo: false,
    }
}

#[test]
fn a_block_that_was_mined_solo_is_paid_on_solo_terms_alone() {
    let solo = |scheme| lifecycle::BlockRow {
        solo: true,
        ..row_of(0, "accepted", Some(scheme), Some(7))
    };
    let mut lifecycles = lifecycle::BlockLifecycles::default();
    assert_eq!(lifecycles.next(&solo("pplns")), []);
    assert_eq!(lifecycles.next(&solo("prop")), []);
    assert_eq!(lifecycles.unpaid(), 1, "it is told");
    assert_eq!(lifecycles.next(&solo("solo")).len(), 2);
    assert_eq!(lifecycles.unpaid(), 0);
}

#[test]
fn a_block_is_paid_once_a_row_of_it_says_terms_and_reward() {
    use lifecycle::StepKind::{Credited, Frozen, Matured};
    let solo = Some("solo");
    let mut lifecycles = lifecycle::BlockLifecycles::default();
    let mut steps = |n, status, scheme, reward| {
        let dues = lifecycles.next(&row_of(n, status, scheme, reward));
        assert!(dues.iter().all(|due| due.block.reward == Some(7)
            && due.block.ingest_time == NOW
            && due.block.event_time == NOW));
        (
            dues.iter().map(|due| due.kind).collect::<Vec<_>>(),
            lifecycles.unpaid(),
        )
    };
    assert_eq!(steps(0, "candidate", solo, None), (vec![], 0));
    assert_eq!(
        steps(1, "accepted", solo, Some(-1)),
        (vec![], 1),
        "it is on the chain, and nobody can be paid"
    );
    assert_eq!(steps(2, "candidate", None, Some(7)), (vec![], 1));
    assert_eq!(
        steps(3, "candidate", solo, Some(7)),
        (vec![Frozen, Credited], 0),
        "the chain's word of before holds"
    );
    assert_eq!(
        steps(4, "matured", solo, Some(9)),
        (vec![Matured], 0),
        "what was frozen stays"
    );

    let mut lifecycles = lifecycle::BlockLifecycles::default();
    for (n, status, unpaid) in [
        (0, "candidate", 0),
        (1, "confirmed", 1),
        (2, "orphaned", 0),
        (3, "matured", 1),
    ] {
        assert!(lifecycles.next(&row_of(n, status, solo, None)).is_empty());
        assert_eq!(lifecycles.unpaid(), unpaid, "{status}");
    }
    let mut lifecycles = lifecycle::BlockLifecycles::default();
    assert!(
        lifecycles
            .next(&row_of(0, "matured", None, Some(7)))
            .is_empty()
    );
    assert_eq!(
        lifecycles.unpaid(),
        0,
        "a pool that pays nobody asks for nothing"
    );
}

#[test]
fn an_unproven_block_is_frozen_and_paid_only_once_it_is_confirmed() {
    use lifecycle::StepKind::{Credited, Frozen, Matured};
    let solo = Some("solo");
    let steps = |rows: &[&str]| -> Vec<Vec<lifecycle::StepKind>> {
        let mut lifecycles = lifecycle::BlockLifecycles::default();
        let mut step = |(n, status): (usize, &&str)| {
            let due = lifecycles.next(&row_of(n as i64, status, solo, Some(7)));
            assert_eq!(lifecycles.unpaid(), 0, "nobody waits for its terms");
            due.iter().map(|due| due.kind).collect()
        };
        rows.iter().enumerate().map(&mut step).collect()
    };
    // Whatever the chain says of it meanwhile.
    let held = ["unproven", "accepted", "confirmed", "matured"];
    assert!(steps(&held).iter().all(Vec::is_empty), "{:?}", steps(&held));
    assert_eq!(
        steps(&["unproven", "candidate", "accepted", "matured"]),
        [vec![], vec![Frozen], vec![Credited], vec![Matured]],
        "the operator's confirmation is a candidate row"
    );
    let rejected = ["unproven", "rejected", "candidate", "accepted", "matured"];
    assert!(steps(&rejected).iter().all(Vec::is_empty));
    assert_eq!(
        steps(&["candidate", "accepted", "unproven", "matured"]),
        [vec![Frozen], vec![Credited], vec![], vec![Matured]],
        "what is frozen stays"
    );
}

#[test]
fn no_miner_may_be_called_like_the_pools_own_account() {
    let rejects =
        |stream: &dyn Stream, row: String| codec::decode_ndjson(stream, &[row.as_bytes()]).rejects;
    let of_share = |miner| {
        rejects(
            &Shares,
            serde_json::to_string(&share(0, miner, 1, 1, None)).unwrap(),
        )
    };
    let of_block = |miner: &str| {
        let found = Block {
            miner: miner.to_owned(),
            ..block(&hash(1), 1, "candidate", ("solo", 1, 0))
        };
        rejects(&Blocks, serde_json::to_string(&found).unwrap())
    };
    for refused in [of_share("fee"), of_block("fee")] {
        assert!(
            refused.len() == 1 && refused[0].reason == "column miner: \"fee\" is a reserved name",
            "{refused:?}"
        );
    }
    let long = "x".repeat(257);
    assert!(
        of_share(&long)[0].reason.contains("257 bytes"),
        "text is held to its length as before"
    );
    assert!(of_share("4fee").is_empty() && of_block("4fee").is_empty());
}

#[test]
fn a_key_is_made_once_for_its_owner_alone_and_signs_alike() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys/payouts.key");
    let (first, second) = (
        signature::SigningKey::open(&path).unwrap(),
        signature::SigningKey::open(&path).unwrap(),
    );
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        (first.public_hex(), first.sign("x")),
        (second.public_hex(), second.sign("x"))
    );
    assert!(signature::verify(
        &first.public_hex(),
        "x",
        &first.sign("x")
    ));
    assert!(!signature::verify(
        &first.public_hex(),
        "y",
        &first.sign("x")
    ));
    assert!(!signature::verify(
        &signature::SigningKey::ephemeral().unwrap().public_hex(),
        "x",
        &first.sign("x")
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        signature::SigningKey::open(&path),
        Err(signature::SigningKeyError::Open { mode: 0o644, .. })
    ));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&path, "no key").unwrap();
    assert!(matches!(
        signature::SigningKey::open(&path),
        Err(signature::SigningKeyError::Unfit { .. })
    ));
}

/// A course in which every step of the chain is random: whoever adds up has each reward once, or
/// not at all.
#[test]
fn reorganisations_of_any_depth_credit_a_reward_once_or_not_at_all() {
    let mut random = StdRng::seed_from_u64(3);
    let statuses = [
        "candidate",
        "accepted",
        "refused",
        "confirmed",
        "orphaned",
        "matured",
    ];
    let key = signature::SigningKey::ephemeral().unwrap();
    for round in 0..3_000 {
        let mut lifecycles = lifecycle::BlockLifecycles::default();
        let mut balance: BTreeMap<(String, &str), (i128, i128)> = BTreeMap::new();
        for n in 0..random.random_range(1..30) {
            let status = statuses[random.random_range(0..statuses.len())];
            let found = hash(random.random_range(1..4));
            let row = lifecycle::BlockRow {
                place: lifecycle::RowPosition { seq: n, row: 0 },
                ingest_time: NOW + n,
                event_time: NOW + n,
                pool: "main".to_owned(),
                hash: found.clone(),
                height: 10,
                miner: "finder".to_owned(),
                status: status.to_owned(),
                reward: Some(1_000_003),
                reason: None,
                scheme: Some("solo".to_owned()),
                window_milli: Some(2_000),
                fee_bp: Some(150),
                solo: true,
            };
            let first = !balance.contains_key(&(found.clone(), "seen"));
            balance.entry((found.clone(), "seen")).or_default();
            let dues = lifecycles.next(&row);
            assert_eq!(
                dues.iter()
                    .filter(|due| due.kind == lifecycle::StepKind::Frozen)
                    .count(),
                usize::from(first)
            );
            for due in &dues {
                let terms = due.block.paid().unwrap();
                let rows = freeze::window_rows(
                    &due.block,
                    &terms,
                    &freeze::finder_window(&due.block).window,
                );
                if due.kind == lifecycle::StepKind::Frozen {
                    let row = freeze::frozen_row(
                        due,
                        &terms,
                        &freeze::finder_window(&due.block),
                        &rows,
                        &key,
                    )
                    .frozen
                    .unwrap();
                    let text = freeze::statement("main", &found, 10, &row);
                    assert!(
                        signature::verify(&row.public_key, &text, &row.signature),
                        "{round}"
                    );
                    continue;
                }
                let amounts: Vec<(String, i128)> = rows
                    .into_iter()
                    .map(|row| (row.miner, row.amount_atomic))
                    .collect();
                let moved: i128 = freeze::step_rows(due, terms.reward, &amounts)
                    .iter()
                    .filter_map(|row| row.amount_atomic)
                    .sum();
                assert_eq!(moved, 1_000_003, "credits and fee are the reward");
                let (immature, mature) = balance.entry((found.clone(), "money")).or_default();
                match due.kind {
                    lifecycle::StepKind::Credited => *immature += moved,
                    lifecycle::StepKind::Matured => {
                        (*immature, *mature) = (*immature - moved, *mature + moved)
                    }
                    lifecycle::StepKind::Reversed { was_mature: true } => *mature -= moved,
                    lifecycle::StepKind::Reversed { was_mature: false } => *immature -= moved,
                    lifecycle::StepKind::Frozen => {}
                }
                assert!(
                    [(0, 0), (moved, 0), (0, moved)].contains(&(*immature, *mature)),
                    "{round}: {immature} {mature}"
                );
            }
            // After each row the money stands where the chain does.
            let money = balance.get(&(found, "money")).copied().unwrap_or_default();
            match status {
                "orphaned" | "refused" => assert_eq!(money, (0, 0), "{round}"),
                "matured" => assert_eq!(money, (0, 1_000_003), "{round}"),
                "accepted" | "confirmed" => assert_ne!(money, (0, 0), "{round}"),
                _ => {}
            }
        }
    }
}
