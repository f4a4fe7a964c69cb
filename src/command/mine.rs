//! `headframe mine`: our own RandomX worker at any pool, for chains that stock miners cannot hash.
//!
//! An OpenSY pool names an algorithm of its own and a place of the nonce that XMRig does not know,
//! so it needs a miner that does.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use headframe_stratum::miner::endpoint::PoolEndpoint;
use headframe_stratum::miner::{Miner, MinerConfig, MinerEvent, MinerHandle, MinerJob, MinerStats};
use headframe_stratum::randomx::page_report::PageReport;
use headframe_stratum::randomx::plan::ModeSetting;
use headframe_stratum::randomx::{Mode, RandomxSettings, Seeds, pages};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Command;
use super::duration::duration;
use crate::service::stop_signal;

/// Between status lines.
const STATUS: Duration = Duration::from_secs(10);
/// Characters of a pool's words that are shown.
const MAX_WORDS: usize = 300;

/// Mine with RandomX at a pool: Monero's, or OpenSY's, which stock miners cannot hash.
#[derive(Debug, clap::Parser)]
#[command(name = "mine")]
pub struct Mine {
    /// The pool, as HOST:PORT, or stratum+ssl://HOST:PORT with TLS; #FINGERPRINT after it pins the
    /// pool's certificate. Given more than once, the later ones are used while the first is away.
    #[arg(long, required = true)]
    pool: Vec<PoolEndpoint>,
    /// Whom the work pays, as ADDRESS.WORKER; ADDRESS.WORKER+DIFFICULTY asks for a fixed
    /// difficulty.
    #[arg(long)]
    user: String,
    /// The pool's password; most want x.
    #[arg(long, default_value = "x")]
    pass: String,
    /// The worker's name, when it is not in --user.
    #[arg(long)]
    rigid: Option<String>,
    /// Hashing threads; all cores when absent.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// By how much the hashing threads are nicer than other programs.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..20))]
    nice: i32,
    /// How much memory to trade for speed.
    #[arg(long, value_enum, default_value_t = Memory::Auto)]
    mode: Memory,
    /// Stop after this long, as 90s or 5m.
    #[arg(long = "for", value_parser = duration)]
    for_: Option<Duration>,
}

/// How much memory to trade for speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Memory {
    /// Full where memory allows.
    Auto,
    /// 256 MiB a seed.
    Light,
    /// 2.3 GiB a seed, ten times faster.
    Full,
}

impl Memory {
    fn wish(self) -> ModeSetting {
        match self {
            Self::Auto => ModeSetting::Auto,
            Self::Light => ModeSetting::Light,
            Self::Full => ModeSetting::Full,
        }
    }
}

impl Command for Mine {
    // The miner logs its connection with its own address; the status line has the pool's.
    const DEFAULT_LOG: &'static str = "warn,headframe_stratum::miner=error";

    async fn run(self) -> anyhow::Result<()> {
        let started = Instant::now();
        let seeds = Arc::new(Seeds::with(&RandomxSettings {
            mode: self.mode.wish(),
            ..RandomxSettings::default()
        }));
        let threads = self.threads.map_or_else(
            || std::thread::available_parallelism().map_or(1, usize::from),
            usize::from,
        );
        let choice = seeds.choice();
        let mut pools = self.pool.into_iter();
        let pool = pools.next().context("there is no pool to mine at")?;
        println!(
            "mining at {} with {threads} threads in {} mode ({}); Ctrl-C ends",
            pool,
            choice.mode.as_str(),
            choice.reason
        );
        let config = MinerConfig {
            pool: pool.to_string(),
            login: self.user,
            pass: self.pass,
            rigid: self.rigid,
            threads,
        };
        let (miner, handle) = Miner::new(config, seeds.clone());
        let miner = miner.with_fallbacks(pools.collect()).with_nice(self.nice);
        let (miner, events) = miner.with_events();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(miner.run(stop.clone()));
        let (builder, stopped) = (seeds.clone(), stop.clone());
        tasks.spawn(async move {
            builder.build_datasets(stopped).await;
            Ok(())
        });
        let end = async {
            match self.for_ {
                Some(length) => tokio::time::sleep(length).await,
                None => std::future::pending().await,
            }
        };
        let mut show = Show {
            seeds,
            handle: handle.clone(),
            job: None,
            admitted: false,
            pages_of: None,
        };
        let ended = tokio::select! {
            () = end => Ok(()),
            _ = stop_signal() => Ok(()),
            Some(ended) = tasks.join_next() => ended
                .map_err(anyhow::Error::from)
                .and_then(|ended| ended.context("cannot start mining")),
            ended = show.run(events) => ended,
        };
        stop.cancel();
        tokio::select! {
            () = async { while tasks.join_next().await.is_some() {} } => {}
            _ = stop_signal() => {}
        }
        say(&summary(&handle.stats(), started));
        ended
    }
}

/// What was mined, in one line.
fn summary(stats: &MinerStats, started: Instant) -> String {
    format!(
        "{} hashes in {} s, {} shares accepted, {} rejected",
        stats.hashes,
        started.elapsed().as_secs(),
        stats.accepted,
        stats.rejected
    )
}

