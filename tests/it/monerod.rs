//! A monerod of a test's own, on a private chain in a temporary folder.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::server::{PATIENCE, free_port};

/// An address that no test's coins are worth: the donation address of Monero's own project.
pub const WALLET: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// A running daemon.
pub struct Monerod {
    child: Child,
    pub url: String,
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
    pub async fn start() -> Self {
        for _ in 0..5 {
            let mut monerod = Self::spawn();
            if monerod.until(Instant::now() + 3 * PATIENCE).await {
                return monerod;
            }
        }
        panic!("monerod ended at once, five times");
    }

    fn spawn() -> Self {
        let data = tempfile::tempdir().unwrap();
        let binary = std::env::var("HEADFRAME_MONEROD").unwrap_or_else(|_| "monerod".to_owned());
        let (rpc, p2p) = (free_port(), free_port());
        let child = Command::new(&binary)
            .args([
                "--regtest",
                "--offline",
                "--no-igd",
                "--hide-my-port",
                "--no-zmq",
                "--non-interactive",
                "--fixed-difficulty",
                "10",
            ])
            // Nobody listens in on loopback; making a key for TLS takes seconds at every start.
            .args(["--rpc-ssl", "disabled"])
            .args([
                "--rpc-bind-port",
                &rpc.to_string(),
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
            .unwrap_or_else(|error| {
                panic!(
                    "cannot start {binary}: {error}; install Debian's \
                                            package monero or set HEADFRAME_MONEROD"
                )
            });
        Self {
            child,
            url: format!("http://127.0.0.1:{rpc}"),
            _data: data,
        }
    }

    /// Asks until the daemon answers (true) or has ended (false).
    async fn until(&mut self, deadline: Instant) -> bool {
        while self.child.try_wait().unwrap().is_none() {
            let request = crate::server::http()
                .post(format!("{}/json_rpc", self.url))
                .json(&json!({"jsonrpc": "2.0", "id": "0", "method": "get_info"}));
            if let Ok(answer) = request.send().await
                && answer
                    .json::<Value>()
                    .await
                    .is_ok_and(|said| said["result"]["height"].is_u64())
            {
                return true;
            }
            assert!(Instant::now() < deadline, "monerod did not answer");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }
}
