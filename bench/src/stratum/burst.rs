//! How fast a pool verifies beside how fast the bare library hashes, on the same shares, cores and
//! minutes.
//!
//! Each round hashes a set of shares in plain loops over the library, one a core, and notes how
//! long that took. Then the miners send all of them at once and wait for every verdict, which the
//! pool gives only after it hashed each again and made its row durable. Beside the time on the
//! clock stands the processor time, which tells the same on a machine that others use, too.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use futures::future::try_join_all;
use headframe_stratum::chain::with_nonce;
use headframe_stratum::randomx::{SeedMemory, Vm};
use serde_json::{Value, json};
use tokio::io::BufReader;
use tokio::net::tcp::OwnedReadHalf;

use super::StratumLoad;
use super::process::Process;
use super::scripted_miner::{LoadContext, MinerConnection, NONCE_AT, ScriptedMiner, read_line};

/// A miner that is logged in.
struct LoggedIn<'a> {
    connection: MinerConnection<'a>,
    lines: BufReader<OwnedReadHalf>,
}

/// A share to be sent.
struct Share {
    miner: usize,
    job: String,
    nonce: [u8; 4],
    blob: Vec<u8>,
    hash: [u8; 32],
}

/// How long a set of shares took.
struct RoundTimes {
    shares: f64,
    /// Seconds on the clock: the library's, the pool's.
    clock: [f64; 2],
    /// Seconds of processor time; the pool's only if its process is known.
    cpu: [f64; 2],
}

/// Runs the rounds, each with so many shares a miner.
pub async fn run(
    load: &StratumLoad,
    context: &Arc<LoadContext>,
    shares: u32,
) -> anyhow::Result<Value> {
    let scripted: Vec<ScriptedMiner> = (0..load.active)
        .map(|number| ScriptedMiner::new(context.clone(), number, true))
        .collect();
    let mut miners = Vec::with_capacity(scripted.len());
    for miner in &scripted {
        let (mut lines, out) = miner.connect().await?;
        let mut connection = miner.connection(out);
        connection.login(&mut lines).await?;
        miners.push(LoggedIn { connection, lines });
    }
    let seed = miners
        .first()
        .and_then(|miner| miner.connection.job.as_ref())
        .context("--burst needs --active miners")?
        .seed;
    let memory = context.hashing.memory(seed).await?;
    // A miner's first share proves it; from then on the pool verifies as many of its shares at once
    // as it does of any honest miner.
    run_round(&mut miners, &memory, load, 1).await?;
    let mut rounds = Vec::new();
    for _ in 0..load.rounds {
        rounds.push(run_round(&mut miners, &memory, load, shares).await?);
    }
    let each: Vec<Value> = rounds
        .iter()
        .map(|times| times.to_json(load.pid.is_some()))
        .collect();
    let median = |of: fn(&RoundTimes) -> f64| {
        let mut ratios: Vec<f64> = rounds.iter().map(of).collect();
        ratios.sort_by(f64::total_cmp);
        ratios.get(ratios.len() / 2).copied()
    };
    Ok(json!({
        "threads": load.threads, "mode": memory.mode().as_str(),
        "shares_a_round": shares as usize * miners.len(), "rounds": each,
        "ratio": median(|times| times.clock[0] / times.clock[1]),
        "cpu_ratio": load.pid.and_then(|_| median(|times| times.cpu[0] / times.cpu[1])),
    }))
}

impl RoundTimes {
    fn to_json(&self, with_cpu: bool) -> Value {
        let cpu_ms =
            |which: usize| (with_cpu || which == 0).then(|| self.cpu[which] * 1000.0 / self.shares);
        json!({
            "bare_hashes_per_s": self.shares / self.clock[0],
            "verified_per_s": self.shares / self.clock[1],
            "ratio": self.clock[0] / self.clock[1], "bare_cpu_ms": cpu_ms(0),
            "pool_cpu_ms": cpu_ms(1),
        })
    }
}

