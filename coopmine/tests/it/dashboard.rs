//! The coordinator's pages as an operator meets them: a browser signs in, sees the numbers of two
//! real workers at our own pool change, pauses and resumes one, and stays while the coordinator is
//! killed and started again.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use headframe_stratum::Stratum;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;

use crate::own_pool::facts::Memory;
use crate::own_pool::{WALLET, free_port, monerod, pool_config};
use crate::stand_in::soon;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_sees_numbers_change_and_pauses_and_resumes_a_worker() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let parts = root.join(".parts");
    let axe = parts.join("node-clients/node_modules/axe-core/axe.min.js");
    let python = parts.join("clients/bin/python");
    for file in [&axe, &python] {
        let name = file.display();
        assert!(
            file.is_file(),
            "{name} is missing: deploy/setup.sh test brings it"
        );
    }
    let (_monerod, daemon_url, _data) = monerod().await;
    let bound = Stratum::bind(pool_config(daemon_url), Arc::new(Memory::default()));
    let bound = bound.await.unwrap();
    let pool_address = bound.local_addr().to_string();
    let stop = CancellationToken::new();
    let pool = tokio::spawn(bound.run(stop.clone()));

    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(python)
        .arg("-B")
        .arg(root.join("coopmine/tests/it/dashboard.py"))
        .args([env!("CARGO_BIN_EXE_coopmine"), &pool_address, WALLET])
        .args([free_port().to_string(), free_port().to_string()])
        .arg(axe)
        .arg(root.join("target/dashboard"))
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    print!("{said}");
    assert!(
        output.status.success() && said.contains("all is well"),
        "{said}{failed}"
    );
    stop.cancel();
    soon("the pool's end", pool).await.unwrap();
}
