//! Kills of the pool: miners send shares while the pool's process and nats-server die and freeze at
//! random.
//!
//! After each blow and at the end: a share whose miner was told OK is in the table `shares`, and no
//! share is there twice. A share's worker name is its own, so each is found. One of the SQL workers
//! is killed under that question. `HEADFRAME_POOL_KILLS` sets the number of kills; the report is
//! kept as `pool-kill-report.txt` in the target folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use headframe_stratum::chain::with_nonce;
use headframe_stratum::randomx::{Mode, Seeds, Vm};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::server::{Headframe, PATIENCE, free_port, signal, stop};

const WALLET: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";
const MINERS: usize = 4;

/// A chain on which nobody ever finds a block.
struct Monerod {
    child: Child,
    port: u16,
}

impl Monerod {
    fn start(folder: &Path) -> Self {
        let (port, p2p) = (free_port(), free_port());
        let child = Command::new(
            std::env::var("HEADFRAME_MONEROD").unwrap_or_else(|_| "monerod".to_owned()),
        )
        .args([
            "--regtest",
            "--offline",
            "--no-igd",
            "--hide-my-port",
            "--no-zmq",
            "--non-interactive",
        ])
        // Nobody listens in on loopback; making a key for TLS takes seconds at every start.
        .args(["--rpc-ssl", "disabled"])
        .args(["--fixed-difficulty", "1000000000000", "--log-level", "0"])
        .args([
            "--rpc-bind-port",
            &port.to_string(),
            "--p2p-bind-port",
            &p2p.to_string(),
            "--data-dir",
        ])
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("monerod starts");
        Self { child, port }
    }
}

impl Drop for Monerod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What miners were answered.
#[derive(Default)]
struct Answers {
    ok: BTreeSet<String>,
    refused: BTreeMap<String, usize>,
    unanswered: usize,
}

/// One line there and its answer back, whatever job comes in between; `None` when the connection is
/// gone.
async fn ask(stream: &mut BufReader<TcpStream>, message: Value) -> Option<Value> {
    stream
        .get_mut()
        .write_all(format!("{message}\n").as_bytes())
        .await
        .ok()?;
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_line(&mut line))
            .await
            .expect("neither an answer nor an end");
        if read.ok()? == 0 {
            return None;
        }
        let said: Value = serde_json::from_str(&line).unwrap();
        if said["id"] == message["id"] {
            return Some(said);
        }
    }
}

