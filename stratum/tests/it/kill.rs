//! kill -9 of the pool and of nats-server under load: no share that was answered OK is missing,
//! none is there twice.
//!
//! The pool is a process of its own: this very test, started again. Each share has a worker name of
//! its own, so each is found in the stream or not. `HEADFRAME_POOL_KILLS` sets the number of kills.

use headframe_ingest::{Nats, NatsConfig, Publisher, PublisherConfig};
use headframe_stratum::spool::SpoolConfig;
use headframe_stratum::{DurableFacts, StratumConfig};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::durable::{Bed, signal, stop, until};
use crate::facts::Memory;
use crate::scripted::{Scene, Stage, config, submit_line};
use crate::server::{NONCE, RESULT};

/// Tells the child what to do: the server's URL, the port, the spool's folder, as JSON.
const ROLE: &str = "HEADFRAME_TEST_POOL";
const MINERS: usize = 6;

/// The pool as a process. Dropping it kills it, too.
struct Pool {
    child: Child,
    role: String,
}

impl Pool {
    fn start(role: &str) -> Self {
        let name = "kill::a_kill_costs_no_share_that_was_answered_ok";
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", name, "--nocapture"])
            .env(ROLE, role)
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        Self {
            child: command.spawn().unwrap(),
            role: role.to_owned(),
        }
    }

    /// kill -9, and the next one.
    fn again(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        *self = Self::start(&self.role.clone());
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The child: a pool until it is killed, or until its parent is gone.
async fn be_the_pool(role: &str) {
    let orphaned =
        tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
    let role: Value = serde_json::from_str(role).unwrap();
    let nats_config: NatsConfig = serde_json::from_value(role["nats"].clone()).unwrap();
    let address = nats_config.url.trim_start_matches("nats://").to_owned();
    let nats = loop {
        until("nats-server listens", || {
            std::net::TcpStream::connect(&address).is_ok()
        })
        .await;
        if let Ok(nats) = Nats::connect(&nats_config).await {
            break nats;
        }
    };
    let publisher = Publisher::new(nats, "pool", PublisherConfig::default());
    let settings = SpoolConfig {
        patience_ms: 150,
        ..SpoolConfig::default()
    };
    let (facts, spooler) = DurableFacts::open(
        publisher,
        &settings,
        Path::new(role["spool"].as_str().unwrap()),
    )
    .unwrap();
    tokio::spawn(spooler.run());
    let listen = format!("127.0.0.1:{}", role["port"]).parse().unwrap();
    let _stage = Stage::open_over(
        Scene::default(),
        StratumConfig { listen, ..config() },
        Arc::new(Memory::new()),
        Arc::new(facts),
    )
    .await;
    let _ = orphaned.await;
}

/// What miners were told, by the worker's name.
#[derive(Default)]
struct Answers {
    ok: BTreeSet<String>,
    refused: usize,
    /// The connection broke before the answer.
    unheard: usize,
}

/// One line there, one line back; `None` when the connection is gone.
async fn ask(stream: &mut BufReader<TcpStream>, line: String) -> Option<Value> {
    stream
        .get_mut()
        .write_all((line + "\n").as_bytes())
        .await
        .ok()?;
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(240), stream.read_line(&mut answer))
        .await
        .expect("no answer and no end");
    (read.ok()? > 0).then(|| serde_json::from_str(&answer).unwrap())
}

/// Logs in as a worker; the connection and the job.
async fn log_in(port: u16, worker: &str) -> Option<(BufReader<TcpStream>, String)> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.ok()?);
    let params = json!({"login": format!("4AddrExample.{worker}"), "pass": "x", "agent": "test",
        "algo": ["rx/0"]});
    let answer = ask(
        &mut stream,
        json!({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}).to_string(),
    )
    .await?;
    let job = answer["result"]["job"]["job_id"].as_str()?.to_owned();
    Some((stream, job))
}

/// One share after another, each of a worker of its own, until told to stop.
async fn mine(port: u16, miner: usize, answers: Arc<Mutex<Answers>>, stop: CancellationToken) {
    let mut number = 0;
    while !stop.is_cancelled() {
        number += 1;
        let worker = format!("m{miner}-{number}");
        let Some((mut stream, job)) = log_in(port, &worker).await else {
            until("the pool listens", || {
                stop.is_cancelled() || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
            })
            .await;
            continue;
        };
        let answer = ask(&mut stream, submit_line(2, &job, NONCE, RESULT)).await;
        match answer {
            Some(answer) if answer["result"]["status"] == "OK" => {
                answers.lock().unwrap().ok.insert(worker);
            }
            Some(_) => answers.lock().unwrap().refused += 1,
            None => {
                answers.lock().unwrap().unheard += 1;
                // The row may be durable although OK was never heard. The same share on a new
                // connection is worth nothing.
                if let Some((mut stream, _)) = log_in(port, &worker).await
                    && let Some(answer) =
                        ask(&mut stream, submit_line(3, &job, NONCE, RESULT)).await
                {
                    assert_eq!(answer["error"]["message"], "Block expired", "{answer}");
                }
            }
        }
    }
}

