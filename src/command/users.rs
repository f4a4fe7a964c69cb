//! `headframe users`: who may use this system, with which rights.
//!
//! It speaks to NATS with the key of the data folder, so whoever may read that folder may use it.
//! Secrets go to standard output, once; everything else that is said goes to standard error.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use headframe_ingest::{ManagedServer, Nats, Publisher, provision_stream};
use headframe_query_front::access::Role;
use headframe_query_front::access::accounts::{Accounts, Actor, Listed, NewAccount, Wire};
use headframe_schemas::stream::access::Access;

use super::Command;
use crate::config::Config;
use crate::service::accounts::RegistryStore;

mod table;

/// List, make and revoke users and service tokens of a running system.
#[derive(Debug, clap::Parser)]
#[command(name = "users")]
pub struct Users {
    #[command(subcommand)]
    action: Action,
    /// The configuration of the running system, in TOML.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Every user and every token, without their secrets.
    List {
        /// As JSON, one object a line.
        #[arg(long)]
        json: bool,
    },
    /// Make a user. Without a password file it prints a password, once.
    Add {
        #[command(flatten)]
        account: AccountArguments,
        /// A file whose first line is the password.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Give a user another password, and end the sessions of that user.
    Password {
        /// The user.
        name: String,
        /// A file whose first line is the password; without it one is printed.
        #[arg(long)]
        password_file: Option<PathBuf>,
    },
    /// Make a token for a service, and print it, once.
    Token {
        #[command(flatten)]
        account: AccountArguments,
        /// How long it is to work: 12h, 90d.
        #[arg(long, value_parser = life)]
        expires: Option<Duration>,
    },
    /// Take a user or a token away: sessions and statements end within a second, subscriptions
    /// within five.
    Revoke {
        /// The user or token.
        name: String,
    },
}

#[derive(Debug, clap::Args)]
struct AccountArguments {
    /// The name: a-z, 0-9, -, _ and dots.
    name: String,
    /// What it may do: viewer, miner, operator, auditor or admin.
    #[arg(long)]
    role: String,
    /// The address of a miner.
    #[arg(long)]
    address: Option<String>,
    /// A stream whose rows it may send although its role does not allow it; may be repeated.
    #[arg(long = "may-send")]
    streams: Vec<String>,
}

impl AccountArguments {
    fn into_account(self) -> anyhow::Result<NewAccount> {
        Ok(NewAccount {
            role: Role::parse(&self.role, self.address.as_deref())?,
            name: self.name,
            streams: self.streams,
        })
    }
}

impl Command for Users {
    async fn run(self) -> anyhow::Result<()> {
        let accounts = open(self.config).await?;
        let actor = Actor {
            name: std::env::var("USER").unwrap_or_else(|_| "command".to_owned()),
            wire: Wire::Command,
        };
        match self.action {
            Action::List { json } => list(&accounts.list(), json),
            Action::Add {
                account,
                password_file,
            } => {
                let account = account.into_account()?;
                let (name, role) = (account.name.clone(), account.role.clone());
                let (password, is_new) = password(password_file)?;
                accounts.add_user(&actor, account, &password).await?;
                eprintln!("{name} is {role} from now on");
                print_new(&password, is_new);
            }
            Action::Password {
                name,
                password_file,
            } => {
                let (password, is_new) = password(password_file)?;
                accounts.set_password(&actor, &name, &password).await?;
                eprintln!("{name} has another password from now on");
                print_new(&password, is_new);
            }
            Action::Token { account, expires } => {
                let account = account.into_account()?;
                let (name, role) = (account.name.clone(), account.role.clone());
                let expires = expires.map(expiry).transpose()?;
                let token = accounts.add_token(&actor, account, expires).await?;
                eprintln!("{name} is {role} from now on; its token is shown this once");
                println!("{token}");
            }
            Action::Revoke { name } => {
                let kind = accounts.revoke(&actor, &name).await?;
                eprintln!("the {kind} {name} is revoked");
            }
        }
        Ok(())
    }
}

/// The accounts of the running system, with the key of its data folder.
async fn open(file: Option<PathBuf>) -> anyhow::Result<Accounts> {
    let mut config = Config::load(file.as_deref())?;
    if config.managed_nats {
        config.nats = ManagedServer::client_config_of(&config.data_dir.join("nats"))?;
    }
    let nats = Nats::connect(&config.nats).await.context(
        "the accounts are in NATS, which `headframe up` runs; start it, and name its --config",
    )?;
    provision_stream(&nats.js, &Access, &config.streams).await?;
    let publisher = Publisher::new(nats.clone(), "headframe-users", config.publisher.clone());
    let (store, _) = RegistryStore::open(&nats, publisher, config.streams.replicas).await?;
    let (accounts, _) = Accounts::open(Arc::new(store)).await?;
    Ok(accounts)
}

fn list(accounts: &[Listed], json: bool) {
    if json {
        for account in accounts {
            println!("{}", serde_json::json!(account));
        }
        return;
    }
    print!("{}", table::text(accounts));
}

/// The password of the file, or a new one.
fn password(file: Option<PathBuf>) -> anyhow::Result<(String, bool)> {
    let Some(path) = file else {
        let bytes: [u8; 16] = rand::random();
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok((text, true));
    };
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("cannot read the password file {}", path.display()))?;
    match text.lines().next() {
        Some(line) if !line.is_empty() => Ok((line.to_owned(), false)),
        _ => bail!("the first line of {} is empty", path.display()),
    }
}

fn print_new(password: &str, is_new: bool) {
    if is_new {
        println!("{password}");
    }
}

/// Parses 12h or 90d.
fn life(text: &str) -> Result<Duration, String> {
    match text.strip_suffix('d').map(str::parse::<u32>) {
        Some(Ok(days)) => Ok(Duration::from_secs(u64::from(days) * 86_400)),
        Some(Err(_)) => Err(format!("{text:?} is not a duration; write 12h or 90d")),
        None => super::duration::duration(text),
    }
}

/// Microseconds since 1970 at which something that begins now and lasts so long ends.
fn expiry(life: Duration) -> anyhow::Result<i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    i64::try_from((now + life).as_micros()).context("the token would outlive the calendar")
}
