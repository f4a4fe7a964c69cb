//! Honest miners besieged by liars, over real sockets: nobody honest is refused, banned or kept
//! waiting.
//!
//! `make test` runs a small siege and looks only at verdicts. `bench/siege.sh` runs a thousand
//! attackers against fifty miners and looks at the clock, too, by way of
//! `HEADFRAME_SIEGE=<attackers>,<honest>,<seconds>,<seconds between shares>`.

use headframe_stratum::StratumConfig;
use headframe_stratum::chain::with_nonce;
use headframe_stratum::randomx::{SeedMemory, Vm};
use rand::Rng;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::scripted::{Client, Scene, Stage, submit_line};
use crate::server::is_ok;

/// How long anybody waits for an answer: long enough for a machine that is busy otherwise.
const PATIENCE: Duration = Duration::from_secs(240);
/// Before an attacker that was thrown out comes back.
const RETURN: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Size {
    attackers: u64,
    honest: u64,
    lasts: Duration,
    /// Between an honest miner's shares.
    pace: Duration,
    measured: bool,
}

fn size() -> Size {
    let Ok(text) = std::env::var("HEADFRAME_SIEGE") else {
        return Size {
            attackers: 24,
            honest: 4,
            lasts: Duration::from_secs(2),
            pace: Duration::from_millis(500),
            measured: false,
        };
    };
    let numbers: Vec<u64> = text
        .split(',')
        .map(|number| number.parse().expect("four numbers"))
        .collect();
    let [attackers, honest, seconds, pace_s] = numbers[..] else {
        panic!("HEADFRAME_SIEGE=attackers,honest,seconds,pace")
    };
    Size {
        attackers,
        honest,
        lasts: Duration::from_secs(seconds),
        pace: Duration::from_secs(pace_s),
        measured: true,
    }
}

/// A client that keeps its job up to date.
struct Peer {
    client: Client,
    ids: u64,
}

impl Peer {
    /// Logs in from an address; `None` when the pool does not want it.
    async fn login(pool: SocketAddr, from: IpAddr, worker: &str) -> Option<Self> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        let mut client = Client::over(socket.connect(pool).await.ok()?);
        let login = json!({"id": 1, "method": "login", "params": {"login": format!("4A+1.{worker}"),
            "pass": "x"}});
        if !client.try_send(format!("{login}\n").as_bytes()).await {
            return None;
        }
        let answer = client.hear().await;
        client.job = answer["result"]["job"].clone();
        (!client.job.is_null()).then_some(Self { client, ids: 1 })
    }

    async fn send(&mut self, nonce: &str, result: &str) -> Option<u64> {
        self.ids += 1;
        let line = submit_line(self.ids, self.client.job["job_id"].as_str()?, nonce, result);
        self.client
            .try_send(format!("{line}\n").as_bytes())
            .await
            .then_some(self.ids)
    }

    /// The next answer, past new jobs; `Null` at the end, or when none comes for as long as a miner
    /// waits.
    async fn hear(&mut self) -> Value {
        loop {
            let Ok(line) = tokio::time::timeout(PATIENCE, self.client.hear()).await else {
                return Value::Null;
            };
            if line["method"] != "job" {
                return line;
            }
            self.client.job = line["params"].clone();
        }
    }
}

/// Shares that are real: the hash of the blob with this nonce.
fn shares(memory: &Arc<SeedMemory>, blob: &[u8], count: usize) -> Vec<(String, String)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let hashes = |first: usize| {
        let machine = Vm::new(memory).unwrap();
        let hash = |number: usize| {
            let nonce = (number as u32).to_be_bytes();
            (
                hex::encode(nonce),
                hex::encode(machine.hash(&with_nonce(blob.to_vec(), 39, nonce)).unwrap()),
            )
        };
        (first..count)
            .step_by(threads)
            .map(hash)
            .collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || hashes(first)))
            .collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap())
            .collect()
    })
}

