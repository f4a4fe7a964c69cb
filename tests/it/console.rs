//! The console as a visitor meets it: a browser walks every page of a demo that mines, runs SQL,
//! gives orders, verifies a payout, and stays while the server is killed and started again.

use std::path::Path;
use std::process::Command;

use crate::clients::python;
use crate::server::free_port;

#[test]
fn a_browser_walks_every_page_of_a_demo_that_mines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let axe = root.join(".parts/node-clients/node_modules/axe-core/axe.min.js");
    assert!(
        axe.is_file(),
        "{} is missing: deploy/setup.sh test brings it",
        axe.display()
    );
    let folder = tempfile::tempdir().unwrap();
    let mut command: Command = python();
    let output = command
        .arg(root.join("tests/clients/console.py"))
        .arg(env!("CARGO_BIN_EXE_headframe"))
        .args([free_port().to_string(), free_port().to_string()])
        .arg(axe)
        .arg(root.join("target/console"))
        .current_dir(folder.path())
        .env(
            "HEADFRAME_NATS_SERVER",
            headframe_ingest::find_nats_server().unwrap(),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = String::from_utf8_lossy(&output.stderr);
    print!("{said}");
    assert!(
        output.status.success() && said.contains("all is well"),
        "{said}{failed}"
    );
}
