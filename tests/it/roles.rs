//! Roles in processes of their own: SQL without the pipelines beside it, pipelines without SQL, a
//! pool without either.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use headframe_ingest::{ManagedServer, Nats, ServerConfig, find_nats_server, provision_stream};
use headframe_schemas::stream::shares::Shares;
use serde_json::{Value, json};

use crate::server::{Headframe, PATIENCE, free_port, until};

pub async fn nats_server(folder: &Path) -> ManagedServer {
    ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.join("nats"),
    ))
    .await
    .unwrap()
}

/// Publishes `count` shares numbered in `height` over the door, and returns when they are
/// acknowledged.
pub async fn publish(url: &str, first: i64, count: i64) {
    let share = |height: i64| {
        json!({"event_time": 1_772_362_800_000_000_i64 + height, "pool": "main", "miner": "4",
            "worker": "w", "outcome": "accepted",
            "difficulty": 10, "network_difficulty": "600", "height": height})
    };
    let body: Vec<String> = (first..first + count)
        .map(|height| share(height).to_string())
        .collect();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = crate::server::http().post(format!("{url}/api/v1/ingest/shares"));
        // A row that was sent twice has the same number of the same producer, so that repeating is
        // harmless.
        let request = request
            .header("Headframe-Producer", "roles-test")
            .header("Headframe-Seq", first.to_string());
        match request.body(body.join("\n")).send().await {
            Ok(answer) if answer.status().is_success() => return,
            answer => assert!(Instant::now() < deadline, "rows are not taken: {answer:?}"),
        }
    }
}

/// Asks until the answer calls itself complete; one that does must hold every acknowledged row,
/// each once. Answers what was read.
pub async fn complete(url: &str, rows: i64) -> Value {
    let body = json!({"sql": "SELECT count(*) AS n, count(DISTINCT height) AS d, max(height) AS m \
                              FROM shares", "format": "json"});
    let deadline = Instant::now() + PATIENCE;
    loop {
        let request = crate::server::http()
            .post(format!("{url}/api/v1/sql"))
            .json(&body);
        let said = match request.send().await {
            Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
            Err(error) => json!({"error": error.to_string()}),
        };
        if said["meta"]["complete"] == json!(true) {
            assert_eq!(
                said["rows"],
                json!([{"n": rows, "d": rows, "m": rows - 1}]),
                "{said}"
            );
            return said["meta"]["streams"][0].clone();
        }
        assert!(Instant::now() < deadline, "no complete answer: {said}");
    }
}

