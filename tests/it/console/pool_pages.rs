//! The pages of the pool, a test each, on a server of its own: the pool without a daemon and the
//! payer with a stand-in of a wallet, an hour of shares of two miners, blocks, and the payouts that
//! the pipelines make of them. More shares come every second while a page is looked at, and more
//! blocks.

use std::time::Duration;

use axum::Json;
use axum::routing::{Router, post};
use headframe_ingest::ManagedServer;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{add_admin, assert_walks_beside, pictures, script};
use crate::monerod::WALLET;
use crate::money::OPERATOR;
use crate::registry::nats;
use crate::server::{Headframe, free_port, http, until};
use crate::violations::now_us;

const ROLES: &str = "stratum,pipelines,maintenance,query,payments";
/// The worker that finds the blocks, and two others of the same miner.
const WORKERS: [&str; 3] = ["demo", "rig-1", "rig-2"];
/// Seconds of the past, and how far apart its shares are.
const PAST_S: i64 = 3_600;
const STEP_S: i64 = 10;
/// Blocks of the past.
const BLOCKS: i64 = 4;
/// The height of the first block.
const HEIGHT: i64 = 3_000;
/// Every so many seconds a block is found while a page is looked at.
const BLOCK_EVERY_S: i64 = 5;
/// What the wallet holds, and from which balance on a miner is paid: nobody ever has so much.
const BALANCE_ATOMIC: u64 = 90_000_000_000_000;

/// The miner whose page is looked at.
fn miner() -> String {
    format!("4{}", "B".repeat(94))
}

/// A miner beside it, so that a window has more than one row.
fn other_miner() -> String {
    format!("4{}", "C".repeat(94))
}

fn hash(number: i64) -> String {
    format!("{:064x}", 0xb10c_0000 + number)
}

fn share(at_us: i64, miner: &str, worker: &str, block: Option<String>) -> Value {
    json!({"event_time": at_us, "pool": "main", "miner": miner, "worker": worker,
        "outcome": "accepted", "difficulty": 30_000, "network_difficulty": 600_000,
        "height": HEIGHT, "block_hash": block})
}

/// What the pool writes of a block that its node has taken.
fn block_rows(at_us: i64, number: i64) -> Vec<Value> {
    let row = |status: &str| {
        json!({"event_time": at_us, "pool": "main", "hash": hash(number),
            "height": HEIGHT + number, "miner": miner(), "worker": WORKERS[0], "status": status,
            "network_difficulty": 600_000, "reward_atomic": "600000000000", "scheme": "pplns",
            "window_milli": 2_000, "fee_bp": 100})
    };
    ["candidate", "accepted"].map(row).to_vec()
}

