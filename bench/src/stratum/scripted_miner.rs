//! One scripted miner: it logs in as XMRig does, listens, and sends shares if it is an active one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use headframe_stratum::chain::with_nonce;
use headframe_stratum::work::difficulty::{miner_submits, target_from_hex};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::hashing::HashingThreads;
use super::measurements::Event;
use super::record;

/// Where XMRig writes the nonce.
pub const NONCE_AT: usize = 39;
/// A login line is a kilobyte, a job line half of one.
const BUFFER: usize = 1024;

/// What all miners share.
pub struct LoadContext {
    pub pool: SocketAddr,
    pub sources: u32,
    pub wallet: String,
    pub difficulty: u64,
    pub keepalive: Duration,
    /// Between two shares of one active miner.
    pub share_every: Duration,
    /// Whether a new height is answered with a share at once.
    pub eager: bool,
    pub hashing: HashingThreads,
    /// How many log in at once.
    pub login_permits: Semaphore,
    /// Gets a permit for each miner that is in, or was not let in.
    pub login_finished: Arc<Semaphore>,
    /// Those that were not let in.
    pub refused_logins: AtomicUsize,
    pub events: mpsc::Sender<Event>,
    pub stop: CancellationToken,
}

/// A miner, to be run.
pub struct ScriptedMiner {
    context: Arc<LoadContext>,
    number: usize,
    active: bool,
}

pub struct Job {
    pub id: String,
    pub blob: Vec<u8>,
    pub seed: [u8; 32],
    target: u64,
    pub next_nonce: u32,
}

type Hashing<'a> = Pin<Box<dyn Future<Output = Option<HashedShare>> + Send + 'a>>;

/// A share, if it is good enough.
struct HashedShare {
    job: String,
    nonce: [u8; 4],
    hash: [u8; 32],
    good: bool,
}

/// A miner's end of its connection.
pub struct MinerConnection<'a> {
    miner: &'a ScriptedMiner,
    out: OwnedWriteHalf,
    session: String,
    pub job: Option<Job>,
    height: u64,
    /// A new height began, and no share of it was sent yet.
    height_is_new: bool,
    next_id: u64,
    /// When shares were sent, and of which height.
    sent: HashMap<u64, (Instant, u64)>,
}

impl ScriptedMiner {
    pub fn new(context: Arc<LoadContext>, number: usize, active: bool) -> Self {
        Self {
            context,
            number,
            active,
        }
    }

    /// To the end of the run, or of the connection.
    pub async fn run(self) {
        let mut logged_in = false;
        let Err(error) = self.mine(&mut logged_in).await else {
            return;
        };
        if !logged_in {
            self.context.refused_logins.fetch_add(1, Relaxed);
            self.context.login_finished.add_permits(1);
        }
        record(&self.context.events, Event::Lost(format!("{error:#}"))).await;
    }

    async fn mine(&self, logged_in: &mut bool) -> anyhow::Result<()> {
        let context = &self.context;
        let permit = tokio::select! {
            permit = context.login_permits.acquire() => permit?,
            () = context.stop.cancelled() => return Ok(()),
        };
        let began = Instant::now();
        let (mut lines, out) = self.connect().await?;
        let mut connection = self.connection(out);
        connection.login(&mut lines).await?;
        record(&context.events, Event::LoggedIn(began.elapsed())).await;
        *logged_in = true;
        context.login_finished.add_permits(1);
        drop(permit);
        connection.run(&mut lines).await
    }

    /// The sending end of a connection.
    pub fn connection(&self, out: OwnedWriteHalf) -> MinerConnection<'_> {
        let (session, sent) = (String::new(), HashMap::new());
        MinerConnection {
            miner: self,
            out,
            session,
            job: None,
            height: 0,
            height_is_new: false,
            next_id: 2,
            sent,
        }
    }

    pub async fn connect(&self) -> anyhow::Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf)> {
        let socket = TcpSocket::new_v4()?;
        if self.context.sources > 1 {
            // 127.a.b.1: a loopback network of its own for each source.
            let source = self.number as u32 % self.context.sources;
            let from = Ipv4Addr::new(
                127,
                1 + (source / 250 % 250) as u8,
                1 + (source % 250) as u8,
                1,
            );
            socket
                .bind(SocketAddr::from((from, 0)))
                .context("cannot connect from another loopback address")?;
        }
        let stream = socket
            .connect(self.context.pool)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok((BufReader::with_capacity(BUFFER, read), write))
    }
}