async fn get(url: &str, path: &str) -> Option<(u16, String)> {
    let answer = reqwest::get(format!("{url}{path}")).await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

/// Asks a path until the answer is as wanted.
pub async fn until_answer(url: &str, path: &str, wanted: impl Fn(u16, &str) -> bool) -> String {
    until(path, async || match get(url, path).await {
        Some((status, text)) if wanted(status, &text) => Ok(text),
        said => Err(format!("still {said:?}")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_in_a_process_of_its_own_has_each_row_once() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    let query = Headframe::start(folder.path(), nats.url(), free_port(), "query");
    let url = query.url.clone();
    // Nobody has made a table yet: every row comes from the stream.
    publish(&url, 0, 40).await;
    let read = complete(&url, 40).await;
    assert_eq!(read["version"], json!(0), "there is no table yet: {read}");

    let pipelines = || {
        Headframe::start(
            folder.path(),
            nats.url(),
            free_port(),
            "pipelines,maintenance",
        )
    };
    let mut writer = pipelines();
    let mut rows = 40;
    let mut version = 0;
    for _ in 0..3 {
        // Rows are published all the while the pipelines come, commit, and are killed in the middle
        // of it.
        let deadline = Instant::now() + PATIENCE;
        let before = version;
        while version < before + 5 {
            publish(&url, rows, 7).await;
            rows += 7;
            version = complete(&url, rows).await["version"].as_i64().unwrap();
            assert!(
                Instant::now() < deadline,
                "nothing was committed after version {before}"
            );
        }
        writer.kill();
        publish(&url, rows, 11).await;
        rows += 11;
        complete(&url, rows).await;
        // One that comes now must know from the table which rows there were: these come again in
        // another message.
        let late = Headframe::start(folder.path(), nats.url(), free_port(), "query");
        publish(&url, rows - 60, 50).await;
        complete(&late.url, rows).await;
        complete(&url, rows).await;
        late.kill();
        writer = pipelines();
    }
    // What is not committed is a tail as short as the commits are frequent.
    query
        .until("SELECT count(*) AS n FROM shares", |row| {
            row["n"] == json!(rows)
        })
        .await;
    let metrics = until_answer(&url, "/metrics", |status, text| {
        status == 200 && text.contains("headframe_tail_bytes 0")
    })
    .await;
    assert!(metrics.contains("headframe_door_rows_total"), "{metrics}");
    until_answer(&url, "/ready", |status, _| status == 200).await;
    assert_eq!(
        get(&writer.url, "/api/v1/sql?q=SELECT%201")
            .await
            .unwrap()
            .0,
        404,
        "pipelines answer no SQL"
    );
    until_answer(&writer.url, "/ready", |status, _| status == 200).await;
    writer.kill();
    made_anew(folder.path(), &nats, &query, rows).await;
    nats.shutdown().await;
}

/// The stream is deleted and made again: no answer may call itself complete until an operator has
/// decided.
async fn made_anew(folder: &Path, nats: &ManagedServer, query: &Headframe, rows: i64) {
    let url = &query.url;
    let connection = Nats::connect(&nats.client_config()).await.unwrap();
    connection.js.delete_stream("shares").await.unwrap();
    provision_stream(&connection.js, &Shares, &Default::default())
        .await
        .unwrap();
    let ready = until_answer(url, "/ready", |status, text| {
        status == 503 && text.contains("tail of shares stopped")
    })
    .await;
    assert!(
        ready.contains("made anew") && ready.contains("headframe adopt shares"),
        "{ready}"
    );
    let said = crate::server::http()
        .post(format!("{url}/api/v1/sql"))
        .json(&json!({"sql": "SELECT count(*) FROM shares", "format": "json"}));
    let said: Value = said.send().await.unwrap().json().await.unwrap();
    assert_eq!(said["meta"]["complete"], json!(false), "{said}");

    let config = folder.join(format!(
        "headframe-{}.toml",
        url.rsplit(':').next().unwrap()
    ));
    let adopted = Command::new(env!("CARGO_BIN_EXE_headframe"))
        .args(["adopt", "shares", "--config"])
        .arg(config)
        .output()
        .unwrap();
    assert!(
        adopted.status.success(),
        "{}",
        String::from_utf8_lossy(&adopted.stderr)
    );
    publish(url, rows, 5).await;
    complete(url, rows + 5).await;
    let writer = Headframe::start(folder, nats.url(), free_port(), "pipelines");
    publish(url, rows + 5, 5).await;
    complete(url, rows + 10).await;
    until_answer(url, "/ready", |status, _| status == 200).await;
    until_answer(&writer.url, "/ready", |status, _| status == 200).await;
    until_answer(url, "/metrics", |_, text| {
        text.contains("headframe_tail_bytes 0")
    })
    .await;
    complete(url, rows + 10).await;
    writer.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_alone_tells_what_it_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let nats = nats_server(folder.path()).await;
    let wallet = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";
    let daemon = free_port();
    let more = format!(
        "[stratum]\nlisten = \"127.0.0.1:{}\"\nwallet = \"{wallet}\"\ndaemon_url = \
         \"http://127.0.0.1:{daemon}\"\nrandomx = {{ mode = \"light\" }}\n",
        free_port()
    );
    let pool = Headframe::start_with(folder.path(), nats.url(), free_port(), "stratum", &more);
    until_answer(&pool.url, "/live", |status, text| {
        status == 200 && text == "ok\n"
    })
    .await;
    let ready = until_answer(&pool.url, "/ready", |status, _| status == 503).await;
    let missing = serde_json::from_str::<Value>(&ready).unwrap()["missing"].clone();
    assert_eq!(missing.as_array().map(Vec::len), Some(1), "{ready}");
    assert!(
        missing[0].as_str().unwrap().starts_with("pool: "),
        "{ready}"
    );
    assert_eq!(get(&pool.url, "/health").await.unwrap().0, 200);
    assert_eq!(get(&pool.url, "/metrics").await.unwrap().0, 200);
    let (status, said) = get(&pool.url, "/api/v1/sql?q=SELECT%201").await.unwrap();
    assert!(status == 404 && said.contains("role query"), "{said}");
    assert!(
        !folder.path().join("tables").exists(),
        "a pool needs no tables"
    );
    nats.shutdown().await;
    let health = until_answer(&pool.url, "/health", |status, _| status == 503).await;
    assert!(health.contains("no connection to NATS"), "{health}");
    assert_eq!(get(&pool.url, "/live").await.unwrap().0, 200);
}
