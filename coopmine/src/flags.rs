//! The flags of coordinator and worker, and the environment's names for what they set: the
//! program's own, and those of the programs that it replaces.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use headframe_coopmine::config::{self, CoordinatorConfig, Listen, WorkerConfig};
use headframe_stratum::randomx::plan::ModeSetting;

/// What the environment says under a name.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

const CLUSTER_ID: &[&str] = &["COOPMINE_CLUSTER_ID"];
const POOL_ADDRESS: &[&str] = &["COOPMINE_POOL_ADDRESS"];
const WALLET: &[&str] = &["COOPMINE_POOL_WALLET", "WALLET_ADDRESS", "WALLET"];
const COORDINATOR: &[&str] = &["COOPMINE_COORDINATOR", "COORDINATOR"];
const THREADS: &[&str] = &["COOPMINE_THREADS"];

/// Flags of `coopmine coordinator`.
#[derive(Args)]
pub struct CoordinatorFlags {
    /// The configuration, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The cluster's id. [env: COOPMINE_CLUSTER_ID]
    #[arg(long)]
    cluster_id: Option<String>,
    /// The cluster's name, which the pool may show.
    #[arg(long)]
    cluster_name: Option<String>,
    /// The pool: HOST:PORT, or stratum+ssl://HOST:PORT#FINGERPRINT. [env: COOPMINE_POOL_ADDRESS]
    #[arg(long, visible_alias = "pool")]
    pool_address: Option<String>,
    /// Whom the pool pays. [env: COOPMINE_POOL_WALLET, WALLET_ADDRESS or WALLET]
    #[arg(long, visible_alias = "wallet")]
    pool_wallet: Option<String>,
    /// Where workers connect: ADDRESS:PORT.
    #[arg(long, visible_alias = "grpc-addr")]
    grpc_listen: Option<Listen>,
    /// Where the dashboard, REST, metrics and the WebSocket are: ADDRESS:PORT.
    #[arg(long)]
    dashboard_listen: Option<Listen>,
}

/// Flags of `coopmine worker`.
#[derive(Args)]
pub struct WorkerFlags {
    /// The configuration, TOML.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The name in the worker's certificate; the machine's name when absent.
    #[arg(long)]
    worker_id: Option<String>,
    /// The name people see.
    #[arg(long)]
    worker_name: Option<String>,
    /// The coordinator: HOST:PORT. [env: COOPMINE_COORDINATOR or COORDINATOR]
    #[arg(long)]
    coordinator: Option<String>,
    /// Mine at this pool, without a coordinator: HOST:PORT, or stratum+ssl://HOST:PORT#FINGERPRINT.
    /// Given more than once, the later ones are used while the first is away.
    #[arg(long, visible_alias = "pool-address", conflicts_with = "coordinator")]
    pool: Vec<String>,
    /// Whom that pool pays. [env: COOPMINE_POOL_WALLET, WALLET_ADDRESS or WALLET]
    #[arg(long, visible_aliases = ["pool-wallet", "user"])]
    wallet: Option<String>,
    /// That pool's password; most want x.
    #[arg(long, visible_alias = "pass")]
    password: Option<String>,
    /// Hashing threads; 0 is all cores. [env: COOPMINE_THREADS]
    #[arg(long)]
    threads: Option<usize>,
    /// auto, full (2.3 GiB) or light (256 MiB).
    #[arg(long, value_parser = mode)]
    mode: Option<ModeSetting>,
}

impl CoordinatorFlags {
    /// The file, and over it the environment, and over that the flags.
    pub fn configuration(self, environment: Environment<'_>) -> anyhow::Result<CoordinatorConfig> {
        let mut config: CoordinatorConfig = config::read(self.config.as_deref())?;
        let named = |names| first(environment, names);
        set(&mut config.cluster.id, named(CLUSTER_ID));
        set(&mut config.pool.address, named(POOL_ADDRESS));
        set(&mut config.pool.wallet, named(WALLET));
        set(&mut config.cluster.id, self.cluster_id);
        set(&mut config.cluster.name, self.cluster_name);
        set(&mut config.pool.address, self.pool_address);
        set(&mut config.pool.wallet, self.pool_wallet);
        set(&mut config.grpc.listen, self.grpc_listen);
        set(&mut config.dashboard.listen, self.dashboard_listen);
        Ok(config)
    }
}

