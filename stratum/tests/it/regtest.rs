//! The whole against a real monerod in regtest: real templates, real hashes, blocks that the daemon
//! takes.

use headframe_stratum::chain::coinbase_tag::{CoinbaseKey, CoinbaseTag, TagProof};
use headframe_stratum::chain::monero::MoneroChain;
use headframe_stratum::chain::monero::address::{Network, check};
use headframe_stratum::chain::{Chain, Extranonce, FoundBlock, Submitted, Template, with_nonce};
use headframe_stratum::miner::{Miner, MinerConfig};
use headframe_stratum::randomx::{Mode, SeedMemory, Vm};
use headframe_stratum::{Stratum, StratumConfig};
use monero::util::address::PaymentId;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::LazyLock;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::address::MAINNET;
use crate::facts;
use crate::scripted::{COINBASE_KEY, config};

/// Hashes a block costs: about a second of one core in light mode.
const NETWORK_DIFFICULTY: u64 = 25;

pub struct Monerod {
    child: Child,
    pub url: String,
    /// `tcp://host:port` where it publishes blocks.
    pub zmq: String,
    // Removed after the child is gone.
    _data: tempfile::TempDir,
}

impl Drop for Monerod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Monerod {
    /// A daemon that answers. A free port can be taken by somebody else before the daemon has it,
    /// so it may need a second try.
    async fn start() -> Self {
        Self::start_with(NETWORK_DIFFICULTY, tempfile::tempdir).await
    }

    /// The same with another difficulty, over a folder that `data` makes.
    pub async fn start_with(
        difficulty: u64,
        data: impl Fn() -> std::io::Result<tempfile::TempDir>,
    ) -> Self {
        for _ in 0..5 {
            let mut monerod = Self::spawn(difficulty, data().unwrap());
            if monerod
                .until(Instant::now() + Duration::from_secs(180))
                .await
            {
                return monerod;
            }
        }
        panic!("monerod ended at once, five times");
    }

    /// Asks until the daemon answers (true) or has ended (false).
    async fn until(&mut self, deadline: Instant) -> bool {
        while self.child.try_wait().unwrap().is_none() {
            if self.try_call("get_info", json!({})).await.is_some() {
                return true;
            }
            assert!(Instant::now() < deadline, "monerod did not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    fn spawn(difficulty: u64, data: tempfile::TempDir) -> Self {
        let binary = std::env::var("HEADFRAME_MONEROD").unwrap_or_else(|_| "monerod".to_owned());
        let (rpc, p2p) = (free_port(), free_port());
        let zmq = format!("tcp://127.0.0.1:{}", free_port());
        let child = Command::new(&binary)
            .args([
                "--regtest",
                "--offline",
                "--no-igd",
                "--hide-my-port",
                "--non-interactive",
                "--keep-fakechain",
            ])
            // Nobody listens in on loopback; making a key for TLS takes seconds at every start.
            .args(["--rpc-ssl", "disabled"])
            .args([
                "--fixed-difficulty",
                &difficulty.to_string(),
                "--zmq-pub",
                &zmq,
            ])
            .args(["--zmq-rpc-bind-port", &free_port().to_string()])
            .args([
                "--rpc-bind-port",
                &rpc.to_string(),
                "--p2p-bind-port",
                &p2p.to_string(),
            ])
            .args(["--log-level", "0", "--data-dir"])
            .arg(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start {binary}: {error}; install Debian's package monero or set \
                     HEADFRAME_MONEROD"
                )
            });
        Self {
            child,
            url: format!("http://127.0.0.1:{rpc}"),
            zmq,
            _data: data,
        }
    }

    async fn try_call(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({"jsonrpc": "2.0", "id": "0", "method": method, "params": params});
        let response = http()
            .post(format!("{}/json_rpc", self.url))
            .json(&body)
            .send()
            .await
            .ok()?;
        let answer: Value = response.json().await.ok()?;
        answer.get("result").cloned()
    }

