//! Money end to end: facts of found blocks become payments on a real chain, and the wallet's own
//! history says the same.

use headframe_ingest::{Nats, provision_stream};
use headframe_schemas::stream::payments::Payments;
use serde_json::{Value, json};

use crate::wallets::until;

mod pool;

pub use pool::Pool;

/// An address of another network, which a wallet on this one refuses.
const FOREIGN: &str = "9wviCeWe2D8XS82k2ovp5EUYLzBt9pYNW2LXUFsZiv8S3Mt21FZ5qQaAroko1enzw3eGr9qC7X1D7Geoo2RrAotYPwq9Gm8";

fn number(row: &Value) -> i64 {
    row["n"].as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wallets_own_history_shows_exactly_what_payments_says() {
    let mut pool = Pool::start("interval_s = 3600").await;
    let main = pool.miners.address().await;
    let sub = pool
        .miners
        .call("create_address", json!({"account_index": 0}))
        .await["address"]
        .as_str()
        .unwrap()
        .to_owned();
    let integrated =
        pool.miners.call("make_integrated_address", json!({})).await["integrated_address"]
            .as_str()
            .unwrap()
            .to_owned();
    let work = [
        (main.as_str(), 300),
        (FOREIGN, 50),
        (sub.as_str(), 100),
        (integrated.as_str(), 77),
    ];
    let reward = pool.found(&work).await;
    pool.mine_until(
        "SELECT count(*) AS n FROM payments WHERE step = 'confirmed'",
        |row| number(row) == 3,
    )
    .await;
    // The integrated address went alone, the other two together.
    assert_eq!(pool.history_agrees().await, 2);
    let balances = pool.ledger_is_balanced().await;
    assert_eq!(balances["coinbase"], -reward);
    assert_eq!(balances["fee"], reward / 100);
    let owed = |weight: i128| (reward - reward / 100) * weight / 527;
    assert!((balances[&format!("miner:{FOREIGN}")] - owed(50)).abs() <= 1);
    assert_eq!(
        balances["paid"] + balances[&format!("miner:{FOREIGN}")],
        reward - reward / 100,
        "every unit is somewhere"
    );
    assert_eq!(
        balances["reserve"], -balances["network"],
        "the pool bears the network's fee"
    );

    // Why somebody has not got its money.
    let (_, foreign) = pool
        .get(&format!("/api/v1/miners/{FOREIGN}/payments"))
        .await;
    assert!(
        foreign["why"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| why["code"] == "refused"),
        "{foreign}"
    );
    let (_, paid) = pool.get(&format!("/api/v1/miners/{main}/payments")).await;
    assert_eq!(
        (
            paid["why"][0]["code"].as_str(),
            paid["payments"][0]["step"].as_str()
        ),
        (Some("nothing"), Some("confirmed")),
        "{paid}"
    );
    let (_, ledger) = pool
        .get(&format!("/api/v1/ledger?account=miner:{main}"))
        .await;
    assert_eq!(
        ledger["entries"].as_array().unwrap().len(),
        2,
        "matured and reserved: {ledger}"
    );

    a_threshold_takes_a_signature(&pool, &main).await;
    a_miner_signs_in_with_its_wallet(&pool, &sub).await;
    instructions_are_taken_or_refused_with_a_reason(&pool, &main).await;
    pool.view_and_books_agree().await;
    a_mistyped_pool_is_named(&pool).await;
    another_stream_stops_payments(&pool).await;
    pool.headframe.take().unwrap().kill();
}

/// The fee leaves its account by an operator's word, as far as it is there, and the wallet has more
/// than the ledger owes.
async fn the_fee_is_booked_out(pool: &Pool) {
    let path = "/api/v1/payments/instructions";
    let before = pool.ledger_is_balanced().await;
    let adjust = |amount: i128| {
        json!({"kind": "adjust", "account": "fee",
        "amount_atomic": amount.to_string(), "reason": "withdrawn"})
    };
    let (status, refusal) = pool.post(path, adjust(-before["fee"] - 1)).await;
    assert!(
        status == 400
            && refusal
                .to_string()
                .contains("account fee of pool main holds"),
        "{refusal}"
    );
    assert_eq!(pool.post(path, adjust(-before["fee"])).await.0, 200);
    pool.running()
        .until(
            "SELECT count(*) AS n FROM ledger WHERE cause_kind = 'adjustment'",
            |row| number(row) == 3,
        )
        .await;
    let after = pool.ledger_is_balanced().await;
    assert_eq!(
        (after["fee"], after["reserve"]),
        (0, before["reserve"] + before["fee"])
    );
    until("the wallet is weighed", async || {
        let (_, state) = pool.get("/api/v1/payments/state").await;
        let figure = |key: &str| {
            state["wallet"][key]
                .as_str()
                .and_then(|text| text.parse::<i128>().ok())
        };
        let (Some(total), Some(owed)) = (figure("total_atomic"), figure("owed_atomic")) else {
            return false;
        };
        total > owed
            && owed == after[&format!("miner:{FOREIGN}")]
            && state["wallet"]["shortage"].is_null()
    })
    .await;
}

/// Where the configuration names another pool, a miner whom this one owes is not told that there is
/// nothing.
async fn a_mistyped_pool_is_named(pool: &Pool) {
    let other = pool.start_believing("mian");
    let path = format!("{}/api/v1/miners/{FOREIGN}/payments", other.url);
    until("it says who owes", async || {
        let Ok(answer) = reqwest::get(&path).await else {
            return false;
        };
        let said: Value = answer.json().await.unwrap_or_default();
        let mut why = said["why"].as_array().into_iter().flatten();
        let text = |reason: &Value| reason["text"].as_str().unwrap_or_default().to_owned();
        said["pool"] == "mian"
            && why.any(|reason| {
                reason["code"] == "other_pool" && text(reason).starts_with("pool main owes it")
            })
    })
    .await;
    other.kill();
}

/// Nothing is paid into a stream that takes the place of `payments`, and whoever asks is told so.
async fn another_stream_stops_payments(pool: &Pool) {
    let nats = Nats::connect(&pool.nats.client_config()).await.unwrap();
    nats.js.delete_stream("payments").await.unwrap();
    provision_stream(&nats.js, &Payments, &Default::default())
        .await
        .unwrap();
    until("the payer says so", async || {
        let (_, state) = pool.get("/api/v1/payments/state").await;
        state["stopped"].as_str().is_some_and(|why| {
            why.starts_with("stream: ") && why.contains("headframe adopt payments")
        })
    })
    .await;
    let (status, ready) = pool.get("/ready").await;
    let missing = ready["missing"].as_array().cloned().unwrap_or_default();
    let is_reported = missing
        .iter()
        .filter_map(Value::as_str)
        .any(|line| line.starts_with("payments: ") && line.contains("stream"));
    assert!(status == 503 && is_reported, "{ready}");
    assert_eq!(
        provision_stream(&nats.js, &Payments, &Default::default())
            .await
            .unwrap()
            .last_seq,
        0,
        "nothing was written"
    );
}

/// Only the owner of an address, or the operator, sets its threshold.
async fn a_threshold_takes_a_signature(pool: &Pool, main: &str) {
    let path = format!("/api/v1/miners/{main}/threshold");
    let time = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let (_, challenge) = pool
        .post(&path, json!({"threshold_atomic": 5_000_000, "time": time}))
        .await;
    let signed = pool
        .miners
        .call("sign", json!({"data": challenge["sign"]}))
        .await["signature"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = pool
        .wallet
        .call("sign", json!({"data": challenge["sign"]}))
        .await["signature"]
        .as_str()
        .unwrap()
        .to_owned();
    let wish = |signature: &str, amount: u64| {
        json!({"threshold_atomic": amount, "time": time,
        "signature": signature})
    };
    assert_eq!(
        pool.post(&path, wish(&other, 5_000_000)).await.0,
        401,
        "another wallet's signature"
    );
    assert_eq!(
        pool.post(&path, wish(&signed, 6_000_000)).await.0,
        401,
        "another amount"
    );
    assert_eq!(
        pool.post(&path, wish(&signed, 5)).await.0,
        400,
        "less than the least"
    );
    assert_eq!(pool.post(&path, wish(&signed, 5_000_000)).await.0, 200);
    pool.running()
        .until(
            "SELECT count(*) AS n FROM instructions WHERE kind = 'threshold'",
            |row| number(row) == 1,
        )
        .await;
    assert_eq!(
        pool.post(&path, wish(&signed, 5_000_000)).await.0,
        400,
        "a repetition"
    );
    let (_, miner) = pool.get(&format!("/api/v1/miners/{main}/payments")).await;
    assert_eq!(miner["threshold_atomic"], "5000000", "{miner}");
}

/// The wallet of an address, the first beside its main one, proves it once for each text, and what
/// it gets reads its own rows.
async fn a_miner_signs_in_with_its_wallet(pool: &Pool, sub: &str) {
    let body = json!({"address": sub});
    let (_, given) = pool.post("/api/v1/login/challenge", body).await;
    let text = given["challenge"].as_str().unwrap();
    let sign = async |wallet: &crate::wallets::WalletRpc| {
        let request = json!({"data": text, "account_index": 0, "address_index": 1});
        wallet.call("sign", request).await["signature"].clone()
    };
    // The pool's wallet has another address of the same place.
    let made = json!({"account_index": 0});
    pool.wallet.call("create_address", made).await;
    let sign_in = async |signature: Value| {
        let body = json!({
            "address": sub, "challenge": text, "signature": signature, "token": true,
        });
        pool.post("/api/v1/login/wallet", body).await
    };
    let (forged, signed) = (sign(&pool.wallet).await, sign(&pool.miners).await);
    assert_eq!(sign_in(forged).await.0, 401, "another wallet's signature");
    let (status, body) = sign_in(signed.clone()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(sign_in(signed).await.0, 401, "a repetition");
    assert_eq!(body["address"], sub);
    let rows = crate::server::http()
        .post(format!("{}/api/v1/sql", pool.running().url))
        .bearer_auth(body["token"].as_str().unwrap())
        .json(&json!({"sql": "SELECT DISTINCT miner FROM shares", "format": "ndjson"}))
        .send()
        .await
        .unwrap();
    let rows = rows.text().await.unwrap();
    let rows: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).unwrap())
        .collect();
    assert_eq!(rows, [json!({"miner": sub})]);
}

async fn instructions_are_taken_or_refused_with_a_reason(pool: &Pool, main: &str) {
    let path = "/api/v1/payments/instructions";
    let reserve = pool.ledger_is_balanced().await["reserve"];
    for bad in [
        json!({"kind": "adjust", "account": main, "amount_atomic": "5"}),
        json!({"kind": "hold"}),
        json!({"kind": "resolve", "payment": "p", "verdict": "perhaps", "reason": "r"}),
        json!({"kind": "steal"}),
        json!({"kind": "adjust", "account": "fee", "amount_atomic": i128::MIN.to_string(),
            "reason": "r"}),
    ] {
        assert_eq!(pool.post(path, bad.clone()).await.0, 400, "{bad}");
    }
    let adjust = json!({"kind": "adjust", "account": main, "amount_atomic": "999999",
        "reason": "a share was lost"});
    assert_eq!(pool.post(path, adjust).await.0, 200);
    pool.running()
        .until(
            "SELECT count(*) AS n FROM ledger WHERE cause_kind = 'adjustment'",
            |row| number(row) == 1,
        )
        .await;
    pool.ledger_is_balanced().await;
    let (_, miner) = pool.get(&format!("/api/v1/miners/{main}/payments")).await;
    assert!(
        miner["why"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| why["code"] == "below_threshold"),
        "{miner}"
    );
    assert_eq!(
        pool.post(path, json!({"kind": "hold", "reason": "the wallet moves"}))
            .await
            .0,
        200
    );
    pool.running()
        .until(
            "SELECT count(*) AS n FROM instructions WHERE kind = 'hold'",
            |row| number(row) == 1,
        )
        .await;
    let (_, miner) = pool.get(&format!("/api/v1/miners/{main}/payments")).await;
    assert!(
        miner["why"]
            .as_array()
            .unwrap()
            .iter()
            .any(|why| why["code"] == "held"),
        "{miner}"
    );
    // The same by the command line, for operators at the machine.
    let token = pool.token_file();
    let command = |arguments: &[&str]| {
        let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_headframe"));
        let done = program
            .args(["payments", "--url", &pool.running().url, "--token-file"])
            .arg(&token)
            .args(arguments)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(
        command(&["why", main])
            .contains("held: all payments are held by an operator: the wallet moves")
    );
    assert_eq!(command(&["list", "--step", "confirmed"]).lines().count(), 3);
    command(&["resume"]);
    pool.running()
        .until(
            "SELECT count(*) AS n FROM instructions WHERE kind = 'resume'",
            |row| number(row) == 1,
        )
        .await;
    assert!(!command(&["why", main]).contains("held"));
    command(&["adjust", main, "-999999", "--reason", "it was not lost"]);
    pool.running()
        .until(
            "SELECT count(*) AS n FROM ledger WHERE cause_kind = 'adjustment'",
            |row| number(row) == 2,
        )
        .await;
    assert!(command(&["dry-run"]).contains(&format!("refused  {FOREIGN}")));
    assert_eq!(pool.ledger_is_balanced().await["reserve"], reserve);
    // What cannot be meant, and what may be a slip.
    let (status, refusal) = pool
        .post(
            path,
            json!({"kind": "resolve", "payment": "nosuch", "verdict": "paid", "reason": "r"}),
        )
        .await;
    assert!(
        status == 400 && refusal.to_string().contains("no payment"),
        "{refusal}"
    );
    assert!(
        command(&["hold", "4nobody", "--reason", "not paid"])
            .contains("note: the ledger of pool main has no account 4nobody yet")
    );
    until("it is shown", async || {
        command(&["dry-run"]).contains("held  4nobody: not paid")
    })
    .await;
    the_fee_is_booked_out(pool).await;
    // Nobody writes money's facts over HTTP: not without the operator's token, and not with it.
    let post = || {
        crate::server::http()
            .post(format!("{}/api/v1/ingest/payments", pool.running().url))
            .header("Content-Type", "application/x-ndjson")
            .body("{}")
    };
    assert_eq!(post().send().await.unwrap().status(), 401);
    let by_operator = post().bearer_auth(crate::money::OPERATOR).send().await;
    assert_eq!(by_operator.unwrap().status(), 403);
}
