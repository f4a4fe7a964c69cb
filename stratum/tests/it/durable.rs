//! Facts over a real `nats-server` and a real disk: what was answered OK is in the stream once,
//! whatever was away meanwhile.

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use headframe_ingest::find_nats_server;
use headframe_ingest::{
    Decoder, ExpectedStream, ManagedServer, Nats, Publisher, PublisherConfig, ReadFrom, Reader,
    ServerConfig,
};
use headframe_ingest::{DecoderState, StreamSettings, provision_stream};
use headframe_schemas::stream::{self, shares::Share, shares::Shares};
use headframe_stratum::spool::SpoolConfig;
use headframe_stratum::{DurableFacts, Facts};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};
use std::time::Duration;
use tokio::task::JoinHandle;

use crate::facts::Memory;
use crate::scripted::{Scene, Stage, config};
use crate::server::{NONCE, OTHER_NONCE, OTHER_RESULT, RESULT, is_ok, message};

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status()
        .unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// Stops a process until `CONT`. `kill` returns before a thread that runs on another core has
/// noticed.
pub async fn stop(pid: u32) {
    signal(pid, "STOP");
    until("the process stands still", || is_stopped(pid)).await;
}

/// Whether no thread of a process runs; one that has ended does not.
fn is_stopped(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter();
    let runs = |thread: std::io::Result<std::fs::DirEntry>| {
        let stat = std::fs::read_to_string(thread.ok()?.path().join("stat")).ok()?;
        // The state follows the name, which is in parentheses.
        Some(!stat.rsplit_once(") ")?.1.starts_with(['T', 't', 'Z', 'X']))
    };
    !threads.flatten().filter_map(runs).any(|runs| runs)
}

/// What is looked at of a row.
#[derive(Debug)]
pub struct StoredShare {
    pub worker: String,
    pub height: i64,
    pub outcome: String,
}

/// A server and a connection that outlives it.
pub struct Bed {
    pub server: Option<ManagedServer>,
    pub nats: Nats,
    pub folder: tempfile::TempDir,
}

impl Bed {
    pub async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = start(folder.path(), 0).await;
        let nats = Nats::connect(&server.client_config()).await.unwrap();
        for stream in stream::ALL {
            provision_stream(&nats.js, *stream, &StreamSettings::default())
                .await
                .unwrap();
        }
        Self {
            server: Some(server),
            nats,
            folder,
        }
    }

    /// The server's process; after a kill, the next one's.
    pub async fn pid(&self) -> u32 {
        let mut pids = self.server.as_ref().unwrap().pids();
        let alive =
            |pid: &Option<u32>| pid.is_some_and(|pid| Path::new(&format!("/proc/{pid}")).exists());
        let pid = *tokio::time::timeout(PATIENCE, pids.wait_for(alive))
            .await
            .expect("no server is started")
            .unwrap();
        pid.unwrap()
    }

    /// kill -9, and nobody starts it again. Answers its port.
    fn kill(&mut self) -> u16 {
        let server = self.server.take().unwrap();
        signal(server.pid().unwrap(), "KILL");
        server.url().rsplit(':').next().unwrap().parse().unwrap()
    }

    async fn back(&mut self, port: u16) {
        self.server = Some(start(self.folder.path(), port).await);
    }

    fn open(&self, settings: &SpoolConfig) -> (DurableFacts, JoinHandle<()>) {
        let publisher = Publisher::new(self.nats.clone(), "test", PublisherConfig::default());
        let (facts, spooler) =
            DurableFacts::open(publisher, settings, &self.folder.path().join("spool")).unwrap();
        (facts, tokio::spawn(spooler.run()))
    }

    /// The rows of `shares`, as every reader of the stream makes them, in order.
    pub async fn rows(&self) -> Vec<StoredShare> {
        let from = ReadFrom {
            next: 1,
            expect: ExpectedStream::default(),
        };
        let mut reader = Reader::open(self.nats.clone(), &Shares, from)
            .await
            .unwrap();
        let mut decoder = Decoder::new(&Shares, 0, DecoderState::default());
        let mut rows = Vec::new();
        let last = headframe_ingest::inspect_stream(&self.nats.js, &Shares)
            .await
            .unwrap()
            .unwrap()
            .last_seq;
        let mut read = 0;
        while read < last {
            let messages = tokio::time::timeout(PATIENCE, reader.next())
                .await
                .expect("no message came")
                .unwrap();
            read = messages.last().unwrap().seq;
            let chunk = decoder.decode(&messages);
            assert_eq!(chunk.rejected, 0);
            let text =
                |column: &str, row| chunk.batch[column].as_string_view().value(row).to_owned();
            let heights = chunk.batch["height"].as_primitive::<Int64Type>();
            let row = |row| StoredShare {
                worker: text("worker", row),
                height: heights.value(row),
                outcome: text("outcome", row),
            };
            rows.extend((0..chunk.batch.num_rows()).map(row));
        }
        rows
    }
}

