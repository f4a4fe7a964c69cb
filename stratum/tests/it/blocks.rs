//! A found block's life: the pure steps against a chain that reorganises and a pool that crashes,
//! and the pool's watcher.

use headframe_schemas::stream::blocks::{Block, PayoutTerms};
use headframe_stratum::blocks::open_blocks::{BlockKey, MAX_OPEN, OpenBlocks, key_of};
use headframe_stratum::blocks::{BlockStage, ConfirmationRules, is_over, next_steps};
use headframe_stratum::chain::ChainPosition;
use headframe_stratum::chain::coinbase_tag::{TagProof, TaggedBlock};
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::facts::Memory;
use crate::random::Random;
use crate::scripted::{Client, Scene, Stage as Pool, config};
use crate::server::{NONCE, OTHER_NONCE, OTHER_RESULT, RESULT, is_ok};

mod recovered;
mod unproven;

const RULES: ConfirmationRules = ConfirmationRules {
    confirmed_at: 10,
    matured_at: 60,
};

fn best(confirmations: u64) -> ChainPosition {
    ChainPosition::Best { confirmations }
}

fn beside(confirmations: u64) -> ChainPosition {
    ChainPosition::Beside { confirmations }
}

fn row(hash: u8, height: i64, status: &str) -> Block {
    Block {
        event_time: 1,
        pool: "test".to_owned(),
        hash: hex::encode([hash; 32]),
        height,
        miner: "4A".to_owned(),
        worker: "w".to_owned(),
        status: status.to_owned(),
        network_difficulty: 16,
        reward_atomic: Some(7),
        reason: None,
        terms: PayoutTerms::default(),
    }
}

#[test]
fn each_step_follows_from_where_the_block_stands() {
    use BlockStage::*;
    let cases: &[(BlockStage, ChainPosition, &[BlockStage])] = &[
        (Unwritten, ChainPosition::Absent, &[Candidate]),
        (Candidate, ChainPosition::Absent, &[]),
        (Candidate, best(1), &[Accepted]),
        (Candidate, best(10), &[Accepted, Confirmed]),
        (Candidate, best(60), &[Accepted, Confirmed, Matured]),
        (Candidate, beside(1), &[Orphaned]),
        (Accepted, best(9), &[]),
        (Accepted, best(10), &[Confirmed]),
        (Accepted, beside(2), &[Orphaned]),
        (Accepted, ChainPosition::Absent, &[]),
        (Confirmed, best(59), &[]),
        (Confirmed, best(60), &[Matured]),
        (Confirmed, beside(12), &[Orphaned]),
        (Orphaned, beside(59), &[]),
        (Orphaned, best(3), &[Accepted]),
        (Orphaned, best(12), &[Accepted, Confirmed]),
        // The daemon did not answer, so it counted as refused; it had taken the block all the same.
        (Refused, best(2), &[Accepted]),
        (Refused, beside(2), &[]),
        (Matured, beside(61), &[]),
    ];
    for (stage, standing, wanted) in cases {
        assert_eq!(
            next_steps(*stage, *standing, RULES),
            *wanted,
            "{stage:?} {standing:?}"
        );
    }
    for (stage, standing, over) in [
        (Matured, best(60), true),
        (Orphaned, beside(60), true),
        (Refused, beside(60), true),
        (Orphaned, beside(59), false),
        (Accepted, best(1000), false),
    ] {
        assert_eq!(
            is_over(stage, standing, RULES),
            over,
            "{stage:?} {standing:?}"
        );
    }
}

