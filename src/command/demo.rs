//! `headframe demo`: the arguments of the demo, which itself is in `crate::demo`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Command;
use super::duration::duration;
use crate::demo::{self, DemoOptions};

/// Run everything on real parts: nats-server, monerod on a private chain, the pool, one miner,
/// pipelines and SQL.
#[derive(Debug, clap::Parser)]
#[command(name = "demo")]
pub struct Demo {
    /// Stop after this long, as 90s or 5m, and report; exit code 0 only if every stage produced
    /// rows.
    #[arg(long = "for", value_parser = duration)]
    for_: Option<Duration>,
    /// Where everything is kept; a later demo goes on from there.
    #[arg(long, default_value = "headframe-demo")]
    data: PathBuf,
    /// Where the SQL API listens.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Where miners connect.
    #[arg(long, default_value = "127.0.0.1:3333")]
    stratum: SocketAddr,
    /// Where the controller of the simulated mine has its pages.
    #[arg(long, default_value = "127.0.0.1:5000")]
    site: SocketAddr,
    /// Let the utility of the simulated mine ask it once a minute to draw less.
    #[arg(long)]
    curtail: bool,
    /// Hashes a block costs on the private chain; when absent, what one thread of this machine does
    /// in about half a second, so that the first coins can be spent, and paid, soon.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    difficulty: Option<u64>,
}

impl Command for Demo {
    /// On a chain whose blocks cost half a second, a block is often found twice; the pages and the
    /// rows show it, a line for each would hide the demo's own.
    const DEFAULT_LOG: &'static str =
        "warn,async_nats=error,headframe_stratum::chain::failover=error";

    async fn run(self) -> anyhow::Result<()> {
        demo::run(DemoOptions {
            length: self.for_,
            data: self.data,
            listen: self.listen,
            stratum: self.stratum,
            site: self.site,
            curtails: self.curtail,
            difficulty: self.difficulty,
        })
        .await
    }
}
