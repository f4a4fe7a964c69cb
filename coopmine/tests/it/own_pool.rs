//! The whole at our own pool on a private chain: a coordinator and three workers as processes find
//! blocks, while one worker is killed, one is stopped, one lies and one comes and goes. The pool
//! sees one miner that does everything right.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use headframe_coopmine::cluster::PROTOCOL_VERSION;
use headframe_coopmine::proto::messages::{RegisterRequest, StreamJobsRequest, SubmitShareRequest};
use headframe_stratum::chain::coinbase_tag::CoinbaseKey;
use headframe_stratum::randomx::plan::ModeSetting;
use headframe_stratum::{Stratum, StratumConfig};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::stand_in::{client, soon, until};

pub mod facts;

use facts::Memory;

/// An address that no test's coins are worth: the donation address of Monero's own project.
pub const WALLET: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// Longer than a machine with much to do keeps a worker waiting for its turn, and short enough for
/// a test to wait for.
const WORKER_TIMEOUT: &str = "20s";

/// A child that does not outlive the test.
pub struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // One that is stopped dies of this all the same.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

/// A port that nobody has, and that nobody is given by chance: those of connections and of servers
/// that take any port begin above.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 2_000).unwrap();
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (own * 10 + next) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A daemon that answers; a free port can be taken by somebody else before it has it.
pub async fn monerod() -> (Process, String, tempfile::TempDir) {
    let binary = std::env::var("HEADFRAME_MONEROD").unwrap_or_else(|_| "monerod".to_owned());
    for _ in 0..5 {
        let (data, rpc) = (tempfile::tempdir().unwrap(), free_port());
        let child = Command::new(&binary)
            .args([
                "--regtest",
                "--offline",
                "--no-igd",
                "--hide-my-port",
                "--no-zmq",
            ])
            .args([
                "--non-interactive",
                "--rpc-ssl",
                "disabled",
                "--fixed-difficulty",
                "25",
            ])
            .args(["--rpc-bind-port", &rpc.to_string(), "--log-level", "0"])
            .args(["--p2p-bind-port", &free_port().to_string(), "--data-dir"])
            .arg(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {binary}: {error}"));
        let (mut process, url) = (Process(child), format!("http://127.0.0.1:{rpc}"));
        let answers = until("monerod's answer", async || {
            if process.0.try_wait().unwrap().is_some() {
                return Some(false);
            }
            let body = json!({"jsonrpc": "2.0", "id": "0", "method": "get_info"});
            let sent = reqwest::Client::new()
                .post(format!("{url}/json_rpc"))
                .json(&body)
                .send();
            sent.await.is_ok().then_some(true)
        })
        .await;
        if answers {
            return (process, url, data);
        }
    }
    panic!("monerod ended at once, five times");
}

fn coopmine(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coopmine"));
    command
        .args(arguments)
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null());
    command
}

/// The coordinator, where workers connect and where its pages are.
fn coordinator(folder: &std::path::Path, pool: &str) -> (Process, String, String) {
    coordinator_with(folder, pool, "[facts]\nfolder = \"\"\n")
}

/// The same with more of a configuration.
pub fn coordinator_with(
    folder: &std::path::Path,
    pool: &str,
    more: &str,
) -> (Process, String, String) {
    let config = folder.join("coordinator.toml");
    let text = format!(
        "heartbeat_interval = \"500ms\"\nworker_timeout = \"{WORKER_TIMEOUT}\"\n[grpc]\n\
         listen = \"127.0.0.1:0\"\n[dashboard]\nlisten = \"127.0.0.1:0\"\n{more}"
    );
    std::fs::write(&config, text).unwrap();
    let mut child = coopmine(&["coordinator", "--pool", pool, "--config"])
        .arg(&config)
        .env("WALLET", WALLET)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    let grpc = words[3].trim_end_matches(';').to_owned();
    (Process(child), grpc, words.last().unwrap().to_string())
}

pub fn worker(coordinator: &str, id: &str) -> Process {
    worker_with(coordinator, id, 1)
}

/// A worker with so many threads.
pub fn worker_with(coordinator: &str, id: &str, threads: usize) -> Process {
    let threads = threads.to_string();
    let arguments = [
        "worker",
        "--worker-id",
        id,
        "--threads",
        &threads,
        "--mode",
        "light",
    ];
    let mut worker = coopmine(&arguments);
    worker.env("COORDINATOR", coordinator).stdout(Stdio::null());
    Process(worker.spawn().unwrap())
}