impl WorkerFlags {
    /// The file, and over it the environment, and over that the flags.
    pub fn configuration(self, environment: Environment<'_>) -> anyhow::Result<WorkerConfig> {
        let mut config: WorkerConfig = config::read(self.config.as_deref())?;
        let coordinator = self.coordinator.or_else(|| first(environment, COORDINATOR));
        if coordinator.is_some() {
            // A coordinator that was named goes before the pool of a file.
            config.pool = None;
        }
        set(&mut config.coordinator.address, coordinator);
        let mut pools = self.pool.into_iter();
        if let Some(address) = pools.next() {
            let pool = config.pool.get_or_insert_default();
            pool.address = address;
            pool.fallbacks = pools.collect();
        }
        match &mut config.pool {
            Some(pool) => {
                set(&mut pool.wallet, first(environment, WALLET));
                set(&mut pool.wallet, self.wallet);
                set(&mut pool.password, self.password);
            }
            None if self.wallet.is_some() || self.password.is_some() => {
                anyhow::bail!("--wallet and --password are for a worker with a pool: --pool");
            }
            None => {}
        }
        if let Some(threads) = first(environment, THREADS) {
            let read = threads.parse();
            config.mining.threads =
                read.with_context(|| format!("COOPMINE_THREADS = {threads:?} is no number"))?;
        }
        set(&mut config.worker.id, self.worker_id);
        set(&mut config.worker.name, self.worker_name);
        set(&mut config.mining.threads, self.threads);
        set(&mut config.mining.mode, self.mode);
        Ok(config)
    }
}

/// What the first of these names says that says something.
fn first(environment: Environment<'_>, names: &[&str]) -> Option<String> {
    let mut said = names.iter().filter_map(|name| environment(name));
    said.find(|value| !value.is_empty())
}

fn set<T>(place: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *place = given;
    }
}

