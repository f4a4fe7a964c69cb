//! The pages of the mine, a test each, on a server of its own with an hour of the work of the
//! mine's pool. The scripts register the mine and send what its meters measured.

use headframe_ingest::{ManagedServer, Nats};
use serde_json::json;

use super::{add_admin, assert_walks_beside, pictures, script};
use crate::registry::{nats, start};
use crate::server::{Headframe, http, until};
use crate::violations::now_us;

/// An hour of the work of the mine's pool. While there is no user, any program of the machine may
/// send it.
async fn send_shares(running: &Headframe) {
    let now_s = now_us() / 1_000_000;
    let share = |(number, at): (usize, i64)| {
        json!({"event_time": at * 1_000_000, "pool": "fjord-pool", "miner": "fjord",
            "worker": "rig-00", "outcome": "accepted", "difficulty": 1_000_000_000_000_000_i64,
            "network_difficulty": "9".repeat(20), "height": at, "producer": "walk",
            "producer_seq": number})
        .to_string()
    };
    let times = (now_s - 3_600..now_s).step_by(30);
    let shares: Vec<String> = times.enumerate().map(share).collect();
    until("the shares are sent", async || {
        let request = http()
            .post(format!("{}/api/v1/ingest/shares", running.url))
            .header("Content-Type", "application/x-ndjson");
        let answer = request.body(shares.join("\n")).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(answer.text().await.unwrap_or_default()),
        }
    })
    .await;
}

/// What a program sends to JetStream itself and nobody can read.
async fn send_no_row(nats: &ManagedServer) {
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    let sent = connection.js.publish("signals.north", "no row".into());
    sent.await.unwrap().await.unwrap();
}

/// One walk of `mine_pages.py`.
async fn walk(name: &str) {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats(folder.path()).await;
    let running = start(folder.path(), &nats).await;
    send_shares(&running).await;
    send_no_row(&nats).await;
    let password = add_admin(folder.path(), &running).await;
    let (mut command, axe) = script("mine_pages.py");
    command
        .args([name, running.url.as_str(), &password])
        .args([axe, pictures()])
        .current_dir(folder.path());
    assert_walks_beside(command).await;
    running.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_is_filled_by_its_forms_filtered_and_changed_by_two_at_once() {
    walk("registry").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_energy_page_shows_gaps_limits_and_what_is_used() {
    walk("energy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_anomaly_is_listed_and_shown_with_what_was_expected() {
    walk("anomalies").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_violation_is_found_decided_on_and_closed() {
    walk("violations").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_mines_page_shows_controllers_and_what_needs_attention() {
    walk("mine").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_without_a_pool_sees_rows_that_could_not_be_read() {
    walk("operate").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_the_mine_is_accessible_and_fits_a_phone() {
    walk("pictures").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_paints_at_once_and_stays_small_for_a_day() {
    walk("open").await;
}
