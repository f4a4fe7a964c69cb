//! The stratum crate's section of the configuration: every key with its default, and what makes it
//! refusable.

use headframe_schemas::stream::blocks::PayoutTerms;
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::chain::ChainConfig;
use crate::chain::bitcoin::OpensySettings;
use crate::chain::coinbase_tag::{CoinbaseKey, CoinbaseTag};
use crate::chain::driver::ChainKind;
use crate::chain::failover;
use crate::config_error::ConfigError;
use crate::net::port::{Port, PortConfig, PortScheme};
use crate::net::proxy::TrustedProxies;
use crate::net::tls::TlsConfig;
use crate::protocol::reconnect::Successor;
use crate::work::vardiff;
use crate::{blocks, defence, randomx, spool};

/// The longest grace for late shares: a quarter of the time between two blocks of Monero.
const MAX_GRACE_MS: u64 = 30_000;

/// The section `[stratum]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StratumConfig {
    /// Where miners connect.
    pub listen: SocketAddr,
    /// More ports, each with its own difficulty.
    pub ports: Vec<PortConfig>,
    /// Balancers whose PROXY headers are believed: addresses or networks.
    pub trusted_proxies: Vec<String>,
    /// Where miners are sent at shutdown, `host:port`. Miners over TLS only if it shows the same
    /// certificate.
    pub successor: Option<String>,
    /// TLS, on the same ports.
    pub tls: TlsConfig,
    /// The pool's name in every row.
    pub pool: String,
    /// The address that found blocks pay.
    pub wallet: String,
    /// The chain to mine.
    pub chain: ChainKind,
    /// How to mine OpenSY; only used with that chain.
    pub opensy: OpensySettings,
    /// monerod's RPC, e.g. `http://127.0.0.1:18081`.
    pub daemon_url: String,
    /// Several daemons in the order of preference, instead of `daemon_url`.
    pub daemon_urls: Vec<String>,
    /// When a daemon counts as unfit.
    pub daemons: failover::DaemonSettings,
    /// What becomes of found blocks.
    pub blocks: blocks::BlocksSettings,
    /// Seconds a call to the daemon may take.
    pub daemon_timeout_s: u64,
    /// Seconds the last template stays in use while the daemon does not answer.
    pub daemon_grace_s: u64,
    /// Milliseconds between looks at the chain's end.
    pub poll_ms: u64,
    /// Seconds after which a template is renewed for new transactions.
    pub template_refresh_s: u64,
    /// Hashes a share costs a miner that just logged in.
    pub start_difficulty: u64,
    /// How difficulty follows each miner.
    pub vardiff: vardiff::VardiffSettings,
    /// Threads that verify shares.
    pub verify_threads: usize,
    /// Shares that may wait for a thread.
    pub verify_queue: usize,
    /// How much memory to trade for speed.
    pub randomx: randomx::RandomxSettings,
    /// Connections at once.
    pub max_sessions: usize,
    /// Seconds a connection may take to log in.
    pub login_timeout_s: u64,
    /// Seconds of silence after which a connection is closed.
    pub idle_timeout_s: u64,
    /// Seconds a miner may take to read what it is sent.
    pub write_timeout_s: u64,
    /// Seconds a share may take to become durable before it is refused.
    pub durable_timeout_s: u64,
    /// Milliseconds for which a share for the block before the newest is still credited, counted
    /// from the announcement of the new template; it cannot be a block any more. 0 makes it stale
    /// at once.
    pub late_grace_ms: u64,
    /// Where rows wait while JetStream is away.
    pub spool: spool::SpoolConfig,
    /// Seconds between hashrate rows of a session.
    pub hashrate_interval_s: u64,
    /// Seconds the shares in flight may take at shutdown.
    pub drain_s: u64,
    /// Limits against those who would harm the pool or other miners.
    pub defence: defence::config::DefenceConfig,
    /// On which terms found blocks are paid, written into their rows. Not a key of this section:
    /// whoever starts the pool gives them; without any nobody is paid.
    #[serde(skip)]
    pub terms: PayoutTerms,
    /// The same of blocks that miners who mine solo find.
    #[serde(skip)]
    pub solo_terms: PayoutTerms,
    /// What found blocks are proven to be this pool's with. Not a key of this section: whoever
    /// starts the pool reads it from a file; without it no block that lost its rows is credited
    /// before the operator confirms it.
    #[serde(skip)]
    pub coinbase_key: Option<CoinbaseKey>,
}

