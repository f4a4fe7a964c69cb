//! Late shares and old jobs: what is credited, until when, and that no reconnect and no restart
//! makes one share two.

use headframe_stratum::StratumConfig;
use headframe_stratum::chain::{Extranonce, FoundBlock, Hash, Template};
use headframe_stratum::share::{Rejection, Submission, admit, judge};
use headframe_stratum::work::job::JobRing;
use headframe_stratum::work::late_shares::{ChainTips, ShareAge};
use proptest::prelude::*;
use serde_json::Value;
use std::sync::Arc;

use crate::scripted::{Scene, Stage, config};
use crate::server::{NONCE, OTHER_NONCE, OTHER_RESULT, RESULT, is_ok, message};

/// A block in which every hash is a share, and a block.
#[derive(Debug)]
struct Easy(u8);

impl Template for Easy {
    fn height(&self) -> u64 {
        u64::from(self.0)
    }
    fn prev(&self) -> Hash {
        [self.0; 32]
    }
    fn seed(&self) -> Hash {
        [0; 32]
    }
    fn next_seed(&self) -> Option<Hash> {
        None
    }
    fn network_difficulty(&self) -> u128 {
        1
    }
    fn reward_atomic(&self) -> u128 {
        0
    }
    fn nonce_offset(&self) -> usize {
        39
    }
    fn hashing_blob(&self, _: Extranonce) -> Vec<u8> {
        vec![self.0; 76]
    }
    fn block(&self, _: Extranonce, _: [u8; 4]) -> FoundBlock {
        FoundBlock {
            id: self.prev(),
            bytes: Vec::new(),
        }
    }
    fn is_block(&self, _: &Hash) -> bool {
        true
    }
}

#[derive(Debug, Clone)]
enum Act {
    /// The chain's end becomes this block.
    Announce(u8),
    /// A share for the newest job on this block arrives.
    Submit(u8),
}

