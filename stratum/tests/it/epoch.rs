//! A real seed change on a real monerod: miners go on over it without a pause, a wrong verdict or a
//! new connection.
//!
//! The seed changes with block 2113 for the first time, and making 2112 blocks takes monerod some
//! minutes. So their database is kept beside the tests: 2110 blocks of `monerod --regtest
//! --fixed-difficulty 1`, made by `generateblocks` for the address of the other tests, with the
//! daemon stopped afterwards and `fake/lmdb/data.mdb` compressed by zstd.

use async_compression::tokio::bufread::ZstdDecoder;
use headframe_stratum::miner::{Miner, MinerConfig};
use headframe_stratum::{Stratum, StratumConfig};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use crate::address::MAINNET;
use crate::facts::Memory;
use crate::regtest::Monerod;
use crate::scripted::config;

const CHAIN: &[u8] = include_bytes!("../data/regtest-2110-blocks.mdb.zst");
/// The first block that is hashed under the second seed: 2048 blocks and 64 of notice after the
/// first one.
pub const SWITCH: i64 = 2113;

/// A daemon whose next block is number 2110, at this difficulty.
pub async fn shortly_before_the_switch(difficulty: u64) -> Monerod {
    let mut database = Vec::new();
    ZstdDecoder::new(CHAIN)
        .read_to_end(&mut database)
        .await
        .unwrap();
    let folder = || {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir_all(folder.path().join("fake/lmdb"))?;
        std::fs::write(folder.path().join("fake/lmdb/data.mdb"), &database)?;
        Ok(folder)
    };
    Monerod::start_with(difficulty, folder).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn miners_go_on_over_a_real_change_of_seed() {
    // Every second share would be a block at a lower difficulty, and a busy daemon weighs them
    // slower than the miner finds them.
    let monerod = shortly_before_the_switch(12).await;
    assert_eq!(monerod.call("get_info", json!({})).await["height"], 2110);
    let template = monerod
        .call(
            "get_block_template",
            json!({"wallet_address": MAINNET, "reserve_size": 60}),
        )
        .await;
    let seed = |field: &str| -> [u8; 32] {
        hex::decode(template[field].as_str().unwrap())
            .unwrap()
            .try_into()
            .unwrap()
    };
    let (old, new) = (seed("seed_hash"), seed("next_seed_hash"));
    assert_ne!(old, new);

    let facts = Arc::new(Memory::new());
    let config = StratumConfig {
        daemon_url: monerod.url.clone(),
        start_difficulty: 2,
        poll_ms: 20,
        ..config()
    };
    let bound = Stratum::bind(config, facts.clone()).await.unwrap();
    let (address, stats, seeds) = (bound.local_addr(), bound.stats(), bound.seeds());
    let stop = CancellationToken::new();
    let pool = tokio::spawn(bound.run(stop.clone()));
    // The next seed is prepared while nobody needs it yet.
    until("both seeds", || {
        seeds.is_prepared(&old) && seeds.is_prepared(&new)
    })
    .await;
    let miner = MinerConfig {
        pool: address.to_string(),
        login: MAINNET.to_owned(),
        pass: "x".into(),
        rigid: None,
        threads: 1,
    };
    let (miner, handle) = Miner::new(miner, seeds.clone());
    let mining = tokio::spawn(miner.run(stop.clone()));
    let accepted_at = |facts: &Memory, wanted: fn(i64) -> bool| {
        let blocks = facts.blocks.lock().unwrap();
        // Two of one height are one: before the pool has heard of the first, a miner may find
        // another.
        let heights: BTreeSet<i64> = blocks
            .iter()
            .filter(|block| block.status == "accepted" && wanted(block.height))
            .map(|block| block.height)
            .collect();
        heights.len()
    };
    facts
        .until("three blocks under the new seed", |facts| {
            accepted_at(facts, |height| height >= SWITCH) >= 3
        })
        .await;
    stop.cancel();
    mining.await.unwrap().unwrap();
    pool.await.unwrap();

    assert_eq!(
        accepted_at(&facts, |height| height < SWITCH),
        3,
        "the last blocks of the old seed"
    );
    // The daemon agrees with us on which seed is whose.
    let template = monerod
        .call(
            "get_block_template",
            json!({"wallet_address": MAINNET, "reserve_size": 60}),
        )
        .await;
    assert_eq!(
        (
            template["seed_hash"].as_str().unwrap(),
            &template["seed_height"]
        ),
        (hex::encode(new).as_str(), &json!(2048))
    );
    let stats = stats.snapshot();
    assert_eq!(
        (
            stats.invalid,
            stats.duplicate,
            stats.low_difficulty,
            stats.unrecorded
        ),
        (0, 0, 0, 0)
    );
    let miner = handle.stats();
    assert!(miner.logins == 1, "{miner:?}");
    let shares = facts.shares.lock().unwrap();
    let under = |wanted: fn(i64) -> bool| {
        shares
            .iter()
            .filter(|share| share.outcome == "accepted" && wanted(share.height))
            .count()
    };
    assert!(under(|height| height < SWITCH) >= 3 && under(|height| height >= SWITCH) >= 3);
}

pub async fn until(what: &str, wanted: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
    while !wanted() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: did not happen"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