/// What can be done to the system, and its name in the report.
const BLOWS: [&str; 5] = [
    "kill -9 pool",
    "kill -9 nats-server",
    "kill -9 of both",
    "shares into the spool, then kill -9 pool",
    "shares into the spool, then kill -9 nats-server",
];

struct Siege {
    bed: Bed,
    pool: Pool,
    answers: Arc<Mutex<Answers>>,
    spool: PathBuf,
}

impl Siege {
    /// Waits until so many more shares were answered OK.
    async fn more(&self, count: usize) {
        let goal = self.answers.lock().unwrap().ok.len() + count;
        until("shares are answered OK", || {
            self.answers.lock().unwrap().ok.len() >= goal
        })
        .await;
    }

    fn spooled(&self) -> usize {
        let entries = std::fs::read_dir(&self.spool).unwrap();
        entries
            .filter(|entry| {
                entry
                    .as_ref()
                    .unwrap()
                    .path()
                    .extension()
                    .is_some_and(|extension| extension == "spool")
            })
            .count()
    }

    async fn blow(&mut self, what: usize) {
        let pid = self.bed.pid().await;
        match what {
            0 => self.pool.again(),
            1 => signal(pid, "KILL"),
            2 => {
                signal(pid, "KILL");
                self.pool.again();
            }
            // A frozen server confirms nothing, so shares that are answered OK are in the spool.
            3 => {
                stop(pid).await;
                self.more(8).await;
                assert!(self.spooled() > 0);
                self.pool.again();
                signal(pid, "CONT");
            }
            _ => {
                stop(pid).await;
                self.more(8).await;
                assert!(self.spooled() > 0);
                signal(pid, "KILL");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_costs_no_share_that_was_answered_ok() {
    if let Ok(role) = std::env::var(ROLE) {
        return be_the_pool(&role).await;
    }
    let kills: usize = std::env::var("HEADFRAME_POOL_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(BLOWS.len());
    let mut random = StdRng::seed_from_u64(20_261_121);
    let bed = Bed::new().await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let spool = bed.folder.path().join("pool");
    let role =
        json!({"nats": bed.server.as_ref().unwrap().client_config(), "port": port, "spool": spool})
            .to_string();
    let answers = Arc::new(Mutex::new(Answers::default()));
    let mut siege = Siege {
        bed,
        pool: Pool::start(&role),
        answers: answers.clone(),
        spool,
    };
    let stop = CancellationToken::new();
    let mut miners = tokio::task::JoinSet::new();
    (0..MINERS)
        .for_each(|miner| drop(miners.spawn(mine(port, miner, answers.clone(), stop.clone()))));
    let mut done = BTreeMap::new();
    for kill in 0..kills {
        siege.more(random.random_range(3..25)).await;
        // Each kind in turn first, so that even a short siege has all of them.
        let what = if kill < BLOWS.len() {
            kill
        } else {
            random.random_range(0..BLOWS.len())
        };
        *done.entry(BLOWS[what]).or_insert(0) += 1;
        siege.blow(what).await;
    }
    siege.more(10).await;
    stop.cancel();
    while let Some(miner) = miners.join_next().await {
        miner.unwrap();
    }
    until("the spool is empty", || siege.spooled() == 0).await;
    let answers = std::mem::take(&mut *answers.lock().unwrap());
    check(&siege.bed, &answers, &done).await;
}

async fn check(bed: &Bed, answers: &Answers, done: &BTreeMap<&str, i32>) {
    let rows = bed.rows().await;
    let mut accepted: BTreeMap<&str, usize> = BTreeMap::new();
    rows.iter()
        .filter(|row| row.outcome == "accepted")
        .for_each(|row| *accepted.entry(&row.worker).or_default() += 1);
    let missing: Vec<_> = answers
        .ok
        .iter()
        .filter(|worker| !accepted.contains_key(worker.as_str()))
        .collect();
    let twice: Vec<_> = accepted.iter().filter(|(_, count)| **count > 1).collect();
    println!("{done:?}");
    println!(
        "{} shares answered OK, {} refused, {} answers unheard; {} rows",
        answers.ok.len(),
        answers.refused,
        answers.unheard,
        accepted.len()
    );
    assert!(missing.is_empty(), "answered OK and missing: {missing:?}");
    assert!(twice.is_empty(), "there twice: {twice:?}");
    assert!(
        accepted.len() <= answers.ok.len() + answers.unheard,
        "a share that was refused is there as accepted"
    );
}
