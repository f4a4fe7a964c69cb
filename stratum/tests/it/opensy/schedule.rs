//! The check of the key schedule against the node's blocks.

use headframe_stratum::chain::{Chain, Extranonce, Submitted};

use super::driver::{EASY, driver, unready};
use super::http::StandIn;
use super::node::Rules;
use super::settings;

/// The check hashes for a minute on a public chain: whoever asks meanwhile waits for its verdict.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_check_of_the_schedule_serves_all_who_ask() {
    let rules = Rules {
        interval: 4,
        fork_height: 1,
        bits: EASY,
    };
    let stand_in = StandIn::open(rules).await;
    stand_in.node().await.mine(6).await;
    let alone = driver(&settings(&stand_in.url, 4, 1));
    assert_eq!(
        (unready(&alone).await.as_str(), alone.progress()),
        ("", None)
    );
    let headers = stand_in.headers();
    assert!(headers > 0);
    let chain = driver(&settings(&stand_in.url, 4, 1));
    let answers = futures::future::join_all((0..8).map(|_| unready(&chain))).await;
    assert!(answers.iter().all(String::is_empty), "{answers:?}");
    assert_eq!(stand_in.headers(), 2 * headers, "one check for eight");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_that_is_not_the_nodes_is_refused() {
    let stand_in = StandIn::open(Rules {
        interval: 4,
        fork_height: 1,
        bits: 0x201f_ffff,
    })
    .await;
    stand_in.node().await.mine(2).await;
    // While the chain is short every schedule gives the genesis block's key.
    let wrong = driver(&settings(&stand_in.url, 32, 1));
    assert_eq!(unready(&wrong).await, "");
    // Seven blocks of three bits have another key now: enough not to fit by luck.
    stand_in.node().await.mine(12).await;
    assert_eq!(unready(&wrong).await, "", "the next check is not due yet");
    let template = wrong.template().await.unwrap();
    let mut nonces = (0u32..).map(u32::to_le_bytes);
    let refused = loop {
        let block = template.block(Extranonce::default(), nonces.next().unwrap());
        if let Submitted::Refused(word) = wrong.submit(&block).await.unwrap() {
            break word;
        }
        stand_in.node().await.rewind(14);
    };
    assert_eq!(refused, "high-hash-randomx");
    // A refused proof makes the schedule doubtful.
    let said = unready(&wrong).await;
    assert!(
        said.contains("no RandomX work under our key")
            && said.contains("stratum.opensy.key_interval = 32 is wrong"),
        "{said}"
    );

    let right = driver(&settings(&stand_in.url, 4, 1));
    assert_eq!(unready(&right).await, "");
    let said = unready(&driver(&settings(&stand_in.url, 4, 5000))).await;
    assert!(
        said.contains("stratum.opensy.fork_height = 5000 is too high"),
        "{said}"
    );
    // A node that names its key is believed at once.
    stand_in.node().await.mood.names_key = true;
    right.template().await.unwrap();
    let said = wrong.template().await.unwrap_err().to_string();
    assert!(
        said.contains("the daemon's RandomX key is block")
            && said.contains("check stratum.opensy.key_interval"),
        "{said}"
    );
}