fn registration(id: &str) -> RegisterRequest {
    RegisterRequest {
        worker_id: id.to_owned(),
        worker_name: id.to_owned(),
        protocol: PROTOCOL_VERSION,
        algos: vec!["rx/0".to_owned()],
        threads: 1,
        agent: "test".to_owned(),
    }
}

/// Sends results that it never computed, until it is believed no more.
async fn lie(coordinator: &str) {
    let client = client(coordinator).await;
    let session = client.register(registration("liar")).await.unwrap().session;
    let request = StreamJobsRequest {
        worker_id: "liar".to_owned(),
        session,
    };
    let mut jobs = client.stream_jobs(request).await.unwrap();
    let mut lies = 0;
    while let Some(job) = soon("a job for the liar", jobs.message()).await.unwrap() {
        let Some(lease) = job.leases.first() else {
            if job.idle_reason.contains("quarantine") {
                break;
            }
            continue;
        };
        for nonce in lease.start..lease.start + 5 {
            let mut hash = vec![0; 32];
            hash[0] = 1;
            let share = SubmitShareRequest {
                worker_id: "liar".to_owned(),
                session,
                job: job.job,
                nonce: u32::try_from(nonce).unwrap(),
                hash,
            };
            if let Ok(answer) = client.submit_share(share).await {
                assert!(["wrong", "dead"].contains(&&*answer.verdict), "{answer:?}");
                lies += 1;
            }
        }
    }
    assert!(lies >= 3, "{lies}");
}

/// Comes, and comes again, and does nothing.
async fn come_and_go(coordinator: &str) {
    let client = client(coordinator).await;
    for _ in 0..50 {
        client.register(registration("looper")).await.unwrap();
    }
}

/// Leases by the space they are of, collected as long as a test goes on.
type Coverage = BTreeMap<u64, BTreeMap<u64, (u64, u64)>>;

pub async fn get(pages: &str, path: &str) -> Option<Value> {
    reqwest::get(format!("{pages}{path}"))
        .await
        .ok()?
        .json()
        .await
        .ok()
}

async fn record(pages: &str, coverage: &mut Coverage) -> Option<()> {
    let jobs = get(pages, "/api/jobs").await?;
    for job in jobs["jobs"].as_array()? {
        let space = coverage.entry(job["space"].as_u64()?).or_default();
        for lease in job["leases"].as_array()? {
            let range = (lease["start"].as_u64()?, lease["len"].as_u64()?);
            let known = space.insert(lease["epoch"].as_u64()?, range);
            assert!(
                known.is_none_or(|known| known == range),
                "a lease has changed"
            );
        }
    }
    Some(())
}

/// Workers that sent the pool a good share of a job that they have to themselves.
async fn record_own(pages: &str, own: &mut BTreeMap<u64, String>) -> Option<BTreeSet<String>> {
    let jobs = get(pages, "/api/jobs").await?;
    for job in jobs["jobs"].as_array()? {
        let Some(worker) = job["only_for"].as_str() else {
            continue;
        };
        let known = own.insert(job["id"].as_u64()?, worker.to_owned());
        assert!(
            known.is_none_or(|known| known == worker),
            "a job of two workers"
        );
        let leases = job["leases"].as_array()?;
        assert!(
            leases.len() == 1 && leases[0]["len"] == json!(1_u64 << 32),
            "{job}"
        );
        assert_eq!(leases[0]["worker"], *worker, "{job}");
    }
    let shares = get(pages, "/api/shares").await?;
    let accepted = shares["shares"].as_array()?.iter();
    let accepted = accepted.filter(|share| share["verdict"] == "accepted");
    let of_own = accepted.filter_map(|share| own.get(&share["job"].as_u64()?).cloned());
    Some(of_own.collect())
}

fn check(coverage: &Coverage) {
    for leases in coverage.values() {
        let mut ranges: Vec<(u64, u64)> = leases.values().copied().collect();
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            assert!(
                pair[0].0 + pair[0].1 <= pair[1].0,
                "leases overlap: {pair:?}"
            );
        }
    }
}

