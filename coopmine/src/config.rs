//! The configuration of both programs: a TOML file, then the environment, then flags.
//!
//! The names are those of the programs this one replaces, in both their spellings where they
//! differ; a key that is not known is an error.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use headframe_stratum::miner::endpoint::PoolEndpoint;
use headframe_stratum::randomx::plan::ModeSetting;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::cluster::{ClusterPolicy, is_worker_name};
use crate::facts::FactsSection;
use crate::tls::TlsSection;
pub use duration::DurationSetting;
pub use listen::Listen;
pub use standby::StandbySection;

mod duration;
mod listen;
mod standby;

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key} = {value:?}: {reason}")]
pub struct ConfigError {
    /// Where.
    pub key: &'static str,
    /// What it says.
    pub value: String,
    /// What to do.
    pub reason: String,
}

/// A file that cannot be read.
#[derive(Debug, Error)]
#[error("cannot use the configuration {path}: {reason}")]
pub struct FileError {
    path: PathBuf,
    reason: String,
}

/// A coordinator's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinatorConfig {
    /// Who we are.
    pub cluster: ClusterSection,
    /// Where the shares go.
    pub pool: PoolSection,
    /// Where workers connect.
    pub grpc: GrpcSection,
    /// Where stock miners connect.
    pub miners: MinersSection,
    /// Where the dashboard, REST, metrics and the WebSocket are.
    pub dashboard: DashboardSection,
    /// Where rows of what happens go.
    pub facts: FactsSection,
    /// Whether there is another coordinator of the same cluster.
    pub standby: StandbySection,
    /// How often workers say how they are.
    pub heartbeat_interval: DurationSetting,
    /// After how long without a heartbeat a worker is offline; three intervals without it.
    pub worker_timeout: Option<DurationSetting>,
    /// How long workers go on with a job while the pool is away.
    pub job_timeout: DurationSetting,
    /// Threads that recompute shares.
    pub check_threads: usize,
    /// Workers at most.
    pub max_workers: usize,
}

/// The section `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSection {
    /// The cluster's id.
    pub id: String,
    /// The name that the pool shows, if it shows names.
    pub name: String,
}

/// The section `[pool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSection {
    /// `host:port`, or `stratum+ssl://host:port#fingerprint`.
    pub address: String,
    /// More of them, which are used while the first is away.
    pub fallbacks: Vec<String>,
    /// Whom the pool pays, as it wants logins.
    pub wallet: String,
    /// Most pools want `x`.
    pub password: String,
}

/// The section `[grpc]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrpcSection {
    /// Address and port.
    pub listen: Listen,
    /// Mutual TLS, without which only this machine's workers are served.
    pub tls: TlsSection,
}

/// The section `[miners]`: a port for stock XMRig, closed until it is named.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MinersSection {
    /// Address and port.
    pub listen: Option<Listen>,
    /// The user that miners log in with, before any `.rig`; nobody else is let in.
    pub user: String,
}

/// The section `[dashboard]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DashboardSection {
    /// Address and port.
    pub listen: Listen,
    /// What readers beyond this machine, and all who give commands, must show. It is never printed.
    #[serde(skip_serializing)]
    pub token: String,
    /// Of older configurations; the pages are in the program, so that it has no effect.
    pub static_dir: Option<PathBuf>,
}

/// A worker's configuration.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerConfig {
    /// Who we are.
    pub worker: WorkerSection,
    /// Whom we mine for.
    pub coordinator: CoordinatorSection,
    /// The pool that is mined at without a coordinator.
    pub pool: Option<PoolSection>,
    /// How.
    pub mining: MiningSection,
}

/// The section `[worker]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkerSection {
    /// The name in the certificate; the machine's name when empty.
    pub id: String,
    /// The name people see; the id when empty.
    pub name: String,
}

/// The section `[coordinator]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CoordinatorSection {
    /// `host:port`; of two coordinators both, separated by a comma.
    pub address: String,
    /// Mutual TLS.
    pub tls: TlsSection,
}

/// The section `[mining]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MiningSection {
    /// Hashing threads; 0 = all cores.
    pub threads: usize,
    /// Use huge pages as far as there are some.
    pub huge_pages: bool,
    /// `auto`, `full` or `light`.
    pub mode: ModeSetting,
    /// By how much hashing threads are nicer than other programs, 0 to 19.
    pub nice: i32,
    /// Keep each hashing thread to a core of its own, where there are as many threads as cores that
    /// this process may use.
    pub pin: bool,
    /// What one thread draws, so that a command in watts can be obeyed; 0 = not known.
    pub watts_per_thread: f64,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            cluster: ClusterSection::default(),
            pool: PoolSection::default(),
            grpc: GrpcSection::default(),
            miners: MinersSection::default(),
            dashboard: DashboardSection::default(),
            facts: FactsSection::default(),
            standby: StandbySection::default(),
            heartbeat_interval: DurationSetting(Duration::from_secs(30)),
            worker_timeout: None,
            job_timeout: DurationSetting(Duration::from_secs(300)),
            check_threads: 1,
            max_workers: ClusterPolicy::default().max_workers,
        }
    }
}