/// Has the library hash so many shares a miner, and the pool verify them.
async fn run_round(
    miners: &mut [LoggedIn<'_>],
    memory: &Arc<SeedMemory>,
    load: &StratumLoad,
    count: u32,
) -> anyhow::Result<RoundTimes> {
    let mut shares = Vec::new();
    for (number, miner) in miners.iter_mut().enumerate() {
        let job = miner
            .connection
            .job
            .as_mut()
            .context("a miner has no job")?;
        for _ in 0..count {
            let nonce = job.next_nonce.to_le_bytes();
            job.next_nonce += 1;
            let blob = with_nonce(job.blob.clone(), NONCE_AT, nonce);
            shares.push(Share {
                miner: number,
                job: job.id.clone(),
                nonce,
                blob,
                hash: [0; 32],
            });
        }
    }
    let (total, threads, memory) = (shares.len() as f64, load.threads.max(1), memory.clone());
    let (cpu_s, began) = (Process::ourselves().read()?.cpu_s, Instant::now());
    let shares = tokio::task::spawn_blocking(move || hash_all(shares, &memory, threads)).await??;
    let bare = (
        began.elapsed().as_secs_f64(),
        Process::ourselves().read()?.cpu_s - cpu_s,
    );
    let texts: Vec<String> = miners
        .iter()
        .enumerate()
        .map(|(number, miner)| submit_lines(&miner.connection, number, &shares))
        .collect();
    let pool = load.pid.map(Process::new);
    let cpu_s = || {
        pool.as_ref()
            .map_or(Ok(0.0), |pool| pool.read().map(|usage| usage.cpu_s))
    };
    let (before, began) = (cpu_s()?, Instant::now());
    try_join_all(
        miners
            .iter_mut()
            .zip(texts)
            .map(|(miner, text)| miner.submit_all(text, count)),
    )
    .await?;
    let (clock, cpu) = (
        [bare.0, began.elapsed().as_secs_f64()],
        [bare.1, cpu_s()? - before],
    );
    Ok(RoundTimes {
        shares: total,
        clock,
        cpu,
    })
}

/// The hashes of the shares, by plain loops over the library.
fn hash_all(
    mut shares: Vec<Share>,
    memory: &Arc<SeedMemory>,
    threads: usize,
) -> anyhow::Result<Vec<Share>> {
    let part = shares.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let hash = |part: &mut [Share]| -> anyhow::Result<()> {
            let machine = Vm::new(memory)?;
            for share in part {
                share.hash = machine.hash(&share.blob)?;
            }
            Ok(())
        };
        let running: Vec<_> = shares
            .chunks_mut(part)
            .map(|part| scope.spawn(move || hash(part)))
            .collect();
        running.into_iter().try_for_each(|thread| {
            thread
                .join()
                .map_err(|_| anyhow!("a hashing thread broke down"))?
        })
    })?;
    Ok(shares)
}

fn submit_lines(connection: &MinerConnection<'_>, miner: usize, shares: &[Share]) -> String {
    let own = shares.iter().filter(|share| share.miner == miner);
    own.zip(100u64..)
        .map(|(share, id)| {
            format!(
                "{}\n",
                connection.share(id, &share.job, share.nonce, &share.hash)
            )
        })
        .collect()
}

impl LoggedIn<'_> {
    /// Sends the shares and waits for so many verdicts, which all must be good.
    async fn submit_all(&mut self, text: String, count: u32) -> anyhow::Result<()> {
        let Self { connection, lines } = self;
        let mut newest = None;
        let read_verdicts = async {
            let (mut line, mut left) = (Vec::new(), count);
            while left > 0 {
                line.clear();
                read_line(lines, &mut line).await?;
                let mut answer: Value =
                    serde_json::from_slice(&line).context("the pool sent what is not JSON")?;
                if answer["method"] == "job" {
                    newest = Some(answer["params"].take());
                    continue;
                }
                if answer["result"]["status"] != "OK" {
                    bail!("a good share was refused: {}", answer["error"]["message"]);
                }
                left -= 1;
            }
            Ok(())
        };
        tokio::try_join!(read_verdicts, connection.send_text(&text))?;
        // The next round's shares are for the newest block.
        match newest {
            Some(job) => connection.take_job(&job, Instant::now()).await,
            None => Ok(()),
        }
    }
}
