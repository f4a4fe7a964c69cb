//! The `query` section of the configuration: where the server listens and what one question may
//! cost.
//!
//! Every limit has a default that a small machine can bear, and [`QueryConfig::validate`] refuses
//! what cannot work before any port is bound.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::connection::ConnectionSettings;
use crate::slot_quotas::three_quarters;

mod access;
mod oidc;
mod postgres;
mod tls;

pub use access::{AccessConfig, AccessConfigError, JwtConfig};
pub use oidc::{CALLBACK_PATH, OidcConfig, is_safe_address};
pub use postgres::{PostgresConfig, PostgresConfigError};
pub use tls::TlsConfig;

/// The most that a thread can give way.
const MAX_NICENESS: u8 = 19;
/// What a worker takes beside the memory of its operators: code, caches and rows in flight.
const WORKER_MARGIN_MIB: usize = 512;
/// The least of that.
const WORKER_BASE_MIB: usize = 256;

/// The `query` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueryConfig {
    /// The address to listen on; anything but loopback needs `token_file`. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// A file whose first line is the bearer token every request must carry.
    pub token_file: Option<PathBuf>,
    /// A file whose first line is the bearer token of requests that change something, such as
    /// orders about payments and bans; it reads as well. Off loopback there are no such requests
    /// without it. `HEADFRAME_OPERATOR_TOKEN` in the environment goes before it.
    pub operator_token_file: Option<PathBuf>,
    /// Whether the pool's pages are for everybody: pool, blocks and their payouts, and miners by
    /// address.
    pub public_pages: bool,
    /// Where a block is looked at, with `{hash}` for its id; unset takes the chain's own explorer,
    /// empty none.
    pub explorer_block: Option<String>,
    /// The same for a transaction.
    pub explorer_transaction: Option<String>,
    /// Connections that may be open, in all. Fewer where the process may not open so many files.
    pub max_connections: usize,
    /// Connections that may be open from one address, or one /64 of IPv6.
    pub max_connections_per_address: usize,
    /// How long the head of a request may take, in milliseconds; a new connection has as long for
    /// its first one.
    pub header_timeout_ms: u64,
    /// How long a connection may stay open between two requests, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How long the whole body of a request may take, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long an answer may wait for a client that takes nothing of it, in milliseconds.
    pub write_timeout_ms: u64,
    /// Requests a second that one caller may send, by name where it has proved one and by address,
    /// or /64 of IPv6, where it has not; 0 for any number. Typed statements are not counted.
    pub requests_per_s: u32,
    /// Requests that it may send at once.
    pub request_burst: u32,
    /// Requests for the pool's pages without a token that may be answered at the same time.
    pub public_slots: usize,
    /// The same for requests of readers, statements and rows apart.
    pub reader_slots: usize,
    /// The same for requests of operators.
    pub operator_slots: usize,
    /// Queries that may run at the same time; the next one gets 429.
    pub max_concurrent: usize,
    /// Queries that one user, service or token may run at the same time; 0 takes three quarters of
    /// `max_concurrent`. Programs of this machine that need no token have no such share.
    pub max_concurrent_per_principal: usize,
    /// Subscriptions that may be open, in all.
    pub live_subscribers: usize,
    /// Subscriptions that one user, service or token may have open.
    pub live_subscribers_per_principal: usize,
    /// Subscriptions that may be open from one address, or one /64 of IPv6.
    pub live_subscribers_per_address: usize,
    /// Pause between two pings of a WebSocket, in milliseconds. A client that sends
    /// nothing during three of them is disconnected.
    pub live_ping_ms: u64,
    /// Statements whose answers are pushed, among those subscriptions.
    pub live_statements: usize,
    /// Conditions that all subscriptions together may have.
    pub live_conditions: usize,
    /// Statements of subscriptions that may run at the same time: so many for rows, and so many for
    /// answers.
    pub live_slots: usize,
    /// Rows kept for the subscribers of one view, in KiB; whoever is further behind reads them from
    /// the tables.
    pub live_buffer_kib: usize,
    /// The longest a query may run, in seconds; a request may ask for less.
    pub timeout_s: u64,
    /// Processes that run typed statements, beside a spare one; at least 1.
    pub sql_workers: usize,
    /// Memory of one such process, in MiB, which the operating system enforces; 0 takes
    /// `memory_mib` and 512 more.
    pub worker_memory_mib: usize,
    /// How far the threads that run statements give way to everything else on the machine, as
    /// `nice` counts it: 0 not at all, 19 the most. Where the pool runs beside miners that take
    /// every core, statements come to a tenth of a core with 10 and to a seventieth with 19.
    pub worker_niceness: u8,
    /// Cores that the threads of each such process may use, the last ones of those that the process
    /// that starts it may use. 0 leaves one to the pool where it runs in the same process, and
    /// takes all of them elsewhere.
    pub worker_cores: usize,
    /// Memory that the operators of all queries of a process may take together, in MiB.
    pub memory_mib: usize,
    /// Memory of one query, in MiB.
    pub query_memory_mib: usize,
    /// Disk that sorts and groupings may spill to, of all queries together, in MiB; 0 for none.
    /// Spilling to the disk that JetStream syncs makes acknowledgements wait.
    pub spill_mib: u64,
    /// Memory for the metadata of files read before, in MiB.
    pub metadata_cache_mib: usize,
    /// Rows in an answer as JSON or as a text table; the streamed formats have no such limit unless
    /// the request sets one.
    pub max_rows: usize,
    /// How long a query waits for rows that JetStream holds but the tail has not read yet, in
    /// milliseconds.
    pub freshness_wait_ms: u64,
    /// Whether there is a page `/metrics`.
    pub metrics: bool,
    /// Seconds between two rounds of the figures of pools and miners on `/metrics`; 0 leaves them
    /// out.
    pub figures_s: u64,
    /// Miners that have lines of their own on `/metrics`: those with the most work of a day.
    pub figures_miners: usize,
    /// The section `[query.tls]`.
    pub tls: TlsConfig,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            token_file: None,
            operator_token_file: None,
            public_pages: false,
            explorer_block: None,
            explorer_transaction: None,
            max_connections: 1_024,
            max_connections_per_address: 256,
            header_timeout_ms: 10_000,
            idle_timeout_ms: 75_000,
            body_timeout_ms: 60_000,
            write_timeout_ms: 30_000,
            requests_per_s: 200,
            request_burst: 1_000,
            public_slots: 4,
            reader_slots: 8,
            operator_slots: 4,
            max_concurrent: 8,
            max_concurrent_per_principal: 0,
            live_subscribers: 512,
            live_subscribers_per_principal: 256,
            live_subscribers_per_address: 128,
            live_ping_ms: 15_000,
            live_statements: 16,
            live_conditions: 32,
            live_slots: 2,
            live_buffer_kib: 4_096,
            timeout_s: 30,
            sql_workers: 2,
            worker_memory_mib: 0,
            worker_niceness: 10,
            worker_cores: 0,
            memory_mib: 1024,
            query_memory_mib: 512,
            spill_mib: 0,
            metadata_cache_mib: 64,
            max_rows: 1_000_000,
            freshness_wait_ms: 1_000,
            metrics: true,
            figures_s: 15,
            figures_miners: 50,
            tls: TlsConfig::default(),
        }
    }
}

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    /// Anyone on the network could read everything.
    #[error(
        "query.listen is {0}, which is not a loopback address, but query.token_file is not set: \
         name a file with a bearer token, or listen on 127.0.0.1"
    )]
    OpenToTheWorld(SocketAddr),
    /// A limit that no query could keep.
    #[error("query.{key} is {value}; {rule}")]
    Limit {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// A link that leads nowhere.
    #[error(
        "query.{key} is {value:?}; write it as https://host/path/{{hash}}, or leave it empty for \
         none"
    )]
    Link {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
}

