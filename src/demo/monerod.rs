//! monerod as a child on a private regtest chain: real templates and real blocks with no network.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::child::{free_port, stop_orphan};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

const PID_FILE: &str = "monerod.pid";

/// A running monerod.
pub struct Monerod {
    child: Child,
    /// Its RPC address.
    pub url: String,
}

impl Monerod {
    /// Starts monerod in the folder and waits until it answers.
    pub async fn start(folder: &Path, difficulty: u64) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        stop_orphan(&folder.join(PID_FILE), "monero", folder).await;
        let binary = std::env::var_os("HEADFRAME_MONEROD").unwrap_or_else(|| "monerod".into());
        let (rpc, p2p) = (free_port()?, free_port()?);
        let log = std::fs::File::create(folder.join("monerod.out"))?;
        let child = Command::new(&binary)
            .args([
                "--regtest",
                "--offline",
                "--no-igd",
                "--hide-my-port",
                "--no-zmq",
                "--non-interactive",
                "--log-level",
                "0",
            ])
            // Nobody listens in on loopback; making a key for TLS takes seconds at every start.
            .args(["--rpc-ssl", "disabled"])
            // Without this it throws the chain of an earlier run away.
            .arg("--keep-fakechain")
            .args(["--rpc-bind-ip", "127.0.0.1", "--p2p-bind-ip", "127.0.0.1"])
            .args(["--fixed-difficulty", &difficulty.to_string()])
            .args([
                "--rpc-bind-port",
                &rpc.to_string(),
                "--p2p-bind-port",
                &p2p.to_string(),
            ])
            .arg("--data-dir")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {binary:?}; install Debian's package monero or \
                                      set HEADFRAME_MONEROD"
                )
            })?;
        std::fs::write(
            folder.join(PID_FILE),
            child.id().unwrap_or_default().to_string(),
        )?;
        let mut monerod = Self {
            child,
            url: format!("http://127.0.0.1:{rpc}"),
        };
        monerod
            .wait_until_it_answers()
            .await
            .with_context(|| format!("see {}", folder.join("monerod.out").display()))?;
        Ok(monerod)
    }

    async fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let deadline = tokio::time::Instant::now() + START;
        while tokio::time::Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                bail!("monerod ended with {status} while starting");
            }
            let answer = client
                .get(format!("{}/get_info", self.url))
                .timeout(Duration::from_secs(2))
                .send()
                .await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        bail!("monerod did not answer within {} s", START.as_secs())
    }

    /// Makes blocks that pay to the address until the chain has so many. Cheap only at a difficulty
    /// of 1.
    pub async fn generate_blocks_to(&self, height: u64, address: &str) -> anyhow::Result<()> {
        let height_now = self.call("get_block_count", json!({})).await?["count"]
            .as_u64()
            .context("no block count")?;
        if height_now < height {
            let wanted = json!({"amount_of_blocks": height - height_now, "wallet_address": address,
                "starting_nonce": 0});
            self.call("generateblocks", wanted).await?;
        }
        Ok(())
    }

    async fn call(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let body = json!({"jsonrpc": "2.0", "id": "0", "method": method, "params": params});
        let answer = reqwest::Client::new()
            .post(format!("{}/json_rpc", self.url))
            .json(&body)
            .send()
            .await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        answer
            .get("result")
            .cloned()
            .with_context(|| format!("monerod refused {method}: {}", answer["error"]))
    }

    /// Asks it to stop, and kills it when it does not.
    pub async fn stop(mut self) {
        let sent = reqwest::Client::new()
            .post(format!("{}/stop_daemon", self.url))
            .timeout(Duration::from_secs(5))
            .send()
            .await;
        if sent.is_err() || tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            // It may have ended by itself meanwhile, which is as good.
            let _ = self.child.kill().await;
        }
    }
}
