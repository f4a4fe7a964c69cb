//! The driver over the stand-in: when it has work and when it says why not, its keys through a
//! reorg, its credentials.

use ::bitcoin::hashes::Hash as _;
use headframe_stratum::StratumConfig;
use headframe_stratum::chain::bitcoin::{self, BitcoinChain, OpensySettings};
use headframe_stratum::chain::driver::ChainKind;
use headframe_stratum::chain::{AddressError, Chain, ChainError, ChainPosition, Hash};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::http::{AUTHORIZED, StandIn};
use super::node::{Mood, Rules};
use super::{WALLET, settings};
use crate::scripted;

pub const EASY: u32 = 0x207f_ffff;

pub fn driver(settings: &OpensySettings) -> BitcoinChain {
    BitcoinChain::new(&settings.rpc_url, WALLET, settings, Duration::from_secs(60)).unwrap()
}

pub async fn unready(chain: &BitcoinChain) -> String {
    let unready = chain.tip().await.unwrap().unready;
    unready.map_or_else(String::new, |unready| unready.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_fork_nothing_is_mined() {
    let stand_in = StandIn::open(Rules {
        interval: 4,
        fork_height: 60,
        bits: EASY,
    })
    .await;
    stand_in.node().await.mine(50).await;
    let right = driver(&settings(&stand_in.url, 4, 60));
    let said = unready(&right).await;
    assert!(
        said.contains("block 51 is still worked on with SHA-256; RandomX begins at block 60"),
        "{said}"
    );
    assert!(matches!(right.template().await,
            Err(ChainError::Template(reason)) if reason.contains("RandomX begins at block 60")));
    // One key over all the blocks looked at.
    let said = unready(&driver(&settings(&stand_in.url, 64, 1))).await;
    assert!(
        said.contains("stratum.opensy.fork_height = 1 is too low"),
        "{said}"
    );
    // Regtest's own fork height is far away.
    let usual = driver(&OpensySettings {
        fork_height: None,
        ..settings(&stand_in.url, 4, 1)
    });
    assert!(
        unready(&usual)
            .await
            .contains("RandomX begins at block 10000")
    );
    stand_in.node().await.mine(9).await;
    assert_eq!(right.tip().await.unwrap().unready, None);
    assert_eq!(right.template().await.unwrap().height(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_the_chains_and_a_reorg_drops_the_next_one() {
    let stand_in = StandIn::open(Rules {
        interval: 4,
        fork_height: 1,
        bits: EASY,
    })
    .await;
    let chain = driver(&settings(&stand_in.url, 4, 1));
    assert_eq!(chain.tip().await.unwrap().unready, None);
    let mut seeds = Vec::new();
    for height in 1..=7 {
        let template = chain.template().await.unwrap();
        let node = stand_in.node().await;
        assert_eq!(
            (template.height(), Some(template.seed())),
            (height, node.key(height))
        );
        let next = (height > 4).then(|| node.chain[&4].to_byte_array());
        assert_eq!(template.next_seed(), next, "height {height}");
        seeds.extend(next);
        drop(node);
        stand_in.node().await.mine(1).await;
    }
    let before = seeds.pop().unwrap();
    stand_in.node().await.rewind(3);
    stand_in.node().await.mine(3).await;
    let template = chain.template().await.unwrap();
    let after = template.next_seed().unwrap();
    assert_eq!(after, stand_in.node().await.chain[&4].to_byte_array());
    assert_ne!(after, before, "another block 4 is another key");
    stand_in.node().await.mine(1).await;
    assert_eq!(chain.template().await.unwrap().seed(), after);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_fit_to_mine_on_is_named_so() {
    let stand_in = StandIn::open(Rules {
        interval: 4,
        fork_height: 1,
        bits: EASY,
    })
    .await;
    let chain = driver(&settings(&stand_in.url, 4, 1));
    assert_eq!(
        chain.check_address(WALLET),
        Err(AddressError::NetworkUnknown)
    );
    assert_eq!(unready(&chain).await, "");
    assert_eq!(chain.check_address(WALLET), Ok(()));
    let foreign = chain.check_address(crate::address::MAINNET).unwrap_err();
    assert!(matches!(foreign, AddressError::Bitcoin(_)), "{foreign}");
    let moods = [
        (
            Mood {
                headers_ahead: 5,
                ..Mood::default()
            },
            "the node is behind (block 0 of 5)",
        ),
        (
            Mood {
                chain: Some("main"),
                ..Mood::default()
            },
            "the node was on regtest and is on mainnet now",
        ),
        (
            Mood {
                chain: Some("fakechain"),
                ..Mood::default()
            },
            "does not know",
        ),
    ];
    for (mood, reason) in moods {
        stand_in.node().await.mood = mood;
        let said = unready(&chain).await;
        assert!(said.contains(reason), "{said}");
    }
    stand_in.node().await.mood = Mood {
        chain: Some("main"),
        initial_download: true,
        ..Mood::default()
    };
    let elsewhere = unready(&driver(&settings(&stand_in.url, 4, 1))).await;
    assert!(
        elsewhere.contains(
            "the pool's wallet cannot be paid: address belongs to regtest, this pool mines mainnet"
        ),
        "{elsewhere}"
    );
    stand_in.node().await.mood = Mood {
        busy: true,
        ..Mood::default()
    };
    assert!(
        matches!(chain.tip().await, Err(ChainError::Unreachable { reason,
            .. }) if reason.contains("HTTP status 503"))
    );
    let syncing = StandIn::open(Rules {
        interval: 4,
        fork_height: 1,
        bits: EASY,
    })
    .await;
    syncing.node().await.mood = Mood {
        chain: Some("test"),
        initial_download: true,
        ..Mood::default()
    };
    let wallet = "tsyl1qyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zeym0g6";
    let chain = BitcoinChain::new(
        &syncing.url,
        wallet,
        &settings(&syncing.url, 4, 1),
        Duration::from_secs(60),
    )
    .unwrap();
    assert!(
        unready(&chain)
            .await
            .contains("the node is not synchronised")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_come_from_a_file_and_are_read_again_when_they_change() {
    let stand_in = StandIn::open(Rules {
        interval: 4,
        fork_height: 1,
        bits: EASY,
    })
    .await;
    let (plain, encoded) = AUTHORIZED;
    stand_in.demand(encoded);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let base = settings(&stand_in.url, 4, 1);
    let nobody = driver(&base).tip().await.unwrap_err();
    assert!(
        nobody
            .to_string()
            .contains("does not take the user and password"),
        "{nobody}"
    );
    let cookie = file("cookie", &format!("{plain}\n"));
    let chain = driver(&OpensySettings {
        rpc_cookie_file: Some(cookie.clone()),
        ..base.clone()
    });
    assert_eq!(unready(&chain).await, "");
    // The node starts anew and writes another cookie.
    stand_in.demand("X19jb29raWVfXzphYmM=");
    assert!(matches!(
        chain.tip().await,
        Err(ChainError::Refused { code: 401, .. })
    ));
    std::fs::write(&cookie, "__cookie__:abc").unwrap();
    assert_eq!(unready(&chain).await, "");

    stand_in.demand(encoded);
    let (user, password) = plain.split_once(':').unwrap();
    let with = |password_file| OpensySettings {
        rpc_user: user.to_owned(),
        rpc_password_file: Some(password_file),
        ..base.clone()
    };
    assert_eq!(
        unready(&driver(&with(file("password", &format!("{password}\n"))))).await,
        ""
    );
    let wrong = driver(&with(file("wrong", "open onion")))
        .tip()
        .await
        .unwrap_err();
    assert!(
        matches!(wrong, ChainError::Refused { code: 401, .. })
            && !wrong.to_string().contains("onion"),
        "{wrong}"
    );
    let gone = driver(&with(folder.path().join("gone")))
        .tip()
        .await
        .unwrap_err();
    assert!(gone.to_string().contains("cannot read"), "{gone}");
}

#[test]
fn settings_that_could_only_fail_later_are_refused() {
    let good = settings("http://127.0.0.1:9632", 32, 1);
    good.validate().unwrap();
    OpensySettings::default().validate().unwrap();
    let bad = [
        (
            OpensySettings {
                rpc_url: "nowhere".into(),
                ..good.clone()
            },
            "opensy.rpc_url",
        ),
        (
            OpensySettings {
                key_interval: 0,
                ..good.clone()
            },
            "opensy.key_interval",
        ),
        (
            OpensySettings {
                fork_height: Some(0),
                ..good.clone()
            },
            "opensy.fork_height",
        ),
        (
            OpensySettings {
                algo: "rx/0".into(),
                ..good.clone()
            },
            "stock miners know this name",
        ),
        (
            OpensySettings {
                algo: "RX opensy".into(),
                ..good.clone()
            },
            "opensy.algo",
        ),
        (
            OpensySettings {
                rpc_password_file: Some("x".into()),
                ..good.clone()
            },
            "opensy.rpc_user",
        ),
        (
            OpensySettings {
                rpc_cookie_file: Some("x".into()),
                rpc_user: "me".into(),
                ..good.clone()
            },
            "opensy.rpc_cookie_file",
        ),
    ];
    for (settings, reason) in bad {
        let said = settings.validate().unwrap_err().to_string();
        assert!(said.contains(reason), "{said}");
    }
}

/// The id as the pool has it: in the order it is printed in.
fn id(hash: ::bitcoin::BlockHash) -> Hash {
    let mut id = hash.to_byte_array();
    id.reverse();
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_stands_where_the_chain_has_it() {
    let stand_in = StandIn::open(Rules {
        interval: 4,
        fork_height: 1,
        bits: EASY,
    })
    .await;
    let chain = driver(&settings(&stand_in.url, 4, 1));
    stand_in.node().await.mine(3).await;
    let ours = id(stand_in.node().await.chain[&3]);
    assert_eq!(
        chain.position(ours, 3).await,
        Ok(ChainPosition::Best { confirmations: 1 })
    );
    stand_in.node().await.mine(2).await;
    assert_eq!(
        chain.position(ours, 3).await,
        Ok(ChainPosition::Best { confirmations: 3 })
    );
    // Another branch wins, then ours comes back.
    let branch = stand_in.node().await.chain.clone();
    stand_in.node().await.rewind(2);
    assert_eq!(chain.position(ours, 3).await, Ok(ChainPosition::Absent));
    stand_in.node().await.fill(1);
    stand_in.node().await.mine(4).await;
    assert_eq!(
        chain.position(ours, 3).await,
        Ok(ChainPosition::Beside { confirmations: 4 })
    );
    stand_in.node().await.chain = branch;
    assert_eq!(
        chain.position(ours, 3).await,
        Ok(ChainPosition::Best { confirmations: 3 })
    );
    assert_eq!(
        chain.position([9; 32], 3).await,
        Ok(ChainPosition::Beside { confirmations: 3 }),
        "a block nobody knows"
    );
    assert_eq!(chain.position([9; 32], 30).await, Ok(ChainPosition::Absent));
    assert_eq!(chain.maturity(), 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_poll_rings_when_there_is_something_new() {
    let stand_in = StandIn::open(Rules {
        interval: 4,
        fork_height: 1,
        bits: EASY,
    })
    .await;
    let chain = Arc::new(driver(&settings(&stand_in.url, 4, 1)));
    let (wakeup, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let (waker, ends, background) = (wakeup.clone(), stop.clone(), chain.clone());
    let attending = tokio::spawn(async move { background.run_background(waker, ends).await });
    let woken = async || {
        tokio::time::timeout(Duration::from_secs(240), wakeup.notified())
            .await
            .expect("no ring")
    };
    woken().await;
    for round in 1..=3 {
        // The question is out, and nothing is new: it is held.
        let deadline = tokio::time::Instant::now() + Duration::from_secs(240);
        while stand_in.held() < round {
            assert!(
                tokio::time::Instant::now() < deadline,
                "question {round} was not asked"
            );
            tokio::task::yield_now().await;
        }
        match round {
            1 => stand_in.node().await.fill(1),
            _ => stand_in.node().await.mine(1).await,
        }
        woken().await;
    }
    assert!(
        stand_in.held() <= 4,
        "{} questions for three answers",
        stand_in.held()
    );
    stop.cancel();
    attending.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_second_node_gives_the_work_when_the_first_does_not() {
    let nodes = [
        StandIn::open(Rules {
            interval: 4,
            fork_height: 1,
            bits: EASY,
        })
        .await,
        StandIn::open(Rules {
            interval: 4,
            fork_height: 1,
            bits: EASY,
        })
        .await,
    ];
    nodes[1].node().await.mine(1).await;
    let opensy = OpensySettings {
        rpc_urls: nodes.iter().map(|node| node.url.clone()).collect(),
        ..settings("http://unused", 4, 1)
    };
    let config = StratumConfig {
        chain: ChainKind::Opensy,
        wallet: WALLET.to_owned(),
        opensy,
        ..scripted::config()
    };
    config.validate().unwrap();
    nodes[0].node().await.mood = Mood {
        busy: true,
        ..Mood::default()
    };
    let fleet = bitcoin::open_daemons(&config.chain_config()).unwrap();
    assert_eq!(fleet.tip().await.unwrap().next_height, 2);
    assert_eq!(fleet.template().await.unwrap().height(), 2);
    assert!(
        fleet
            .algo_refusal(&[])
            .is_some_and(|said| said.contains("rx/opensy")),
        "also several nodes need our own miner"
    );
    let bad = OpensySettings {
        rpc_urls: vec!["node".to_owned()],
        ..OpensySettings::default()
    };
    assert!(
        bad.validate()
            .unwrap_err()
            .to_string()
            .starts_with("stratum.opensy.rpc_urls = node: write it as")
    );
}
