//! The one configuration file: a section a room, every key with a default, unknown keys refused.
//!
//! Every key can be overridden by the environment: `HEADFRAME__QUERY__LISTEN=127.0.0.1:9000` sets
//! `listen` in `[query]`. Secrets are no part of it: they come from files it names, or from
//! variables of their own.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use headframe_ingest::{HttpIngestConfig, NatsConfig, PublisherConfig, StreamSettings};
use headframe_pipelines::{PaymentConfig, PipelineConfig};
use headframe_query_front::QueryConfig;
use headframe_query_front::auth::Guard;
use headframe_sinks::Lake;
use headframe_sinks::wallet::WalletKind;
use headframe_stratum::StratumConfig;
use serde::{Deserialize, Serialize};

mod files;
mod layers;
mod maintenance;
mod payouts;

pub use maintenance::MaintenanceSection;
pub use payouts::PayoutsSection;

/// The least time that a stop is given.
const DRAIN: Duration = Duration::from_secs(15);
/// Seconds beyond a pool's own drain.
const DRAIN_MARGIN_S: u64 = 5;

/// A part of the system that can run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The mining pool.
    Stratum,
    /// Streams into tables.
    Pipelines,
    /// Upkeep of the tables.
    Maintenance,
    /// SQL and the ingest door over HTTP.
    Query,
    /// Payments to miners; one process of a pool, and no other.
    Payments,
}

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the managed nats-server keeps its streams, and the tables when `[lake]` names no other
    /// place.
    pub data_dir: PathBuf,
    /// What this process runs.
    pub roles: Vec<Role>,
    /// Whether this process starts and supervises nats-server itself; otherwise `[nats]` says where
    /// it is.
    pub managed_nats: bool,
    /// Port of the managed nats-server on 127.0.0.1; 0 takes a free one.
    pub nats_port: u16,
    /// Where NATS is.
    pub nats: NatsConfig,
    /// Where the tables are.
    pub lake: LakeConfig,
    /// How streams are made.
    pub streams: StreamSettings,
    /// How rows are gathered into messages.
    pub publisher: PublisherConfig,
    /// When batches are committed.
    pub pipelines: PipelineConfig,
    /// How tables are kept small, fast and short.
    pub maintenance: MaintenanceSection,
    /// SQL over HTTP.
    pub query: QueryConfig,
    /// The HTTP door for rows.
    pub ingest: HttpIngestConfig,
    /// The pool.
    pub stratum: StratumConfig,
    /// How the pool's blocks are paid.
    pub payouts: PayoutsSection,
    /// How miners are paid.
    pub payments: PaymentConfig,
}

/// Where the tables are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// A folder or `s3://bucket/path`; `tables` in the data folder when empty.
    pub url: String,
    /// Options of the object store, e.g. `aws_endpoint`; access keys come from the environment.
    #[serde(serialize_with = "sorted")]
    pub options: HashMap<String, String>,
}