/// A wallet that has enough and pays nobody.
async fn serve_wallet(tasks: &mut JoinSet<()>) -> String {
    async fn answer(Json(call): Json<Value>) -> Json<Value> {
        let result = match call["method"].as_str() {
            Some("get_address") => json!({"address": WALLET}),
            Some("get_balance") => {
                json!({"balance": BALANCE_ATOMIC, "unlocked_balance": BALANCE_ATOMIC})
            }
            Some("validate_address") => json!({"valid": true}),
            _ => json!({}),
        };
        Json(json!({"jsonrpc": "2.0", "id": call["id"], "result": result}))
    }
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().route("/json_rpc", post(answer));
    tasks.spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

/// Sends rows; whether the server has taken them.
async fn send(url: &str, stream: &str, rows: &[Value]) -> Result<(), String> {
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    let request = http()
        .post(format!("{url}/api/v1/ingest/{stream}"))
        .header("Content-Type", "application/x-ndjson")
        .bearer_auth(OPERATOR);
    let answer = request.body(text.join("\n")).send().await;
    let answer = answer.map_err(|error| error.to_string())?;
    match answer.status().is_success() {
        true => Ok(()),
        false => Err(answer.text().await.unwrap_or_default()),
    }
}

/// An hour of shares and its blocks.
async fn send_past(url: &str) {
    let now = now_us();
    let count = PAST_S / STEP_S;
    let at_us = |index: i64| now - (count - index) * STEP_S * 1_000_000;
    // The share in the middle of each piece makes a block.
    let block_of = |index: i64| {
        let piece = count / BLOCKS;
        (index % piece == piece / 2).then_some(index / piece)
    };
    let mut shares = Vec::new();
    for index in 0..count {
        let block = block_of(index);
        let worker = match block {
            Some(_) => WORKERS[0],
            None => WORKERS[(index % 3) as usize],
        };
        shares.push(share(at_us(index), &miner(), worker, block.map(hash)));
        if index % 4 == 0 {
            shares.push(share(at_us(index), &other_miner(), "rig", None));
        }
    }
    until("the past is sent", async || {
        send(url, "shares", &shares).await
    })
    .await;
    for index in 0..count {
        if let Some(number) = block_of(index) {
            let rows = block_rows(at_us(index), number);
            until("a block is sent", async || send(url, "blocks", &rows).await).await;
        }
    }
}

/// A share of each worker every second, and a block now and then. A server that has too much to do
/// does without some.
async fn send_more(url: String) {
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    for second in 1.. {
        seconds.tick().await;
        let now = now_us();
        let block = (second % BLOCK_EVERY_S == 0).then_some(BLOCKS + second / BLOCK_EVERY_S);
        let other = share(now, &other_miner(), "rig", None);
        let found = |worker: &&str| block.filter(|_| *worker == WORKERS[0]).map(hash);
        let own = WORKERS
            .iter()
            .map(|worker| share(now, &miner(), worker, found(worker)));
        let shares: Vec<Value> = own.chain([other]).collect();
        if send(&url, "shares", &shares).await.is_ok()
            && let Some(number) = block
        {
            send(&url, "blocks", &block_rows(now, number)).await.ok();
        }
    }
}

/// A pool with its past, to which more comes.
struct PoolServer {
    running: Headframe,
    stratum: u16,
    tasks: JoinSet<()>,
    _nats: ManagedServer,
    // Removed after the processes are gone.
    folder: tempfile::TempDir,
}

impl PoolServer {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let nats = nats(folder.path()).await;
        let mut tasks = JoinSet::new();
        let (stratum, wallet) = (free_port(), serve_wallet(&mut tasks).await);
        let more = format!(
            "[stratum]\nlisten = \"127.0.0.1:{stratum}\"\nwallet = \"{WALLET}\"\ndaemon_url = \
             \"http://127.0.0.1:{}\"\nrandomx = {{ mode = \"light\" }}\n[payments]\n\
             threshold_atomic = {BALANCE_ATOMIC}\npoll_ms = 500\n[payments.wallet]\nkind = \
             \"monero\"\nurl = \"{wallet}\"\naddress = \"{WALLET}\"\n",
            free_port()
        );
        let env = [("HEADFRAME_OPERATOR_TOKEN", OPERATOR)];
        let running =
            Headframe::start_with_env(folder.path(), nats.url(), free_port(), ROLES, &more, &env);
        running.row("SELECT 1").await;
        send_past(&running.url).await;
        let mut server = Self {
            running,
            stratum,
            tasks,
            _nats: nats,
            folder,
        };
        server.wait_for_past().await;
        server.tasks.spawn(send_more(server.running.url.clone()));
        server
    }

    /// Until the tables hold what the pages are to show.
    async fn wait_for_past(&self) {
        let number = |row: &Value| row["n"].as_i64().unwrap_or(0);
        let signed = "SELECT count(DISTINCT block_hash) AS n FROM payouts WHERE step = 'credited'";
        self.running
            .until(signed, |row| number(row) == BLOCKS)
            .await;
        let minutes = "SELECT count(*) AS n FROM pool_hashrate_1m";
        self.running.until(minutes, |row| number(row) > 30).await;
        let path = format!("{}/api/v1/miners/{}/payouts", self.running.url, miner());
        until("the miner has payouts", async || {
            let answer = http().get(&path).send().await;
            let answer = answer.map_err(|error| error.to_string())?;
            let answer: Value = answer.json().await.map_err(|error| error.to_string())?;
            match answer["payouts"].as_array().map(Vec::len) {
                Some(count) if count as i64 == BLOCKS => Ok(()),
                _ => Err(answer.to_string()),
            }
        })
        .await;
    }
}

/// One walk of `pool_pages.py`.
async fn walk(name: &str) {
    let server = PoolServer::start().await;
    let password = add_admin(server.folder.path(), &server.running).await;
    let (mut command, axe) = script("pool_pages.py");
    command
        .args([name, &server.running.url, &password, &miner()])
        .arg(server.stratum.to_string())
        .args([axe, pictures()])
        .current_dir(server.folder.path());
    assert_walks_beside(command).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pools_page_shows_figures_that_change_and_how_to_connect() {
    walk("pool").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sql_page_completes_runs_draws_and_saves_a_statement() {
    walk("explore").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_is_cancelled_by_who_sent_it_and_ended_by_an_operator() {
    walk("cancel").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_statement_goes_on_after_it_was_lost_and_after_a_gap() {
    walk("live").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operators_page_shows_streams_of_which_some_are_unknown() {
    walk("streams").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_bans_and_holds_payments_and_learns_why_a_miner_is_refused() {
    walk("orders").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admin_signs_in_and_makes_and_revokes_a_token() {
    walk("accounts").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_miner_verifies_payouts_and_the_page_believes_no_lie() {
    walk("miner").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_of_the_pool_is_accessible_and_fits_a_phone() {
    walk("pictures").await;
}
