//! `headframe demo` as a newcomer runs it: Ctrl-C ends it with a report, and a second start goes on
//! from there, with a mine that is curtailed.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

use serde_json::json;

use crate::server::{PATIENCE, free_port, http, pause_after, signal};
use crate::wallets::until;

/// Somebody else's address.
const OTHERS: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// Blocks on a block of the pool until its miner can be paid, and some more.
const SPENDABLE_AFTER: i64 = 64;

/// Reports of the cluster's worker that it hashes, and that it hashes nothing.
const HASHES: &str =
    "SELECT count(*) AS n FROM hashrate WHERE worker = 'coop-1' AND hashrate_hs > 0";
const HASHES_NOTHING: &str =
    "SELECT count(*) AS n FROM hashrate WHERE worker = 'coop-1' AND hashrate_hs = 0";

/// What it was ordered and was seen to do: to stop, and to start.
const OBEYED: &str = "SELECT count(DISTINCT action) AS n FROM site_commands WHERE target = \
    'coop-1' AND action IN ('off', 'on') AND state = 'verified'";

/// A demo whose words go to a file.
struct Demo {
    child: Child,
    said: std::path::PathBuf,
    url: String,
}

impl Demo {
    fn start(folder: &Path, name: &str, more: &[&str]) -> Self {
        let said = folder.join(name);
        let port = free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args([
                "demo",
                "--data",
                "demo",
                "--listen",
                &format!("127.0.0.1:{port}"),
                "--stratum",
                &format!("127.0.0.1:{}", free_port()),
                "--site",
                &format!("127.0.0.1:{}", free_port()),
            ])
            // Blocks that come soon, so that the test ends soon.
            .args(["--difficulty", "4"])
            .args(more)
            .current_dir(folder)
            .env(
                "HEADFRAME_NATS_SERVER",
                headframe_ingest::find_nats_server().unwrap(),
            )
            .stdout(File::create(&said).unwrap())
            .stderr(
                File::options()
                    .create(true)
                    .append(true)
                    .open(folder.join("demo.log"))
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        Self {
            child,
            said,
            url: format!("http://127.0.0.1:{port}"),
        }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// What it printed and the end of its log, for a test that fails.
    fn said_and_logged(&self) -> String {
        let log = std::fs::read_to_string(self.said.with_file_name("demo.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(40)..].join("\n");
        format!("{}\nand its log ends with\n{end}", self.said())
    }

    /// The first number that an SQL statement answers, asked as the newcomer is told to.
    fn sql(&self, statement: &str) -> Result<i64, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["sql", "--url", &self.url, "--format", "csv", statement])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        match text.lines().nth(1).and_then(|line| line.parse().ok()) {
            Some(number) if output.status.success() => Ok(number),
            _ => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    async fn until(&self, statement: &str, enough: i64) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent_at = Instant::now();
            let number = self.sql(statement);
            if number.as_ref().is_ok_and(|number| *number >= enough) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{statement}: still {number:?}; it said {}",
                self.said_and_logged()
            );
            tokio::time::sleep(pause_after(sent_at)).await;
        }
    }

    /// Waits until a miner was paid for good, while others of the network find blocks as well: the
    /// sixty until a coin can be spent would take the demo's miner minutes. When there are enough,
    /// others find few: each makes orphans of what the pool is finding.
    async fn until_paid(&self, folder: &Path) {
        let settings =
            std::fs::read_to_string(folder.join("demo/wallets/pool/wallet.conf")).unwrap();
        let daemon = settings
            .lines()
            .find_map(|line| line.strip_prefix("daemon-address="))
            .unwrap();
        let first = "SELECT min(height) AS n FROM blocks WHERE status = 'accepted'";
        let enough = self.sql(first).unwrap() + SPENDABLE_AFTER;
        let mut looks = 0;
        until("a miner is paid", async || {
            let paid = "SELECT count(*) AS n FROM payments WHERE step = 'confirmed'";
            if self.sql(paid).is_ok_and(|paid| paid > 0) {
                return true;
            }
            looks += 1;
            let Some(height) = height(&self.said()) else {
                return false;
            };
            let blocks = match enough - height {
                missing @ 1.. => missing.min(8),
                _ if looks % 4 == 0 => 1,
                _ => return false,
            };
            let order = json!({"jsonrpc": "2.0", "id": "0", "method": "generateblocks", "params":
                {"amount_of_blocks": blocks, "wallet_address": OTHERS, "starting_nonce": 0}});
            // One that comes too late for its height is refused, and the next order is for another
            // height; a connection that a busy daemon drops is followed by another one. Whether
            // enough blocks were made is what the deadline judges.
            let request = http().post(format!("http://{daemon}/json_rpc"));
            request.json(&order).send().await.ok();
            false
        })
        .await;
    }

    /// Ctrl-C, and whether it ended well.
    fn interrupt(mut self) -> (bool, String) {
        signal(self.child.id(), "INT");
        let ended = self.child.wait().unwrap();
        (ended.success(), self.said())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Only one that failed still runs: an interrupt lets it take its children along.
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.child.id(), "INT");
            let _ = self.child.wait();
        }
    }
}