/// Mines at its pace until told to stop; the time of each answer. Every share must be taken.
async fn mine(
    pool: SocketAddr,
    from: IpAddr,
    worker: String,
    shares: Vec<(String, String)>,
    pace: Duration,
    besieged: CancellationToken,
) -> [Vec<Duration>; 2] {
    let mut peer = Peer::login(pool, from, &worker)
        .await
        .expect("an honest miner was refused");
    let mut took = [Vec::new(), Vec::new()];
    for (nonce, result) in shares {
        let pause = rand::rng().random_range(0.0..2.0);
        // A push may come meanwhile; it waits in the socket until the next answer is read.
        rhythm(pace.mul_f64(pause)).await;
        let phase = usize::from(besieged.is_cancelled());
        let sent = Instant::now();
        let id = peer
            .send(&nonce, &result)
            .await
            .expect("an honest miner was thrown out");
        let answer = peer.hear().await;
        assert!(is_ok(&answer) && answer["id"] == id, "{worker}: {answer}");
        took[phase].push(sent.elapsed());
    }
    took
}

/// The rhythm of miners and liars: part of the load, not a wait for something to happen.
async fn rhythm(length: Duration) {
    tokio::time::interval_at(tokio::time::Instant::now() + length, Duration::MAX)
        .tick()
        .await;
}

/// Lies at full rate: always as many shares under way as the pool takes, and back again when thrown
/// out.
async fn attack(
    pool: SocketAddr,
    from: IpAddr,
    number: u64,
    stop: CancellationToken,
    lies: Arc<AtomicU64>,
) {
    while !stop.is_cancelled() {
        if let Some(mut peer) = Peer::login(pool, from, &format!("liar{number}")).await {
            let mut nonce = 0u32;
            let mut lie = async |peer: &mut Peer| {
                nonce += 1;
                let random: [u8; 32] = rand::rng().random();
                peer.send(&format!("{nonce:08x}"), &hex::encode(random))
                    .await
                    .is_some()
            };
            let mut goes_on = true;
            for _ in 0..16 {
                goes_on &= lie(&mut peer).await;
            }
            while goes_on && !stop.is_cancelled() {
                goes_on = !peer.hear().await.is_null() && lie(&mut peer).await;
                lies.fetch_add(1, Relaxed);
            }
        }
        tokio::select! {
            () = stop.cancelled() => {}
            () = rhythm(RETURN) => {}
        }
    }
}

/// All liars on a thread of their own, so that what they do is not done on the pool's threads.
fn besiege(
    pool: SocketAddr,
    attackers: u64,
    stop: CancellationToken,
    lies: Arc<AtomicU64>,
) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut all = JoinSet::new();
            for number in 0..attackers {
                let from = IpAddr::V4(Ipv4Addr::from_bits(0x7F02_0001 + ((number as u32) << 8)));
                all.spawn(attack(pool, from, number, stop.clone(), lies.clone()));
            }
            while all.join_next().await.is_some() {}
        });
    })
}

fn percentile(took: &mut [Duration], hundredths: usize) -> f64 {
    took.sort_unstable();
    took[(took.len() * hundredths / 100).min(took.len() - 1)].as_secs_f64() * 1000.0
}