fn acts() -> impl Strategy<Value = Vec<(u64, Act)>> {
    let act = prop_oneof![
        (0..3_u8).prop_map(Act::Announce),
        (0..3_u8).prop_map(Act::Submit)
    ];
    prop::collection::vec((0..40_u64, act), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Against the rule in its plainest form: a share is credited if its block is the newest, or if
    /// it was the newest before the last change and that change is less than the grace ago; it is a
    /// block only in the first case.
    #[test]
    fn a_late_share_is_credited_within_the_grace_and_is_never_a_block(acts in acts(),
        grace_ms in 0..60_u64) {
        let (mut tips, mut jobs) = (ChainTips::new(grace_ms), JobRing::new(1, 2, 3));
        let (mut now, mut nonce) = (0, 0_u32);
        let mut history: Vec<(u8, u64)> = Vec::new();
        let mut newest_job: [Option<String>; 3] = Default::default();
        for (passed, act) in acts {
            now += passed;
            let block = match act {
                Act::Announce(block) => {
                    tips.announce([block; 32], now);
                    if history.last().is_none_or(|(last, _)| *last != block) {
                        history.push((block, now));
                    }
                    newest_job[usize::from(block)] = Some(jobs.issue(Arc::new(Easy(block)),
                    1).id());
                    continue;
                }
                Act::Submit(block) => block,
            };
            let newest = newest_job[usize::from(block)].clone();
            let Some(job_id) = newest.filter(|id| jobs.find(id).is_some()) else { continue };
            nonce += 1;
            let result = [7; 32];
            let verdict = admit(&mut jobs, &tips, now, &Submission { job_id: job_id.clone(),
                nonce: nonce.to_le_bytes(), result });
            let changes = history.len();
            let is_newest = history[changes - 1].0 == block;
            let is_previous = changes > 1 && history[changes - 2].0 == block
                && now - history[changes - 1].1 < grace_ms;
            match verdict {
                Ok(share) => {
                    prop_assert!(is_newest || is_previous);
                    prop_assert_eq!(judge(&share, &result), Ok(is_newest));
                    // The same share again is a duplicate, late or not.
                    let again = admit(&mut jobs, &tips, now, &Submission { job_id,
                        nonce: nonce.to_le_bytes(), result });
                    prop_assert_eq!(again.unwrap_err().reason, Rejection::Duplicate);
                }
                Err(refused) => {
                    prop_assert_eq!(refused.reason, Rejection::Expired);
                    prop_assert!(!is_newest && !is_previous);
                }
            }
        }
    }
}

#[test]
fn a_block_that_comes_back_is_the_newest_again() {
    let mut tips = ChainTips::new(100);
    assert_eq!(tips.share_age(&[1; 32], 0), ShareAge::Stale);
    tips.announce([1; 32], 0);
    tips.announce([2; 32], 10);
    // A template is renewed on the same block: no new grace begins.
    tips.announce([2; 32], 90);
    assert_eq!(
        (tips.share_age(&[1; 32], 109), tips.share_age(&[1; 32], 110)),
        (ShareAge::Late, ShareAge::Stale)
    );
    tips.announce([1; 32], 120);
    assert_eq!(
        (tips.share_age(&[1; 32], 500), tips.share_age(&[2; 32], 130)),
        (ShareAge::Current, ShareAge::Late)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_a_new_block_overtook_is_credited_at_its_own_height() {
    // Every hash is enough for the network: a late one must be no block all the same.
    let scene = Scene {
        network_difficulty: 16,
        ..Scene::default()
    };
    let stage = Stage::open(
        scene,
        StratumConfig {
            late_grace_ms: 30_000,
            ..config()
        },
    )
    .await;
    let mut client = stage.miner().await;
    let old = client.job["job_id"].as_str().unwrap().to_owned();
    stage.change(|scene| (scene.prev, scene.height) = (2, 101));
    assert_eq!(client.hear().await["params"]["height"], 101);
    assert!(is_ok(&client.submit_for(&old, NONCE, RESULT).await));
    assert_eq!(
        message(&client.submit_for(&old, NONCE, RESULT).await),
        "Duplicate share"
    );
    stage.change(|scene| (scene.prev, scene.height) = (3, 102));
    assert_eq!(client.hear().await["params"]["height"], 102);
    assert_eq!(
        message(&client.submit_for(&old, OTHER_NONCE, OTHER_RESULT).await),
        "Block expired",
        "one block back, not two"
    );
    stage
        .facts
        .until("all rows", |facts| facts.outcomes().len() == 3)
        .await;
    let rows: Vec<_> = stage
        .facts
        .shares
        .lock()
        .unwrap()
        .iter()
        .map(|share| (share.outcome.clone(), share.height))
        .collect();
    assert_eq!(rows[0], ("accepted".to_owned(), 100));
    assert!(stage.facts.statuses().is_empty() && stage.chain.submitted.lock().unwrap().is_empty());
    stage.close().await;
}

/// One solution, offered on another connection, after a reconnect, after a restart, with the old
/// job's id and with the new one's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_credited_once_across_sessions_reconnects_and_restarts() {
    let scene = Scene {
        own_blobs: true,
        network_difficulty: 1 << 60,
        ..Scene::default()
    };
    let easy = || StratumConfig {
        start_difficulty: 1,
        ..config()
    };
    let stage = Stage::open(scene.clone(), easy()).await;
    let mut first = stage.miner().await;
    let mut second = stage.miner().await;
    let job = first.job.clone();
    let result = hash_of(&stage, &job, NONCE).await;
    assert!(is_ok(&first.submit(NONCE, &result).await));
    assert_ne!(job["blob"], second.job["blob"]);
    let id = |job: &Value| job["job_id"].as_str().unwrap().to_owned();
    // Another session: the old job is not its own, and its own job is other work.
    assert_eq!(
        message(&second.submit_for(&id(&job), NONCE, &result).await),
        "Block expired"
    );
    assert_eq!(
        message(&second.submit(NONCE, &result).await),
        "Rejected share: invalid result"
    );
    drop(first);
    let mut again = stage.miner().await;
    assert_ne!(
        (&again.job["blob"], &again.job["job_id"]),
        (&job["blob"], &job["job_id"])
    );
    assert_eq!(
        message(&again.submit_for(&id(&job), NONCE, &result).await),
        "Block expired"
    );
    assert_eq!(
        message(&again.submit(NONCE, &result).await),
        "Rejected share: invalid result"
    );
    stage
        .facts
        .until("all rows", |facts| facts.outcomes().len() == 5)
        .await;
    assert_eq!(
        stage
            .facts
            .outcomes()
            .iter()
            .filter(|outcome| *outcome == "accepted")
            .count(),
        1
    );
    stage.close().await;

    // The pool restarts over the same chain: the row was durable and OK was perhaps never heard, so
    // the miner sends it again.
    let stage = Stage::open(scene, easy()).await;
    let mut restarted = stage.miner().await;
    assert_ne!(
        (&restarted.job["blob"], &restarted.job["job_id"]),
        (&job["blob"], &job["job_id"])
    );
    assert_eq!(
        message(&restarted.submit_for(&id(&job), NONCE, &result).await),
        "Block expired"
    );
    assert_eq!(
        message(&restarted.submit(NONCE, &result).await),
        "Rejected share: invalid result"
    );
    let honest = hash_of(&stage, &restarted.job, OTHER_NONCE).await;
    assert!(
        is_ok(&restarted.submit(OTHER_NONCE, &honest).await),
        "the new work is credited"
    );
    stage
        .facts
        .until("all rows", |facts| facts.outcomes().len() == 3)
        .await;
    assert_eq!(
        stage
            .facts
            .outcomes()
            .iter()
            .filter(|outcome| *outcome == "accepted")
            .count(),
        1
    );
    stage.close().await;
}

/// What an honest miner finds for this job and nonce.
async fn hash_of(stage: &Stage, job: &Value, nonce: &str) -> String {
    let memory = stage.seeds.memory([0x41; 32]).await.unwrap();
    let blob = hex::decode(job["blob"].as_str().unwrap()).unwrap();
    let nonce: [u8; 4] = hex::decode(nonce).unwrap().try_into().unwrap();
    let blob = headframe_stratum::chain::with_nonce(blob, 39, nonce);
    tokio::task::spawn_blocking(move || {
        let machine = headframe_stratum::randomx::Vm::new(&memory).unwrap();
        hex::encode(machine.hash(&blob).unwrap())
    })
    .await
    .unwrap()
}
