//! `headframe demo`: the whole way of a share on real parts, with one status line and a report at
//! the end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use headframe_ingest::ManagedServer;
use headframe_stratum::miner::{Miner, MinerConfig};
use headframe_stratum::randomx::plan::ModeSetting;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};
use crate::service::{RunningPool, Service, stop_signal};

mod child;
mod coop;
mod difficulty;
mod monerod;
mod progress;
mod site;
mod stages;
mod status;
mod wallets;

use coop::CoopPlan;
use monerod::Monerod;
use site::DemoSite;
use stages::Counts;
use wallets::{DemoWallet, made_up_token};

/// Some shares for each block, and no more a second than the eye can follow.
const SHARES_A_BLOCK: u64 = 3;
const MOST_SHARE_DIFFICULTY: u64 = 10;
/// Whom the chain's first blocks pay: a mainnet-format address, which regtest takes; nobody's coins
/// are at stake on a private chain.
const FOUNDER: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

/// How a demo runs.
pub struct DemoOptions {
    /// How long it runs; until Ctrl-C when `None`.
    pub length: Option<Duration>,
    /// Where everything is kept.
    pub data: PathBuf,
    /// Where SQL is answered.
    pub listen: SocketAddr,
    /// Where miners connect.
    pub stratum: SocketAddr,
    /// Where the controller of the simulated mine has its pages.
    pub site: SocketAddr,
    /// Whether that mine is curtailed once a minute.
    pub curtails: bool,
    /// Hashes a block costs; what suits this machine when `None`.
    pub difficulty: Option<u64>,
}

/// By how much the miner is nicer than other programs.
const MINER_NICE: i32 = 10;

/// How long the pool may take to get its first template.
const READY: Duration = Duration::from_secs(60);

/// A wallet hides each coin that it spends among fifteen others, which must be there already and
/// sixty blocks old. Some more, as not all are fit.
const FIRST_BLOCKS: u64 = 30;

/// A miner is paid when it has 1 XMR to get, and at most every 5 s: soon enough to be seen.
const THRESHOLD: u64 = 1_000_000_000_000;
const PAY_INTERVAL_S: u64 = 5;

/// Everything that runs.
struct Running {
    chain: Chain,
    service: Service,
    site: DemoSite,
    /// The cluster that the mine's controller stops and starts, where it is curtailed.
    coop: Option<CoopPlan>,
    /// What the folder held of each stage before.
    before: Counts,
}

/// What the pool stands on: a chain, the wallet that its blocks pay, and the wallet of its miner.
struct Chain {
    monerod: Monerod,
    /// Hashes a block costs.
    difficulty: u64,
    pool: DemoWallet,
    miner: DemoWallet,
}

impl Chain {
    async fn start(options: &DemoOptions) -> anyhow::Result<Self> {
        let folder = options.data.join("monerod");
        let grown = folder.join("first-blocks");
        if !grown.exists() {
            println!(
                "making the first {FIRST_BLOCKS} blocks of the chain, among whose coins a wallet \
                 can hide its own"
            );
            let monerod = Monerod::start(&folder, 1).await?;
            let made = monerod.generate_blocks_to(FIRST_BLOCKS, FOUNDER).await;
            monerod.stop().await;
            made?;
            std::fs::write(grown, FIRST_BLOCKS.to_string())?;
        }
        let difficulty = match options.difficulty {
            Some(difficulty) => difficulty,
            None => difficulty::measure().await?,
        };
        println!("a block of the private chain costs {difficulty} hashes");
        let monerod = Monerod::start(&folder, difficulty).await?;
        let wallets = options.data.join("wallets");
        let (pool, miner) = (wallets.join("pool"), wallets.join("miner"));
        // What was started is ended when it is dropped.
        let (pool, miner) = tokio::try_join!(
            DemoWallet::start(&pool, &monerod.url),
            DemoWallet::start(&miner, &monerod.url)
        )?;
        Ok(Self {
            monerod,
            difficulty,
            pool,
            miner,
        })
    }

    async fn stop(self) {
        tokio::join!(self.pool.stop(), self.miner.stop());
        self.monerod.stop().await;
    }
}

