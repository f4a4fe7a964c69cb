//! The `coopmine` binary: coordinator, worker, certificates and a measurement.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use headframe_coopmine::certs::Certs;
use headframe_coopmine::coordinator::Coordinator;
use headframe_coopmine::standalone::{StandaloneConfig, mine};
use headframe_coopmine::worker::Worker;
use headframe_stratum::randomx::plan::ModeSetting;
use headframe_stratum::randomx::{RandomxSettings, vectors};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use flags::{CoordinatorFlags, WorkerFlags, mode};

mod flags;
mod hash_rate;

/// Many machines, one miner.
#[derive(Parser)]
#[command(name = "coopmine", version)]
struct Program {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Subcommand)]
enum Subcommands {
    /// Mine at a pool with the workers that come.
    Coordinator(CoordinatorFlags),
    /// Hash for a coordinator, or with --pool at a pool without one.
    Worker(WorkerFlags),
    /// Measure what this machine hashes, without a pool: one line of JSON.
    Hash(HashFlags),
    /// Make the certificates that coordinator and workers know each other by.
    Certs(CertsFlags),
}

#[derive(Args)]
struct HashFlags {
    /// Hashing threads; 0 is all cores.
    #[arg(long, default_value_t = 0, env = "COOPMINE_THREADS")]
    threads: usize,
    /// auto, full (2.3 GiB) or light (256 MiB).
    #[arg(long, default_value = "auto", value_parser = mode)]
    mode: ModeSetting,
    /// For how long.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Use ordinary pages of memory.
    #[arg(long)]
    no_huge_pages: bool,
    /// First compare the hashes that RandomX publishes, in light mode, as a test of this build.
    #[arg(long)]
    check: bool,
}

#[derive(Args)]
struct CertsFlags {
    /// Where they are kept.
    #[arg(long, default_value = "certs", global = true)]
    folder: PathBuf,
    /// For how many days they are good.
    #[arg(
        long,
        default_value_t = 825,
        global = true,
        allow_negative_numbers = true
    )]
    days: i64,
    #[command(subcommand)]
    what: CertsOf,
}

#[derive(Subcommand)]
enum CertsOf {
    /// The authority, and the coordinator's pair; names are those workers connect to.
    Server {
        /// The coordinator's host names and addresses.
        hosts: Vec<String>,
    },
    /// A worker's pair.
    Worker {
        /// The worker's id.
        id: String,
    },
    /// Take a worker's certificate back: the list for the coordinators, and way for a new pair.
    Revoke {
        /// The worker's id.
        id: String,
    },
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("cannot start the program's threads")?;
    let ended = runtime.block_on(run());
    // RandomX does not stop in the middle of a cache, and nobody needs it any more.
    runtime.shutdown_background();
    ended
}

async fn run() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let (mut ends, mut breaks) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = ends.recv() => {}
            _ = breaks.recv() => {}
        }
        stopped.cancel();
    });
    match Program::parse().command {
        Subcommands::Coordinator(flags) => coordinate(flags, stop).await,
        Subcommands::Worker(flags) => work(flags, stop).await,
        Subcommands::Hash(flags) => hash(&flags, stop).await,
        Subcommands::Certs(flags) => make_certs(&flags),
    }
}

async fn coordinate(flags: CoordinatorFlags, stop: CancellationToken) -> anyhow::Result<()> {
    let config = flags.configuration(&|name| std::env::var(name).ok())?;
    let coordinator = Coordinator::bind(config).await?;
    let (workers, pages) = coordinator.addresses()?;
    // Whoever starts it on free ports reads them here.
    println!("workers connect to {workers}; pages, REST and metrics are at http://{pages}");
    coordinator.run(stop).await.context("the coordinator ended")
}

async fn work(flags: WorkerFlags, stop: CancellationToken) -> anyhow::Result<()> {
    let config = flags.configuration(&|name| std::env::var(name).ok())?;
    if config.pool.is_some() {
        let config = StandaloneConfig::of_worker(config)?;
        return mine(config, &stop).await.context("the worker ended");
    }
    Worker::new(config)?
        .run(stop)
        .await
        .context("the worker ended")
}

async fn hash(flags: &HashFlags, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = RandomxSettings {
        mode: flags.mode,
        huge_pages: !flags.no_huge_pages,
        // As a worker, whatever it hashes on.
        build_threads: 0,
    };
    if flags.check {
        tokio::task::spawn_blocking(vectors::check).await??;
    }
    let mut measured = hash_rate::measure(settings, flags.threads, flags.seconds, stop).await?;
    if flags.check {
        measured["checked_hashes"] = vectors::COUNT.into();
    }
    println!("{measured}");
    Ok(())
}

fn make_certs(flags: &CertsFlags) -> anyhow::Result<()> {
    let certs = Certs::new(&flags.folder);
    if certs.authority()? {
        println!(
            "made the authority {}",
            flags.folder.join("ca.crt").display()
        );
    }
    let made = match &flags.what {
        CertsOf::Server { hosts } => certs.server(hosts, flags.days)?,
        CertsOf::Worker { id } => certs.worker(id, flags.days)?,
        CertsOf::Revoke { id } => {
            let list = certs.revoke(id)?;
            println!(
                "made {}; a coordinator whose grpc.tls.crl it is reads it within seconds",
                list.display()
            );
            return Ok(());
        }
    };
    println!("made {}, and its key beside it", made.display());
    Ok(())
}