impl Default for ClusterSection {
    fn default() -> Self {
        Self {
            id: "cluster".to_owned(),
            name: "coopmine".to_owned(),
        }
    }
}

impl Default for PoolSection {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:3333".to_owned(),
            fallbacks: Vec::new(),
            wallet: String::new(),
            password: "x".to_owned(),
        }
    }
}

impl Default for GrpcSection {
    fn default() -> Self {
        Self {
            listen: Listen(SocketAddr::from(([127, 0, 0, 1], 50_051))),
            tls: TlsSection::default(),
        }
    }
}

impl Default for DashboardSection {
    fn default() -> Self {
        Self {
            listen: Listen(SocketAddr::from(([127, 0, 0, 1], 8_080))),
            token: String::new(),
            static_dir: None,
        }
    }
}

impl Default for CoordinatorSection {
    fn default() -> Self {
        Self {
            address: "127.0.0.1:50051".to_owned(),
            tls: TlsSection::default(),
        }
    }
}

impl Default for MiningSection {
    fn default() -> Self {
        Self {
            threads: 0,
            huge_pages: true,
            mode: ModeSetting::Auto,
            nice: 0,
            pin: true,
            watts_per_thread: 0.0,
        }
    }
}

/// Reads a file; without one everything is as usual.
pub fn read<C: Default + for<'de> Deserialize<'de>>(path: Option<&Path>) -> Result<C, FileError> {
    let Some(path) = path else {
        return Ok(C::default());
    };
    let failed = |reason: String| FileError {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    toml::from_str(&text).map_err(|error| failed(error.to_string()))
}

impl CoordinatorConfig {
    /// The pools, if everything can be used. `has_nats` says that there is a connection already.
    pub fn validate(&self, has_nats: bool) -> Result<Vec<PoolEndpoint>, ConfigError> {
        let wrong = |key, value: &str, reason: &str| ConfigError {
            key,
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        let pools = self.pool.endpoints()?;
        if !self.grpc.listen.0.ip().is_loopback() && !self.grpc.tls.enabled {
            let reason = "beyond this machine workers need mutual TLS: `coopmine certs` makes what \
                          it takes, then set grpc.tls.enabled = true";
            return Err(wrong("grpc.listen", &self.grpc.listen.to_string(), reason));
        }
        if self.miners.listen.is_some() && self.miners.user.is_empty() {
            let reason = "write the user that stock miners log in with; nobody else is let in";
            return Err(wrong("miners.user", "", reason));
        }
        if !self.dashboard.listen.0.ip().is_loopback() && self.dashboard.token.is_empty() {
            let reason = "beyond this machine the dashboard needs a token: set dashboard.token";
            return Err(wrong(
                "dashboard.listen",
                &self.dashboard.listen.to_string(),
                reason,
            ));
        }
        if self.heartbeat_interval.0 < Duration::from_millis(100) {
            let reason = "a tenth of a second is the least";
            let value = self.heartbeat_interval.to_string();
            return Err(wrong("heartbeat_interval", &value, reason));
        }
        if self.worker_timeout_ms() <= self.heartbeat_interval.as_millis() {
            let reason = "it must be longer than heartbeat_interval, or workers that are well are \
                          offline between two heartbeats";
            let value = self.worker_timeout.unwrap_or(self.heartbeat_interval);
            return Err(wrong("worker_timeout", &value.to_string(), reason));
        }
        if self.max_workers == 0 {
            return Err(wrong("max_workers", "0", "one is the least"));
        }
        self.standby
            .validate(has_nats || self.facts.nats.is_some())?;
        let facts = self.facts.validate();
        facts.map_err(|(key, value, reason)| wrong(key, &value, &reason))?;
        Ok(pools)
    }

    /// After how long without a heartbeat a worker is offline, milliseconds.
    pub fn worker_timeout_ms(&self) -> u64 {
        match self.worker_timeout {
            Some(timeout) => timeout.as_millis(),
            None => self.heartbeat_interval.as_millis() * 3,
        }
    }

    /// What is to be said about a key that older configurations have, and that does nothing.
    pub fn warning(&self) -> Option<String> {
        let folder = self.dashboard.static_dir.as_ref()?;
        Some(format!(
            "dashboard.static_dir = {folder:?} has no effect: the dashboard's pages are in the \
             program; remove the key"
        ))
    }
}

impl PoolSection {
    /// The pools, the best first, if they can be used.
    pub fn endpoints(&self) -> Result<Vec<PoolEndpoint>, ConfigError> {
        let wrong = |key, value: &str, reason: String| ConfigError {
            key,
            value: value.to_owned(),
            reason,
        };
        if self.wallet.is_empty() {
            let reason = "write whom the pool pays: --pool-wallet, or COOPMINE_POOL_WALLET";
            return Err(wrong("pool.wallet", "", reason.to_owned()));
        }
        let addresses = std::iter::once(&self.address).chain(&self.fallbacks);
        let pools = addresses.map(|text| {
            let read = text.parse();
            read.map_err(|reason: String| wrong("pool.address", text, reason))
        });
        pools.collect()
    }
}

impl MiningSection {
    /// How many threads hash.
    pub fn thread_count(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        }
    }
}

impl WorkerConfig {
    /// The same with what was left empty filled in, if everything can be used.
    pub fn completed(mut self) -> Result<Self, ConfigError> {
        if self.worker.id.is_empty() {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            self.worker.id = host.trim().to_ascii_lowercase();
        }
        if self.worker.name.is_empty() {
            self.worker.name.clone_from(&self.worker.id);
        }
        if !is_worker_name(&self.worker.id) {
            return Err(ConfigError {
                key: "worker.id",
                value: self.worker.id,
                reason: "write 1 to 63 small letters, digits, '-', '_' or '.', as in the \
                         worker's certificate"
                    .to_owned(),
            });
        }
        if !(0..20).contains(&self.mining.nice) {
            return Err(ConfigError {
                key: "mining.nice",
                value: self.mining.nice.to_string(),
                reason: "0 to 19".to_owned(),
            });
        }
        self.mining.threads = self.mining.thread_count();
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_beyond_this_machine_needs_a_lock() {
        let mut config = CoordinatorConfig::default();
        let refused =
            |config: &CoordinatorConfig| config.validate(false).err().map(|error| error.key);
        assert_eq!(refused(&config), Some("pool.wallet"));
        config.pool.wallet = "4abc".to_owned();
        assert_eq!(refused(&config), None);
        config.grpc.listen = ":50051".parse().unwrap();
        assert_eq!(refused(&config), Some("grpc.listen"));
        config.grpc.tls.enabled = true;
        config.dashboard.listen = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(refused(&config), Some("dashboard.listen"));
        config.dashboard.token = "secret".to_owned();
        assert_eq!(refused(&config), None);
        config.miners.listen = ":3333".parse().ok();
        assert_eq!(refused(&config), Some("miners.user"));
        config.miners.user = "farm".to_owned();
        assert_eq!(refused(&config), None);
        config.standby.enabled = true;
        assert_eq!(refused(&config), Some("standby.enabled"));
        assert!(config.validate(true).is_ok(), "headframe has a connection");
        config.standby.enabled = false;
        config.max_workers = 0;
        assert_eq!(refused(&config), Some("max_workers"));
        config.max_workers = 1;
        config.worker_timeout = "30s".parse().ok();
        assert_eq!(refused(&config), Some("worker_timeout"));
        config.worker_timeout = "31s".parse().ok();
        assert_eq!(config.worker_timeout_ms(), 31_000);
        config.pool.fallbacks = vec!["nowhere".to_owned()];
        assert_eq!(refused(&config), Some("pool.address"));
    }

    #[test]
    fn a_file_has_the_names_of_the_contract_and_no_others() {
        let text = "heartbeat_interval = \"31s\"\njob_timeout = \"6m\"\n[cluster]\nid = \
                    \"a\"\nname = \"b\"\n[pool]\naddress = \"p:3333\"\nwallet = \"w\"\npassword = \
                    \"x\"\n[grpc]\nlisten = \":50051\"\n[grpc.tls]\nenabled = true\ncert = \
                    \"server.crt\"\nkey = \"server.key\"\nca = \"ca.crt\"\n[dashboard]\nlisten = \
                    \"127.0.0.1:8080\"\nstatic_dir = \"./web\"\n";
        let config: CoordinatorConfig = toml::from_str(text).unwrap();
        assert_eq!(config.heartbeat_interval.as_millis(), 31_000);
        assert_eq!(config.worker_timeout_ms(), 93_000);
        assert_eq!(config.job_timeout.as_millis(), 360_000);
        assert!(config.validate(false).is_ok());
        let warning = config.warning().unwrap();
        assert!(
            warning.starts_with("dashboard.static_dir = \"./web\" has no effect"),
            "{warning}"
        );
        assert_eq!(CoordinatorConfig::default().warning(), None);
        assert!(toml::from_str::<CoordinatorConfig>("[pool]\nadress = \"p:1\"\n").is_err());
        let text = "[worker]\nid = \"rig-1\"\n[coordinator]\naddress = \
                    \"c:50051\"\n[coordinator.tls]\nenabled = true\n[mining]\nthreads = \
                    4\nhuge_pages = true\n";
        let config: WorkerConfig = toml::from_str(text).unwrap();
        let config = config.completed().unwrap();
        assert_eq!((config.mining.threads, &*config.worker.name), (4, "rig-1"));
        let mut bad = WorkerConfig::default();
        bad.worker.id = "a b".to_owned();
        assert!(bad.completed().is_err());
        for bad in ["", "5", "m", "5d", "-1s", "99999999999999999999s"] {
            assert!(bad.parse::<DurationSetting>().is_err(), "{bad}");
        }
    }
}