/// Runs it. An error when a stage produced no rows.
pub async fn run(options: DemoOptions) -> anyhow::Result<()> {
    let started = Instant::now();
    println!(
        "starting monerod (regtest), two wallets, nats-server, pool, pipelines, payer, SQL and a \
         simulated mine in {}",
        options.data.display()
    );
    let running = tokio::select! {
        running = Box::pin(start(&options)) => running?,
        _ = stop_signal() => bail!("stopped before everything was up"),
    };
    let shown = Box::pin(show(&options, &running, started)).await;
    println!("\nstopping: the pipelines commit what they hold; another Ctrl-C ends at once");
    let stop = async {
        running.site.stop().await;
        running.service.stop().await;
        running.chain.stop().await;
    };
    tokio::select! {
        () = stop => {}
        _ = stop_signal() => println!("ended at once; the next start takes up what was not \
                                       committed"),
    }
    if shown.is_ok() {
        println!(
            "everything is kept in {0}: start again to go on from there, or remove the folder",
            options.data.display()
        );
        println!(
            "the tables are plain Delta tables, for DuckDB: SELECT count(*) FROM delta_scan('{}')",
            shares_table(&options)
        );
    }
    shown
}

fn shares_table(options: &DemoOptions) -> String {
    options.data.join("tables/shares").display().to_string()
}

async fn start(options: &DemoOptions) -> anyhow::Result<Running> {
    site::stop_controller_left_behind(&options.data.join("site")).await;
    let chain = Chain::start(options).await?;
    match Box::pin(start_service(options, &chain)).await {
        Ok((service, site, coop, before)) => Ok(Running {
            chain,
            service,
            site,
            coop,
            before,
        }),
        Err(error) => {
            chain.stop().await;
            Err(error)
        }
    }
}

/// The pool with everything behind it, and the mine beside it.
async fn start_service(
    options: &DemoOptions,
    chain: &Chain,
) -> anyhow::Result<(Service, DemoSite, Option<CoopPlan>, Counts)> {
    let coop = match options.curtails {
        true => Some(CoopPlan::new(&options.data.join("coop.token"))?),
        false => None,
    };
    let mut config = configuration(options, chain)?;
    if let Some(coop) = &coop {
        let login = format!("{}.coop", chain.miner.address);
        coop.add_coordinator(&mut config, options.stratum, login);
    }
    let service = Box::pin(Service::start(config)).await?;
    wait_for_pool(&service).await?;
    let before = Counts::query(service.http).await?;
    let token = std::fs::read_to_string(operator_token_file(options)?)?;
    site::register(service.http, token.trim(), options.site).await?;
    let nats = ManagedServer::client_config_of(&options.data.canonicalize()?.join("nats"))?;
    let folder = options.data.join("site");
    let site = DemoSite::start(&folder, options.site, nats, coop.as_ref()).await?;
    Ok((service, site, coop, before))
}

/// The token of orders about payments, made up at the first start.
fn operator_token_file(options: &DemoOptions) -> anyhow::Result<PathBuf> {
    let file = options.data.join("operator.token");
    made_up_token(&file)?;
    Ok(file)
}

fn configuration(options: &DemoOptions, chain: &Chain) -> anyhow::Result<Config> {
    let mut config = Config {
        data_dir: options.data.clone(),
        ..Config::default()
    };
    config.roles = vec![
        Role::Stratum,
        Role::Pipelines,
        Role::Maintenance,
        Role::Query,
        Role::Payments,
    ];
    config.query.listen = options.listen;
    config.query.operator_token_file = Some(operator_token_file(options)?);
    // Nobody shows a private chain.
    config.query.explorer_block = Some(String::new());
    config.query.explorer_transaction = Some(String::new());
    config.stratum.listen = options.stratum;
    config.stratum.wallet.clone_from(&chain.pool.address);
    config.stratum.daemon_url.clone_from(&chain.monerod.url);
    // A newcomer wants to see something, not to give 2 GiB of memory for it.
    config.stratum.randomx.mode = ModeSetting::Light;
    let difficulty = (chain.difficulty / SHARES_A_BLOCK).clamp(1, MOST_SHARE_DIFFICULTY);
    config.stratum.start_difficulty = difficulty;
    config.stratum.vardiff.min_difficulty = difficulty;
    // Rows that come every few seconds show more than rows that come every quarter of a minute.
    config.stratum.vardiff.target_s = 1.0;
    config.stratum.hashrate_interval_s = 10;
    config.payments.wallet = chain.pool.config.clone();
    config.payments.threshold_atomic = THRESHOLD;
    config.payments.interval_s = PAY_INTERVAL_S;
    config.payments.confirmations = 3;
    config.payments.poll_ms = 1_000;
    Ok(config)
}