/// The same options are always printed the same.
fn sorted<S: serde::Serializer>(
    options: &HashMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    options
        .iter()
        .collect::<BTreeMap<_, _>>()
        .serialize(serializer)
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("headframe-data"),
            roles: vec![Role::Pipelines, Role::Maintenance, Role::Query],
            managed_nats: true,
            nats_port: 0,
            nats: NatsConfig::default(),
            lake: LakeConfig::default(),
            streams: StreamSettings::default(),
            publisher: PublisherConfig::default(),
            pipelines: PipelineConfig::default(),
            maintenance: MaintenanceSection::default(),
            query: QueryConfig::default(),
            ingest: HttpIngestConfig::default(),
            stratum: StratumConfig::default(),
            payouts: PayoutsSection::default(),
            payments: PaymentConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file, applies the environment and checks every section. The error names the key.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        Self::load_for(file, None)
    }

    /// [`Config::load`] with other roles than the configuration's own.
    pub fn load_for(file: Option<&Path>, roles: Option<Vec<Role>>) -> anyhow::Result<Self> {
        let what = file.map_or_else(
            || "the environment".to_owned(),
            |file| file.display().to_string(),
        );
        let merged = layers::merged(file)?;
        // The parser ends its text in a line feed.
        let parsed = merged.try_into().map_err(|error: toml::de::Error| {
            anyhow!("{}", error.to_string().trim_end().replace('\n', " "))
        });
        let mut config: Self = parsed.with_context(|| format!("{what} cannot be used"))?;
        config.roles = roles.unwrap_or(config.roles);
        config
            .validate()
            .with_context(|| format!("{what} cannot be used"))?;
        Ok(config)
    }

    /// The whole effective configuration as TOML, defaults included. It loads back to the same.
    pub fn print(file: Option<&Path>) -> anyhow::Result<String> {
        Self::load(file)?.to_toml()
    }

    /// As TOML. Keys without a value are left out; a password in an address is masked.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        let mut value = toml::Value::try_from(self)?;
        layers::mask(&mut value);
        Ok(toml::to_string_pretty(&value)?)
    }

    /// Refuses what cannot work, before any port is bound. All that is wrong is said at once.
    pub fn validate(&self) -> anyhow::Result<()> {
        let faults: Vec<String> = self.faults().into_iter().filter_map(Result::err).collect();
        match faults.as_slice() {
            [] => Ok(()),
            [fault] => bail!("{fault}"),
            faults => bail!("\n  {}", faults.join("\n  ")),
        }
    }

    fn faults(&self) -> Vec<Result<(), String>> {
        let mut checks = vec![
            self.check_process(),
            self.check_nats(),
            self.streams.validate(),
            self.publisher.validate(self.streams.duplicate_window_s),
            self.pipelines.validate(),
            self.maintenance.validate(),
            self.query.validate().map_err(|error| error.to_string()),
            Guard::from_config(&self.query)
                .map(|_| ())
                .map_err(|error| error.to_string()),
            self.ingest.validate(),
            self.payouts.validate(),
            self.check_payments(),
        ];
        if self.needs_tables() {
            let checked = Lake::check(&self.lake_url(), &self.lake.options);
            checks.push(checked.map_err(|error| format!("lake.url and lake.options: {error}")));
        }
        if self.roles.contains(&Role::Stratum) {
            checks.push(self.stratum.validate().map_err(|error| error.to_string()));
            checks.extend(files::of_pool(&self.stratum));
        }
        checks
    }

    fn check_process(&self) -> Result<(), String> {
        if self.roles.is_empty() {
            return Err("roles is empty; name at least one of stratum, pipelines, maintenance, query, payments".to_owned());
        }
        if self.data_dir.as_os_str().is_empty() || self.data_dir.is_file() {
            return Err(format!(
                "data_dir is {:?}; it must name a folder, which is made when it is not there",
                self.data_dir
            ));
        }
        Ok(())
    }

    fn check_payments(&self) -> Result<(), String> {
        if self.roles.contains(&Role::Payments) && self.payments.wallet.kind == WalletKind::None {
            return Err("roles has payments but payments.wallet.kind is none; name the wallet, or leave the role out".to_owned());
        }
        if self.roles.contains(&Role::Payments)
            && self.roles.contains(&Role::Stratum)
            && self.payments.pool != self.stratum.pool
        {
            return Err(format!(
                "payments.pool is {:?} but stratum.pool is {:?}",
                self.payments.pool, self.stratum.pool
            ));
        }
        self.payments.validate()
    }

    fn check_nats(&self) -> Result<(), String> {
        if self.managed_nats && self.nats.url != NatsConfig::default().url {
            return Err(format!(
                "nats.url is {} but managed_nats is true; say managed_nats = false to use that server",
                self.nats.url
            ));
        }
        if !self.managed_nats && self.nats_port != 0 {
            return Err("nats_port is set but managed_nats is false; nats.url says where a server of yours is".to_owned());
        }
        self.nats.validate()
    }

    /// Whether a role of this process reads or writes tables.
    pub fn needs_tables(&self) -> bool {
        self.roles.iter().any(|role| *role != Role::Stratum)
    }

    /// How long a stop may take before what still runs is dropped; a kill is safe, only slower to
    /// come back from. A pool has as long as it was given for the shares in flight, and some
    /// seconds to make them durable.
    pub fn drain(&self) -> Duration {
        match self.roles.contains(&Role::Stratum) {
            true => DRAIN.max(Duration::from_secs(
                self.stratum.drain_s.saturating_add(DRAIN_MARGIN_S),
            )),
            false => DRAIN,
        }
    }

    /// The roles, separated by commas.
    pub fn role_list(&self) -> String {
        let names = self
            .roles
            .iter()
            .filter_map(clap::ValueEnum::to_possible_value);
        names
            .map(|name| name.get_name().to_owned())
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Where the tables are.
    pub fn lake_url(&self) -> String {
        match self.lake.url.as_str() {
            "" => self.data_dir.join("tables").display().to_string(),
            url => url.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stop_waits_as_long_as_the_pool_was_given() {
        let drain = |roles: &[Role], drain_s| {
            let mut config = Config {
                roles: roles.to_vec(),
                ..Config::default()
            };
            config.stratum.drain_s = drain_s;
            config.drain().as_secs()
        };
        assert_eq!(drain(&[Role::Stratum], 10), 15);
        assert_eq!(drain(&[Role::Stratum], 40), 45);
        assert_eq!(drain(&[Role::Stratum, Role::Query], u64::MAX), u64::MAX);
        assert_eq!(
            drain(&[Role::Query], 40),
            15,
            "without a pool its key means nothing"
        );
    }
}