/// A block on a chain that grows, reorganises and shortens at random. What the rows say must be
/// what happened, whatever is looked at and whatever crashes.
#[test]
fn the_rows_follow_the_chain_through_reorganisations_and_crashes() {
    for case in 0..20_000 {
        let mut random = Random(case);
        let mut ledger = OpenBlocks::default();
        let key = BlockKey {
            height: 100,
            hash: [1; 32],
        };
        let mut stream = vec![row(1, 100, "candidate")];
        assert!(ledger.begin(key, stream[0].clone()));
        ledger.record_uncertain_outcome(&key, (BlockStage::Accepted, None));
        let mut standing = best(1);
        for _ in 0..random.below(40) {
            standing = match (random.below(8), standing) {
                (0, _) => ChainPosition::Absent,
                (1, ChainPosition::Best { confirmations }) => beside(confirmations + 1),
                (2, ChainPosition::Beside { confirmations }) => best(confirmations + 1),
                (_, ChainPosition::Best { confirmations }) => {
                    best(confirmations + random.below(12))
                }
                (_, ChainPosition::Beside { confirmations }) => {
                    beside(confirmations + random.below(12))
                }
                (_, ChainPosition::Absent) => {
                    if random.below(2) == 0 {
                        best(1)
                    } else {
                        beside(1)
                    }
                }
            };
            if random.below(4) == 0 {
                // A restart: all that is known is the stream.
                ledger = OpenBlocks::default();
            }
            let uncertain = ledger.uncertain();
            ledger.restore(&uncertain, stream.clone());
            let Some((_, entry)) = ledger.watched().into_iter().next() else {
                break;
            };
            for step in next_steps(entry.stage, standing, RULES) {
                stream.push(row(1, 100, step.as_str().unwrap()));
                match random.below(6) {
                    // The row is durable, and the answer was lost.
                    0 => {
                        ledger.mark_uncertain(&key);
                        break;
                    }
                    // The row was lost, too.
                    1 => {
                        stream.pop();
                        ledger.mark_uncertain(&key);
                        break;
                    }
                    _ => ledger.advance(&key, step),
                }
            }
        }
        check_story(&stream, case);
        // Left alone, the ledger comes to agree with the chain, and then has nothing more to say.
        let mut ledger = OpenBlocks::default();
        ledger.restore(&BTreeSet::new(), stream.clone());
        if let Some((_, entry)) = ledger.watched().first() {
            let last = next_steps(entry.stage, standing, RULES)
                .last()
                .copied()
                .unwrap_or(entry.stage);
            assert!(next_steps(last, standing, RULES).is_empty());
            let agrees = match standing {
                ChainPosition::Best { confirmations } if confirmations >= 60 => {
                    last == BlockStage::Matured
                }
                ChainPosition::Best { confirmations } if confirmations >= 10 => {
                    matches!(last, BlockStage::Confirmed)
                }
                ChainPosition::Best { .. } => {
                    matches!(last, BlockStage::Accepted | BlockStage::Confirmed)
                }
                ChainPosition::Beside { .. } => last == BlockStage::Orphaned,
                ChainPosition::Absent => true,
            };
            assert!(agrees, "case {case}: {standing:?} {last:?}");
        }
    }
}

/// No step twice in a row, none that cannot follow the one before, nothing after the last one.
fn check_story(stream: &[Block], case: u64) {
    for pair in stream.windows(2) {
        let words = (pair[0].status.as_str(), pair[1].status.as_str());
        let legal = matches!(
            words,
            ("candidate" | "orphaned", "accepted")
                | ("accepted", "confirmed")
                | ("confirmed", "matured")
                | ("candidate" | "accepted" | "confirmed", "orphaned")
        );
        assert!(legal, "case {case}: {words:?}");
    }
}

#[test]
fn two_blocks_of_one_height_are_two_blocks() {
    let mut ledger = OpenBlocks::default();
    let keys = [1u8, 2].map(|hash| BlockKey {
        height: 5,
        hash: [hash; 32],
    });
    for (key, hash) in keys.iter().zip([1, 2]) {
        assert!(ledger.begin(*key, row(hash, 5, "candidate")));
        ledger.record_outcome(key, BlockStage::Accepted);
    }
    assert!(
        !ledger.begin(keys[0], row(1, 5, "candidate")),
        "the same block again"
    );
    ledger.advance(&keys[0], BlockStage::Orphaned);
    let stages: Vec<BlockStage> = ledger
        .watched()
        .iter()
        .map(|(_, entry)| entry.stage)
        .collect();
    assert_eq!(stages, [BlockStage::Accepted, BlockStage::Orphaned]);
}

