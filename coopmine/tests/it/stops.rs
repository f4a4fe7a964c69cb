//! A worker ends within a second, whatever it does when it is told to.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;

use crate::own_pool::free_port;
use crate::stand_in::{Running, StandIn, job, soon, until};

const SECOND: Duration = Duration::from_secs(1);
/// A machine that is busy with other things may lose a second; the worker itself loses none.
const TRIES: usize = 10;

/// A worker as a process, with the lines of its log.
pub struct Rig {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Rig {
    fn start(coordinator: &str, mode: &str, id: &str) -> Self {
        Self::start_with(mode, id, &["--threads", "2", "--coordinator", coordinator])
    }

    /// With other flags.
    pub fn start_with(mode: &str, id: &str, flags: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_coopmine"))
            .args(["worker", "--worker-id", id, "--mode", mode])
            .args(flags)
            .env("RUST_LOG", "info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel(1_024);
        std::thread::spawn(move || {
            log.lines()
                .map_while(Result::ok)
                .all(|line| sender.blocking_send(line).is_ok())
        });
        Self { child, lines }
    }

    /// Waits for a line of the log with these words.
    async fn says(&mut self, words: &str) {
        until(words, async || {
            let line = self.lines.recv().await.expect("the worker has ended");
            line.contains(words).then_some(())
        })
        .await;
    }

    /// Tells it to end; how long that took.
    pub async fn end(mut self) -> Duration {
        let since = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        let status = soon("the worker's end", ended).await.unwrap();
        assert!(status.success(), "{status}");
        since.elapsed()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Tries until an end took less than a second, each time with another worker's id.
async fn within_a_second(what: &str, mut end: impl AsyncFnMut(&str) -> Duration) {
    let mut took = Vec::new();
    for number in 0..TRIES {
        let id = format!("{what}-{number}").replace(' ', "-");
        took.push(end(&id).await);
        if took.last() < Some(&SECOND) {
            return;
        }
    }
    panic!("a worker that {what} ends after {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_ends_within_a_second() {
    let pool = StandIn::open().await;
    let coordinator = Running::start(&pool.address(), |config| {
        config.heartbeat_interval = "200ms".parse().unwrap();
    })
    .await;
    // No share is found, so that nobody has to take one.
    let _peer = pool.peer(&job("a", 1, 1, 1 << 40)).await;
    let address = coordinator.workers.to_string();
    let nobody = format!("127.0.0.1:{}", free_port());

    within_a_second("finds no coordinator", async |id| {
        let mut rig = Rig::start(&nobody, "light", id);
        rig.says("trying again").await;
        rig.end().await
    })
    .await;
    within_a_second("computes a cache", async |id| {
        let mut rig = Rig::start(&address, "light", id);
        rig.says("registered").await;
        rig.end().await
    })
    .await;
    within_a_second("computes a dataset", async |id| {
        let mut rig = Rig::start(&address, "full", id);
        rig.says("seed prepared").await;
        rig.end().await
    })
    .await;
    within_a_second("hashes", async |id| {
        let rig = Rig::start(&address, "light", id);
        until("its hashrate", async || {
            let shown = coordinator.get(&format!("/api/workers/{id}")).await;
            let hashes = shown["online"] == true && shown["hashrate_hs"].as_f64()? > 0.0;
            hashes.then_some(())
        })
        .await;
        rig.end().await
    })
    .await;
    coordinator.stop().await;
}
