//! Miners who mine solo beside the pool's scheme: whatever the order of shares and blocks, a block
//! pays its finder alone or the pool's window, to the last atomic unit, and the audit agrees.

use std::collections::{BTreeMap, HashMap};

use headframe_pipelines::payout::audit::replay::{Policy, replay};
use headframe_pipelines::payout::audit::{AuditReport, block as audit};
use headframe_pipelines::payout::pplns::Pplns;
use headframe_schemas::stream::blocks::Block;
use headframe_schemas::stream::shares::{Share, Shares};
use headframe_sinks::Lake;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Everything, block, hash, share, until_paid};
use crate::fixture::Fixture;

const REWARD: u128 = 600_000_000_007;

/// A block, on the terms that its row says.
struct Found {
    number: u8,
    /// The index of its share.
    winner: usize,
    scheme: &'static str,
    window_milli: i64,
    fee_bp: i64,
    solo: bool,
}

impl Found {
    fn row(&self, finder: &str, status: &str) -> Block {
        let terms = (self.scheme, self.window_milli, self.fee_bp);
        let mut row = block(&hash(self.number), i64::from(self.number), status, terms);
        row.miner = finder.to_owned();
        row.terms.solo = self.solo.then_some(true);
        row
    }

    /// What everybody gets, by a loop over all shares that shares no code with the product; the
    /// pool's part is `fee`.
    fn amounts(&self, shares: &[Share]) -> BTreeMap<String, u128> {
        let fee = REWARD * self.fee_bp as u128 / 10_000;
        let mut amounts = BTreeMap::from([("fee".to_owned(), fee)]);
        if self.solo {
            amounts.insert(shares[self.winner].miner.clone(), REWARD - fee);
            return amounts;
        }
        let wanted = self.window_milli as u128 * (1 << 64) / 1_000;
        let (mut weights, mut total) = (BTreeMap::<&str, u128>::new(), 0);
        for (index, share) in shares[..=self.winner].iter().enumerate().rev() {
            let is_solo = share.solo == Some(true);
            if share.outcome != "accepted" || is_solo {
                continue;
            }
            if self.scheme == "prop" && index != self.winner && share.block_hash.is_some() {
                break;
            }
            let weight = ((share.difficulty as u128) << 64) / share.network_difficulty as u128;
            let weight = match self.scheme {
                "pplns" => weight.min(wanted - total),
                _ => weight,
            };
            *weights.entry(&share.miner).or_default() += weight;
            total += weight;
            if self.scheme == "pplns" && total == wanted {
                break;
            }
        }
        let (mut reached, mut given) = (0, 0);
        for (miner, weight) in weights {
            reached += weight;
            let due = (REWARD - fee) * reached / total;
            amounts.insert(miner.to_owned(), due - given);
            given = due;
        }
        assert_eq!(amounts.values().sum::<u128>(), REWARD);
        amounts
    }
}

/// Shares of nine miners, each of whom mines solo or not from share to share, up to the one that
/// makes the block.
fn mine(random: &mut StdRng, shares: &mut Vec<Share>, number: u8) -> Found {
    let network = random.random_range(2_000..20_000);
    for last in (0..random.random_range(1..40)).rev() {
        let miner = format!("m{}", random.random_range(0..9));
        let difficulty = random.random_range(1..900);
        let made = (last == 0).then(|| hash(number));
        let n = shares.len() as i64;
        let mut row = share(n, &miner, difficulty, network, made.as_deref());
        row.solo = [None, Some(false), Some(true), Some(true)][random.random_range(0..4)];
        if last != 0 && random.random_range(0..8) == 0 {
            row.outcome = "stale".to_owned();
        }
        shares.push(row);
    }
    let winner = shares.len() - 1;
    let solo = shares[winner].solo == Some(true);
    Found {
        number,
        winner,
        scheme: match solo {
            true => "solo",
            false => ["pplns", "prop"][random.random_range(0..2)],
        },
        window_milli: [1, 300, 1_500, 100_000][random.random_range(0..4)],
        fee_bp: random.random_range(0..300),
        solo,
    }
}

fn lake(fixture: &Fixture) -> Lake {
    let folder = fixture.folder.path().join("tables");
    Lake::open(folder.to_str().unwrap(), &HashMap::new()).unwrap()
}

async fn audited(fixture: &Fixture, number: u8) -> AuditReport {
    audit(&lake(fixture), &hash(number), None).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn solo_and_pool_in_any_order_pay_what_a_walk_over_all_shares_says() {
    let fixture = Fixture::new(&Shares).await;
    let mut random = StdRng::seed_from_u64(47);
    let (mut shares, mut blocks) = (Vec::<Share>::new(), Vec::new());
    let mut running = Everything::run(&fixture).await;
    let mut rows = 0;
    for number in 1..=12 {
        let begin = shares.len();
        let found = mine(&mut random, &mut shares, number);
        for row in &shares[begin..] {
            fixture.publisher.record(row).await.unwrap();
        }
        let finder = shares[found.winner].miner.clone();
        for status in ["candidate", "accepted"] {
            let row = found.row(&finder, status);
            fixture.publisher.record(&row).await.unwrap();
        }
        rows += 1 + found.amounts(&shares).len();
        blocks.push(found);
        if number % 5 == 0 {
            running.kill().await;
            running = Everything::run(&fixture).await;
        }
    }
    let said = until_paid(&fixture, rows).await;
    for found in &blocks {
        let prefix = format!("credited {:02x} ", found.number);
        let credited: BTreeMap<String, u128> = said
            .iter()
            .filter_map(|row| row.strip_prefix(&prefix)?.split_once(' '))
            .map(|(account, amount)| (account.to_owned(), amount.parse().unwrap()))
            .collect();
        let (scheme, number) = (found.scheme, found.number);
        assert_eq!(credited, found.amounts(&shares), "{scheme} block {number}");
        let report = audited(&fixture, number).await;
        assert!(report.is_fine(), "{scheme} block {number}: {report}");
    }
    let solo = blocks.iter().filter(|found| found.solo).count();
    assert!((3..10).contains(&solo), "{solo} blocks are solo");
    // Other terms of the pool are none of those who mine solo.
    let policy = Policy {
        scheme: &Pplns,
        window_milli: 700,
        fee_bp: 0,
    };
    let what_if = replay(&lake(&fixture), policy, 0, i64::MAX).await.unwrap();
    let skipped: usize = what_if.skipped.values().map(Vec::len).sum();
    assert_eq!((what_if.blocks, skipped), (blocks.len() - solo, solo));
    running.stop().await;
    fixture.end().await;
}
