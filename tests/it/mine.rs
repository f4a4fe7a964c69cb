//! `headframe mine` as a process, at a pool of its own on a private chain: shares, a connection
//! that is cut, a login that is refused.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Instant;

use headframe_ingest::{ManagedServer, ServerConfig, find_nats_server};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::monerod::{Monerod, WALLET};
use crate::roles::until_answer;
use crate::server::{Headframe, PATIENCE, free_port, signal};

mod opensy;
mod solo;

/// A miner whose words go to a file.
struct Mine {
    child: Child,
    said: PathBuf,
}

impl Mine {
    fn start(folder: &Path, name: &str, port: u16, user: &str, more: &[&str]) -> Self {
        let said = folder.join(name);
        let out = File::create(&said).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_headframe"))
            .args([
                "mine",
                "--pool",
                &format!("127.0.0.1:{port}"),
                "--user",
                user,
                "--threads",
                "1",
                "--mode",
                "light",
            ])
            .args(more)
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .unwrap();
        Self { child, said }
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Waits until its words are as wanted.
    async fn until(&self, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.said();
            if wanted(&said) {
                return said;
            }
            assert!(Instant::now() < deadline, "it only said {said}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    /// Its exit code and its last words.
    fn end(mut self) -> (Option<i32>, String) {
        let ended = self.child.wait().unwrap();
        (ended.code(), self.said())
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The shares accepted so far: the number after these words, in the last line that has them.
fn accepted(said: &str, after: &str) -> u64 {
    let line = said
        .lines()
        .rfind(|line| line.contains(after))
        .unwrap_or_default();
    line.split(after)
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

/// Waits until the pool has credited more shares than this, and says how many.
async fn credited(pool: &Headframe, before: u64) -> u64 {
    let count = |text: &str| {
        let line = text.lines().find_map(|line| {
            line.strip_prefix("headframe_stratum_shares_total{outcome=\"accepted\"} ")
        });
        line.and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
    };
    count(&until_answer(&pool.url, "/metrics", |_, text| count(text) > before).await)
}

/// A way to the pool that can be cut: dropping the set closes the port and every connection over
/// it.
async fn way(port: u16, pool: u16) -> JoinSet<()> {
    let near = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let mut way = JoinSet::new();
    way.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut near, _)) = near.accept().await {
            connections.spawn(async move {
                let mut far = TcpStream::connect(("127.0.0.1", pool)).await.unwrap();
                // One that was cut has an error, which is what it is for.
                let _ = copy_bidirectional(&mut near, &mut far).await;
            });
        }
    });
    way
}

/// A pool that has something to mine, and where miners connect.
struct Pool {
    process: Headframe,
    stratum: u16,
}

async fn pool(folder: &Path, nats: &ManagedServer, monerod: &Monerod, stratum: u16) -> Pool {
    let more = format!(
        "[stratum]\nlisten = \"127.0.0.1:{stratum}\"\nwallet = \"{WALLET}\"\ndaemon_url = \
         \"{}\"\nstart_difficulty = 5\nrandomx = {{ mode = \"light\" }}\n\
         [stratum.vardiff]\nmin_difficulty = 5\n",
        monerod.url
    );
    let process = Headframe::start_with(folder, nats.url(), free_port(), "stratum", &more);
    until_answer(&process.url, "/ready", |status, _| status == 200).await;
    Pool { process, stratum }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_miner_mines_comes_again_and_tells_why_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let nats = ManagedServer::start(ServerConfig::new(
        find_nats_server().unwrap(),
        folder.path().join("nats"),
    ))
    .await
    .unwrap();
    let (monerod, port) = (Monerod::start().await, free_port());
    let user = format!("{WALLET}.rig");
    // A pool that is not there is no refusal: the miner waits for it until its time is over, or
    // until it is told to end.
    let away = Mine::start(folder.path(), "away", port, &user, &[]);
    let (code, words) = Mine::start(folder.path(), "short", port, &user, &["--for", "1s"]).end();
    assert_eq!(code, Some(0), "{words}");
    away.until(|said| said.contains(&format!("no connection to 127.0.0.1:{port}: ")))
        .await;
    signal(away.child.id(), "INT");
    let (code, words) = away.end();
    assert_eq!(code, Some(0), "{words}");

    let pool = pool(folder.path(), &nats, &monerod, free_port()).await;
    let open = way(port, pool.stratum).await;
    let miner = Mine::start(folder.path(), "miner", port, &user, &[]);
    let before = credited(&pool.process, 0).await;

    let refused = Mine::start(folder.path(), "refused", port, "nobody.rig", &[]);
    let (code, words) = refused.end();
    assert!(
        code == Some(1)
            && words.contains(&format!(
                "error: the pool 127.0.0.1:{port} refused the login: "
            )),
        "{code:?}: {words}"
    );

    drop(open);
    miner.until(|said| said.contains("no connection to ")).await;
    let _open = way(port, pool.stratum).await;
    miner
        .until(|said| said.matches("logged in at ").count() == 2)
        .await;
    credited(&pool.process, before).await;
    let said = miner
        .until(|said| accepted(said, "H/s · accepted ") > 0 && said.contains(" · height "))
        .await;
    assert!(
        said.contains("in light mode (as configured)") && said.contains("rx/0 at difficulty 5"),
        "{said}"
    );
    signal(miner.child.id(), "INT");
    let (code, words) = miner.end();
    assert_eq!(code, Some(0), "{words}");
    assert!(
        accepted(&words, " s, ") >= accepted(&said, "H/s · accepted "),
        "{words}"
    );
    pool.process.kill();
    nats.shutdown().await;
}
