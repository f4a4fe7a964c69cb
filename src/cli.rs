//! The command line: one variant a command.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::api_client::ApiClient;
use crate::config::{Config, Role};
use crate::{audit, bans, blocks, demo, doctor, mine, payments, sql, system, whatif};

/// Mining data from JetStream into Delta tables, exactly once, answered in SQL.
#[derive(Debug, Parser)]
#[command(name = "headframe", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything on real parts: nats-server, monerod on a private chain, the pool, one miner,
    /// pipelines and SQL.
    Demo {
        /// Stop after this long, as 90s or 5m, and report; exit code 0 only if every stage produced
        /// rows.
        #[arg(long = "for", value_parser = duration)]
        for_: Option<Duration>,
        /// Where everything is kept; a later demo goes on from there.
        #[arg(long, default_value = "headframe-demo")]
        data: PathBuf,
        /// Where the SQL API listens.
        #[arg(long, default_value = "127.0.0.1:8080")]
        listen: std::net::SocketAddr,
        /// Where miners connect.
        #[arg(long, default_value = "127.0.0.1:3333")]
        stratum: std::net::SocketAddr,
        /// Hashes a block costs on the private chain: at 30, about a second for one thread without
        /// the big dataset, so that the first blocks can be spent after a minute or two.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
        difficulty: u64,
    },
    /// Run the roles of a configuration file.
    Up {
        /// The configuration, in TOML.
        #[arg(long)]
        config: PathBuf,
        /// Only these roles, separated by commas.
        #[arg(long, value_delimiter = ',')]
        roles: Option<Vec<Role>>,
    },
    /// Ask a running server.
    Sql {
        /// The statement.
        statement: String,
        #[command(flatten)]
        remote: ApiClient,
        /// table, json, ndjson, csv, arrow or parquet.
        #[arg(long, default_value = "table")]
        format: String,
    },
    /// Mine with RandomX at a pool: Monero's, or OpenSY's, which stock miners cannot hash.
    Mine(mine::Mine),
    /// List, make and lift bans of a running pool.
    Bans(bans::Bans),
    /// List, confirm and reject blocks that nothing proves to be the pool's.
    Blocks(blocks::Blocks),
    /// See what a running pool pays and why, and instruct it.
    Payments(payments::Payments),
    /// Look at everything a pool and its pipelines need, and say what to do; exit code 1 when
    /// something will not work.
    Doctor(doctor::Doctor),
    /// Check payouts without trusting this program's servers.
    Audit(audit::Audit),
    /// Pay past blocks on other terms, on paper, and show who gains and loses.
    Whatif(whatif::Whatif),
    /// Look at a configuration file.
    Config {
        /// What to do with it.
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Continue a table from a stream that was deleted and made anew, or that lost its newest
    /// messages.
    Adopt {
        /// The stream, which is also the table.
        stream: String,
        /// The configuration, in TOML.
        #[arg(long)]
        config: PathBuf,
    },
}

/// What to do with a configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Say whether it can be used.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print it with every default and override filled in.
    Print {
        /// The file; the defaults alone when absent.
        file: Option<PathBuf>,
    },
}

impl Command {
    /// What is logged when `HEADFRAME_LOG` does not say.
    pub fn default_log(&self) -> &'static str {
        match self {
            Self::Demo { .. }
            | Self::Sql { .. }
            | Self::Bans(_)
            | Self::Blocks(_)
            | Self::Payments(_)
            | Self::Doctor(_)
            | Self::Audit(_)
            | Self::Whatif(_)
            | Self::Config { .. } => "warn,async_nats=error",
            // The command tells of its connection itself, with the pool's address and not with that
            // of its own line.
            Self::Mine(_) => "warn,headframe_stratum::miner=error",
            Self::Up { .. } | Self::Adopt { .. } => {
                "info,async_nats=warn,buoyant_kernel=warn,deltalake_core=warn"
            }
        }
    }

    /// Does it.
    pub async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Demo {
                for_,
                data,
                listen,
                stratum,
                difficulty,
            } => {
                demo::run(demo::Demo {
                    for_,
                    data,
                    listen,
                    stratum,
                    difficulty,
                })
                .await
            }
            Self::Up { config, roles } => {
                let config = Config::load_for(Some(&config), roles)?;
                Box::pin(system::up(config)).await
            }
            Self::Sql {
                statement,
                remote,
                format,
            } => sql::run(&remote, &statement, &format).await,
            Self::Mine(mine) => mine::run(mine).await,
            Self::Bans(bans) => bans::run(bans).await,
            Self::Blocks(blocks) => blocks::run(blocks).await,
            Self::Payments(payments) => payments::run(payments).await,
            Self::Doctor(doctor) => doctor::run(doctor).await,
            Self::Audit(audit) => audit::run(audit).await,
            Self::Whatif(asked) => whatif::run(asked).await,
            Self::Config {
                action: ConfigAction::Check { file },
            } => {
                Config::load(Some(&file))?;
                println!("{} is fine", file.display());
                Ok(())
            }
            Self::Config {
                action: ConfigAction::Print { file },
            } => {
                print!("{}", Config::print(file.as_deref())?);
                Ok(())
            }
            Self::Adopt { stream, config } => {
                system::adopt(Config::load(Some(&config))?, &stream).await
            }
        }
    }
}

/// 90s, 5m or 1h; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number
        .parse()
        .map_err(|_| format!("{text:?} is not a duration; write 90s, 5m or 1h"))?;
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => return Err(format!("{unit:?} is not a unit; write 90s, 5m or 1h")),
    };
    Ok(Duration::from_secs(number * seconds))
}