/// What is shown, and what is known for it.
struct Show {
    seeds: Arc<Seeds>,
    handle: MinerHandle,
    /// The work in hand; none without a login.
    job: Option<MinerJob>,
    /// Whether the pool has ever let us in; before that a refusal for good is the end, because it
    /// is most likely a mistyped login.
    admitted: bool,
    /// The mode whose pages of memory were shown.
    pages_of: Option<Mode>,
}

impl Show {
    /// Tells what happens, and a status line now and then, for ever or until the first login is
    /// refused for good.
    async fn run(&mut self, mut events: mpsc::Receiver<MinerEvent>) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + STATUS, STATUS);
        let mut before = (Instant::now(), 0);
        loop {
            tokio::select! {
                event = events.recv() => match event {
                    Some(event) => self.hear(event)?,
                    // The miner itself has ended, which its task tells.
                    None => std::future::pending().await,
                },
                _ = ticks.tick() => {
                    let stats = self.handle.stats();
                    let rate = (stats.hashes - before.1) as f64 / before.0.elapsed().as_secs_f64();
                    before = (Instant::now(), stats.hashes);
                    self.status(&status(rate, &stats, self.job.as_ref()));
                    self.show_pages();
                }
            }
        }
    }

    fn hear(&mut self, event: MinerEvent) -> anyhow::Result<()> {
        match event {
            MinerEvent::LoggedIn { pool, job } => {
                say(&format!(
                    "logged in at {pool}: {} at difficulty {}",
                    shown(&job.algo),
                    job.difficulty
                ));
                self.admitted = true;
                self.work(job);
            }
            MinerEvent::Job(job) => self.work(job),
            MinerEvent::Refused {
                pool,
                reason,
                for_good,
            } => {
                let said = format!("the pool {pool} refused the login: {}", shown(&reason));
                if for_good && !self.admitted {
                    bail!(said);
                }
                say(&format!("{said}; trying again"));
                self.job = None;
            }
            MinerEvent::Lost { pool, reason } => {
                say(&format!(
                    "no connection to {pool}: {}; trying again",
                    shown(&reason)
                ));
                self.job = None;
            }
        }
        Ok(())
    }

    fn work(&mut self, job: MinerJob) {
        self.seeds.request(job.seed, job.next_seed);
        self.job = Some(job);
    }

    /// Says once which pages RandomX got for its cache, and once more when it has its dataset.
    fn show_pages(&mut self) {
        let Some(seed) = self.job.as_ref().map(|job| job.seed) else {
            return;
        };
        let mode = if self.seeds.is_full(&seed) {
            Mode::Full
        } else {
            Mode::Light
        };
        if !self.seeds.is_prepared(&seed) || self.pages_of == Some(mode) {
            return;
        }
        self.pages_of = Some(mode);
        let pages = pages::report();
        say(&format!("RandomX has {pages}"));
        if pages.is_slow() {
            let advice = PageReport::advice();
            say(&format!(
                "small pages cost about a third of the speed; {advice}"
            ));
        }
    }

    fn status(&self, line: &str) {
        let mut out = std::io::stdout();
        // A closed pipe must not end the mining.
        let _ = if out.is_terminal() {
            write!(out, "\r\x1b[K{line}")
        } else {
            writeln!(out, "{line}")
        };
        let _ = out.flush();
    }
}

fn status(rate: f64, stats: &MinerStats, job: Option<&MinerJob>) -> String {
    let place = match job {
        Some(job) => {
            let height = job
                .height
                .map(|height| format!(" · height {height}"))
                .unwrap_or_default();
            format!("difficulty {}{height}", job.difficulty)
        }
        None => "no connection".to_owned(),
    };
    format!(
        "{rate:.1} H/s · accepted {} · rejected {} · {place}",
        stats.accepted, stats.rejected
    )
}

/// A stranger's words must not steer the terminal that they are shown on.
fn shown(words: &str) -> String {
    words
        .chars()
        .take(MAX_WORDS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// A line that stays; on a terminal it takes the place of the status line.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let clear = if out.is_terminal() { "\r\x1b[K" } else { "" };
    // A closed pipe must not end the mining.
    let _ = writeln!(out, "{clear}{line}");
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_s_words_cannot_steer_a_terminal() {
        assert_eq!(shown("no\u{1b}[2J such wallet"), "no [2J such wallet");
        assert_eq!(shown(&"x".repeat(1_000)).len(), MAX_WORDS);
    }

    #[test]
    fn the_status_line_says_what_is_known() {
        let stats = MinerStats {
            accepted: 3,
            rejected: 1,
            ..MinerStats::default()
        };
        assert_eq!(
            status(12.34, &stats, None),
            "12.3 H/s · accepted 3 · rejected 1 · no connection"
        );
        let job = MinerJob {
            algo: "rx/0".to_owned(),
            height: Some(7),
            difficulty: 50,
            seed: [0; 32],
            next_seed: None,
        };
        assert!(status(0.0, &stats, Some(&job)).ends_with("difficulty 50 · height 7"));
        assert!(
            status(
                0.0,
                &stats,
                Some(&MinerJob {
                    height: None,
                    ..job
                })
            )
            .ends_with("difficulty 50")
        );
    }
}