/// The figures of a stage in the report: in this run, in all.
fn stage(report: &str, name: &str) -> (i64, i64) {
    let line = report
        .lines()
        .find(|line| line.trim_start().starts_with(name))
        .unwrap_or_else(|| panic!("no {name} in {report}"));
    let mut figures = line
        .split_whitespace()
        .rev()
        .map(|figure| figure.parse::<i64>().unwrap());
    let all = figures.next().unwrap();
    (figures.next().unwrap(), all)
}

/// The height in the last status line, if there is one yet.
fn height(said: &str) -> Option<i64> {
    let mut lines = said.lines().rev();
    let height = lines.find_map(|line| line.strip_prefix("height "))?;
    height.split(' ').next()?.parse().ok()
}

/// Shares are in the windows of both ends, blocks and reports are there: every stage has worked.
async fn wait_for_every_stage(demo: &Demo, blocks: i64, reports: i64) {
    demo.until(
        "SELECT count(*) AS n FROM blocks WHERE status = 'accepted'",
        blocks,
    )
    .await;
    demo.until("SELECT count(*) AS n FROM hashrate", reports)
        .await;
    demo.until("SELECT count(*) AS n FROM pool_hashrate_1d", 1)
        .await;
    demo.until("SELECT count(*) AS n FROM energy", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demo_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Demo::start(folder.path(), "first", &[]);
    wait_for_every_stage(&demo, 1, 1).await;
    let url = demo.url.clone();
    assert!(
        demo.sql("SELECT nonsense FROM shares")
            .unwrap_err()
            .contains("nonsense")
    );
    // The order that it shows is taken, and is refused without its token.
    let order = demo
        .said()
        .lines()
        .find(|line| line.contains("--token-file"))
        .unwrap()
        .split_once(" payments ")
        .unwrap()
        .1
        .to_owned();
    let order: Vec<&str> = order.split(' ').collect();
    let token = order
        .iter()
        .position(|part| *part == "--token-file")
        .unwrap();
    let send = |order: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_headframe"))
            .arg("payments")
            .args(order)
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    let taken = send(&order);
    assert!(taken.status.success(), "{taken:?}");
    let refused = send(&[&order[..token], &order[token + 2..]].concat());
    assert!(
        String::from_utf8_lossy(&refused.stderr).contains("operator"),
        "{refused:?}"
    );
    let mut resume = order.clone();
    *resume.iter_mut().find(|part| **part == "hold").unwrap() = "resume";
    let resumed = send(&resume);
    assert!(resumed.status.success(), "{resumed:?}");
    let (well, first) = demo.interrupt();
    assert!(well, "{first}");
    assert!(
        first.contains(&format!("sql --url {url} \"SELECT")),
        "what to try next can be copied: {first}"
    );
    assert!(first.contains("all that JetStream has"), "{first}");
    assert!(first.contains("start again to go on"), "{first}");
    let (shares, all) = stage(&first, "accepted shares");
    assert!(shares > 0 && shares == all, "{first}");
    for tier in ["shares in windows of 10 s", "shares in windows of 1 d"] {
        assert_eq!(stage(&first, tier), (shares, all), "{first}");
    }

    // The second goes on from the first: what was there is there, and new rows come to it. In it
    // the mine is curtailed once a minute, and a worker of a cluster with it.
    let demo = Demo::start(folder.path(), "second", &["--curtail"]);
    let (blocks, reports) = (
        stage(&first, "blocks").1,
        stage(&first, "hashrate reports").1,
    );
    wait_for_every_stage(&demo, blocks + 1, reports + 1).await;
    demo.until_paid(folder.path()).await;
    demo.until(OBEYED, 2).await;
    demo.until(HASHES, 1).await;
    demo.until(HASHES_NOTHING, 1).await;
    let (well, second) = demo.interrupt();
    assert!(well, "{second}");
    let (new, together) = stage(&second, "accepted shares");
    assert!(
        height(&first).is_some() && height(&second) > height(&first),
        "the chain goes on as well: {first}{second}"
    );
    assert!(new > 0 && together == all + new, "{first}{second}");
    assert_eq!(
        stage(&second, "shares in windows of 1 d"),
        (new, together),
        "{second}"
    );
    assert!(
        stage(&second, "transactions sent to miners").1 > 0,
        "{second}"
    );
    let amounts = second
        .lines()
        .find_map(|line| line.strip_prefix("payments say that the miner was sent "))
        .unwrap();
    let (sent, got) = amounts
        .split_once("; its own wallet says that it got ")
        .unwrap();
    let atomic = |coins: &str| {
        coins
            .trim_end_matches(" XMR")
            .replace('.', "")
            .parse::<u64>()
            .unwrap()
    };
    // A payment may be under way while the two are asked, one after the other.
    assert!(atomic(sent) > 0 && atomic(got) >= atomic(sent), "{second}");
    assert!(
        Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args(["sql", "--url", &url, "SELECT 1"])
            .output()
            .is_ok_and(|output| {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                !output.status.success()
                    && said.contains("no server answers")
                    && said.contains("headframe demo")
            })
    );
}
