//! The controller's pages as an operator meets them: a browser signs in, sees what a simulated site
//! does, overrides it, stops it by holding a button and resets it, and goes on while the controller
//! is away.

use std::path::Path;
use std::process::Stdio;

use headframe_ingest::simulator::Simulator;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::layout::{self, NEW};
use crate::process::free_port;
use crate::service::{Running, TOKEN, config, scenario};

/// The plant of the other tests, its machines on two feeders.
fn page_config(simulator: &Simulator, folder: &Path) -> Value {
    let mut config = config(simulator, folder, None);
    config["listen"] = json!(format!("127.0.0.1:{}", free_port()));
    config["debug"] = json!(true);
    config["policy"]["trips"]["clear_s"] = json!(1);
    let feeder = |name: &str| json!({"name": name, "limit_a": 32.0, "volts": 400.0, "phases": 3});
    config["plan"]["feeders"] = json!([feeder("A"), feeder("B")]);
    for (at, machine) in (0..).zip(config["plan"]["machines"].as_array_mut().unwrap()) {
        machine["feeder"] = json!(if at % 2 == 0 { "A" } else { "B" });
        machine["model"] = json!(if at < 4 { "S19" } else { "M60" });
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_the_site_overrides_it_stops_it_by_holding_and_resets_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let axe = root.join(".parts/node-clients/node_modules/axe-core/axe.min.js");
    let python = root.join(".parts/clients/bin/python");
    for file in [&axe, &python] {
        let name = file.display();
        assert!(
            file.is_file(),
            "{name} is missing: deploy/setup.sh test brings it"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(scenario(), 4.0).await.unwrap();
    let mut config = page_config(&simulator, folder.path());
    let (notice, signal) = layout::page().await;
    config["signal"].as_array_mut().unwrap().push(signal);
    let mut running = Some(Running::start(&config).await);
    let mut browser = Command::new(python)
        .arg("-B")
        .arg(root.join("site/tests/it/page.py"))
        .arg(format!("http://{}", config["listen"].as_str().unwrap()))
        .arg(TOKEN)
        .arg(axe)
        .arg(root.join("target/site-page"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut to_browser = browser.stdin.take().unwrap();
    let mut lines = BufReader::new(browser.stdout.take().unwrap()).lines();
    // The walk asks for the controller to be away, and to be back, and for a page to change.
    let walk = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            println!("{line}");
            match line.as_str() {
                "please: stop" => running.take().unwrap().stop().await,
                "please: change" => *notice.lock().unwrap() = NEW,
                "please: start" => running = Some(Running::start(&config).await),
                _ => continue,
            }
            to_browser.write_all(b"done\n").await.unwrap();
        }
    };
    walk.await;
    let status = browser.wait().await.unwrap();
    assert!(status.success(), "the walk failed: see above");
    running.unwrap().stop().await;
}
