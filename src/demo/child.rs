//! Child processes of the demo: ones that an earlier demo left behind, and free ports for new ones.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::process::Command;

/// How long a child that was left behind may take to end.
const STOP: Duration = Duration::from_secs(20);

/// A child that a killed parent left behind would hold the chain, or the wallet. Only one that was
/// started on this very folder is stopped.
pub async fn stop_orphan(pid_file: &Path, program: &str, folder: &Path) {
    let Ok(pid) = std::fs::read_to_string(pid_file) else {
        return;
    };
    let ours = || {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains(program)
            && line
                .split('\0')
                .any(|part| Path::new(part).starts_with(folder))
    };
    if pid.parse::<u32>().is_err() || !ours() {
        return;
    }
    tracing::warn!(pid, folder = %folder.display(), "stopping a child that was left behind");
    let deadline = tokio::time::Instant::now() + STOP;
    for signal in ["-TERM", "-KILL"] {
        // It may end by itself meanwhile.
        let _ = Command::new("kill")
            .args([signal, pid.as_str()])
            .status()
            .await;
        while ours() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Ports that were given out: what they are for may not have them yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port of 127.0.0.1 that nobody has at this moment, and that was not given out before.
pub fn free_port() -> anyhow::Result<u16> {
    // Each port is inserted whole, so a panic elsewhere does not spoil the set.
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port on 127.0.0.1")?;
        let port = listener.local_addr()?.port();
        if given.insert(port) {
            return Ok(port);
        }
    }
}