/// A pool that workers in light mode find shares for.
pub fn pool_config(daemon_url: String) -> StratumConfig {
    let mut config = StratumConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        wallet: WALLET.to_owned(),
        pool: "test".to_owned(),
        daemon_url,
        start_difficulty: 6,
        poll_ms: 100,
        daemon_timeout_s: 60,
        daemon_grace_s: 240,
        // Blocks follow each other fast here, and what a busy machine sends late is no fault of it.
        late_grace_ms: 30_000,
        template_refresh_s: 3_600,
        coinbase_key: Some(CoinbaseKey::new([7; 32])),
        ..StratumConfig::default()
    };
    config.vardiff.min_difficulty = 1;
    config.randomx.mode = ModeSetting::Light;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_workers_of_which_two_fail_a_liar_and_a_loop_are_one_healthy_miner() {
    let (_monerod, daemon_url, _data) = monerod().await;
    let facts = Arc::new(Memory::default());
    let bound = Stratum::bind(pool_config(daemon_url), facts.clone());
    let bound = bound.await.unwrap();
    let address = bound.local_addr().to_string();
    let stop = CancellationToken::new();
    let pool = tokio::spawn(bound.run(stop.clone()));

    let folder = tempfile::tempdir().unwrap();
    let (_coordinator, grpc, pages) = coordinator(folder.path(), &address);
    let mut workers = ["steady", "killed", "stopped"].map(|id| Some(worker(&grpc, id)));
    let mut coverage = Coverage::new();
    until("every worker has found a share", async || {
        record(&pages, &mut coverage).await?;
        let known = get(&pages, "/api/workers").await?;
        let known = known["workers"].as_array()?;
        let is_good = |one: &Value| one["accepted"].as_u64() > Some(0);
        (known.len() == 3 && known.iter().all(is_good)).then_some(())
    })
    .await;
    let mut own = BTreeMap::new();
    until(
        "shares of extranonces that workers have to themselves",
        async || {
            record(&pages, &mut coverage).await?;
            (record_own(&pages, &mut own).await?.len() >= 2).then_some(())
        },
    )
    .await;
    drop(workers[1].take());
    workers[2].as_ref().unwrap().signal(Signal::STOP);
    lie(&grpc).await;
    come_and_go(&grpc).await;
    until(
        "the dead and the stopped are missed, and the steady one goes on",
        async || {
            record(&pages, &mut coverage).await?;
            let known = get(&pages, "/api/workers").await?;
            let find = |id: &str| {
                known["workers"]
                    .as_array()?
                    .iter()
                    .find(|one| one["id"] == *id)
                    .cloned()
            };
            let is_gone = |id: &str| Some(find(id)?["online"] == false);
            assert_eq!(find("liar")?["quarantined"], true);
            (is_gone("killed")? && is_gone("stopped")? && find("steady")?["online"] == true)
                .then_some(())
        },
    )
    .await;
    // What had stopped goes on where it was.
    workers[2].as_ref().unwrap().signal(Signal::CONT);
    let credited = facts.outcomes().len();
    until("shares after all that, and a block", async || {
        record(&pages, &mut coverage).await?;
        (facts.outcomes().len() >= credited + 5 && facts.accepted_blocks() > 0).then_some(())
    })
    .await;
    check(&coverage);
    let stats = get(&pages, "/api/stats").await.unwrap();
    assert!(stats["shares"]["blocks"].as_u64() > Some(0), "{stats}");
    let steady = workers[0].take().unwrap();
    steady.signal(Signal::TERM);
    ended(steady).await;
    stop.cancel();
    soon("the pool's end", pool).await.unwrap();
    let outcomes = facts.outcomes();
    assert_honest(&outcomes);
    assert_eq!(facts.logins(), 1, "the pool saw one miner");
}

/// The pool found nothing wrong. A share that waited too long for its turn on a busy machine may be
/// stale.
pub fn assert_honest(outcomes: &[String]) {
    let is_honest = |outcome: &String| ["accepted", "stale"].contains(&outcome.as_str());
    assert!(outcomes.iter().all(is_honest), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| outcome == "accepted"));
}

async fn ended(mut process: Process) {
    let status = until("the worker's end", async || process.0.try_wait().unwrap()).await;
    assert!(status.success(), "{status}");
}