/// One share of a worker of that name; `None` when it was not sent or nobody answered.
async fn share(port: u16, worker: &str, seeds: &Seeds, answers: &Mutex<Answers>) -> Option<()> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.ok()?);
    let params = json!({"login": format!("{WALLET}.{worker}"), "pass": "x", "agent": "test",
        "algo": ["rx/0"]});
    let answer = ask(
        &mut stream,
        json!({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}),
    )
    .await?;
    let job = answer["result"]["job"].as_object()?.clone();
    let bytes = |key: &str| hex(job[key].as_str().unwrap());
    let memory = seeds
        .memory(bytes("seed_hash").try_into().unwrap())
        .await
        .unwrap();
    let blob = with_nonce(bytes("blob"), 39, [0; 4]);
    let hashed =
        tokio::task::spawn_blocking(move || Vm::new(&memory).unwrap().hash(&blob).unwrap());
    let result: String = hashed
        .await
        .unwrap()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let params = json!({"id": "x", "job_id": job["job_id"], "nonce": "00000000", "result": result});
    answers.lock().unwrap().unanswered += 1;
    let answer = ask(
        &mut stream,
        json!({"id": 2, "jsonrpc": "2.0", "method": "submit", "params": params}),
    )
    .await?;
    let mut answers = answers.lock().unwrap();
    answers.unanswered -= 1;
    if answer["result"]["status"] == "OK" {
        answers.ok.insert(worker.to_owned());
    } else {
        *answers
            .refused
            .entry(
                answer["error"]["message"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            )
            .or_default() += 1;
    }
    Some(())
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

async fn until(what: &str, mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "{what}: did not happen");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

/// What can be done to the system, and its name in the report.
const BLOWS: [&str; 5] = [
    "kill -9 pool",
    "kill -9 nats-server",
    "kill -9 of both",
    "shares into the spool, kill -9 pool",
    "shares into the spool, kill -9 nats-server",
];

struct Siege {
    folder: tempfile::TempDir,
    nats: ManagedServer,
    pool: Option<Headframe>,
    /// The pool's part of the configuration.
    stratum: String,
    answers: Arc<Mutex<Answers>>,
    report: std::fs::File,
}

impl Siege {
    fn say(&mut self, line: &str) {
        println!("{line}");
        writeln!(self.report, "{line}").unwrap();
    }

    async fn more(&self, count: usize) {
        let goal = self.answers.lock().unwrap().ok.len() + count;
        until("shares are answered OK", || {
            self.answers.lock().unwrap().ok.len() >= goal
        })
        .await;
    }

    fn spooled(&self) -> usize {
        let Ok(entries) = std::fs::read_dir(self.folder.path().join("stratum/spool")) else {
            return 0;
        };
        entries
            .filter(|entry| {
                entry
                    .as_ref()
                    .is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "spool"))
            })
            .count()
    }

    /// The pool's process, killed if it runs, and a new one.
    fn restart_pool(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.kill();
        }
        self.pool = Some(Headframe::start_with(
            self.folder.path(),
            self.nats.url(),
            free_port(),
            "stratum",
            &self.stratum,
        ));
    }

    /// kill -9; answers when the next server runs.
    async fn kill_nats(&self) {
        let (mut pids, pid) = (self.nats.pids(), self.nats.pid());
        signal(pid.unwrap_or_default(), "KILL");
        let next = pids.wait_for(|now| now.is_some() && *now != pid);
        tokio::time::timeout(PATIENCE, next)
            .await
            .expect("nats-server is started again")
            .unwrap();
    }

    async fn blow(&mut self, what: usize) {
        match what {
            0 => self.restart_pool(),
            1 => self.kill_nats().await,
            2 => {
                self.kill_nats().await;
                self.restart_pool();
            }
            // A frozen server confirms nothing, so shares that are answered OK are in the spool.
            _ => {
                let pid = self.nats.pid().unwrap_or_default();
                stop(pid).await;
                self.more(6).await;
                assert!(
                    self.spooled() > 0,
                    "shares were answered OK and nothing holds them"
                );
                if what == 3 {
                    self.pool.take().unwrap().kill();
                    signal(pid, "CONT");
                    self.restart_pool();
                } else {
                    self.kill_nats().await;
                }
            }
        }
    }
}