impl Default for StratumConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 3333)),
            ports: Vec::new(),
            trusted_proxies: Vec::new(),
            successor: None,
            tls: TlsConfig::default(),
            pool: "main".to_owned(),
            wallet: String::new(),
            chain: ChainKind::default(),
            opensy: OpensySettings::default(),
            daemon_url: "http://127.0.0.1:18081".to_owned(),
            daemon_urls: Vec::new(),
            daemons: failover::DaemonSettings::default(),
            blocks: blocks::BlocksSettings::default(),
            daemon_timeout_s: 5,
            daemon_grace_s: 30,
            poll_ms: 500,
            template_refresh_s: 30,
            start_difficulty: 10_000,
            vardiff: vardiff::VardiffSettings::default(),
            verify_threads: 1,
            verify_queue: 1024,
            randomx: randomx::RandomxSettings::default(),
            max_sessions: 10_000,
            login_timeout_s: 10,
            idle_timeout_s: 600,
            write_timeout_s: 10,
            durable_timeout_s: 15,
            late_grace_ms: 3_000,
            spool: spool::SpoolConfig::default(),
            hashrate_interval_s: 60,
            drain_s: 10,
            defence: defence::config::DefenceConfig::default(),
            terms: PayoutTerms::default(),
            solo_terms: PayoutTerms::default(),
            coinbase_key: None,
        }
    }
}