#[test]
fn the_stream_decides_only_about_what_was_in_doubt_before_it_was_read() {
    let mut ledger = OpenBlocks::default();
    let (early, late) = (
        BlockKey {
            height: 5,
            hash: [1; 32],
        },
        BlockKey {
            height: 6,
            hash: [2; 32],
        },
    );
    ledger.begin(early, row(1, 5, "candidate"));
    ledger.begin(late, row(2, 6, "candidate"));
    assert!(
        ledger.watched().is_empty(),
        "blocks being submitted are not the watcher's"
    );
    ledger.record_uncertain_outcome(&early, (BlockStage::Refused, Some("no".to_owned())));
    let uncertain = ledger.uncertain();
    let rows = vec![
        row(1, 5, "candidate"),
        row(2, 6, "candidate"),
        row(3, 4, "matured"),
        row(4, 7, "confirmed"),
    ];
    // While the stream was being read, the second block was accepted; the old rows must not take
    // that back.
    ledger.record_outcome(&late, BlockStage::Accepted);
    ledger.restore(&uncertain, rows);
    let watched: Vec<(u64, BlockStage, bool)> = ledger
        .watched()
        .iter()
        .map(|(key, entry)| (key.height, entry.stage, entry.pending_outcome.is_some()))
        .collect();
    assert_eq!(
        watched,
        [
            (7, BlockStage::Confirmed, false),
            (6, BlockStage::Accepted, false),
            (5, BlockStage::Candidate, true)
        ]
    );
    // A block none of whose rows arrived starts again at its first.
    ledger.mark_uncertain(&late);
    let uncertain = ledger.uncertain();
    ledger.restore(&uncertain, vec![row(1, 5, "refused")]);
    assert_eq!(ledger.watched()[1].1.stage, BlockStage::Unwritten);
}

#[test]
fn a_ledger_is_bounded_and_reads_only_what_it_understands() {
    let mut ledger = OpenBlocks::default();
    for number in 0..=MAX_OPEN as u64 {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_le_bytes());
        assert!(ledger.begin(
            BlockKey {
                height: number,
                hash
            },
            row(0, 0, "candidate")
        ));
    }
    assert_eq!(ledger.len(), MAX_OPEN);
    for broken in [
        Block {
            hash: "zz".to_owned(),
            ..row(1, 1, "candidate")
        },
        Block {
            height: -1,
            ..row(1, 1, "candidate")
        },
    ] {
        assert_eq!(key_of(&broken), None);
    }
    let mut ledger = OpenBlocks::default();
    ledger.restore(&BTreeSet::new(), vec![row(1, 1, "melted")]);
    assert!(ledger.is_empty());
}

/// A pool that finds blocks with every share, looks often, and confirms at two.
fn watching() -> headframe_stratum::StratumConfig {
    let mut config = config();
    config.blocks.look_s = 1;
    config
}

fn story(facts: &Memory, hash: u8) -> Vec<String> {
    let blocks = facts.blocks.lock().unwrap();
    blocks
        .iter()
        .filter(|block| block.hash == hex::encode([hash; 32]))
        .map(|block| block.status.clone())
        .collect()
}

/// The hashes of the blocks that [`pool_with_two_blocks`] has found.
const TWO_BLOCKS: ([u8; 32], [u8; 32]) = ([0x0c; 32], [0x5b; 32]);

