//! A real monero-wallet-rpc beside a monerod of the test's own: the pool's wallet, or a miner's.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use headframe_sinks::WalletConfig;
use headframe_sinks::wallet::WalletKind;
use serde_json::{Value, json};

use crate::server::{PATIENCE, free_port, pause_after};

/// A chain on which a block costs nothing, and the wallets on it.
pub struct Chain {
    child: Child,
    pub port: u16,
    _data: tempfile::TempDir,
}

impl Drop for Chain {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Chain {
    pub async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let (port, p2p) = (free_port(), free_port());
        let child = Command::new(
            std::env::var("HEADFRAME_MONEROD").unwrap_or_else(|_| "monerod".to_owned()),
        )
        .args([
            "--regtest",
            "--offline",
            "--no-igd",
            "--hide-my-port",
            "--no-zmq",
            "--non-interactive",
            "--fixed-difficulty",
            "1",
        ])
        // Nobody listens in on loopback; making a key for TLS takes seconds at every start.
        .args(["--rpc-ssl", "disabled"])
        .args([
            "--rpc-bind-port",
            &port.to_string(),
            "--p2p-bind-port",
            &p2p.to_string(),
            "--log-level",
            "0",
            "--data-dir",
        ])
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("monerod starts; it is in Debian's package monero");
        let chain = Self {
            child,
            port,
            _data: data,
        };
        until("monerod answers", async || {
            chain.call("get_info", json!({})).await.is_some()
        })
        .await;
        chain
    }

    async fn call(&self, method: &str, params: Value) -> Option<Value> {
        let body = json!({"jsonrpc": "2.0", "id": "0", "method": method, "params": params});
        let answer = crate::server::http()
            .post(format!("http://127.0.0.1:{}/json_rpc", self.port))
            .json(&body)
            .send()
            .await
            .ok()?;
        let answer: Value = answer.json().await.ok()?;
        answer.get("result").cloned()
    }

    /// Makes blocks that pay to the address; their hashes.
    pub async fn mine(&self, count: u64, address: &str) -> Vec<String> {
        let wanted =
            json!({"amount_of_blocks": count, "wallet_address": address, "starting_nonce": 0});
        let made = self
            .call("generateblocks", wanted)
            .await
            .expect("regtest makes blocks");
        made["blocks"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hash| hash.as_str().unwrap().to_owned())
            .collect()
    }

    /// What a block's coinbase pays, atomic units, and its height.
    pub async fn reward(&self, hash: &str) -> (i128, i64) {
        let header = self
            .call("get_block_header_by_hash", json!({"hash": hash}))
            .await
            .unwrap();
        (
            header["block_header"]["reward"].as_i64().unwrap().into(),
            header["block_header"]["height"].as_i64().unwrap(),
        )
    }
}

/// Asks until it is so, with the patience of the tests.
pub async fn until(what: &str, mut so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let sent_at = Instant::now();
        if so().await {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "not within the test's patience: {what}"
        );
        tokio::time::sleep(pause_after(sent_at)).await;
    }
}

/// One wallet program with one wallet.
pub struct WalletRpc {
    child: Child,
    pub url: String,
    folder: tempfile::TempDir,
    daemon: u16,
    client: Client,
}

/// The login of every wallet here.
const LOGIN: &str = "pool:s3cret-word";

