//! Blocks that carry the pool's name without its proof, and open blocks in bulk.

use headframe_schemas::stream::blocks::PayoutTerms;
use headframe_schemas::stream::shares::Share;
use headframe_stratum::blocks::operator::{DecisionError, Verdict};
use headframe_stratum::chain::coinbase_tag::{TagProof, TaggedBlock};
use std::sync::Arc;

use super::recovered::tagged;
use super::{Pool, beside, best, row, story, watching};
use crate::facts::Memory;
use crate::scripted::Scene;

/// A pool that pays its miners, over a chain with a proven block and two that carry its name alone.
async fn pool_with_unproven_blocks(facts: &Arc<Memory>) -> Pool {
    let mut config = watching();
    config.terms = PayoutTerms {
        scheme: Some("pplns".to_owned()),
        window_milli: Some(2_000),
        fee_bp: Some(100),
        solo: None,
    };
    config.solo_terms = PayoutTerms {
        scheme: Some("solo".to_owned()),
        fee_bp: Some(250),
        ..config.terms.clone()
    };
    let blocks = vec![
        tagged(7, 101, TagProof::Proven),
        TaggedBlock {
            solo: true,
            ..tagged(8, 102, TagProof::Unproven)
        },
        tagged(9, 103, TagProof::Unproven),
    ];
    let grown = Scene {
        height: 110,
        ..Scene::default()
    };
    let pool = Pool::open_with(grown, config, facts.clone(), blocks).await;
    let standings = [7, 8, 9].map(|hash| ([hash; 32], best(3)));
    pool.chain.standings.lock().unwrap().extend(standings);
    pool
}

/// A stranger copies the pool's public name into a block of his own: nobody is paid for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_that_nothing_proves_waits_for_the_operator() {
    let facts = Arc::new(Memory::new());
    facts.blocks.lock().unwrap().push(row(1, 100, "matured"));
    facts.shares.lock().unwrap().push(Share {
        event_time: 1,
        pool: "test".to_owned(),
        miner: "4A".to_owned(),
        worker: "w".to_owned(),
        outcome: "accepted".to_owned(),
        difficulty: 1,
        network_difficulty: 16,
        height: 100,
        block_hash: None,
        solo: None,
    });
    let pool = pool_with_unproven_blocks(&facts).await;
    facts
        .until("all three have rows", |facts| {
            story(facts, 7).len() == 2 && story(facts, 8).len() == 1 && story(facts, 9).len() == 1
        })
        .await;
    assert_eq!(story(&facts, 7), ["candidate", "accepted"]);
    let held = |hash: u8| {
        let blocks = facts.blocks.lock().unwrap();
        blocks
            .iter()
            .find(|row| row.hash == hex::encode([hash; 32]))
            .unwrap()
            .clone()
    };
    let proven = held(7).terms;
    assert_eq!((proven.fee_bp, proven.solo), (Some(100), None));
    for (hash, solo) in [(8, Some(true)), (9, None)] {
        let row = held(hash);
        let nobody = PayoutTerms {
            solo,
            ..PayoutTerms::default()
        };
        assert_eq!((row.status.as_str(), &row.terms), ("unproven", &nobody));
        assert!(row.reason.is_some_and(|reason| reason.contains("no proof")));
    }
    pool.close().await;
    // A restart asks nobody and forgets nothing.
    let pool = pool_with_unproven_blocks(&facts).await;
    pool.until("the operator is asked", |pool| {
        pool.unproven.unproven().len() == 2
    })
    .await;
    assert_eq!((story(&facts, 8).len(), story(&facts, 9).len()), (1, 1));
    let known = pool.unproven.decide([7; 32], Verdict::Reject).await;
    assert_eq!(known, Err(DecisionError::NoSuchBlock));
    assert_eq!(
        pool.unproven.decide([8; 32], Verdict::Confirm).await,
        Ok(())
    );
    assert_eq!(pool.unproven.decide([9; 32], Verdict::Reject).await, Ok(()));
    facts
        .until("the confirmed one goes its way", |facts| {
            story(facts, 8).len() == 3
        })
        .await;
    assert_eq!(story(&facts, 8), ["unproven", "candidate", "accepted"]);
    assert_eq!(story(&facts, 9), ["unproven", "rejected"]);
    assert_eq!(pool.unproven.unproven(), []);
    let terms = {
        let blocks = facts.blocks.lock().unwrap();
        let of = |status: &str| {
            blocks
                .iter()
                .rfind(|row| row.status == status)
                .unwrap()
                .terms
                .clone()
        };
        (of("accepted"), of("rejected"))
    };
    // The row of before the restart said that it was mined solo.
    let confirmed = terms.0;
    assert_eq!(
        (
            confirmed.scheme.as_deref(),
            confirmed.fee_bp,
            confirmed.solo
        ),
        (Some("solo"), Some(250), Some(true))
    );
    assert_eq!(terms.1, PayoutTerms::default());
    pool.close().await;
    let pool = pool_with_unproven_blocks(&facts).await;
    pool.until("the chain was asked", |pool| {
        !pool.chain.positions_asked.lock().unwrap().is_empty()
    })
    .await;
    assert_eq!((story(&facts, 8).len(), story(&facts, 9).len()), (3, 2));
    assert_eq!(pool.unproven.unproven(), []);
    pool.close().await;
}

/// Fifty open blocks, of which the two newest fall off the chain: nothing older than the newest
/// that still stands is asked about.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_blocks_are_not_asked_about_while_a_newer_one_stands() {
    let facts = Arc::new(Memory::new());
    let numbers = 51..=100u8;
    facts.blocks.lock().unwrap().extend(
        numbers
            .clone()
            .map(|number| row(number, number.into(), "accepted")),
    );
    let scene = Scene {
        height: 101,
        ..Scene::default()
    };
    let pool = Pool::open_over(scene, watching(), facts.clone(), facts.clone()).await;
    let standings = numbers.map(|number| ([number; 32], best(101 - u64::from(number))));
    pool.chain.standings.lock().unwrap().extend(standings);
    facts
        .until("those deep enough are confirmed", |facts| {
            facts.statuses().len() == 50 + 41
        })
        .await;
    pool.change(|scene| scene.prev += 1);
    // Once a look asks about the newest alone, all of them are known to stand together.
    pool.until("one look asks once", |pool| {
        let positions_asked = pool.chain.positions_asked.lock().unwrap();
        positions_asked.ends_with(&[[100; 32], [100; 32]])
    })
    .await;
    pool.chain.positions_asked.lock().unwrap().clear();
    pool.chain
        .standings
        .lock()
        .unwrap()
        .extend([99, 100].map(|number| ([number; 32], beside(1))));
    pool.change(|scene| scene.prev += 1);
    facts
        .until("both are orphans", |facts| {
            [99, 100].iter().all(|number| {
                story(facts, *number)
                    .last()
                    .is_some_and(|last| last == "orphaned")
            })
        })
        .await;
    let older = |hash: &&[u8; 32]| hash[0] < 98;
    let positions_asked = pool.chain.positions_asked.lock().unwrap().clone();
    assert_eq!(
        positions_asked.iter().find(older),
        None,
        "{positions_asked:?}"
    );
    // What the newest that stands says of the older ones is what they would have said themselves.
    assert_eq!(story(&facts, 60).last().unwrap(), "confirmed");
    pool.close().await;
}
