//! `headframe mine` as a process at an OpenSY pool: it waits until the pool has work, and makes
//! blocks that the node takes.
//!
//! The node is the stand-in of the stratum crate, which judges blocks as a real one does and shares
//! no code with the pool.

use std::path::Path;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};

use self::http::StandIn;
use self::node::Rules;
use super::Mine;
use crate::roles::until_answer;
use crate::server::{Headframe, free_port, signal};

#[allow(dead_code, reason = "the tests of the stratum crate use more of it")]
#[path = "../../../stratum/tests/it/opensy/http.rs"]
mod http;
#[allow(dead_code, reason = "the tests of the stratum crate use more of it")]
#[path = "../../../stratum/tests/it/opensy/node.rs"]
mod node;

/// A key's hash of twenty twos, on regtest.
const WALLET: &str = "rsyl1qyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zug64cy";
/// On average four hashes make a block.
const RULES: Rules = Rules {
    interval: 4,
    fork_height: 1,
    bits: 0x203f_ffff,
};

/// A pool over a node at `url`, on a port that was free.
async fn pool(folder: &Path, nats: &ManagedServer, url: &str) -> (Headframe, u16) {
    let stratum = free_port();
    let more = format!(
        "[stratum]\nlisten = \"127.0.0.1:{stratum}\"\nchain = \"opensy\"\nwallet = \
         \"{WALLET}\"\nstart_difficulty = 2\npoll_ms = 100\n\
         late_grace_ms = 30000\n\
         randomx = {{ mode = \"light\" }}\n[stratum.vardiff]\nmin_difficulty = 1\n\
         [stratum.opensy]\nrpc_url = \"{url}\"\nkey_interval = 4\nfork_height = 1\n"
    );
    let pool = Headframe::start_with(folder, nats.url(), free_port(), "stratum", &more);
    until_answer(&pool.url, "/live", |status, _| status == 200).await;
    (pool, stratum)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_miner_waits_for_a_pool_without_work_and_then_makes_blocks_of_opensy() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let node = StandIn::open(RULES).await;
    // A node on regtest may be in its initial download for ever, so that alone keeps no pool
    // waiting; one that is behind does.
    node.node().await.mood.headers_ahead = 1_000;
    let (pool, port) = pool(folder.path(), &nats, &node.url).await;
    let user = format!("{WALLET}.rig");
    let miner = Mine::start(folder.path(), "miner", port, &user, &[]);
    let no_work = "refused the login: The pool has nothing to mine yet: its daemon is \
                   synchronising; try again later; trying again";
    let said = miner.until(|said| said.matches(no_work).count() >= 3).await;
    assert!(!said.contains("logged in at "), "{said}");

    node.node().await.mood.headers_ahead = 0;
    let said = miner.until(|said| said.contains("logged in at ")).await;
    assert!(said.contains("rx/opensy at difficulty 2"), "{said}");
    let accepted = |text: &str| {
        let line = text.lines().find_map(|line| {
            line.strip_prefix("headframe_stratum_blocks_total{status=\"accepted\"} ")
        });
        line.and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
    };
    // Over the first change of the key, which is the genesis block's up to block 7.
    until_answer(&pool.url, "/metrics", |_, text| accepted(text) >= 9).await;
    assert!(node.node().await.tip().0 >= 9, "the node took them");

    let (code, words) = Mine::start(folder.path(), "mistyped", port, "rsyl1qyg3.rig", &[]).end();
    assert!(
        code == Some(1) && words.contains("refused the login: Invalid wallet address: "),
        "{code:?}: {words}"
    );
    signal(miner.child.id(), "INT");
    let (code, words) = miner.end();
    assert!(
        code == Some(0) && words.contains(" 0 rejected"),
        "{code:?}: {words}"
    );
    pool.kill();
    nats.shutdown().await;
}
