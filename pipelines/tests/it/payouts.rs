//! The payout pipeline between real streams and real tables: windows found, steps stated, kills at
//! any moment, and nothing twice.

use std::collections::BTreeMap;

use headframe_pipelines::payout::{self, ShareWork, lifecycle};
use headframe_schemas::stream::blocks::{Block, Blocks, PayoutTerms};
use headframe_schemas::stream::payouts::Payouts;
use headframe_schemas::stream::shares::{Share, Shares};
use headframe_schemas::stream::windows::Windows;
use headframe_schemas::{Stream, Table};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::fixture::{Fixture, Running, until};

mod solo;
mod steps;

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
        solo: None,
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
            solo: None,
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
    let mut rows_said = Vec::new();
    until(&format!("{rows} rows of payouts"), async || {
        rows_said = said(fixture).await;
        rows_said.len() >= rows
    })
    .await;
    assert_eq!(rows_said.len(), rows, "{rows_said:#?}");
    rows_said
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_read_ahead_before_the_first_block_after_a_start() {
    let fixture = Fixture::new(&Shares).await;
    let running = Everything::run(&fixture).await;
    for n in 0..12 {
        let found = (n == 9).then(|| hash(1));
        let share = share(n, "a", 100, 1_000, found.as_deref());
        fixture.publisher.record(&share).await.unwrap();
    }
    for status in ["candidate", "accepted"] {
        let row = block(&hash(1), 10, status, ("pplns", 2_000, 0));
        fixture.publisher.record(&row).await.unwrap();
    }
    until_paid(&fixture, 3).await;
    running.kill().await;
    // Nobody else reads the files of shares now, and nothing is due.
    fixture.store.forget_read();
    let blocks = fixture.run(&Blocks).await;
    let is_share_file = |path: &String| {
        path.starts_with("shares/") && path.ends_with(".parquet") && !path.contains("_delta_log")
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while !fixture.store.read().iter().any(is_share_file) {
        assert!(
            std::time::Instant::now() < deadline,
            "no shares are read ahead: {:?}",
            fixture.store.read()
        );
        tokio::task::yield_now().await;
    }
    assert_eq!(said(&fixture).await.len(), 3, "nothing was stated anew");
    blocks.stop().await;
    fixture.end().await;
}