    pub async fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params)
            .await
            .unwrap_or_else(|| panic!("{method} failed"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wallet_is_refused_before_the_start_exactly_where_the_daemon_would_make_no_template_for_it()
 {
    let monerod = Monerod::start().await;
    let primary: monero::Address = MAINNET.parse().unwrap();
    let (spend, view) = (primary.public_spend, primary.public_view);
    let integrated =
        monero::Address::integrated(primary.network, spend, view, PaymentId([7; 8])).to_string();
    let subaddress = monero::Address::subaddress(primary.network, spend, view).to_string();
    for (wallet, good) in [(MAINNET, true), (&integrated, true), (&subaddress, false)] {
        let template = monerod
            .try_call(
                "get_block_template",
                json!({"wallet_address": wallet, "reserve_size": 16}),
            )
            .await;
        assert_eq!(template.is_some(), good, "{wallet}: {template:?}");
        let config = StratumConfig {
            wallet: wallet.to_owned(),
            ..StratumConfig::default()
        };
        assert_eq!(config.validate().is_ok(), good, "{wallet}");
    }
}

/// Blocks that monerod makes itself, on top of `parent` or of its tip.
pub async fn generate(monerod: &Monerod, count: u64, parent: Option<&str>) -> Vec<String> {
    let mut params = json!({"amount_of_blocks": count, "wallet_address": MAINNET});
    if let Some(parent) = parent {
        params["prev_block"] = json!(parent);
    }
    let made = monerod.call("generateblocks", params).await;
    made["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hash| hash.as_str().unwrap().to_owned())
        .collect()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_miner_mines_blocks_that_monerod_takes() {
    check(MAINNET, Network::Mainnet).unwrap();
    let monerod = Monerod::start().await;
    let facts = Arc::new(facts::Memory::new());
    let config = StratumConfig {
        daemon_url: monerod.url.clone(),
        start_difficulty: 6,
        poll_ms: 100,
        ..config()
    };
    let bound = Stratum::bind(config, facts.clone()).await.unwrap();
    let (address, stats, seeds) = (bound.local_addr(), bound.stats(), bound.seeds());
    let stop = CancellationToken::new();
    let pool = tokio::spawn(bound.run(stop.clone()));
    let login = format!("{MAINNET}.rig1");
    let (miner, handle) = Miner::new(
        MinerConfig {
            pool: address.to_string(),
            login,
            pass: "x".into(),
            rigid: None,
            threads: 1,
        },
        seeds,
    );
    let mining = tokio::spawn(miner.run(stop.clone()));
    let accepted = |facts: &facts::Memory| {
        facts
            .statuses()
            .iter()
            .filter(|status| *status == "accepted")
            .count()
    };
    facts
        .until("three accepted blocks", |facts| accepted(facts) >= 3)
        .await;
    stop.cancel();
    mining.await.unwrap().unwrap();
    pool.await.unwrap();

    let blocks = facts.blocks.lock().unwrap().clone();
    for block in blocks.iter().filter(|block| block.status == "accepted") {
        // The daemon's chain has exactly the block whose id we computed, and it pays the configured
        // wallet.
        let header = monerod
            .call(
                "get_block_header_by_height",
                json!({"height": block.height}),
            )
            .await;
        assert_eq!(header["block_header"]["hash"], block.hash);
        let reward = header["block_header"]["reward"].as_u64().unwrap();
        assert_eq!(block.reward_atomic, Some(i128::from(reward)));
        assert_eq!(block.network_difficulty, i128::from(NETWORK_DIFFICULTY));
        let candidate = blocks
            .iter()
            .position(|row| row.hash == block.hash && row.status == "candidate")
            .unwrap();
        assert_eq!(
            blocks.iter().filter(|row| row.hash == block.hash).count(),
            2
        );
        assert!(
            candidate
                < blocks
                    .iter()
                    .position(|row| row.hash == block.hash && row.status == "accepted")
                    .unwrap()
        );
    }
    // The chain alone tells which blocks are this pool's, and no other pool's or wallet's.
    let search = async |pool: &str, key: [u8; 32], proof: TagProof| {
        let chain = MoneroChain::new(&monerod.url, MAINNET, Duration::from_secs(60))
            .unwrap()
            .with_tag(CoinbaseTag::new(pool, MAINNET, Some(CoinbaseKey::new(key))));
        let marked = chain.tagged_blocks(0..=10_000).await.unwrap();
        marked
            .into_iter()
            .filter(|block| block.proof == proof)
            .map(|block| {
                (
                    hex::encode(block.hash),
                    block.height as i64,
                    block.reward_atomic as i128,
                )
            })
            .collect::<Vec<_>>()
    };
    let accepted = blocks.iter().filter(|block| block.status == "accepted");
    let mut written: Vec<_> = accepted
        .map(|block| {
            (
                block.hash.clone(),
                block.height,
                block.reward_atomic.unwrap(),
            )
        })
        .collect();
    written.sort_by_key(|block| block.1);
    let (proven, unproven) = (TagProof::Proven, TagProof::Unproven);
    assert_eq!(search("test", COINBASE_KEY, proven).await, written);
    assert_eq!(search("test", COINBASE_KEY, unproven).await, []);
    // Whoever has not the key finds the blocks by their public name, and can prove none.
    assert_eq!(search("test", [8; 32], unproven).await, written);
    assert_eq!(search("test", [8; 32], proven).await, []);
    assert_eq!(search("another", COINBASE_KEY, unproven).await, []);
    let info = monerod.call("get_info", json!({})).await;
    let stats = stats.snapshot();
    assert_eq!(info["height"].as_u64().unwrap() - 1, stats.blocks_accepted);
    // No wrong verdict on an honest miner: everything is accepted, or stale because a block came in
    // between.
    assert_eq!(
        (
            stats.invalid,
            stats.duplicate,
            stats.low_difficulty,
            stats.unrecorded,
            stats.facts_lost
        ),
        (0, 0, 0, 0, 0)
    );
    let miner = handle.stats();
    assert!(miner.accepted >= 3 && miner.logins == 1, "{miner:?}");
    let rows = facts.outcomes();
    assert_eq!(
        rows.iter().filter(|outcome| *outcome == "accepted").count() as u64,
        stats.accepted
    );
    assert!(
        facts
            .shares
            .lock()
            .unwrap()
            .iter()
            .all(|share| share.worker == "rig1" && share.miner == MAINNET)
    );
}

/// Hashes until the template's network difficulty is met.
pub fn mined(template: &dyn Template, machine: &Vm, job: u32) -> FoundBlock {
    let extranonce = Extranonce {
        job,
        ..Extranonce::default()
    };
    let blob = template.hashing_blob(extranonce);
    (0u32..100_000)
        .map(u32::to_le_bytes)
        .find(|nonce| {
            template.is_block(
                &machine
                    .hash(&with_nonce(blob.clone(), template.nonce_offset(), *nonce))
                    .unwrap(),
            )
        })
        .map(|nonce| template.block(extranonce, nonce))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_blocks_at_one_height_the_second_is_an_orphan() {
    let monerod = Monerod::start().await;
    let chain = MoneroChain::new(&monerod.url, MAINNET, Duration::from_secs(60)).unwrap();
    assert_eq!(chain.tip().await.unwrap().unready, None);
    let template = chain.template().await.unwrap();
    let seed = template.seed();
    let blocks = tokio::task::spawn_blocking(move || {
        let machine = Vm::new(&Arc::new(SeedMemory::build(&seed, Mode::Light).unwrap())).unwrap();
        [
            mined(&*template, &machine, 1),
            mined(&*template, &machine, 2),
        ]
    });
    let [first, second] = blocks.await.unwrap();
    assert_eq!(chain.submit(&first).await.unwrap(), Submitted::Accepted);
    assert_eq!(
        chain.submit(&second).await.unwrap(),
        Submitted::Orphaned,
        "the daemon says OK to both"
    );
    // An answer that was lost makes us offer a block again.
    assert_eq!(chain.submit(&first).await.unwrap(), Submitted::Accepted);
    let garbled = FoundBlock {
        id: [7; 32],
        bytes: vec![0; 80],
    };
    assert!(matches!(
        chain.submit(&garbled).await.unwrap(),
        Submitted::Refused(_)
    ));
}

/// A client for one request each time: making one reads certificates, which takes long without
/// optimisation.
pub fn http() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0);
        client.build().unwrap()
    });
    &CLIENT
}
