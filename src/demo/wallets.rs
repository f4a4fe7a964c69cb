//! The demo's two wallets, each a real monero-wallet-rpc: the pool's, which finds the coins and
//! pays, and the miner's, which is paid.

use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use headframe_sinks::WalletConfig;
use headframe_sinks::wallet::rpc::Rpc;
use headframe_sinks::wallet::{LOGIN_VARIABLE, WalletKind};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::child::{free_port, stop_orphan};

const START: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);
const PID_FILE: &str = "wallet.pid";

/// A wallet program with its one wallet open.
pub struct DemoWallet {
    child: Child,
    rpc: Rpc,
    /// How a payer reaches it.
    pub config: WalletConfig,
    /// Its main address.
    pub address: String,
}

impl DemoWallet {
    /// Starts it in the folder, which gets a new wallet when it has none, and waits until it has an
    /// address.
    pub async fn start(folder: &Path, daemon_url: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        stop_orphan(&folder.join(PID_FILE), "monero", &folder).await;
        let login_file = folder.join("login");
        let login = login(&login_file)?;
        let port = free_port()?;
        let url = format!("http://127.0.0.1:{port}");
        let daemon = daemon_url.trim_start_matches("http://");
        let child = spawn(&folder, &settings(&folder, &login, daemon, port)?)?;
        let config = WalletConfig {
            kind: WalletKind::Monero,
            url,
            login_file: Some(login_file),
            ..WalletConfig::default()
        };
        let rpc = Rpc::new(&config, "/json_rpc")?;
        let mut wallet = Self {
            child,
            rpc,
            config,
            address: String::new(),
        };
        let opened = wallet.open(folder.join("wallet.keys").exists()).await;
        wallet.address =
            opened.with_context(|| format!("see {}", folder.join("wallet.log").display()))?;
        wallet.config.address = Some(wallet.address.clone());
        Ok(wallet)
    }

    /// Opens or makes the wallet: its address.
    async fn open(&mut self, exists: bool) -> anyhow::Result<String> {
        let deadline = tokio::time::Instant::now() + START;
        while self.rpc.call("get_version", json!({})).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("monero-wallet-rpc ended with {status} while starting");
            }
            if tokio::time::Instant::now() > deadline {
                bail!(
                    "monero-wallet-rpc did not answer within {} s",
                    START.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if exists {
            self.call("open_wallet", json!({"filename": "wallet", "password": ""}))
                .await?;
        } else {
            self.call(
                "create_wallet",
                json!({"filename": "wallet", "password": "", "language": "English"}),
            )
            .await?;
        }
        let answer = self
            .call("get_address", json!({"account_index": 0}))
            .await?;
        Ok(answer["address"]
            .as_str()
            .context("the wallet has no address")?
            .to_owned())
    }

    async fn call(&self, method: &'static str, params: Value) -> anyhow::Result<Value> {
        self.rpc
            .call(method, params)
            .await?
            .map_err(|refusal| anyhow::anyhow!("the wallet refused {method}: {}", refusal.message))
    }

    /// What others sent to it by its own history, in atomic units: transactions in blocks, and
    /// those that wait for one.
    pub async fn received(&self) -> anyhow::Result<u128> {
        self.call("refresh", json!({})).await?;
        let all = self
            .call("get_transfers", json!({"in": true, "pool": true}))
            .await?;
        let kinds = ["in", "pool"]
            .iter()
            .filter_map(|kind| all[kind].as_array())
            .flatten();
        Ok(kinds
            .filter(|one| one["type"] != "block")
            .filter_map(|one| one["amount"].as_u64())
            .map(u128::from)
            .sum())
    }

    /// Asks it to keep its wallet and end, and kills it when it does not.
    pub async fn stop(mut self) {
        let sent = self.rpc.call("stop_wallet", json!({})).await;
        if sent.is_err() || tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            // It may have ended by itself meanwhile, which is as good.
            let _ = self.child.kill().await;
        }
    }
}

/// The login of the RPC: the environment's, or else one made up at the first start, readable by its
/// owner only.
fn login(file: &Path) -> anyhow::Result<String> {
    if let Ok(login) = std::env::var(LOGIN_VARIABLE) {
        return Ok(login);
    }
    if let Ok(login) = std::fs::read_to_string(file) {
        return Ok(login.trim().to_owned());
    }
    let login = format!("demo:{:032x}", rand::random::<u128>());
    write_private(file, &login)?;
    Ok(login)
}

/// The program's settings as a file: a login on its command line could be read by every user of the
/// machine. Everything is on loopback, and making a key for TLS would take seconds at every start.
fn settings(folder: &Path, login: &str, daemon: &str, port: u16) -> anyhow::Result<PathBuf> {
    let file = folder.join("wallet.conf");
    let folder = folder.display();
    let text = format!(
        "rpc-login={login}\nrpc-bind-port={port}\ndaemon-address={daemon}\ntrusted-daemon=1\n\
         wallet-dir={folder}\n\
         shared-ringdb-dir={folder}/rings\nlog-file={folder}/wallet.log\nlog-level=0\n\
         rpc-ssl=disabled\ndaemon-ssl=disabled\n"
    );
    write_private(&file, &text)?;
    Ok(file)
}

/// A token that is made up at the first start, in a file that only its owner can read.
pub(super) fn made_up_token(file: &Path) -> anyhow::Result<String> {
    if let Ok(token) = std::fs::read_to_string(file) {
        return Ok(token.trim().to_owned());
    }
    let token = format!("{:032x}", rand::random::<u128>());
    write_private(file, &format!("{token}\n"))?;
    Ok(token)
}

/// Writes a file that only its owner can read.
pub(super) fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    let written = std::fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file);
    written
        .and_then(|mut open| std::io::Write::write_all(&mut open, text.as_bytes()))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn spawn(folder: &Path, settings: &Path) -> anyhow::Result<Child> {
    let binary = std::env::var_os("HEADFRAME_MONERO_WALLET_RPC")
        .unwrap_or_else(|| "monero-wallet-rpc".into());
    let log = std::fs::File::create(folder.join("wallet.out"))?;
    let child = Command::new(&binary)
        .arg("--config-file")
        .arg(settings)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| {
            format!(
                "cannot start {binary:?}; install Debian's package monero or set \
                                  HEADFRAME_MONERO_WALLET_RPC"
            )
        })?;
    std::fs::write(
        folder.join(PID_FILE),
        child.id().unwrap_or_default().to_string(),
    )?;
    Ok(child)
}