impl QueryConfig {
    /// Links to explorers lead to the web, and name what is looked at.
    fn check_links(&self) -> Result<(), ConfigError> {
        let links = [
            ("explorer_block", &self.explorer_block),
            ("explorer_transaction", &self.explorer_transaction),
        ];
        let is_link = |text: &str| {
            let is_web = text.starts_with("https://") || text.starts_with("http://");
            text.is_empty() || (is_web && text.contains("{hash}"))
        };
        for (key, value) in links {
            if let Some(value) = value.as_deref().filter(|text| !is_link(text)) {
                let value = value.to_owned();
                return Err(ConfigError::Link { key, value });
            }
        }
        Ok(())
    }

    /// Refuses what cannot work and what must not be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.listen.ip().is_loopback() && self.token_file.is_none() {
            return Err(ConfigError::OpenToTheWorld(self.listen));
        }
        self.check_links()?;
        let positive = self.positive_limits();
        if let Some((key, value)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Limit {
                key,
                value,
                rule: "it must be at least 1",
            });
        }
        if self.query_memory_mib > self.memory_mib {
            let value = self.query_memory_mib as u64;
            return Err(ConfigError::Limit {
                key: "query_memory_mib",
                value,
                rule: "it must not be more than query.memory_mib",
            });
        }
        if self.worker_memory_mib() < self.memory_mib + WORKER_BASE_MIB {
            return Err(ConfigError::Limit {
                key: "worker_memory_mib",
                value: self.worker_memory_mib as u64,
                rule: "it must be at least query.memory_mib and 256 more, or 0",
            });
        }
        if self.worker_niceness > MAX_NICENESS {
            return Err(ConfigError::Limit {
                key: "worker_niceness",
                value: u64::from(self.worker_niceness),
                rule: "it must not be more than 19",
            });
        }
        if self.figures_miners > 1_000 {
            let rule =
                "it must not be more than 1000: each miner is five series for Prometheus to keep";
            return Err(ConfigError::Limit {
                key: "figures_miners",
                value: self.figures_miners as u64,
                rule,
            });
        }
        if self.timeout_s > 86_400 {
            return Err(ConfigError::Limit {
                key: "timeout_s",
                value: self.timeout_s,
                rule: "it must not be more than a day, 86400",
            });
        }
        Ok(())
    }

    /// What the connections of the HTTP port may do.
    pub(crate) fn connections(&self) -> ConnectionSettings {
        ConnectionSettings {
            max: self.max_connections,
            max_per_address: self.max_connections_per_address,
            kept_for_local: None,
            header: Duration::from_millis(self.header_timeout_ms),
            idle: Duration::from_millis(self.idle_timeout_ms),
            body: Duration::from_millis(self.body_timeout_ms),
            write: Duration::from_millis(self.write_timeout_ms),
            gauge: "headframe_http_connections",
            section: Some("query"),
        }
    }

    /// The limits that must be at least 1.
    fn positive_limits(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("max_connections", self.max_connections as u64),
            (
                "max_connections_per_address",
                self.max_connections_per_address as u64,
            ),
            ("header_timeout_ms", self.header_timeout_ms),
            ("idle_timeout_ms", self.idle_timeout_ms),
            ("body_timeout_ms", self.body_timeout_ms),
            ("write_timeout_ms", self.write_timeout_ms),
            ("request_burst", u64::from(self.request_burst)),
            ("public_slots", self.public_slots as u64),
            ("reader_slots", self.reader_slots as u64),
            ("operator_slots", self.operator_slots as u64),
            ("max_concurrent", self.max_concurrent as u64),
            ("live_subscribers", self.live_subscribers as u64),
            (
                "live_subscribers_per_principal",
                self.live_subscribers_per_principal as u64,
            ),
            (
                "live_subscribers_per_address",
                self.live_subscribers_per_address as u64,
            ),
            ("live_ping_ms", self.live_ping_ms),
            ("live_statements", self.live_statements as u64),
            ("live_conditions", self.live_conditions as u64),
            ("live_slots", self.live_slots as u64),
            ("live_buffer_kib", self.live_buffer_kib as u64),
            ("sql_workers", self.sql_workers as u64),
            ("timeout_s", self.timeout_s),
            ("memory_mib", self.memory_mib as u64),
            ("query_memory_mib", self.query_memory_mib as u64),
            ("max_rows", self.max_rows as u64),
        ]
    }

    /// Memory of one worker, in MiB.
    pub fn worker_memory_mib(&self) -> usize {
        match self.worker_memory_mib {
            0 => self.memory_mib + WORKER_MARGIN_MIB,
            mib => mib,
        }
    }

    /// Queries that one caller may run at the same time.
    pub fn max_concurrent_per_principal(&self) -> usize {
        match self.max_concurrent_per_principal {
            0 => three_quarters(self.max_concurrent),
            share => share,
        }
    }

    /// The longest a query may run.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }

    /// Pages that may be answered at the same time, and two rounds of metrics.
    pub fn page_slots(&self) -> usize {
        self.public_slots + self.reader_slots + self.operator_slots + 2
    }

    /// How long a query waits for the tail.
    pub fn freshness_wait(&self) -> Duration {
        Duration::from_millis(self.freshness_wait_ms)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn defaults_are_valid_and_strangers_need_a_token() {
        let config = QueryConfig::default();
        assert_eq!(config.validate(), Ok(()));
        let open = QueryConfig {
            listen: "0.0.0.0:8080".parse().unwrap(),
            ..config.clone()
        };
        assert!(
            open.validate()
                .unwrap_err()
                .to_string()
                .contains("token_file")
        );
        let guarded = QueryConfig {
            token_file: Some("token".into()),
            ..open
        };
        assert_eq!(guarded.validate(), Ok(()));
        let greedy = QueryConfig {
            query_memory_mib: 4096,
            ..config.clone()
        };
        assert!(
            greedy
                .validate()
                .unwrap_err()
                .to_string()
                .contains("query.query_memory_mib is 4096")
        );
        for (link, is_valid) in [
            ("", true),
            ("https://explorer.example/tx/{hash}", true),
            ("https://explorer.example/tx/", false),
            ("javascript:alert(1)//{hash}", false),
        ] {
            let linked = QueryConfig {
                explorer_transaction: Some(link.to_owned()),
                ..config.clone()
            };
            assert_eq!(linked.validate().is_ok(), is_valid, "{link}");
        }
        let none = QueryConfig {
            max_concurrent: 0,
            ..config
        };
        assert!(
            none.validate()
                .unwrap_err()
                .to_string()
                .contains("at least 1")
        );
    }
}
