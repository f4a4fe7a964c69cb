//! The whole over the stand-in: our miner makes blocks that it takes, over changes of the key; what
//! a miner should not send is refused.

use bitcoin::hashes::Hash as _;
use headframe_stratum::chain::Chain as _;
use headframe_stratum::chain::bitcoin::BitcoinChain;
use headframe_stratum::chain::bitcoin::address::{Network, parse};
use headframe_stratum::chain::coinbase_tag::{CoinbaseKey, CoinbaseTag, TagProof};
use headframe_stratum::chain::driver::ChainKind;
use headframe_stratum::chain::with_nonce;
use headframe_stratum::miner::{Miner, MinerConfig, MinerHandle};
use headframe_stratum::randomx::{Seeds, Vm};
use headframe_stratum::work::difficulty::{miner_submits, target_from_hex};
use headframe_stratum::{StatsHandle, Stratum, StratumConfig};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::http::StandIn;
use super::node::Rules;
use super::{WALLET, bytes32, settings};
use crate::facts::Memory;
use crate::scripted;
use crate::server::{CAPTURED, message};

/// A pool on a stand-in whose key changes every four blocks.
struct Pool {
    stand_in: StandIn,
    facts: Arc<Memory>,
    address: SocketAddr,
    stats: StatsHandle,
    seeds: Arc<Seeds>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Pool {
    async fn open(bits: u32) -> Self {
        let stand_in = StandIn::open(Rules {
            interval: 4,
            fork_height: 1,
            bits,
        })
        .await;
        stand_in.node().await.fill(3);
        let facts = Arc::new(Memory::new());
        let opensy = settings(&stand_in.url, 4, 1);
        let config = StratumConfig {
            chain: ChainKind::Opensy,
            wallet: WALLET.to_owned(),
            opensy,
            start_difficulty: 2,
            ..scripted::config()
        };
        let bound = Stratum::bind(config, facts.clone()).await.unwrap();
        let (address, stats, seeds) = (bound.local_addr(), bound.stats(), bound.seeds());
        // The same memories serve pool, miner and node: each key is computed once.
        stand_in.node().await.share(seeds.clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(bound.run(stop.clone()));
        let pool = Self {
            stand_in,
            facts,
            address,
            stats,
            seeds,
            stop,
            running,
        };
        pool.until("work", async |pool| pool.stats.snapshot().unready.is_none())
            .await;
        pool
    }

    async fn until(&self, what: &str, wanted: impl AsyncFn(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
        while !wanted(self).await {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what}: did not happen; {:?}",
                self.stats.snapshot()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn client(&self) -> BufReader<TcpStream> {
        BufReader::new(TcpStream::connect(self.address).await.unwrap())
    }

    fn miner(&self) -> (JoinHandle<std::io::Result<()>>, MinerHandle) {
        let config = MinerConfig {
            pool: self.address.to_string(),
            login: format!("{WALLET}.rig"),
            pass: "x".into(),
            rigid: None,
            threads: 1,
        };
        let (miner, handle) = Miner::new(config, self.seeds.clone());
        (tokio::spawn(miner.run(self.stop.clone())), handle)
    }

    async fn close(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(240), self.running)
            .await
            .expect("the pool did not stop")
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_miner_makes_blocks_over_two_changes_of_the_key() {
    let pool = Pool::open(0x203f_ffff).await;
    let (mining, handle) = pool.miner();
    // Keys: genesis up to block 7, block 4 up to 11, block 8 from 12 on.
    pool.until("block 13", async |pool| {
        let mut node = pool.stand_in.node().await;
        if node.template()["transactions"]
            .as_array()
            .unwrap()
            .is_empty()
        {
            node.fill(3);
        }
        node.tip().0 >= 13
    })
    .await;
    pool.facts
        .until("thirteen accepted blocks", |facts| {
            facts
                .statuses()
                .iter()
                .filter(|status| *status == "accepted")
                .count()
                >= 13
        })
        .await;
    pool.stop.cancel();
    mining.await.unwrap().unwrap();

    let node = pool.stand_in.node().await;
    let reward = parse(WALLET, Network::Regtest).unwrap().script();
    let rows = pool.facts.blocks.lock().unwrap().clone();
    let mut transactions = 0;
    for row in rows.iter().filter(|row| row.status == "accepted") {
        let hash = node.chain[&u64::try_from(row.height).unwrap()];
        assert_eq!(
            row.hash,
            hash.to_string(),
            "the row's id is the one the node prints"
        );
        let block = &node.blocks[&hash];
        let paid = &block.txdata[0].output[0];
        assert_eq!(paid.script_pubkey.as_bytes(), reward);
        assert_eq!(row.reward_atomic, Some(i128::from(paid.value.to_sat())));
        assert_eq!((row.network_difficulty, row.worker.as_str()), (4, "rig"));
        transactions += block.txdata.len() - 1;
    }
    assert!(transactions > 0, "some blocks have more than a coinbase");
    let statuses = pool.facts.statuses();
    assert!(!statuses.contains(&"refused".to_owned()), "{statuses:?}");
    let stats = pool.stats.snapshot();
    assert_eq!(
        (
            stats.invalid,
            stats.duplicate,
            stats.low_difficulty,
            stats.unrecorded
        ),
        (0, 0, 0, 0),
        "{stats:?}"
    );
    let miner = handle.stats();
    assert!(miner.logins == 1 && miner.accepted >= 13, "{miner:?}");
    drop(node);
    // The chain alone tells which blocks are this pool's.
    let chain = BitcoinChain::new(
        &pool.stand_in.url,
        WALLET,
        &settings(&pool.stand_in.url, 4, 1),
        Duration::from_secs(240),
    )
    .unwrap();
    let chain = chain.with_tag(CoinbaseTag::new(
        "test",
        WALLET,
        Some(CoinbaseKey::new(scripted::COINBASE_KEY)),
    ));
    let marked = chain.tagged_blocks(0..=1000).await.unwrap();
    assert!(marked.iter().all(|block| block.proof == TagProof::Proven));
    let mut found: Vec<_> = marked
        .into_iter()
        .map(|block| {
            (
                hex::encode(block.hash),
                block.reward_atomic as i128,
                block.network_difficulty,
            )
        })
        .collect();
    let mut written: Vec<_> = rows
        .iter()
        .filter(|row| row.status == "accepted")
        .map(|row| (row.hash.clone(), row.reward_atomic.unwrap(), 4))
        .collect();
    found.sort();
    written.sort();
    assert_eq!(found, written);
    pool.close().await;
}

async fn ask(stream: &mut BufReader<TcpStream>, request: &Value) -> Value {
    stream
        .get_mut()
        .write_all(format!("{request}\n").as_bytes())
        .await
        .unwrap();
    let mut line = String::new();
    tokio::time::timeout(Duration::from_secs(240), stream.read_line(&mut line))
        .await
        .expect("no line came")
        .unwrap();
    serde_json::from_str(&line).unwrap()
}

fn login(algos: Value) -> Value {
    json!({"id": 1, "jsonrpc": "2.0", "method": "login", "params": {"login": WALLET, "pass": "x",
        "agent": "test", "algo": algos}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_miners_are_told_at_login_and_wrong_shares_are_refused() {
    let pool = Pool::open(0x1f00_ffff).await;
    // A stock XMRig, with its own list of algorithms.
    let mut stock: Value = serde_json::from_str(CAPTURED.lines().next().unwrap()).unwrap();
    stock["params"]["login"] = json!(WALLET);
    for line in [stock, login(json!([])), login(json!(["rx/0"]))] {
        let answer = ask(&mut pool.client().await, &line).await;
        assert!(
            message(&answer).contains("needs the algorithm rx/opensy")
                && message(&answer).contains("stock XMRig"),
            "{answer}"
        );
    }
    let mut other = login(json!(["rx/opensy"]));
    other["params"]["login"] = json!(WALLET.replace("yg3z", "yg3x"));
    assert!(
        message(&ask(&mut pool.client().await, &other).await).contains("Invalid wallet address")
    );

    let mut client = pool.client().await;
    let answer = ask(&mut client, &login(json!(["rx/0", "rx/opensy"]))).await;
    let job = answer["result"]["job"].clone();
    let genesis = pool.stand_in.node().await.chain[&0].to_byte_array();
    assert_eq!(
        (&job["algo"], &job["nonce_offset"], &job["height"]),
        (&json!("rx/opensy"), &json!(76), &json!(1))
    );
    assert_eq!(
        job["seed_hash"],
        hex::encode(genesis),
        "the key's bytes, not its print"
    );
    assert_eq!(
        (
            job["blob"].as_str().unwrap().len(),
            job["target"].as_str().unwrap().len()
        ),
        (160, 16)
    );
    let target = target_from_hex(job["target"].as_str().unwrap()).unwrap();
    let blob = hex::decode(job["blob"].as_str().unwrap()).unwrap();
    assert_eq!(blob[76..], [0; 4]);

    let right = pool
        .seeds
        .memory(bytes32(job["seed_hash"].as_str().unwrap()))
        .await
        .unwrap();
    let wrong = pool.seeds.memory([9; 32]).await.unwrap();
    let mut foreign = blob.clone();
    foreign[36] ^= 1;
    let shares = tokio::task::spawn_blocking(move || {
        let (right, wrong) = (Vm::new(&right).unwrap(), Vm::new(&wrong).unwrap());
        let first = |machine: &Vm, blob: &[u8], from: u32| {
            let hashed = (from..).map(|nonce| {
                (
                    nonce,
                    machine
                        .hash(&with_nonce(blob.to_vec(), 76, nonce.to_le_bytes()))
                        .unwrap(),
                )
            });
            hashed
                .into_iter()
                .find(|(_, hash)| miner_submits(hash, target))
                .unwrap()
        };
        [
            first(&wrong, &blob, 0),
            first(&right, &foreign, 1000),
            first(&right, &blob, 2000),
        ]
    });
    let [wrong_key, wrong_root, good] = shares.await.unwrap();
    let mut submit = async |(nonce, hash): (u32, [u8; 32])| {
        let params = json!({"id": "x", "job_id": job["job_id"],
            "nonce": hex::encode(nonce.to_le_bytes()), "result": hex::encode(hash)});
        loop {
            let answer = ask(
                &mut client,
                &json!({"id": 2, "jsonrpc": "2.0", "method": "submit", "params": params}),
            )
            .await;
            if answer["id"] == 2 {
                return answer;
            }
        }
    };
    assert_eq!(
        message(&submit(wrong_key).await),
        "Rejected share: invalid result"
    );
    assert_eq!(
        message(&submit(wrong_root).await),
        "Rejected share: invalid result"
    );
    assert!(crate::server::is_ok(&submit(good).await));
    assert_eq!(pool.stats.snapshot().work_hashes, 2);
    pool.close().await;
}