impl StratumConfig {
    /// Refuses what could only fail later. Whether the wallet is on the daemon's network is checked
    /// against the daemon.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.wallet.is_empty() {
            return Err(refuse(
                "wallet",
                "\"\"",
                "write the address that found blocks should pay",
            ));
        }
        self.chain
            .check_wallet(&self.wallet)
            .map_err(|error| refuse("wallet", &self.wallet, &error.to_string()))?;
        self.opensy.validate()?;
        let name_ok = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.pool.is_empty() || self.pool.len() > 64 || !self.pool.chars().all(name_ok) {
            return Err(refuse(
                "pool",
                &self.pool,
                "use 1 to 64 letters, digits, dashes or underscores",
            ));
        }
        let url_ok = |url: &String| {
            reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
        };
        let key = if self.daemon_urls.is_empty() {
            "daemon_url"
        } else {
            "daemon_urls"
        };
        let daemons = self.daemons_in_order();
        if let Some(url) = daemons.iter().find(|url| !url_ok(url)) {
            return Err(refuse(key, url, "write it as http://host:port"));
        }
        self.daemons.validate(daemons.len())?;
        self.blocks.validate()?;
        self.defence.validate()?;
        self.tls.validate()?;
        TrustedProxies::parse(&self.trusted_proxies)?;
        self.successor()?;
        self.validate_numbers()?;
        Port::validate(self.all_ports())
    }

    /// Where miners are sent at shutdown, read from `successor`.
    pub fn successor(&self) -> Result<Option<Successor>, ConfigError> {
        self.successor.as_deref().map(Successor::parse).transpose()
    }

    fn validate_numbers(&self) -> Result<(), ConfigError> {
        let positive = [
            ("daemon_timeout_s", self.daemon_timeout_s),
            ("poll_ms", self.poll_ms),
            ("template_refresh_s", self.template_refresh_s),
            ("start_difficulty", self.start_difficulty),
            ("vardiff.min_difficulty", self.vardiff.min_difficulty),
            ("verify_threads", self.verify_threads as u64),
            ("verify_queue", self.verify_queue as u64),
            ("max_sessions", self.max_sessions as u64),
            ("login_timeout_s", self.login_timeout_s),
            ("idle_timeout_s", self.idle_timeout_s),
            ("write_timeout_s", self.write_timeout_s),
            ("durable_timeout_s", self.durable_timeout_s),
            ("hashrate_interval_s", self.hashrate_interval_s),
        ];
        if let Some((key, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(refuse(key, "0", "must be at least 1"));
        }
        let vardiff = &self.vardiff;
        if vardiff.max_difficulty < vardiff.min_difficulty
            || i64::try_from(vardiff.max_difficulty).is_err()
        {
            let reason = "must lie between vardiff.min_difficulty and 9223372036854775807";
            return Err(refuse(
                "vardiff.max_difficulty",
                &vardiff.max_difficulty.to_string(),
                reason,
            ));
        }
        if !(vardiff.target_s > 0.0 && vardiff.target_s <= 3600.0) {
            return Err(refuse(
                "vardiff.target_s",
                &vardiff.target_s.to_string(),
                "must be above 0 and at most 3600 seconds",
            ));
        }
        if !(vardiff.max_step > 1.0 && vardiff.max_step <= 1000.0) {
            return Err(refuse(
                "vardiff.max_step",
                &vardiff.max_step.to_string(),
                "must be above 1 and at most 1000",
            ));
        }
        if self.durable_timeout_s > 19 {
            let reason = "must be at most 19: miners give a share up after 20 seconds";
            return Err(refuse(
                "durable_timeout_s",
                &self.durable_timeout_s.to_string(),
                reason,
            ));
        }
        if self.late_grace_ms > MAX_GRACE_MS {
            let reason = format!(
                "must be at most {MAX_GRACE_MS}: the pool pays for work that cannot become a block"
            );
            return Err(refuse(
                "late_grace_ms",
                &self.late_grace_ms.to_string(),
                &reason,
            ));
        }
        self.spool
            .validate(self.durable_timeout_s)
            .map_err(|(key, value, reason)| refuse(key, &value, &reason))
    }

    /// All ports of a pool: `listen` first, then the list.
    pub fn all_ports(&self) -> Vec<Port> {
        let plain = Port {
            listen: self.listen,
            start_difficulty: self.start_difficulty,
            fixed_difficulty: None,
            vardiff: self.vardiff,
            nicehash: false,
            solo: false,
        };
        let more = self.ports.iter().map(|port| Port {
            listen: port.listen,
            start_difficulty: port.start_difficulty.unwrap_or(self.start_difficulty),
            fixed_difficulty: port.fixed_difficulty,
            vardiff: vardiff::VardiffSettings {
                min_difficulty: port.min_difficulty.unwrap_or(self.vardiff.min_difficulty),
                max_difficulty: port.max_difficulty.unwrap_or(self.vardiff.max_difficulty),
                ..self.vardiff
            },
            nicehash: port.nicehash,
            solo: port.scheme == PortScheme::Solo,
        });
        std::iter::once(plain).chain(more).collect()
    }

    /// The addresses of the chain's daemons, the preferred one first.
    pub fn daemons_in_order(&self) -> Vec<String> {
        if self.chain == ChainKind::Opensy {
            return self.opensy.nodes_in_order();
        }
        if self.daemon_urls.is_empty() {
            vec![self.daemon_url.clone()]
        } else {
            self.daemon_urls.clone()
        }
    }

    /// What the driver of the chain needs to know.
    pub fn chain_config(&self) -> ChainConfig {
        ChainConfig {
            kind: self.chain,
            wallet: self.wallet.clone(),
            urls: self.daemons_in_order(),
            timeout: Duration::from_secs(self.daemon_timeout_s),
            poll: Duration::from_millis(self.poll_ms),
            daemons: self.daemons.clone(),
            opensy: self.opensy.clone(),
            tag: self.coinbase_tag(),
        }
    }

    /// On which terms a block is paid, by whether it was mined solo.
    pub(crate) fn terms_of(&self, solo: bool) -> PayoutTerms {
        match solo {
            true => PayoutTerms {
                solo: Some(true),
                ..self.solo_terms.clone()
            },
            false => self.terms.clone(),
        }
    }

    /// What the pool's coinbases are known by.
    pub(crate) fn coinbase_tag(&self) -> CoinbaseTag {
        CoinbaseTag::new(&self.pool, &self.wallet, self.coinbase_key.clone())
    }
    pub(crate) fn write_timeout(&self) -> Duration {
        Duration::from_secs(self.write_timeout_s)
    }
    pub(crate) fn login_timeout(&self) -> Duration {
        Duration::from_secs(self.login_timeout_s)
    }
    pub(crate) fn idle_timeout(&self) -> Duration {
        Duration::from_secs(self.idle_timeout_s)
    }
    pub(crate) fn durable_timeout(&self) -> Duration {
        Duration::from_secs(self.durable_timeout_s)
    }
    pub(crate) fn hashrate_interval(&self) -> Duration {
        Duration::from_secs(self.hashrate_interval_s)
    }
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_s)
    }
}

fn refuse(key: &'static str, value: &str, reason: &str) -> ConfigError {
    ConfigError {
        key,
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}
