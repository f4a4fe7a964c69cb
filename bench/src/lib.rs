//! Load generators: made-up shares for a stream, scripted miners for a pool, and workers for a
//! CoopMine coordinator.
//!
//! They are a package of their own, because they measure the product and are no part of it: neither
//! `cargo build` nor `make run` builds them, `make bench` and the tests do.

use clap::{Parser, Subcommand};
use serde_json::Value;

pub mod coop;
pub mod shares;
pub mod stratum;

/// Puts load on a Headframe installation and prints what it measured as one line of JSON.
#[derive(Debug, Clone, Parser)]
#[command(name = "headframe-load", version)]
pub struct Cli {
    /// Which load.
    #[command(subcommand)]
    pub load: Load,
}

/// A kind of load.
#[derive(Debug, Clone, Subcommand)]
pub enum Load {
    /// Publish made-up shares as fast as the stream takes them; never on a stream that real money
    /// depends on.
    Shares(shares::SharesLoad),
    /// Connect many scripted miners to a pool and measure logins, jobs, answers and the pool's
    /// memory.
    Stratum(stratum::StratumLoad),
    /// Connect many workers that hash nothing to a CoopMine coordinator whose pool this is, and
    /// measure jobs, memory and how fast shares are verified.
    Coop(coop::CoopLoad),
}

impl Load {
    /// Runs the load to its end; what was measured.
    pub async fn run(self) -> anyhow::Result<Value> {
        match self {
            Self::Shares(load) => shares::run(load).await,
            Self::Stratum(load) => stratum::run(load).await,
            Self::Coop(load) => coop::run(load).await,
        }
    }
}