/// A pool that has found two blocks, which are accepted, and the miner of both.
async fn pool_with_two_blocks() -> (Pool, Client) {
    let scene = Scene {
        network_difficulty: 16,
        ..Scene::default()
    };
    let pool = Pool::open(scene, watching()).await;
    let mut client = pool.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    assert!(is_ok(&client.submit(OTHER_NONCE, OTHER_RESULT).await));
    pool.facts
        .until("both are accepted", |facts| facts.statuses().len() == 4)
        .await;
    (pool, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_about_one_block_does_not_hide_the_others() {
    let (pool, _client) = pool_with_two_blocks().await;
    let (first, second) = TWO_BLOCKS;
    pool.chain.unanswered.lock().unwrap().push(first);
    let standings = [(first, best(60)), (second, beside(2))];
    pool.chain.standings.lock().unwrap().extend(standings);
    pool.change(|scene| scene.prev += 1);
    let ends_with = |facts: &Memory, block: u8, step: &str| {
        story(facts, block).last().is_some_and(|last| last == step)
    };
    pool.facts
        .until("the second is an orphan", |facts| {
            ends_with(facts, 0x5b, "orphaned")
        })
        .await;
    assert_eq!(story(&pool.facts, 0x0c), ["candidate", "accepted"]);
    // The next look gets the answer.
    pool.chain.unanswered.lock().unwrap().clear();
    pool.change(|scene| scene.prev += 1);
    pool.facts
        .until("the first has matured", |facts| {
            ends_with(facts, 0x0c, "matured")
        })
        .await;
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_writes_what_becomes_of_its_blocks() {
    let (pool, _client) = pool_with_two_blocks().await;
    let (first, second) = TWO_BLOCKS;
    // A new template, as a new block brings it, is a reason to look.
    let stand = |one: ChainPosition, other: ChainPosition| {
        pool.chain
            .standings
            .lock()
            .unwrap()
            .extend([(first, one), (second, other)]);
        pool.change(|scene| scene.prev += 1);
    };
    stand(best(2), beside(2));
    pool.facts
        .until("the second is an orphan", |facts| {
            story(facts, 0x5b)
                .last()
                .is_some_and(|last| last == "orphaned")
        })
        .await;
    stand(beside(3), best(3));
    let swapped = |facts: &Memory| (story(facts, 0x0c).len(), story(facts, 0x5b).len()) == (3, 4);
    pool.facts.until("it is the other way round", swapped).await;
    stand(best(10), beside(10));
    pool.facts
        .until("the first is confirmed", |facts| {
            story(facts, 0x0c)
                .last()
                .is_some_and(|last| last == "confirmed")
        })
        .await;
    stand(best(60), beside(60));
    pool.facts
        .until("the first has matured", |facts| {
            story(facts, 0x0c)
                .last()
                .is_some_and(|last| last == "matured")
        })
        .await;
    assert_eq!(
        story(&pool.facts, 0x0c),
        [
            "candidate",
            "accepted",
            "orphaned",
            "accepted",
            "confirmed",
            "matured"
        ]
    );
    pool.facts
        .until("the second is an orphan again", |facts| {
            story(facts, 0x5b).len() == 5
        })
        .await;
    assert_eq!(
        story(&pool.facts, 0x5b),
        ["candidate", "accepted", "orphaned", "accepted", "orphaned"]
    );
    pool.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_with_the_blocks_of_before() {
    let facts = Arc::new(Memory::new());
    // The crash came between the candidate row and the outcome; another block had been accepted;
    // one had matured; and another pool's block is none of ours.
    let foreign = Block {
        pool: "elsewhere".to_owned(),
        ..row(9, 90, "accepted")
    };
    facts.blocks.lock().unwrap().extend([
        row(1, 99, "candidate"),
        row(2, 98, "accepted"),
        row(3, 20, "matured"),
        foreign,
    ]);
    let pool = Pool::open_over(Scene::default(), watching(), facts.clone(), facts.clone()).await;
    pool.chain
        .standings
        .lock()
        .unwrap()
        .extend((1..=9).map(|hash| ([hash; 32], best(10))));
    pool.facts
        .until("both go on", |facts| facts.statuses().len() == 7)
        .await;
    assert_eq!(
        story(&pool.facts, 1),
        ["candidate", "accepted", "confirmed"]
    );
    assert_eq!(story(&pool.facts, 2), ["accepted", "confirmed"]);
    assert_eq!(
        (story(&pool.facts, 3).len(), story(&pool.facts, 9).len()),
        (1, 1)
    );
    pool.close().await;
    // The next start finds nothing left to say.
    let pool = Pool::open_over(Scene::default(), watching(), facts.clone(), facts.clone()).await;
    pool.chain
        .standings
        .lock()
        .unwrap()
        .extend((1..=9).map(|hash| ([hash; 32], best(60))));
    pool.facts
        .until("they mature", |facts| facts.statuses().len() == 9)
        .await;
    assert_eq!(
        story(&pool.facts, 1),
        ["candidate", "accepted", "confirmed", "matured"]
    );
    pool.close().await;
}
