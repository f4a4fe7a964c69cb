//! The life of real blocks on a real monerod: to maturity, into an orphan and back, and popped
//! away.

use headframe_stratum::chain::monero::MoneroChain;
use headframe_stratum::chain::{Chain, ChainPosition};
use headframe_stratum::randomx::{Mode, SeedMemory, Vm};
use headframe_stratum::{Stratum, StratumConfig};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::address::MAINNET;
use crate::facts::Memory;
use crate::regtest::{Monerod, generate, http, mined};
use crate::scripted::config;
use headframe_schemas::stream::blocks::{Block, PayoutTerms};

async fn pop(monerod: &Monerod, count: u64) {
    let answer = http()
        .post(format!("{}/pop_blocks", monerod.url))
        .json(&json!({"nblocks": count}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap()["status"], "OK");
}

/// A block of ours, submitted as the pool submits it, and its candidate row.
async fn found(chain: &MoneroChain, facts: &Memory) -> String {
    let template = chain.template().await.unwrap();
    let (seed, height) = (template.seed(), template.height());
    let mine = move || {
        mined(
            &*template,
            &Vm::new(&Arc::new(SeedMemory::build(&seed, Mode::Light).unwrap())).unwrap(),
            1,
        )
    };
    let block = tokio::task::spawn_blocking(mine).await.unwrap();
    let id = hex::encode(block.id);
    // What a pool that was killed right after the submission leaves behind: a candidate, and a
    // daemon that has the block.
    let row = Block {
        event_time: 1,
        pool: "test".to_owned(),
        hash: id.clone(),
        height: i64::try_from(height).unwrap(),
        miner: MAINNET.to_owned(),
        worker: "w".to_owned(),
        status: "candidate".to_owned(),
        network_difficulty: 1,
        reward_atomic: None,
        reason: None,
        terms: PayoutTerms::default(),
    };
    facts.blocks.lock().unwrap().push(row);
    chain.submit(&block).await.unwrap();
    id
}

fn story(facts: &Memory, hash: &str) -> Vec<String> {
    facts
        .blocks
        .lock()
        .unwrap()
        .iter()
        .filter(|block| block.hash == hash)
        .map(|block| block.status.clone())
        .collect()
}

struct Pool {
    stop: CancellationToken,
    running: tokio::task::JoinHandle<()>,
}

impl Pool {
    async fn open(monerod: &Monerod, facts: &Arc<Memory>) -> Self {
        let mut config = StratumConfig {
            daemon_url: monerod.url.clone(),
            poll_ms: 50,
            ..config()
        };
        config.blocks.look_s = 1;
        let bound = Stratum::bind(config, facts.clone()).await.unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone()));
        Self { stop, running }
    }

    async fn close(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reorganisation_makes_an_orphan_and_brings_it_back_to_maturity() {
    let monerod = Monerod::start_with(1, tempfile::tempdir).await;
    let chain = MoneroChain::new(&monerod.url, MAINNET, Duration::from_secs(60)).unwrap();
    chain.tip().await.unwrap();
    let parent = generate(&monerod, 1, None).await.remove(0);
    let facts = Arc::new(Memory::new());
    let ours = found(&chain, &facts).await;
    let pool = Pool::open(&monerod, &facts).await;
    let is = |wanted: &'static [&'static str], ours: String| {
        move |facts: &Memory| story(facts, &ours) == *wanted
    };
    facts
        .until(
            "found after the crash",
            is(&["candidate", "accepted"], ours.clone()),
        )
        .await;
    // Two blocks beside ours are more than ours: it is an orphan, which the daemon keeps.
    generate(&monerod, 2, Some(&parent)).await;
    facts
        .until(
            "an orphan",
            is(&["candidate", "accepted", "orphaned"], ours.clone()),
        )
        .await;
    // Three on top of ours are more than those.
    let top = generate(&monerod, 3, Some(&ours)).await.pop();
    facts
        .until(
            "back",
            is(
                &["candidate", "accepted", "orphaned", "accepted"],
                ours.clone(),
            ),
        )
        .await;
    assert_eq!(
        monerod.call("get_info", json!({})).await["top_block_hash"].as_str(),
        top.as_deref()
    );
    // With ours, three, and five more it has nine confirmations, which are not enough; the tenth
    // is. A restart in between changes nothing.
    generate(&monerod, 5, None).await;
    let id: [u8; 32] = hex::decode(&ours).unwrap().try_into().unwrap();
    assert_eq!(
        chain.position(id, 2).await,
        Ok(ChainPosition::Best { confirmations: 9 })
    );
    pool.close().await;
    assert_eq!(story(&facts, &ours).len(), 4);
    let pool = Pool::open(&monerod, &facts).await;
    generate(&monerod, 1, None).await;
    facts
        .until("confirmed", |facts| {
            story(facts, &ours)
                .last()
                .is_some_and(|last| last == "confirmed")
        })
        .await;
    generate(&monerod, 50, None).await;
    facts
        .until("matured", |facts| {
            story(facts, &ours)
                .last()
                .is_some_and(|last| last == "matured")
        })
        .await;
    pool.close().await;
    assert_eq!(
        story(&facts, &ours),
        [
            "candidate",
            "accepted",
            "orphaned",
            "accepted",
            "confirmed",
            "matured"
        ]
    );
    // Our maturity is the daemon's: the coinbase is locked until 60 blocks above its own.
    let block = monerod.call("get_block", json!({"hash": ours})).await;
    let coinbase: Value = serde_json::from_str(block["json"].as_str().unwrap()).unwrap();
    assert_eq!(coinbase["miner_tx"]["unlock_time"], 2 + chain.maturity());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_popped_block_is_missed_only_when_another_has_its_place() {
    let monerod = Monerod::start_with(1, tempfile::tempdir).await;
    let chain = MoneroChain::new(&monerod.url, MAINNET, Duration::from_secs(60)).unwrap();
    chain.tip().await.unwrap();
    let facts = Arc::new(Memory::new());
    let ours = found(&chain, &facts).await;
    let id: [u8; 32] = hex::decode(&ours).unwrap().try_into().unwrap();
    assert_eq!(
        chain.position(id, 1).await,
        Ok(ChainPosition::Best { confirmations: 1 })
    );
    pop(&monerod, 1).await;
    assert_eq!(
        chain.position(id, 1).await,
        Ok(ChainPosition::Absent),
        "nobody has its place"
    );
    assert_eq!(chain.position([7; 32], 9).await, Ok(ChainPosition::Absent));
    generate(&monerod, 2, None).await;
    assert_eq!(
        chain.position(id, 1).await,
        Ok(ChainPosition::Beside { confirmations: 2 }),
        "the daemon has forgotten it"
    );
    let pool = Pool::open(&monerod, &facts).await;
    facts
        .until("an orphan", |facts| {
            story(facts, &ours) == ["candidate", "orphaned"]
        })
        .await;
    pool.close().await;
}
