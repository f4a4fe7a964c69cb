//! One scripted miner: it logs in as XMRig does, listens, and sends shares if it is an active one.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use headframe_stratum::chain::with_nonce;
use headframe_stratum::difficulty::{miner_submits, target_from_hex};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::figures::Event;
use super::hashers::Hashers;
use super::tell;

/// Where XMRig writes the nonce.
pub const NONCE_AT: usize = 39;
/// A login line is a kilobyte, a job line half of one.
const BUFFER: usize = 1024;

/// What all miners share.
pub struct Shared {
    pub pool: SocketAddr,
    pub sources: u32,
    pub wallet: String,
    pub difficulty: u64,
    pub keepalive: Duration,
    /// Between two shares of one active miner.
    pub share_every: Duration,
    /// Whether a new height is answered with a share at once.
    pub eager: bool,
    pub hashers: Hashers,
    /// How many log in at once.
    pub gate: Semaphore,
    /// Gets a permit for each miner that is in, or was not let in.
    pub settled: Arc<Semaphore>,
    /// Those that were not let in.
    pub turned_away: AtomicUsize,
    pub events: mpsc::Sender<Event>,
    pub stop: CancellationToken,
}

/// A miner, to be run.
pub struct Miner {
    shared: Arc<Shared>,
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

type Hashing<'a> = Pin<Box<dyn Future<Output = Option<Found>> + Send + 'a>>;

/// A share, if it is good enough.
struct Found {
    job: String,
    nonce: [u8; 4],
    hash: [u8; 32],
    good: bool,
}

/// A miner's end of its connection.
pub struct Talk<'a> {
    miner: &'a Miner,
    out: OwnedWriteHalf,
    session: String,
    pub job: Option<Job>,
    height: u64,
    /// A new height began, and no share of it was sent yet.
    fresh: bool,
    next_id: u64,
    /// When shares were sent, and of which height.
    sent: HashMap<u64, (Instant, u64)>,
}

impl Miner {
    pub fn new(shared: Arc<Shared>, number: usize, active: bool) -> Self {
        Self {
            shared,
            number,
            active,
        }
    }

    /// To the end of the run, or of the connection.
    pub async fn run(self) {
        let mut inside = false;
        let Err(error) = self.mine(&mut inside).await else {
            return;
        };
        if !inside {
            self.shared.turned_away.fetch_add(1, Relaxed);
            self.shared.settled.add_permits(1);
        }
        tell(&self.shared.events, Event::Lost(format!("{error:#}"))).await;
    }

    async fn mine(&self, inside: &mut bool) -> anyhow::Result<()> {
        let shared = &self.shared;
        let place = tokio::select! {
            place = shared.gate.acquire() => place?,
            () = shared.stop.cancelled() => return Ok(()),
        };
        let began = Instant::now();
        let (mut lines, out) = self.connect().await?;
        let mut talk = self.talk(out);
        talk.login(&mut lines).await?;
        tell(&shared.events, Event::LoggedIn(began.elapsed())).await;
        *inside = true;
        shared.settled.add_permits(1);
        drop(place);
        talk.run(&mut lines).await
    }

    /// The sending end of a connection.
    pub fn talk(&self, out: OwnedWriteHalf) -> Talk<'_> {
        let (session, sent) = (String::new(), HashMap::new());
        Talk {
            miner: self,
            out,
            session,
            job: None,
            height: 0,
            fresh: false,
            next_id: 2,
            sent,
        }
    }

    pub async fn connect(&self) -> anyhow::Result<(BufReader<OwnedReadHalf>, OwnedWriteHalf)> {
        let socket = TcpSocket::new_v4()?;
        if self.shared.sources > 1 {
            // 127.a.b.1: a loopback network of its own for each source.
            let source = self.number as u32 % self.shared.sources;
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
            .connect(self.shared.pool)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;
        let (read, write) = stream.into_split();
        Ok((BufReader::with_capacity(BUFFER, read), write))
    }
}