fn config() -> StratumConfig {
    let mut config = crate::scripted::config();
    config.start_difficulty = 1;
    config.defence.allow = vec![];
    config.max_sessions = 5_000;
    config.template_refresh_s = 3600;
    // The shares are found beforehand, for one difficulty; a machine that is busy otherwise must
    // not change it.
    config.defence.verify.overload_ms = 3_600_000;
    config
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn honest_miners_do_not_notice_the_liars() {
    let size = size();
    let stage = Stage::open(Scene::default(), config()).await;
    let (besieged, stop) = (CancellationToken::new(), CancellationToken::new());
    let first = Peer::login(stage.address, IpAddr::V4(Ipv4Addr::LOCALHOST), "first")
        .await
        .unwrap();
    let blob = hex::decode(first.client.job["blob"].as_str().unwrap()).unwrap();
    drop(first);
    // Quiet for a third of the time, besieged for the rest.
    let each = (size.lasts.as_secs_f64() / size.pace.as_secs_f64()).ceil() as usize + 1;
    let memory = stage.seeds.memory([0x41; 32]).await.unwrap();
    let all =
        tokio::task::spawn_blocking(move || shares(&memory, &blob, each * size.honest as usize))
            .await
            .unwrap();
    let mut miners = JoinSet::new();
    for (number, shares) in all.chunks(each).enumerate() {
        let from = IpAddr::V4(Ipv4Addr::new(127, 1, number as u8, 1));
        miners.spawn(mine(
            stage.address,
            from,
            format!("honest{number}"),
            shares.to_vec(),
            size.pace,
            besieged.clone(),
        ));
    }
    // Every miner's first share is taken before the liars come.
    stage
        .until("the first shares", |stage| {
            stage.stats.snapshot().accepted >= size.honest
        })
        .await;
    rhythm(size.lasts / 3).await;
    besieged.cancel();
    let lies = Arc::new(AtomicU64::new(0));
    let attackers = besiege(stage.address, size.attackers, stop.clone(), lies.clone());
    let mut took = [Vec::new(), Vec::new()];
    while let Some(mined) = miners.join_next().await {
        for (all, of) in took.iter_mut().zip(mined.unwrap()) {
            all.extend(of);
        }
    }
    let banned = |stage: &Stage| {
        stage
            .facts
            .bans
            .lock()
            .unwrap()
            .iter()
            .filter(|ban| ban.action == "ban")
            .count() as u64
    };
    // In the small siege every liar is found out; whoever still waits in the great one is in the
    // report.
    if !size.measured {
        stage
            .until("the liars' bans", |stage| banned(stage) >= size.attackers)
            .await;
    }
    stop.cancel();
    tokio::task::spawn_blocking(move || attackers.join().unwrap())
        .await
        .unwrap();
    let stats = stage.stats.snapshot();
    if size.measured {
        report(size, &stage, took, lies.load(Relaxed), banned(&stage));
    }
    // Honest miners come from 127.1.x.1, liars from 127.2.x.1 and on.
    let honest_banned = stage
        .facts
        .bans
        .lock()
        .unwrap()
        .iter()
        .filter(|ban| ban.ip.starts_with("127.1."))
        .count();
    assert_eq!(honest_banned, 0, "{:?}", stage.facts.bans.lock().unwrap());
    assert_eq!(
        stats.accepted,
        each as u64 * size.honest,
        "an honest share was not taken"
    );
    assert!(stats.invalid >= 4 * banned(&stage), "{stats:?}");
    stage.close().await;
}

fn report(size: Size, stage: &Stage, mut took: [Vec<Duration>; 2], lies: u64, banned: u64) {
    let stats = stage.stats.snapshot();
    println!(
        "{} attackers against {} honest miners, {} s",
        size.attackers,
        size.honest,
        size.lasts.as_secs()
    );
    for (what, took) in ["quiet", "attacked"].iter().zip(&mut took) {
        let (count, p50, p99) = (took.len(), percentile(took, 50), percentile(took, 99));
        println!(
            "{what:>9}: {count:>5} honest shares, submit to answer p50 {p50:.1} ms, p99 {p99:.1} ms"
        );
    }
    println!(
        "     lies: {lies} answered, {} hashed or refused for nothing, {} not looked at; {banned} \
         workers banned, no honest one",
        stats.invalid, stats.busy
    );
    let (quiet, attacked) = (percentile(&mut took[0], 99), percentile(&mut took[1], 99));
    println!("    ratio: {:.2} (must be below 2)", attacked / quiet);
    assert!(attacked < 2.0 * quiet, "the siege was noticed");
}
