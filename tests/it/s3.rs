//! Tables in a bucket: the same guarantees over a server that speaks S3, with its put-if-absent
//! instead of a hard link.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures::TryStreamExt;
use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use headframe_schemas::Table;
use headframe_schemas::stream::shares::Shares;
use headframe_sinks::maintenance::{Maintenance, MaintenanceConfig};
use headframe_sinks::{Lake, SeqRange, SinkError, SnapshotReader, StreamBinding, TableWriter};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::roles::{complete, publish, until_answer};
use crate::server::{Headframe, PATIENCE, free_port};

/// Any will do: the server asks only that requests be signed.
const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "test"),
    ("AWS_SECRET_ACCESS_KEY", "test"),
];

/// An S3 server with one bucket.
struct S3 {
    child: Child,
    endpoint: String,
}

impl S3 {
    async fn start(folder: &Path) -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let port = free_port();
        let log = std::fs::File::create(folder.join("s3.log")).unwrap();
        let child = Command::new(top.join(".parts/venv/bin/python"))
            .arg(top.join("tests/it/s3_server.py"))
            .arg(port.to_string())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("deploy/setup.sh test installs the server");
        let s3 = Self {
            child,
            endpoint: format!("http://127.0.0.1:{port}"),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match crate::server::http()
                .put(format!("{}/mine", s3.endpoint))
                .send()
                .await
            {
                Ok(answer) if answer.status().is_success() => return s3,
                answer => assert!(
                    Instant::now() < deadline,
                    "the S3 server does not answer: {answer:?}; see s3.log"
                ),
            }
        }
    }

    /// A lake in the bucket for this process, whose environment has no keys; the product's
    /// processes get them there.
    fn lake(&self, path: &str) -> Lake {
        let url = format!("s3://mine/{path}/");
        let builder = AmazonS3Builder::new()
            .with_url(&url)
            .with_endpoint(&self.endpoint)
            .with_allow_http(true);
        let store = builder
            .with_access_key_id(KEYS[0].1)
            .with_secret_access_key(KEYS[1].1)
            .build()
            .unwrap();
        Lake::with_store(
            Arc::new(PrefixStore::new(store, path)),
            url.parse().unwrap(),
        )
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_put_the_same_key_one_wins() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start(folder.path()).await;
    let store = s3.lake("race").store().clone();
    for round in 0..20 {
        let key = Key::from(format!("_delta_log/{round:020}.json"));
        let put = |rival: i32| {
            let (store, key) = (store.clone(), key.clone());
            async move {
                store
                    .put_opts(
                        &key,
                        format!("rival {rival}").into_bytes().into(),
                        PutOptions::from(PutMode::Create),
                    )
                    .await
            }
        };
        let ended = futures::future::join_all((0..4).map(put)).await;
        let winners: Vec<usize> = (0..4).filter(|&rival| ended[rival].is_ok()).collect();
        assert_eq!(winners.len(), 1, "round {round}: {ended:?}");
        let lost = |error: &Error| {
            matches!(
                error,
                Error::AlreadyExists { .. } | Error::Precondition { .. }
            )
        };
        assert!(
            ended
                .iter()
                .filter_map(|ended| ended.as_ref().err())
                .all(lost),
            "round {round}: {ended:?}"
        );
        let body = store.get(&key).await.unwrap().bytes().await.unwrap();
        assert_eq!(body, format!("rival {}", winners[0]));
        assert_eq!(store.head(&key).await.unwrap().size, body.len() as u64);
    }
    let listed: Vec<_> = store
        .list(None)
        .map_ok(|meta| meta.location)
        .try_collect()
        .await
        .unwrap();
    assert_eq!(listed.len(), 20, "{listed:?}");
    assert!(matches!(
        store.head(&Key::from("absent")).await,
        Err(Error::NotFound { .. })
    ));
    store.delete(&listed[0]).await.unwrap();
    assert!(matches!(
        store.get(&listed[0]).await,
        Err(Error::NotFound { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_writers_of_a_table_one_commits() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start(folder.path()).await;
    let lake = Arc::new(s3.lake("writers"));
    let table = || Table::raw(&Shares);
    let open = || {
        let (lake, binding) = (
            lake.clone(),
            StreamBinding {
                created_ns: 7,
                base: 0,
            },
        );
        async move {
            TableWriter::open(&lake, table(), binding, CancellationToken::new())
                .await
                .unwrap()
        }
    };
    for round in 0..5 {
        // Both make or claim the table at once; whoever claimed last owns it.
        let (mut one, mut two) = tokio::join!(open(), open());
        let range = SeqRange {
            first: round + 1,
            last: round + 1,
        };
        let (first, second) = tokio::join!(one.commit(range, &[]), two.commit(range, &[]));
        let fenced = |ended: &Result<(), SinkError>| matches!(ended, Err(SinkError::Fenced { .. }));
        let one_won = (first.is_ok() && fenced(&second)) || (second.is_ok() && fenced(&first));
        assert!(one_won, "round {round}: {first:?} and {second:?}");
        let snapshot = SnapshotReader::open(&lake, table())
            .refresh()
            .await
            .unwrap();
        assert_eq!(snapshot.offset, Some(round + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_way_into_a_bucket() {
    let folder = tempfile::tempdir().unwrap();
    let s3 = S3::start(folder.path()).await;
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let more = format!(
        "[lake]\nurl = \"s3://mine/deep/lake\"\noptions = {{ aws_endpoint = \"{}\", aws_allow_http \
         = \"true\", aws_region = \"eu-x\" }}\n",
        s3.endpoint
    );
    let start = || {
        Headframe::start_with_env(
            folder.path(),
            nats.url(),
            free_port(),
            "pipelines,query",
            &more,
            &KEYS,
        )
    };
    let running = start();
    let mut rows = 0;
    let deadline = Instant::now() + PATIENCE;
    let mut version = 0;
    while version < 8 {
        publish(&running.url, rows, 5).await;
        rows += 5;
        version = complete(&running.url, rows).await["version"]
            .as_i64()
            .unwrap();
        assert!(Instant::now() < deadline, "only version {version}");
    }
    running.kill();
    let running = start();
    publish(&running.url, rows - 10, 20).await;
    rows += 10;
    complete(&running.url, rows).await;
    until_answer(&running.url, "/ready", |status, _| status == 200).await;
    running
        .until("SELECT count(*) AS n FROM hashrate_1d", |row| {
            row["n"].as_i64() > Some(0)
        })
        .await;

    // Small files become one, the log gets a checkpoint, orphans are looked for; the answer stays
    // the same.
    let lake = s3.lake("deep/lake");
    let config = MaintenanceConfig {
        small_files: 2,
        checkpoint_commits: 1,
        ..MaintenanceConfig::default()
    };
    let mut owner = Maintenance::open(&lake, Table::raw(&Shares), config)
        .await
        .unwrap()
        .expect("the table is there");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_millis() as i64;
    let round = owner.round(now).await.unwrap();
    assert!(round.checkpoint && round.rewritten > 1, "{round:?}");
    complete(&running.url, rows).await;
    let reader = SnapshotReader::open(&lake, Table::raw(&Shares));
    let snapshot = reader.refresh().await.unwrap();
    assert!(snapshot.files.len() <= 3, "{} files", snapshot.files.len());
    running.kill();

    // A reader that begins at the checkpoint sees the same.
    let again = start();
    complete(&again.url, rows).await;
    let row = again
        .row("SELECT count(*) AS n, count(DISTINCT height) AS d FROM shares")
        .await;
    assert_eq!(row, json!({"n": rows, "d": rows}));
    // The bucket goes away: health says so, what comes meanwhile is held, and the process lives.
    drop(s3);
    publish(&again.url, rows, 1).await;
    until_answer(&again.url, "/ready", |status, text| {
        status == 503 && text.contains("stream shares: a batch is held since ")
    })
    .await;
    let health = until_answer(&again.url, "/health", |status, _| status == 503).await;
    assert!(health.contains("storage"), "{health}");
    until_answer(&again.url, "/live", |status, _| status == 200).await;
    again.kill();
    nats.shutdown().await;
}
