//! The payout pipeline between real streams and real tables: windows found, steps stated, kills at
//! any moment, and nothing twice.

use std::collections::BTreeMap;

use headframe_pipelines::payout::{self, ShareWork, freeze, lifecycle};
use headframe_pipelines::signature;
use headframe_schemas::stream::blocks::{Block, Blocks, PayoutTerms};
use headframe_schemas::stream::payouts::Payouts;
use headframe_schemas::stream::shares::{Share, Shares};
use headframe_schemas::stream::windows::Windows;
use headframe_schemas::{Stream, Table, codec};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fixture::{Fixture, Running};

pub const MONEY: [&dyn Stream; 4] = [&Shares, &Blocks, &Windows, &Payouts];
const NOW: i64 = 1_772_362_800_000_000;

pub fn share(
    n: i64,
    miner: &str,
    difficulty: i64,
    network: i128,
    block_hash: Option<&str>,
) -> Share {
    Share {
        event_time: NOW + n,
        pool: "main".to_owned(),
        miner: miner.to_owned(),
        worker: "w".to_owned(),
        outcome: "accepted".to_owned(),
        difficulty,
        network_difficulty: network,
        height: n,
        block_hash: block_hash.map(str::to_owned),
    }
}

pub fn block(hash: &str, height: i64, status: &str, terms: (&str, i64, i64)) -> Block {
    Block {
        event_time: NOW + height,
        pool: "main".to_owned(),
        hash: hash.to_owned(),
        height,
        miner: "finder".to_owned(),
        worker: "w".to_owned(),
        status: status.to_owned(),
        network_difficulty: 1_000,
        reward_atomic: Some(600_000_000_007),
        reason: (status == "orphaned").then(|| "another block is on the best chain".to_owned()),
        terms: PayoutTerms {
            scheme: Some(terms.0.to_owned()),
            window_milli: Some(terms.1),
            fee_bp: Some(terms.2),
        },
    }
}

