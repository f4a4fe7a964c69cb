//! `headframe-load stratum` against a running pool: its miners log in, mine, are answered, and get
//! jobs for new blocks.

use clap::Parser;
use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use serde_json::Value;

use crate::monerod::{Monerod, WALLET};
use crate::roles::until_answer;
use crate::server::{Headframe, free_port, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_miners_are_measured_on_a_real_pool() {
    let (folder, daemon) = (tempfile::tempdir().unwrap(), Monerod::start().await);
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let port = free_port();
    let pool = format!(
        "[stratum]\nlisten = \"127.0.0.1:{port}\"\nwallet = \"{WALLET}\"\ndaemon_url = \
         \"{}\"\nvardiff = {{ min_difficulty = 1 }}\n\
         late_grace_ms = 30000\ndaemon_timeout_s = 60\nrandomx = {{ mode = \"light\" }}\n",
        daemon.url
    );
    let running = Headframe::start_with(
        folder.path(),
        nats.url(),
        free_port(),
        "stratum,pipelines,query",
        &pool,
    );
    until_answer(&running.url, "/ready", |status, _| status == 200).await;
    let (pid, address) = (running.pid().to_string(), format!("127.0.0.1:{port}"));
    let load = async |options: &str| -> Value {
        let place = [
            "headframe-load",
            "stratum",
            "--pool",
            &address,
            "--wallet",
            WALLET,
            "--pid",
            &pid,
            // Beside other tests the threads would hardly run at all at a lower priority.
            "--nice",
            "0",
        ];
        let cli = headframe_bench::Cli::parse_from(place.into_iter().chain(options.split(' ')));
        cli.load.run().await.unwrap()
    };
    let crowd = format!(
        "--idle 20 --active 2 --rate 2 --seconds 20 --daemon {} --block-every-s 2 --eager",
        daemon.url
    );
    let report = load(&crowd).await;
    assert_eq!(
        (
            report["miners"]["logged_in"].as_u64(),
            &report["miners"]["lost"]
        ),
        (Some(22), &serde_json::json!({})),
        "{report}"
    );
    assert!(
        report["blocks_made"].as_u64() >= Some(1)
            && report["fan_out"]["new_heights_heard_by_all"].as_u64() >= Some(1),
        "{report}"
    );
    assert!(
        report["fan_out"]["after_the_first_miner_ms"]["max"].as_f64() > Some(0.0),
        "{report}"
    );
    let answered = report["shares"]["answered_ok"].as_u64().unwrap();
    assert!(
        answered >= 2 && report["server"]["resident_bytes_idle"].as_u64().is_some(),
        "{report}"
    );
    // A burst compares the pool with the bare library; every one of its shares must be answered OK,
    // or it fails.
    let burst = load("--active 2 --burst 3 --rounds 1").await;
    assert!(
        burst["shares_a_round"] == 6
            && burst["ratio"].as_f64() > Some(0.0)
            && burst["cpu_ratio"].as_f64() > Some(0.0),
        "{burst}"
    );
    let answered = answered + 2 + 6;
    // Every share that was answered OK is a row, and REST tells of it, once both look at the same.
    until("REST and SQL agree", async || {
        let sql = "SELECT count(*) AS n FROM shares WHERE outcome = 'accepted'";
        let kept = running.row(sql).await;
        let answer = reqwest::get(format!("{}/api/v1/miners/{WALLET}", running.url));
        let answer = answer.await.map_err(|error| error.to_string())?;
        let miner: Value = answer.json().await.map_err(|error| error.to_string())?;
        let is_all = kept["n"].as_u64() >= Some(answered);
        let agree = miner["shares"]["accepted"] == kept["n"] && miner["online"] == true;
        (is_all && agree)
            .then_some(())
            .ok_or(format!("{kept} {miner}"))
    })
    .await;
    running.kill();
    nats.shutdown().await;
}