/// The next line without its end; an error when there is none.
pub async fn read_line(
    lines: &mut BufReader<OwnedReadHalf>,
    line: &mut Vec<u8>,
) -> anyhow::Result<()> {
    // `read_until` goes on where it was when it was dropped half-way, as long as the buffer is
    // kept; it is emptied after use.
    let read = lines
        .read_until(b'\n', line)
        .await
        .context("reading failed")?;
    if read == 0 {
        bail!("the pool closed the connection")
    } else {
        Ok(())
    }
}

impl MinerConnection<'_> {
    pub async fn login(&mut self, lines: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<()> {
        let context = &self.miner.context;
        let login = format!(
            "{}.load-{}+{}",
            context.wallet, self.miner.number, context.difficulty
        );
        let params =
            json!({"login": login, "pass": "x", "agent": "headframe-load/1.0", "algo": ["rx/0"]});
        self.send(&json!({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}))
            .await?;
        let mut line = Vec::new();
        read_line(lines, &mut line).await?;
        let answer: Value =
            serde_json::from_slice(&line).context("the answer to the login is not JSON")?;
        let result = &answer["result"];
        let session = result["id"]
            .as_str()
            .ok_or_else(|| anyhow!("the login was refused: {}", answer["error"]["message"]))?;
        session.clone_into(&mut self.session);
        self.take_job(&result["job"], Instant::now()).await
    }

    async fn run(&mut self, lines: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<()> {
        let context = self.miner.context.clone();
        // Everyone's clock begins elsewhere, so that not all speak at once.
        let mut keepalive = staggered_interval(context.keepalive, self.miner.number);
        let mut share = staggered_interval(context.share_every, self.miner.number);
        let mut hashing: Option<Hashing> = None;
        let mut line = Vec::new();
        loop {
            tokio::select! {
                // A line first: thousands come at the same moment, and looking at anything else
                // then would delay what is measured.
                biased;
                read = read_line(lines, &mut line) => {
                    read?;
                    self.handle_line(&line, Instant::now()).await?;
                    line.clear();
                    let is_new = std::mem::take(&mut self.height_is_new);
                    if context.eager && self.miner.active && is_new {
                        hashing = self.hash(&context);
                    }
                }
                () = context.stop.cancelled(), if self.sent.is_empty() => return Ok(()),
                _ = share.tick(),
                    if self.miner.active && hashing.is_none() && !context.stop.is_cancelled() => {
                    hashing = self.hash(&context);
                }
                found = async { match hashing.as_mut() { Some(work) => work.await,
                    None => std::future::pending().await } } => {
                    hashing = None;
                    self.submit(found).await?;
                }
                _ = keepalive.tick() => {
                    let id = self.new_id();
                    self.send(&json!({"id": id, "jsonrpc": "2.0", "method": "keepalived",
                        "params": {"id": self.session}})).await?;
                }
            }
        }
    }

    /// A line, which came at this moment.
    async fn handle_line(&mut self, line: &[u8], at: Instant) -> anyhow::Result<()> {
        // Thousands hear of a job at the same moment; parsing for all of them would delay what is
        // measured.
        if !self.miner.active && self.height > 0 && self.same_height(line) {
            return Ok(());
        }
        let answer: Value =
            serde_json::from_slice(line).context("the pool sent what is not JSON")?;
        if answer["method"] == "job" {
            return self.take_job(&answer["params"], at).await;
        }
        let Some((sent, height)) = answer["id"].as_u64().and_then(|id| self.sent.remove(&id))
        else {
            return Ok(());
        };
        let event = match answer["error"]["message"].as_str() {
            None => Event::Answered {
                took: at.duration_since(sent),
                height,
                at,
            },
            Some(words) => Event::Refused(words.to_owned()),
        };
        record(&self.miner.context.events, event).await;
        Ok(())
    }

    /// Whether the line has the height that is known already, or none.
    fn same_height(&self, line: &[u8]) -> bool {
        const KEY: &[u8] = b"\"height\":";
        let Some(place) = line.windows(KEY.len()).position(|window| window == KEY) else {
            return true;
        };
        let digits = line[place + KEY.len()..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        digits.fold(0u64, |height, digit| {
            height.wrapping_mul(10) + u64::from(digit - b'0')
        }) == self.height
    }

    pub(super) async fn take_job(&mut self, job: &Value, at: Instant) -> anyhow::Result<()> {
        let height = job["height"].as_u64().context("a job has no height")?;
        let before = std::mem::replace(&mut self.height, height);
        // The first job comes with the login and is news to nobody.
        if before != 0 && before != height {
            record(&self.miner.context.events, Event::Job { height, at }).await;
            self.height_is_new = true;
        }
        if !self.miner.active {
            return Ok(());
        }
        let text = |key: &str| {
            job[key]
                .as_str()
                .with_context(|| format!("a job has no {key}"))
        };
        let mut seed = [0; 32];
        decode(text("seed_hash")?, &mut seed).context("seed_hash")?;
        if before != height && self.job.as_ref().is_some_and(|job| job.seed != seed) {
            record(&self.miner.context.events, Event::Seed { height }).await;
        }
        let mut blob = vec![0; text("blob")?.len() / 2];
        decode(text("blob")?, &mut blob).context("blob")?;
        let target = target_from_hex(text("target")?).context("a target that would crash XMRig")?;
        self.job = Some(Job {
            id: text("job_id")?.to_owned(),
            blob,
            seed,
            target,
            next_nonce: 0,
        });
        Ok(())
    }

    fn hash<'a>(&mut self, context: &'a LoadContext) -> Option<Hashing<'a>> {
        let job = self.job.as_mut()?;
        let nonce = job.next_nonce.to_le_bytes();
        job.next_nonce += 1;
        let (id, seed, target) = (job.id.clone(), job.seed, job.target);
        let blob = with_nonce(job.blob.clone(), NONCE_AT, nonce);
        Some(Box::pin(async move {
            let hash = context.hashing.hash(seed, blob).await?;
            Some(HashedShare {
                job: id,
                nonce,
                hash,
                good: miner_submits(&hash, target),
            })
        }))
    }

    async fn submit(&mut self, found: Option<HashedShare>) -> anyhow::Result<()> {
        let Some(found) = found.filter(|found| found.good) else {
            return Ok(());
        };
        if self.job.as_ref().is_none_or(|job| job.id != found.job) {
            record(&self.miner.context.events, Event::Outdated).await;
            return Ok(());
        }
        let id = self.new_id();
        self.sent.insert(id, (Instant::now(), self.height));
        let line = self.share(id, &found.job, found.nonce, &found.hash);
        self.send(&line).await
    }

    /// The request that hands a share in.
    pub fn share(&self, id: u64, job: &str, nonce: [u8; 4], hash: &[u8; 32]) -> Value {
        let params = json!({"id": self.session, "job_id": job, "nonce": encode(&nonce),
            "result": encode(hash)});
        json!({"id": id, "jsonrpc": "2.0", "method": "submit", "params": params})
    }

    fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        self.send_text(&format!("{message}\n")).await
    }

    /// Sends whole lines.
    pub async fn send_text(&mut self, text: &str) -> anyhow::Result<()> {
        self.out
            .write_all(text.as_bytes())
            .await
            .context("sending failed")
    }
}

fn staggered_interval(period: Duration, number: usize) -> Interval {
    // The golden ratio spreads any number of miners evenly over the period.
    let part = (number as f64 * 0.618_033_988_75).fract();
    let mut ticks = interval_at(
        tokio::time::Instant::now() + period.mul_f64(part),
        period.max(Duration::from_millis(1)),
    );
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Hex of exactly as many bytes.
pub fn decode(text: &str, bytes: &mut [u8]) -> anyhow::Result<()> {
    if text.len() != bytes.len() * 2 || !text.is_ascii() {
        bail!("{text:?} is not {} hex digits", bytes.len() * 2);
    }
    for (byte, place) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(&text[place..place + 2], 16)
            .with_context(|| format!("{text:?} is not hex"))?;
    }
    Ok(())
}

fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn hex_goes_both_ways() {
        let mut bytes = [0; 4];
        decode("00ff7f01", &mut bytes).unwrap();
        assert_eq!(
            (bytes, encode(&bytes).as_str()),
            ([0, 255, 127, 1], "00ff7f01")
        );
        for wrong in ["00ff7f", "00ff7f0102", "00ff7fzz", "éé7f01"] {
            assert!(decode(wrong, &mut bytes).is_err(), "{wrong}");
        }
    }
}