/// Every share that was answered OK by now is in the table, and none is there twice.
async fn check(tables: &Headframe, answers: &Mutex<Answers>) -> i64 {
    let ok = answers.lock().unwrap().ok.clone();
    let sql = "SELECT count(*) AS n, count(DISTINCT worker) AS workers, string_agg(worker, ',') AS \
               names FROM shares WHERE outcome = 'accepted'";
    let number = |row: &Value, column: &str| row[column].as_i64().unwrap();
    // What was answered OK by the spool alone comes a little later.
    let missing = |row: &Value| {
        let there: BTreeSet<&str> = row["names"]
            .as_str()
            .unwrap_or_default()
            .split(',')
            .collect();
        ok.iter()
            .filter(|worker| !there.contains(worker.as_str()))
            .count()
    };
    let row = tables.until(sql, |row| missing(row) == 0).await;
    assert_eq!(
        number(&row, "n"),
        number(&row, "workers"),
        "a share is there twice"
    );
    number(&row, "n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_costs_no_share_that_a_miner_was_told_is_ok() {
    let kills: usize = std::env::var("HEADFRAME_POOL_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(BLOWS.len());
    let seed = std::env::var("HEADFRAME_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(20_261_121);
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let monerod = Monerod::start(&folder.path().join("monerod"));
    let port = free_port();
    let stratum = format!(
        "[stratum]\nlisten = \"127.0.0.1:{port}\"\nwallet = \"{WALLET}\"\ndaemon_url = \
         \"http://127.0.0.1:{}\"\nstart_difficulty = 1\n\
         [stratum.vardiff]\nmin_difficulty = 1\n[stratum.spool]\npatience_ms = 150\n",
        monerod.port
    );
    let target = Path::new(env!("CARGO_BIN_EXE_headframe"))
        .ancestors()
        .nth(2)
        .unwrap();
    let report = std::fs::File::create(target.join("pool-kill-report.txt")).unwrap();
    let tables = Headframe::start(folder.path(), nats.url(), free_port(), "pipelines,query");
    let answers = Arc::new(Mutex::new(Answers::default()));
    let mut siege = Siege {
        folder,
        nats,
        pool: None,
        stratum,
        answers: answers.clone(),
        report,
    };
    siege.say(&format!(
        "{kills} kills, seed {seed} (HEADFRAME_POOL_KILLS, HEADFRAME_SEED)"
    ));
    siege.restart_pool();
    let (seeds, stop, mut miners) = (
        Arc::new(Seeds::new(Mode::Light)),
        CancellationToken::new(),
        tokio::task::JoinSet::new(),
    );
    for miner in 0..MINERS {
        let (seeds, answers, stop) = (seeds.clone(), answers.clone(), stop.clone());
        miners.spawn(async move {
            for number in 0.. {
                if stop.is_cancelled() {
                    return;
                }
                if share(port, &format!("m{miner}-{number}"), &seeds, &answers)
                    .await
                    .is_none()
                {
                    let listens = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
                    until("the pool listens", || stop.is_cancelled() || listens()).await;
                }
            }
        });
    }
    let mut done = [0_usize; BLOWS.len()];
    let mut workers_killed = 0;
    for kill in 0..kills {
        siege.more(random.random_range(2..15)).await;
        // Each kind in turn first, so that even a short siege has all of them.
        let what = if kill < BLOWS.len() {
            kill
        } else {
            random.random_range(0..BLOWS.len())
        };
        done[what] += 1;
        siege.blow(what).await;
        let mut rows = 0;
        let checked = async { rows = check(&tables, &answers).await };
        let killed = tables.kill_an_sql_worker_during(&mut random, checked).await;
        workers_killed += usize::from(killed);
        siege.say(&format!(
            "{:>4}: {}; {rows} shares in the table, each once, none missing",
            kill + 1,
            BLOWS[what]
        ));
    }
    siege.more(5).await;
    stop.cancel();
    while let Some(miner) = miners.join_next().await {
        miner.unwrap();
    }
    until("the spool is empty", || siege.spooled() == 0).await;
    let rows = check(&tables, &answers).await;
    let (ok, unanswered, refused) = {
        let answers = answers.lock().unwrap();
        (
            answers.ok.len(),
            answers.unanswered,
            format!("{:?}", answers.refused),
        )
    };
    siege.say(&format!(
        "{ok} shares answered OK, {unanswered} answers unanswered, refused {refused}; \
                        {rows} shares in the table"
    ));
    assert!(
        rows as usize <= ok + unanswered,
        "a share that was refused is in the table as accepted"
    );
    for (what, times) in BLOWS.iter().zip(done) {
        siege.say(&format!("{times:>4} x {what}"));
    }
    siege.say(&format!(
        "{workers_killed:>4} x kill -9 of an SQL worker under the question"
    ));
    assert!(workers_killed > 0, "no SQL worker was killed");
    drop(siege.pool.take());
    tables.kill();
    siege.nats.shutdown().await;
}