pub fn hash(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

/// Every pipeline of the four streams.
pub struct Everything(Vec<Running>);

impl Everything {
    pub async fn run(fixture: &Fixture) -> Self {
        let mut all = Vec::new();
        for stream in MONEY {
            all.push(fixture.run(stream).await);
        }
        Self(all)
    }

    pub async fn stop(self) {
        for running in self.0 {
            running.stop().await;
        }
    }

    pub async fn kill(self) {
        for running in self.0 {
            running.kill().await;
        }
    }
}

/// Waits until the table of payouts holds this many rows, then until that stays so after a look at
/// everything.
pub async fn until_paid(fixture: &Fixture, rows: usize) -> Vec<String> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(240);
    loop {
        let said = said(fixture).await;
        if said.len() >= rows {
            assert_eq!(said.len(), rows, "{said:#?}");
            return said;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{rows} rows wanted: {said:#?}"
        );
        tokio::task::yield_now().await;
    }
}

/// The rows of `payouts` in short.
pub async fn said(fixture: &Fixture) -> Vec<String> {
    let sql = "SELECT step || ' ' || left(block_hash, 2) || coalesce(' ' || account || ' ' || \
        CAST(amount_atomic AS VARCHAR), '') \
               || CASE WHEN was_mature THEN ' mature' ELSE '' END AS said FROM t WHERE \
               reject_reason IS NULL ORDER BY seq, \"row\"";
    let text = fixture.ask(Table::raw(&Payouts), sql).await;
    text.lines()
        .filter_map(|line| {
            Some(
                line.strip_prefix("| ")?
                    .strip_suffix(" |")?
                    .trim()
                    .to_owned(),
            )
        })
        .filter(|line| line != "said")
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_frozen_credited_reversed_and_matured_and_a_kill_changes_nothing() {
    let fixture = Fixture::new(&Shares).await;
    let mut running = Everything::run(&fixture).await;
    let publish = async |share: Share| fixture.publisher.record(&share).await.unwrap();
    for n in 0..30 {
        publish(share(n, ["a", "b", "c"][n as usize % 3], 100, 1_000, None)).await;
    }
    publish(share(30, "b", 100, 1_000, Some(&hash(1)))).await;
    publish(share(31, "late", 100_000, 1_000, None)).await;
    let terms = ("pplns", 2_000, 100);
    for status in ["candidate", "accepted"] {
        fixture
            .publisher
            .record(&block(&hash(1), 10, status, terms))
            .await
            .unwrap();
    }
    // Twenty shares of a tenth of a block: b has the winning one and six more, and of two others
    // seven and six.
    let said = until_paid(&fixture, 5).await;
    let (fee, reward) = (6_000_000_000_i64, 600_000_000_007_i64);
    let amount = |said: &str| said.rsplit(' ').next().unwrap().parse::<i64>().unwrap();
    assert_eq!(
        said.iter()
            .map(|row| row.rsplit_once(' ').unwrap().0)
            .collect::<Vec<_>>(),
        [
            "frozen",
            "credited 01 a",
            "credited 01 b",
            "credited 01 c",
            "credited 01 fee"
        ]
    );
    assert_eq!(amount(&said[4]), fee);
    assert_eq!(said[1..].iter().map(|row| amount(row)).sum::<i64>(), reward);
    running.kill().await;
    running = Everything::run(&fixture).await;
    for status in ["orphaned", "accepted", "confirmed", "matured", "orphaned"] {
        fixture
            .publisher
            .record(&block(&hash(1), 10, status, terms))
            .await
            .unwrap();
    }
    let again = until_paid(&fixture, 5 + 4 * 4).await;
    assert_eq!(again[..5], said[..], "what was said stays as it was");
    let steps: Vec<&str> = again
        .iter()
        .skip(5)
        .step_by(4)
        .map(|row| row.split(' ').next().unwrap())
        .collect();
    assert_eq!(steps, ["reversed", "credited", "matured", "reversed"]);
    assert!(
        again[20].ends_with("mature") && !again[5].ends_with("mature"),
        "{again:#?}"
    );
    running.stop().await;
    fixture.end().await;
}

/// What an implementation that reads every share from the oldest on makes of the same facts.
fn expected(shares: &[Share], winner: usize, window_milli: i64) -> BTreeMap<String, u128> {
    let newest_first = shares[..=winner]
        .iter()
        .rev()
        .filter(|share| share.outcome == "accepted")
        .map(|share| ShareWork {
            miner: &share.miner,
            difficulty: share.difficulty as u64,
            network_difficulty: share.network_difficulty as u128,
            is_block: share.block_hash.is_some(),
        });
    payout::window(
        &payout::pplns::Pplns,
        lifecycle::window_of(window_milli),
        newest_first,
    )
    .weights
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_over_many_files_are_those_of_a_walk_over_all_shares() {
    let fixture = Fixture::new(&Shares).await;
    let mut random = StdRng::seed_from_u64(11);
    let mut shares: Vec<Share> = Vec::new();
    let mut wanted = Vec::new();
    let mut running = Everything::run(&fixture).await;
    for found in 1..=8u8 {
        // The network's difficulty changes inside windows, and pieces of many sizes become files of
        // many sizes.
        let network = random.random_range(2_000..20_000);
        for _ in 0..random.random_range(5..120) {
            let n = shares.len() as i64;
            let mut row = share(
                n,
                &format!("m{}", random.random_range(0..9)),
                random.random_range(1..900),
                network,
                None,
            );
            if random.random_range(0..10) == 0 {
                row.outcome = "stale".to_owned();
            }
            shares.push(row);
        }
        let winner = shares.len();
        shares.push(share(winner as i64, "m3", 500, network, Some(&hash(found))));
        let window_milli = [1, 300, 1_500, 2_000, 100_000][random.random_range(0..5)];
        wanted.push((hash(found), expected(&shares, winner, window_milli)));
        let from = wanted.len().saturating_sub(1);
        let begin = if from == 0 {
            0
        } else {
            shares
                .iter()
                .position(|share| share.block_hash == Some(hash(from as u8)))
                .unwrap()
                + 1
        };
        for row in &shares[begin..] {
            fixture.publisher.record(row).await.unwrap();
        }
        for status in ["candidate", "accepted"] {
            fixture
                .publisher
                .record(&block(
                    &hash(found),
                    i64::from(found),
                    status,
                    ("pplns", window_milli, 60),
                ))
                .await
                .unwrap();
        }
        if random.random_range(0..2) == 0 {
            running.kill().await;
            running = Everything::run(&fixture).await;
        }
    }
    let rows = wanted.iter().map(|(_, weights)| weights.len() + 2).sum();
    until_paid(&fixture, rows).await;
    for (hash, weights) in &wanted {
        let sql = format!(
            "SELECT miner || ' ' || CAST(weight AS VARCHAR) AS w FROM t WHERE block_hash = \
            '{hash}' ORDER BY position"
        );
        let found = fixture.ask(Table::raw(&Windows), &sql).await;
        let found: Vec<&str> = found
            .lines()
            .skip(3)
            .filter_map(|line| Some(line.strip_prefix("| ")?.strip_suffix(" |")?.trim()))
            .collect();
        let weights: Vec<String> = weights
            .iter()
            .map(|(miner, weight)| format!("{miner} {weight}"))
            .collect();
        assert_eq!(found, weights, "{hash}");
    }
    running.stop().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_blocks_at_one_height_are_two_blocks_and_a_pool_that_pays_nobody_is_left_alone() {
    let fixture = Fixture::new(&Shares).await;
    let running = Everything::run(&fixture).await;
    for (n, found) in [(0, None), (1, Some(hash(1))), (2, Some(hash(2)))] {
        fixture
            .publisher
            .record(&share(n, "a", 1_000, 1_000, found.as_deref()))
            .await
            .unwrap();
    }
    let unpaid = Block {
        terms: PayoutTerms::default(),
        ..block(&hash(9), 10, "accepted", ("solo", 1, 0))
    };
    fixture.publisher.record(&unpaid).await.unwrap();
    for (found, status) in [
        (1, "candidate"),
        (2, "candidate"),
        (1, "accepted"),
        (2, "orphaned"),
        (1, "orphaned"),
        (2, "accepted"),
        (2, "matured"),
    ] {
        fixture
            .publisher
            .record(&block(&hash(found), 10, status, ("prop", 2_000, 0)))
            .await
            .unwrap();
    }
    let said = until_paid(&fixture, 10).await;
    // The second round begins behind the first block's share.
    let reward = 600_000_000_007_i64;
    let wanted = [
        "frozen 01".to_owned(),
        "frozen 02".to_owned(),
        format!("credited 01 a {reward}"),
        "credited 01 fee 0".to_owned(),
        format!("reversed 01 a {reward}"),
        "reversed 01 fee 0".to_owned(),
        format!("credited 02 a {reward}"),
        "credited 02 fee 0".to_owned(),
        format!("matured 02 a {reward}"),
        "matured 02 fee 0".to_owned(),
    ];
    assert_eq!(said, wanted);
    let shares = fixture
        .ask(
            Table::raw(&Payouts),
            "SELECT shares FROM t WHERE step = 'frozen' ORDER BY seq",
        )
        .await;
    assert!(
        shares.contains("| 2 ") && shares.contains("| 1 "),
        "{shares}"
    );
    running.stop().await;
    fixture.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_beyond_all_measure_are_frozen_before_they_are_paid() {
    let fixture = Fixture::new(&Shares).await;
    let mut running = Everything::run(&fixture).await;
    for (n, miner) in [(0, "a"), (1, "b"), (2, "a")] {
        let found = (n == 2).then(|| hash(1));
        fixture
            .publisher
            .record(&share(n, miner, i64::MAX, 1, found.as_deref()))
            .await
            .unwrap();
    }
    for status in ["candidate", "accepted"] {
        fixture
            .publisher
            .record(&block(&hash(1), 10, status, ("prop", 2_000, 0)))
            .await
            .unwrap();
    }
    let wanted = [
        "frozen 01",
        "credited 01 a 400000000004",
        "credited 01 b 200000000003",
        "credited 01 fee 0",
    ];
    assert_eq!(until_paid(&fixture, 4).await, wanted);
    // After a restart the amounts come from the tables, and rest on the frozen row there.
    running.kill().await;
    running = Everything::run(&fixture).await;
    fixture
        .publisher
        .record(&block(&hash(1), 10, "matured", ("prop", 2_000, 0)))
        .await
        .unwrap();
    let said = until_paid(&fixture, 7).await;
    assert_eq!(
        said[4..],
        wanted[1..]
            .iter()
            .map(|row| row.replace("credited", "matured"))
            .collect::<Vec<_>>()
    );
    running.stop().await;
    fixture.end().await;
}

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
    }
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