impl Drop for WalletRpc {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl WalletRpc {
    /// A new wallet, open.
    pub async fn start(chain: &Chain) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("login"), format!("{LOGIN}\n")).unwrap();
        let port = free_port();
        let child = spawn(
            folder.path(),
            chain.port,
            port,
            &["--wallet-dir"],
            folder.path(),
        );
        let url = format!("http://127.0.0.1:{port}");
        let client = Client::new(&url, folder.path());
        let mut wallet = Self {
            child,
            url,
            folder,
            daemon: chain.port,
            client,
        };
        wallet.until_up().await;
        wallet
            .call(
                "create_wallet",
                json!({"filename": "wallet", "password": "", "language": "English"}),
            )
            .await;
        // From now on it is opened at its start, as a pool would have it.
        wallet.call("close_wallet", json!({})).await;
        wallet.restart().await;
        wallet
    }

    /// `kill -9` and a new start with the same wallet.
    pub async fn restart(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let port: u16 = self.url.rsplit(':').next().unwrap().parse().unwrap();
        let file = self.folder.path().join("wallet");
        self.child = spawn(
            self.folder.path(),
            self.daemon,
            port,
            &["--password", "", "--wallet-file"],
            &file,
        );
        self.until_up().await;
    }

    async fn until_up(&mut self) {
        let Self { child, client, .. } = self;
        until("monero-wallet-rpc answers", async || {
            assert!(
                child.try_wait().unwrap().is_none(),
                "monero-wallet-rpc ended at once"
            );
            client
                .0
                .call("get_version", json!({}))
                .await
                .is_ok_and(|answer| answer.is_ok())
        })
        .await;
    }

    /// Calls a method that must succeed. A wallet that was just killed may hang up on the first
    /// one.
    pub async fn call(&self, method: &'static str, params: Value) -> Value {
        let mut result = None;
        until(method, async || {
            result = self
                .client
                .0
                .call(method, params.clone())
                .await
                .ok()
                .and_then(Result::ok);
            result.is_some()
        })
        .await;
        result.unwrap()
    }

    /// Its main address.
    pub async fn address(&self) -> String {
        self.call("get_address", json!({"account_index": 0})).await["address"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// As the payer is to reach it.
    pub fn config(&self) -> WalletConfig {
        let login_file = Some(self.folder.path().join("login"));
        WalletConfig {
            kind: WalletKind::Monero,
            url: self.url.clone(),
            login_file,
            timeout_s: 60,
            ..WalletConfig::default()
        }
    }

    /// Every transaction the wallet has sent: its name, destinations, fee; asked of the wallet
    /// alone.
    pub async fn history(&self) -> Vec<Value> {
        self.call("refresh", json!({})).await;
        let all = self
            .call(
                "get_transfers",
                json!({"out": true, "pending": true, "failed": true}),
            )
            .await;
        assert!(all.get("failed").is_none(), "{all}");
        let of = |kind: &str| all[kind].as_array().cloned().unwrap_or_default();
        of("out").into_iter().chain(of("pending")).collect()
    }

    /// What came in, atomic units, coinbases left out.
    pub async fn received(&self) -> i128 {
        self.call("refresh", json!({})).await;
        let all = self
            .call("get_transfers", json!({"in": true, "pool": true}))
            .await;
        let of = |kind: &str| all[kind].as_array().cloned().unwrap_or_default();
        of("in")
            .iter()
            .chain(&of("pool"))
            .filter(|one| one["type"] != "block")
            .map(|one| i128::from(one["amount"].as_i64().unwrap()))
            .sum()
    }
}

fn spawn(folder: &Path, daemon: u16, port: u16, arguments: &[&str], last: &Path) -> Child {
    Command::new(
        std::env::var("HEADFRAME_MONERO_WALLET_RPC")
            .unwrap_or_else(|_| "monero-wallet-rpc".to_owned()),
    )
    .args([
        "--trusted-daemon",
        "--log-level",
        "0",
        "--rpc-login",
        LOGIN,
        "--log-file",
    ])
    .arg(folder.join("wallet.log"))
    .args(["--rpc-ssl", "disabled", "--daemon-ssl", "disabled"])
    .arg("--shared-ringdb-dir")
    .arg(folder.join("rings"))
    .args([
        "--daemon-address",
        &format!("127.0.0.1:{daemon}"),
        "--rpc-bind-port",
        &port.to_string(),
    ])
    .args(arguments)
    .arg(last)
    .current_dir(folder)
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .expect("monero-wallet-rpc starts; it is in Debian's package monero")
}

/// The tests' own way to ask, through the same login as the product's.
struct Client(headframe_sinks::wallet::rpc::Rpc);

impl Client {
    fn new(url: &str, folder: &Path) -> Self {
        let login_file = Some(folder.join("login"));
        let config = WalletConfig {
            kind: WalletKind::Monero,
            url: url.to_owned(),
            login_file,
            timeout_s: 60,
            ..WalletConfig::default()
        };
        Self(headframe_sinks::wallet::rpc::Rpc::new(&config, "/json_rpc").unwrap())
    }
}