/// Reads a mode.
pub fn mode(text: &str) -> Result<ModeSetting, String> {
    match text {
        "auto" => Ok(ModeSetting::Auto),
        "full" => Ok(ModeSetting::Full),
        "light" => Ok(ModeSetting::Light),
        _ => Err("write auto, full or light".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;
    use std::fmt::Display;

    use clap::Command;

    use super::*;

    fn parse<F: Args>(arguments: &[&str]) -> F {
        let parser = F::augment_args(Command::new("coopmine"));
        let arguments = std::iter::once("coopmine").chain(arguments.iter().copied());
        F::from_arg_matches(&parser.try_get_matches_from(arguments).unwrap()).unwrap()
    }

    /// All spellings of all flags.
    fn spellings<F: Args>() -> BTreeSet<String> {
        let parser = F::augment_args(Command::new("coopmine"));
        let names = parser
            .get_arguments()
            .flat_map(|arg| arg.get_long_and_visible_aliases().unwrap_or_default());
        names.map(|name| format!("--{name}")).collect()
    }

    fn environment<'a>(pairs: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |name| {
            let pair = pairs.iter().find(|(known, _)| *known == name);
            pair.map(|(_, value)| (*value).to_owned())
        }
    }

    fn coordinator(arguments: &[&str], pairs: &[(&str, &str)]) -> CoordinatorConfig {
        let flags: CoordinatorFlags = parse(arguments);
        flags.configuration(&environment(pairs)).unwrap()
    }

    fn worker(arguments: &[&str], pairs: &[(&str, &str)]) -> WorkerConfig {
        let flags: WorkerFlags = parse(arguments);
        flags.configuration(&environment(pairs)).unwrap()
    }

    /// Where a flag's value ends up.
    type Look<C> = fn(&C) -> &dyn Display;

    #[test]
    fn every_flag_and_every_name_of_a_coordinator_sets_its_key() {
        let id: Look<CoordinatorConfig> = |config| &config.cluster.id;
        let name: Look<CoordinatorConfig> = |config| &config.cluster.name;
        let pool: Look<CoordinatorConfig> = |config| &config.pool.address;
        let wallet: Look<CoordinatorConfig> = |config| &config.pool.wallet;
        let grpc: Look<CoordinatorConfig> = |config| &config.grpc.listen;
        let pages: Look<CoordinatorConfig> = |config| &config.dashboard.listen;
        let by_flag = [
            ("--cluster-id", "farm", id),
            ("--cluster-name", "farm", name),
            ("--pool-address", "p:1", pool),
            ("--pool", "p:1", pool),
            ("--pool-wallet", "4abc", wallet),
            ("--wallet", "4abc", wallet),
            ("--grpc-listen", "127.0.0.1:5555", grpc),
            ("--grpc-addr", "127.0.0.1:5555", grpc),
            ("--dashboard-listen", "127.0.0.1:81", pages),
        ];
        for (flag, value, look) in by_flag {
            let config = coordinator(&[flag, value], &[]);
            assert_eq!(look(&config).to_string(), value, "{flag}");
        }
        let mut tried: BTreeSet<String> = by_flag.map(|(flag, ..)| flag.to_owned()).into();
        tried.insert("--config".to_owned());
        assert_eq!(tried, spellings::<CoordinatorFlags>());
        for (key, value, look) in [
            ("COOPMINE_CLUSTER_ID", "farm", id),
            ("COOPMINE_POOL_ADDRESS", "p:1", pool),
            ("COOPMINE_POOL_WALLET", "4abc", wallet),
            ("WALLET_ADDRESS", "4abc", wallet),
            ("WALLET", "4abc", wallet),
        ] {
            let config = coordinator(&[], &[(key, value)]);
            assert_eq!(look(&config).to_string(), value, "{key}");
        }
    }

    #[test]
    fn every_flag_and_every_name_of_a_worker_sets_its_key() {
        let id: Look<WorkerConfig> = |config| &config.worker.id;
        let name: Look<WorkerConfig> = |config| &config.worker.name;
        let address: Look<WorkerConfig> = |config| &config.coordinator.address;
        let threads: Look<WorkerConfig> = |config| &config.mining.threads;
        let by_flag = [
            ("--worker-id", "rig-7", id),
            ("--worker-name", "Rig 7", name),
            ("--coordinator", "c:5555", address),
            ("--threads", "3", threads),
        ];
        for (flag, value, look) in by_flag {
            let config = worker(&[flag, value], &[]);
            assert_eq!(look(&config).to_string(), value, "{flag}");
        }
        let light = worker(&["--mode", "light"], &[]);
        assert_eq!(light.mining.mode, ModeSetting::Light);
        let mut tried: BTreeSet<String> = by_flag.map(|(flag, ..)| flag.to_owned()).into();
        tried.extend(["--config", "--mode"].map(str::to_owned));
        // Those of a worker without a coordinator.
        tried.extend(["--pool", "--pool-address", "--password", "--pass"].map(str::to_owned));
        tried.extend(["--wallet", "--pool-wallet", "--user"].map(str::to_owned));
        assert_eq!(tried, spellings::<WorkerFlags>());
        for (key, value, look) in [
            ("COOPMINE_COORDINATOR", "c:5555", address),
            ("COORDINATOR", "c:5555", address),
            ("COOPMINE_THREADS", "3", threads),
        ] {
            let config = worker(&[], &[(key, value)]);
            assert_eq!(look(&config).to_string(), value, "{key}");
        }
        let flags: WorkerFlags = parse(&[]);
        let refused = flags.configuration(&environment(&[("COOPMINE_THREADS", "all")]));
        let said = refused.unwrap_err().to_string();
        assert_eq!(said, "COOPMINE_THREADS = \"all\" is no number");
    }

    #[test]
    fn a_worker_with_a_pool_of_its_own_has_no_coordinator() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("worker.toml");
        std::fs::write(&path, "[pool]\naddress = \"file:1\"\nwallet = \"4file\"\n").unwrap();
        let file = ["--config", path.to_str().unwrap()];
        let pool = |arguments: &[&str], pairs: &[(&str, &str)]| {
            let pool = worker(arguments, pairs).pool?;
            let addresses = std::iter::once(pool.address).chain(pool.fallbacks);
            let addresses: Vec<String> = addresses.collect();
            Some((addresses.join(" "), pool.wallet, pool.password))
        };
        let of = |address: &str, wallet: &str, password: &str| {
            let [address, wallet, password] = [address, wallet, password].map(str::to_owned);
            Some((address, wallet, password))
        };
        let wallet = [("WALLET", "4env")];
        let two = ["--pool", "a:1", "--pool-address", "b:2"];
        assert_eq!(pool(&[], &[("COOPMINE_POOL_ADDRESS", "p:1")]), None);
        assert_eq!(pool(&two, &wallet), of("a:1 b:2", "4env", "x"));
        for (user, pass) in [("--wallet", "--password"), ("--user", "--pass")] {
            let more = [&two[..], &[user, "4flag", pass, "y"]].concat();
            assert_eq!(pool(&more, &wallet), of("a:1 b:2", "4flag", "y"));
        }
        assert_eq!(pool(&file, &[]), of("file:1", "4file", "x"));
        assert_eq!(pool(&file, &[("COORDINATOR", "c:1")]), None);
        assert_eq!(
            pool(&[&file[..], &["--coordinator", "c:1"]].concat(), &[]),
            None
        );
        let flags: WorkerFlags = parse(&["--wallet", "4flag"]);
        assert!(flags.configuration(&environment(&[])).is_err(), "for whom?");
    }

    #[test]
    fn flags_win_over_the_environment_which_wins_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("coordinator.toml");
        std::fs::write(&path, "[pool]\nwallet = \"file\"\n").unwrap();
        let file = ["--config", path.to_str().unwrap()];
        let wallet = |arguments: &[&str], pairs: &[(&str, &str)]| {
            coordinator(&[&file, arguments].concat(), pairs).pool.wallet
        };
        assert_eq!(wallet(&[], &[]), "file");
        // What is set to nothing is not set.
        assert_eq!(wallet(&[], &[("WALLET", "")]), "file");
        let mut pairs = vec![("WALLET", "third")];
        assert_eq!(wallet(&[], &pairs), "third");
        pairs.push(("WALLET_ADDRESS", "second"));
        assert_eq!(wallet(&[], &pairs), "second");
        pairs.push(("COOPMINE_POOL_WALLET", "first"));
        assert_eq!(wallet(&[], &pairs), "first");
        assert_eq!(wallet(&["--wallet", "flag"], &pairs), "flag");
        let pairs = [("COORDINATOR", "b:1"), ("COOPMINE_COORDINATOR", "a:1")];
        assert_eq!(worker(&[], &pairs).coordinator.address, "a:1");
        let flag = worker(&["--coordinator", "c:1"], &pairs);
        assert_eq!(flag.coordinator.address, "c:1");
    }
}
