//! Found blocks: the candidate row comes before the daemon, and a silent daemon is waited for.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_a_candidate_before_the_daemon_is_told() {
    let scene = Scene {
        network_difficulty: 16,
        ..Scene::default()
    };
    let terms = PayoutTerms {
        scheme: Some("pplns".to_owned()),
        window_milli: Some(2_000),
        fee_bp: Some(60),
        solo: None,
    };
    let stage = Stage::open(
        scene,
        StratumConfig {
            terms: terms.clone(),
            ..config()
        },
    )
    .await;
    let mut client = stage.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    stage
        .facts
        .until("the first block", |facts| {
            facts.statuses() == ["candidate", "accepted"]
        })
        .await;
    assert_eq!(*stage.chain.rows_at_submit.lock().unwrap(), ["candidate"]);
    stage.change(|scene| scene.refuse_blocks = true);
    assert!(is_ok(&client.submit(OTHER_NONCE, OTHER_RESULT).await));
    stage
        .facts
        .until("the second block", |facts| facts.statuses().len() == 4)
        .await;
    let blocks = stage.facts.blocks.lock().unwrap().clone();
    assert_eq!(
        (blocks[3].status.as_str(), blocks[3].reason.as_deref()),
        ("refused", Some("Block not accepted"))
    );
    assert_eq!(
        (blocks[0].hash.as_str(), blocks[0].worker.as_str()),
        ("0c".repeat(32).as_str(), "rack7")
    );
    assert_eq!(blocks[0].reward_atomic, Some(600_000_000_000));
    assert!(
        blocks.iter().all(|block| block.terms == terms),
        "every row of a block says on which terms it is paid"
    );
    let made: Vec<Option<String>> = stage
        .facts
        .shares
        .lock()
        .unwrap()
        .iter()
        .map(|share| share.block_hash.clone())
        .collect();
    assert_eq!(
        made,
        [Some(blocks[0].hash.clone()), Some(blocks[2].hash.clone())],
        "the shares that made them say so"
    );
    let stats = stage.stats.snapshot();
    assert_eq!((stats.blocks_accepted, stats.blocks_refused), (1, 1));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_is_offered_until_the_daemon_is_back() {
    let stage = Stage::open(
        Scene {
            network_difficulty: 16,
            away: true,
            ..Scene::default()
        },
        config(),
    )
    .await;
    let mut client = stage.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    stage
        .until("two offers", |stage| {
            stage.chain.submitted.lock().unwrap().len() >= 2
        })
        .await;
    assert_eq!(
        stage.facts.statuses(),
        ["candidate"],
        "no verdict before a daemon gave one"
    );
    stage.change(|scene| scene.away = false);
    stage
        .facts
        .until("the block", |facts| {
            facts.statuses() == ["candidate", "accepted"]
        })
        .await;
    // With one that nobody takes, the pool stops all the same, and leaves the verdict to the next
    // start.
    stage.change(|scene| scene.away = true);
    assert!(is_ok(&client.submit(OTHER_NONCE, OTHER_RESULT).await));
    stage
        .facts
        .until("the second candidate", |facts| facts.statuses().len() == 3)
        .await;
    let facts = stage.facts.clone();
    stage.close().await;
    assert_eq!(facts.statuses(), ["candidate", "accepted", "candidate"]);
}
