//! `headframe mine`: our own RandomX worker at any pool, for chains that stock miners cannot hash.
//!
//! An OpenSY pool names an algorithm of its own and a place of the nonce that XMRig does not know,
//! so it needs a miner that does.

use std::time::Duration;

use clap::ValueEnum;
use headframe_coopmine::config::MiningSection;
use headframe_coopmine::standalone::{StandaloneConfig, mine};
use headframe_stratum::miner::endpoint::PoolEndpoint;
use headframe_stratum::randomx::plan::ModeSetting;
use tokio_util::sync::CancellationToken;

use super::Command;
use super::duration::duration;
use crate::service::stop_signal;

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
        let config = StandaloneConfig {
            pools: self.pool,
            login: self.user,
            password: self.pass,
            rig: self.rigid,
            mining: MiningSection {
                threads: self.threads.map_or(0, usize::from),
                mode: self.mode.wish(),
                nice: self.nice,
                ..MiningSection::default()
            },
        };
        let stop = CancellationToken::new();
        let end = async {
            match self.for_ {
                Some(length) => tokio::time::sleep(length).await,
                None => std::future::pending().await,
            }
        };
        let mut mining = std::pin::pin!(mine(config, &stop));
        tokio::select! {
            ended = &mut mining => return ended.map_err(anyhow::Error::from),
            () = end => {}
            _ = stop_signal() => {}
        }
        stop.cancel();
        tokio::select! {
            ended = mining => ended.map_err(anyhow::Error::from),
            // Whoever says it twice does not wait.
            _ = stop_signal() => Ok(()),
        }
    }
}
