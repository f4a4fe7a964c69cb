//! Blocks that left no row are found again on the chain.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_left_no_row_is_found_again_on_the_chain() {
    let facts = Arc::new(Memory::new());
    let scene = Scene {
        network_difficulty: 16,
        ..Scene::default()
    };
    let pool = Pool::open_over(scene.clone(), watching(), facts.clone(), facts.clone()).await;
    let mut client = pool.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    facts
        .until("it is accepted", |facts| facts.statuses().len() == 2)
        .await;
    drop(client);
    pool.close().await;
    // Of four blocks on the chain one has rows, two have none, and one lies before this pool's
    // time.
    let height = scene.height;
    let blocks = vec![
        tagged(0x0c, height, TagProof::Proven),
        tagged(7, height + 1, TagProof::Proven),
        tagged(8, height - 10, TagProof::Proven),
        tagged(9, height - 11, TagProof::Proven),
    ];
    let grown = Scene {
        height: height + 5,
        prev: 9,
        ..scene
    };
    let pool = Pool::open_with(grown, watching(), facts.clone(), blocks).await;
    pool.chain
        .standings
        .lock()
        .unwrap()
        .extend([0x0c, 7, 8, 9].map(|hash| ([hash; 32], best(3))));
    facts
        .until("both lost ones are written", |facts| {
            facts.statuses().len() == 6
        })
        .await;
    for hash in [7, 8] {
        assert_eq!(story(&facts, hash), ["candidate", "accepted"]);
    }
    assert_eq!((story(&facts, 0x0c).len(), story(&facts, 9).len()), (2, 0));
    let row = facts
        .blocks
        .lock()
        .unwrap()
        .iter()
        .find(|row| row.hash == hex::encode([7; 32]))
        .unwrap()
        .clone();
    assert_eq!(
        (row.height, row.worker.as_str(), row.reward_atomic),
        (height as i64 + 1, "_recovered", Some(600))
    );
    pool.close().await;
}

pub fn tagged(hash: u8, height: u64, proof: TagProof) -> TaggedBlock {
    TaggedBlock {
        hash: [hash; 32],
        height,
        network_difficulty: 16,
        reward_atomic: 600,
        proof,
        solo: false,
    }
}