/// A miner that logs in before there is anything to mine would be sent away.
async fn wait_for_pool(service: &Service) -> anyhow::Result<()> {
    let RunningPool { stats, .. } = service.pool.as_ref().context("the pool is not there")?;
    let deadline = Instant::now() + READY;
    while let Some(why) = stats.snapshot().unready {
        if Instant::now() > deadline {
            bail!(
                "the pool has nothing to mine after {} s: {why}",
                READY.as_secs()
            );
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn show(options: &DemoOptions, running: &Running, started: Instant) -> anyhow::Result<()> {
    let http = running.service.http;
    let pool = running
        .service
        .pool
        .as_ref()
        .context("the pool is not there")?;
    let RunningPool {
        address,
        stats,
        seeds,
        ..
    } = pool;
    let miner_wallet = &running.chain.miner;
    let login = format!("{}.demo", miner_wallet.address);
    let config = MinerConfig {
        pool: address.to_string(),
        login,
        pass: "x".to_owned(),
        rigid: None,
        threads: 1,
    };
    let (miner, handle) = Miner::new(config, seeds.clone());
    // The server and whatever else runs here come first; the miner takes what is left.
    let miner = miner.with_nice(MINER_NICE);
    let stop = CancellationToken::new();
    let mining = tokio::spawn(miner.run(stop.clone()));
    let coop = running.coop.as_ref();
    let coop = coop
        .map(|coop| coop.start_worker(stop.clone()))
        .transpose()?;
    print_hints(options, http, pool, &miner_wallet.address);
    print_site_hints(running, http);
    running.service.offer_first_admin().await;
    let end = async {
        match options.length {
            Some(length) => tokio::time::sleep(length.saturating_sub(started.elapsed())).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = end => {}
        _ = stop_signal() => {}
        () = status::print_lines(running, stats, &handle) => {}
        () = curtailments(options, &running.site) => {}
    }
    stop.cancel();
    // A miner that panicked has nothing to hand over; its missing rows tell.
    let _ = mining.await;
    if let Some(coop) = coop {
        let _ = coop.await;
    }
    let after = Counts::settled(http).await?;
    println!(
        "\nafter {} s{:>36}{:>12}",
        started.elapsed().as_secs(),
        "in this run",
        "in all"
    );
    let complete = after.report(&running.before, http).await;
    // In this order the wallet knows at least what the tables say, for a transaction is sent before
    // its row says so.
    let sent = u128::try_from(stages::sent(http).await?).unwrap_or_default();
    let received = miner_wallet.received().await?;
    let coins = |milli: u128| format!("{}.{:03} XMR", milli / 1_000, milli % 1_000);
    println!(
        "payments say that the miner was sent {}; its own wallet says that it got {}",
        coins(sent),
        coins(received / 1_000_000_000)
    );
    complete
}

/// What to try next, as it can be copied.
fn print_hints(options: &DemoOptions, http: SocketAddr, pool: &RunningPool, miner: &str) {
    let program = std::env::args()
        .next()
        .unwrap_or_else(|| "headframe".to_owned());
    let url = if http.port() == 8080 {
        String::new()
    } else {
        format!(" --url http://{http}")
    };
    println!(
        "miners connect to {}, SQL is answered at http://{http}; Ctrl-C ends with a report",
        pool.address
    );
    if let Some(fingerprint) = &pool.tls_fingerprint {
        println!("with TLS on the same port; its fingerprint for XMRig is {fingerprint}");
    }
    println!("look at it in a browser:");
    println!("  http://{http}/");
    println!("  http://{http}/miner/{miner}");
    println!("try in another terminal:");
    println!("  {program} sql{url} \"SELECT worker, outcome, count(*) FROM shares GROUP BY 1, 2\"");
    println!(
        "  {program} sql{url} \"SELECT * FROM pool_hashrate_1m ORDER BY window_start DESC LIMIT 5\""
    );
    println!("  {program} payments{url} why {miner}");
    println!(
        "  {program} payments{url} --token-file {} hold {miner} --reason trial",
        options.data.join("operator.token").display()
    );
    println!("  curl 'http://{http}/api/v1/sql?q=SELECT%20*%20FROM%20blocks%20LIMIT%203'");
    println!("  curl http://{http}/ready");
}

/// What to look at of the mine.
fn print_site_hints(running: &Running, http: SocketAddr) {
    println!("a simulated mine of 12 machines, and what its controller does and why:");
    println!("  http://{http}/mine");
    println!("  {}/", running.site.url);
    if let Some(coop) = &running.coop {
        println!(
            "a CoopMine worker, which stops and starts with the mine, in its cluster and in SQL:"
        );
        println!("  {}/", coop.url());
        println!(
            "  SELECT event_time, hashrate_hs FROM hashrate WHERE worker = '{}' ORDER BY 1 DESC",
            coop::WORKER
        );
    }
}

/// What the mine's utility wants, until it is dropped.
async fn curtailments(options: &DemoOptions, site: &DemoSite) {
    match options.curtails {
        true => site.curtail_every_minute().await,
        false => std::future::pending().await,
    }
}