/// The next line without its end; an error when there is none.
pub async fn next(lines: &mut BufReader<OwnedReadHalf>, line: &mut Vec<u8>) -> anyhow::Result<()> {
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

impl Talk<'_> {
    pub async fn login(&mut self, lines: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<()> {
        let shared = &self.miner.shared;
        let login = format!(
            "{}.load-{}+{}",
            shared.wallet, self.miner.number, shared.difficulty
        );
        let params =
            json!({"login": login, "pass": "x", "agent": "headframe-load/1.0", "algo": ["rx/0"]});
        self.send(&json!({"id": 1, "jsonrpc": "2.0", "method": "login", "params": params}))
            .await?;
        let mut line = Vec::new();
        next(lines, &mut line).await?;
        let said: Value =
            serde_json::from_slice(&line).context("the answer to the login is not JSON")?;
        let result = &said["result"];
        let session = result["id"]
            .as_str()
            .ok_or_else(|| anyhow!("the login was refused: {}", said["error"]["message"]))?;
        session.clone_into(&mut self.session);
        self.take(&result["job"], Instant::now()).await
    }

    async fn run(&mut self, lines: &mut BufReader<OwnedReadHalf>) -> anyhow::Result<()> {
        let shared = self.miner.shared.clone();
        // Everyone's clock begins elsewhere, so that not all speak at once.
        let mut keepalive = every(shared.keepalive, self.miner.number);
        let mut share = every(shared.share_every, self.miner.number);
        let mut hashing: Option<Hashing> = None;
        let mut line = Vec::new();
        loop {
            tokio::select! {
                // A line first: thousands come at the same moment, and looking at anything else
                // then would delay what is measured.
                biased;
                read = next(lines, &mut line) => {
                    read?;
                    self.hear(&line, Instant::now()).await?;
                    line.clear();
                    if shared.eager && self.miner.active && std::mem::take(&mut self.fresh) {
                        hashing = self.hash(&shared);
                    }
                }
                () = shared.stop.cancelled(), if self.sent.is_empty() => return Ok(()),
                _ = share.tick(), if self.miner.active && hashing.is_none() && !shared.stop.is_cancelled() => {
                    hashing = self.hash(&shared);
                }
                found = async { match hashing.as_mut() { Some(work) => work.await, None => std::future::pending().await } } => {
                    hashing = None;
                    self.submit(found).await?;
                }
                _ = keepalive.tick() => {
                    let id = self.id();
                    self.send(&json!({"id": id, "jsonrpc": "2.0", "method": "keepalived", "params": {"id": self.session}})).await?;
                }
            }
        }
    }

    /// A line, which came at this moment.
    async fn hear(&mut self, line: &[u8], at: Instant) -> anyhow::Result<()> {
        // Thousands hear of a job at the same moment; parsing for all of them would delay what is
        // measured.
        if !self.miner.active && self.height > 0 && self.same_height(line) {
            return Ok(());
        }
        let said: Value = serde_json::from_slice(line).context("the pool sent what is not JSON")?;
        if said["method"] == "job" {
            return self.take(&said["params"], at).await;
        }
        let Some((sent, height)) = said["id"].as_u64().and_then(|id| self.sent.remove(&id)) else {
            return Ok(());
        };
        let event = match said["error"]["message"].as_str() {
            None => Event::Answered {
                took: at.duration_since(sent),
                height,
                at,
            },
            Some(words) => Event::Refused(words.to_owned()),
        };
        tell(&self.miner.shared.events, event).await;
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

    async fn take(&mut self, job: &Value, at: Instant) -> anyhow::Result<()> {
        let height = job["height"].as_u64().context("a job has no height")?;
        let before = std::mem::replace(&mut self.height, height);
        // The first job comes with the login and is news to nobody.
        if before != 0 && before != height {
            tell(&self.miner.shared.events, Event::Job { height, at }).await;
            self.fresh = true;
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
            tell(&self.miner.shared.events, Event::Seed { height }).await;
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

    fn hash<'a>(&mut self, shared: &'a Shared) -> Option<Hashing<'a>> {
        let job = self.job.as_mut()?;
        let nonce = job.next_nonce.to_le_bytes();
        job.next_nonce += 1;
        let (id, seed, target) = (job.id.clone(), job.seed, job.target);
        let blob = with_nonce(job.blob.clone(), NONCE_AT, nonce);
        Some(Box::pin(async move {
            let hash = shared.hashers.hash(seed, blob).await?;
            Some(Found {
                job: id,
                nonce,
                hash,
                good: miner_submits(&hash, target),
            })
        }))
    }

    async fn submit(&mut self, found: Option<Found>) -> anyhow::Result<()> {
        let Some(found) = found.filter(|found| found.good) else {
            return Ok(());
        };
        if self.job.as_ref().is_none_or(|job| job.id != found.job) {
            tell(&self.miner.shared.events, Event::Outrun).await;
            return Ok(());
        }
        let id = self.id();
        self.sent.insert(id, (Instant::now(), self.height));
        let line = self.share(id, &found.job, found.nonce, &found.hash);
        self.send(&line).await
    }

    /// The request that hands a share in.
    pub fn share(&self, id: u64, job: &str, nonce: [u8; 4], hash: &[u8; 32]) -> Value {
        let params = json!({"id": self.session, "job_id": job, "nonce": encode(&nonce), "result": encode(hash)});
        json!({"id": id, "jsonrpc": "2.0", "method": "submit", "params": params})
    }

    fn id(&mut self) -> u64 {
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

fn every(period: Duration, number: usize) -> Interval {
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