const PATIENCE: Duration = Duration::from_secs(240);

async fn start(folder: &Path, port: u16) -> ManagedServer {
    let config = ServerConfig {
        port,
        ..ServerConfig::new(find_nats_server().unwrap(), folder.join("nats"))
    };
    ManagedServer::start(config).await.unwrap()
}

fn share(worker: &str, number: i64, outcome: &str) -> Share {
    let (pool, miner) = ("main".to_owned(), "4A".to_owned());
    let (worker, outcome) = (worker.to_owned(), outcome.to_owned());
    Share {
        event_time: 1_700_000_000_000_000 + number,
        pool,
        miner,
        worker,
        outcome,
        difficulty: 1,
        network_difficulty: 1,
        height: number,
        block_hash: None,
        solo: None,
    }
}

pub async fn until(what: &str, mut wanted: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !wanted() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "{what}: did not happen"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Each row once, and the rows of each worker in the order they were sent in, without a gap.
fn check_whole(rows: &[StoredShare], wanted: &BTreeMap<String, i64>) {
    let mut heights: BTreeMap<&str, Vec<i64>> = BTreeMap::new();
    rows.iter()
        .for_each(|row| heights.entry(&row.worker).or_default().push(row.height));
    for (worker, count) in wanted {
        let have = heights.remove(worker.as_str()).unwrap_or_default();
        assert_eq!(have, (0..*count).collect::<Vec<_>>(), "{worker}");
    }
    assert!(heights.is_empty(), "nobody sent {heights:?}");
}

/// A pool that keeps its facts there.
async fn stage_over(facts: &DurableFacts) -> Stage {
    let memory = Arc::new(Memory::new());
    Stage::open_over(Scene::default(), config(), memory, Arc::new(facts.clone())).await
}

/// However long JetStream takes for one.
async fn a_share_needs_no_spool_while_jetstream_is_there(bed: &Bed) {
    let (facts, spooler) = bed.open(&SpoolConfig {
        patience_ms: 240_000,
        ..SpoolConfig::default()
    });
    let stage = stage_over(&facts).await;
    let mut client = stage.miner().await;
    assert!(is_ok(&client.submit(NONCE, RESULT).await));
    let spool = stage.stats.snapshot().spool;
    assert_eq!(spool.rows, 0, "JetStream was there");
    stage.close().await;
    drop(facts);
    spooler.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_is_ok_from_the_spool_and_refused_when_that_is_full() {
    let bed = Bed::new().await;
    a_share_needs_no_spool_while_jetstream_is_there(&bed).await;
    let settings = SpoolConfig {
        max_bytes: 2_600,
        patience_ms: 200,
        ..SpoolConfig::default()
    };
    let (facts, spooler) = bed.open(&settings);
    let stage = stage_over(&facts).await;
    let mut client = stage.miner().await;
    // A frozen server holds nothing durably, whatever its sockets accept: the disk does.
    stop(bed.pid().await).await;
    assert!(is_ok(&client.submit(OTHER_NONCE, OTHER_RESULT).await));
    let state = stage.stats.snapshot().spool;
    assert!(
        state.spooling && state.rows == 1 && state.bytes > 0,
        "{state:?}"
    );
    // There is little space in this spool; a second session may send the same captured shares
    // again.
    let refused = loop {
        let mut client = stage.miner().await;
        let answer = client.submit(NONCE, RESULT).await;
        if !is_ok(&answer) {
            break answer;
        }
    };
    assert!(
        message(&refused).starts_with("Share could not be recorded"),
        "{refused}"
    );
    let stats = stage.stats.snapshot();
    assert!(
        stats
            .unready
            .as_ref()
            .is_some_and(|reason| reason.contains("the spool is full")),
        "{stats:?}"
    );
    assert!(
        stats.unrecorded == 1 && stats.spool.bytes <= 2_600,
        "{stats:?}"
    );
    signal(bed.pid().await, "CONT");
    stage
        .until("the spool is empty", |stage| {
            stage.stats.snapshot().spool.bytes == 0
        })
        .await;
    stage
        .until("readiness", |stage| {
            stage.stats.snapshot().unready.is_none()
        })
        .await;
    let accepted = stage.stats.snapshot().accepted;
    let rows = bed.rows().await;
    assert_eq!(
        rows.len() as u64,
        // And the one of the stage before.
        accepted + 1,
        "what was refused is not there, what was accepted is"
    );
    stage.close().await;
    drop(facts);
    spooler.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_killed_under_load_costs_nothing_and_changes_no_order() {
    let mut bed = Bed::new().await;
    let (facts, spooler) = bed.open(&SpoolConfig {
        patience_ms: 100,
        ..SpoolConfig::default()
    });
    let watch = facts.spool().unwrap();
    let (stop, sent) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..12 {
        let (facts, stop, sent) = (facts.clone(), stop.clone(), sent.clone());
        tasks.spawn(async move {
            let worker = format!("w{task}");
            let mut number = 0;
            while stop.load(SeqCst) == 0 {
                let outcome = if number % 5 == 0 { "stale" } else { "accepted" };
                facts
                    .share(share(&worker, number, outcome))
                    .await
                    .expect("JetStream or the spool holds it");
                number += 1;
                sent.fetch_add(1, SeqCst);
            }
            (worker, number)
        });
    }
    let more = |count: i64| {
        let goal = sent.load(SeqCst) + count;
        let sent = sent.clone();
        async move { until("rows are taken", || sent.load(SeqCst) >= goal).await }
    };
    for _ in 0..3 {
        more(200).await;
        let port = bed.kill();
        more(500).await;
        assert!(watch.state().spooling);
        bed.back(port).await;
        until("the spool is left under load", || !watch.state().spooling).await;
    }
    more(200).await;
    stop.store(1, SeqCst);
    let mut wanted = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        wanted.extend([done.unwrap()]);
    }
    drop(facts);
    spooler.await.unwrap();
    let state = watch.state();
    assert!(
        state.rows >= 1_400 && state.bytes == 0 && state.damaged == 0,
        "{state:?}"
    );
    check_whole(&bed.rows().await, &wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_outlives_its_process_and_a_flipped_bit() {
    let mut bed = Bed::new().await;
    let settings = SpoolConfig {
        patience_ms: 50,
        ..SpoolConfig::default()
    };
    let port = bed.kill();
    // Rows one by one, so that each is a record; the process ends while they wait, twice.
    for run in 0..2 {
        let (facts, spooler) = bed.open(&settings);
        for number in 0..4 {
            facts
                .share(share(&format!("run{run}"), number, "accepted"))
                .await
                .unwrap();
        }
        drop(facts);
        spooler.await.unwrap();
    }
    let mut files: Vec<_> = std::fs::read_dir(bed.folder.path().join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "spool")
    });
    files.sort();
    // The last record of the last file: told, not taken for a torn tail.
    let last = files.last().unwrap();
    let mut bytes = std::fs::read(last).unwrap();
    let end = bytes.len() - 5;
    bytes[end] ^= 0x10;
    std::fs::write(last, bytes).unwrap();

    bed.back(port).await;
    let publisher = Publisher::new(bed.nats.clone(), "test", PublisherConfig::default());
    let (facts, spooler) =
        DurableFacts::open(publisher, &settings, &bed.folder.path().join("spool")).unwrap();
    let watch = facts.spool().unwrap();
    assert!(
        watch.state().spooling && facts.block_rows("main").await.is_err(),
        "what waits is known before anything runs"
    );
    let spooler = tokio::spawn(spooler.run());
    facts.share(share("run2", 0, "accepted")).await.unwrap();
    until("the spool is empty", || !watch.state().spooling).await;
    assert_eq!(watch.state().damaged, 1);
    drop(facts);
    spooler.await.unwrap();
    let counts =
        [("run0", 4), ("run1", 3), ("run2", 1)].map(|(worker, count)| (worker.to_owned(), count));
    let rows = bed.rows().await;
    check_whole(&rows, &counts.into_iter().collect());
    assert!(
        rows.is_sorted_by_key(|row| &row.worker),
        "what waited longer comes first: {rows:?}"
    );
}
