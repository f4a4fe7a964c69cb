//! The `coopmine` binary: coordinator, worker, certificates and a measurement.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use headframe_coopmine::certs::Certs;
use headframe_coopmine::config::{self, CoordinatorConfig, Listen, WorkerConfig};
use headframe_coopmine::coordinator::Coordinator;
use headframe_coopmine::worker::Worker;
use headframe_stratum::randomx::RandomxSettings;
use headframe_stratum::randomx::plan::ModeSetting;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

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
    /// Hash for a coordinator.
    Worker(WorkerFlags),
    /// Measure what this machine hashes, without a pool: one line of JSON.
    Hash(HashFlags),
    /// Make the certificates that coordinator and workers know each other by.
    Certs(CertsFlags),
}

#[derive(Args)]
struct CoordinatorFlags {
    /// The configuration, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The cluster's id.
    #[arg(long, env = "COOPMINE_CLUSTER_ID")]
    cluster_id: Option<String>,
    /// The cluster's name, which the pool may show.
    #[arg(long)]
    cluster_name: Option<String>,
    /// The pool: HOST:PORT, or stratum+ssl://HOST:PORT#FINGERPRINT.
    #[arg(long, visible_alias = "pool", env = "COOPMINE_POOL_ADDRESS")]
    pool_address: Option<String>,
    /// Whom the pool pays.
    #[arg(long, visible_alias = "wallet", env = "COOPMINE_POOL_WALLET")]
    pool_wallet: Option<String>,
    /// Where workers connect: ADDRESS:PORT.
    #[arg(long, visible_alias = "grpc-addr")]
    grpc_listen: Option<Listen>,
    /// Where the dashboard, REST, metrics and the WebSocket are: ADDRESS:PORT.
    #[arg(long)]
    dashboard_listen: Option<Listen>,
}

#[derive(Args)]
struct WorkerFlags {
    /// The configuration, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The name in the worker's certificate; the machine's name when absent.
    #[arg(long)]
    worker_id: Option<String>,
    /// The name people see.
    #[arg(long)]
    worker_name: Option<String>,
    /// The coordinator: HOST:PORT.
    #[arg(long, env = "COOPMINE_COORDINATOR")]
    coordinator: Option<String>,
    /// Hashing threads; 0 is all cores.
    #[arg(long, env = "COOPMINE_THREADS")]
    threads: Option<usize>,
    /// auto, full (2.3 GiB) or light (256 MiB).
    #[arg(long, value_parser = mode)]
    mode: Option<ModeSetting>,
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

fn mode(text: &str) -> Result<ModeSetting, String> {
    match text {
        "auto" => Ok(ModeSetting::Auto),
        "full" => Ok(ModeSetting::Full),
        "light" => Ok(ModeSetting::Light),
        _ => Err("write auto, full or light".to_owned()),
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
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
    let mut config: CoordinatorConfig = config::read(flags.config.as_deref())?;
    set(&mut config.cluster.id, flags.cluster_id);
    set(&mut config.cluster.name, flags.cluster_name);
    set(&mut config.pool.address, flags.pool_address);
    let wallet = flags
        .pool_wallet
        .or_else(|| std::env::var("WALLET_ADDRESS").ok());
    set(&mut config.pool.wallet, wallet);
    set(&mut config.grpc.listen, flags.grpc_listen);
    set(&mut config.dashboard.listen, flags.dashboard_listen);
    let coordinator = Coordinator::bind(config).await?;
    let (workers, pages) = coordinator.addresses()?;
    // Whoever starts it on free ports reads them here.
    println!("workers connect to {workers}; pages, REST and metrics are at http://{pages}");
    coordinator.run(stop).await.context("the coordinator ended")
}

async fn work(flags: WorkerFlags, stop: CancellationToken) -> anyhow::Result<()> {
    let mut config: WorkerConfig = config::read(flags.config.as_deref())?;
    set(&mut config.worker.id, flags.worker_id);
    set(&mut config.worker.name, flags.worker_name);
    set(&mut config.coordinator.address, flags.coordinator);
    set(&mut config.mining.threads, flags.threads);
    set(&mut config.mining.mode, flags.mode);
    Worker::new(config)?
        .run(stop)
        .await
        .context("the worker ended")
}

async fn hash(flags: &HashFlags, stop: CancellationToken) -> anyhow::Result<()> {
    let settings = RandomxSettings {
        mode: flags.mode,
        huge_pages: !flags.no_huge_pages,
        build_threads: flags.threads,
    };
    let measured = hash_rate::measure(settings, flags.threads, flags.seconds, stop).await?;
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

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}
