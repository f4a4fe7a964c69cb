//! The one configuration file: a section a crate or role, every key with a default, unknown keys
//! refused.
//!
//! Every key can be overridden by the environment: `HEADFRAME__QUERY__LISTEN=127.0.0.1:9000` sets
//! `listen` in `[query]`. Secrets are no part of it: they come from files it names, or from
//! variables of their own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use headframe_coopmine::config::CoordinatorConfig;
use headframe_ingest::source::{SourceConfig, SourcesConfig};
use headframe_ingest::{
    ForwardConfig, HttpIngestConfig, NatsConfig, PublisherConfig, StreamSettings,
};
use headframe_pipelines::anomaly::AnomalyConfig;
use headframe_pipelines::{PaymentConfig, PipelineConfig, UserPipelineConfig};
use headframe_query_front::{AccessConfig, PostgresConfig, QueryConfig};
use headframe_stratum::StratumConfig;
use serde::{Deserialize, Serialize};

mod access;
mod anomalies;
mod chain_defaults;
mod coopmine;
mod forward;
mod ingest;
mod lake;
mod layers;
mod maintenance;
mod nats;
mod payments;
mod payouts;
mod pipelines;
mod postgres;
mod publisher;
mod query;
mod section;
mod sources;
mod stratum;
mod streams;
mod user_pipelines;

use lake::LakeConfig;
pub use layers::ignored_variables;
pub use maintenance::MaintenanceSection;
pub use payouts::PayoutsSection;
use section::{ConfigFault, Section, SectionEntry};

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
    /// SQL and the ingest of rows over HTTP.
    Query,
    /// Payments to miners; one process of a pool, and no other.
    Payments,
    /// A CoopMine coordinator: many machines that are one miner.
    Coopmine,
    /// Polling of devices.
    Sources,
    /// Rows of a site, sent on to its office.
    Forward,
}

impl Role {
    fn names(roles: &[Self]) -> Vec<String> {
        let values = roles.iter().filter_map(clap::ValueEnum::to_possible_value);
        values.map(|value| value.get_name().to_owned()).collect()
    }
}

/// Makes the configuration and the list of its sections of one line a section.
macro_rules! sections {
    ($($name:ident: $section:ty,)*) => {
        /// The whole configuration: the keys of the process, and one field a section.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Config {
            /// Where the managed nats-server keeps its streams, and the tables when `[lake]` names
            /// no other place.
            pub data_dir: PathBuf,
            /// What this process runs.
            pub roles: Vec<Role>,
            /// Whether this process starts and supervises nats-server itself; otherwise `[nats]`
            /// says where it is.
            pub managed_nats: bool,
            /// Port of the managed nats-server on 127.0.0.1; 0 takes a free one.
            pub nats_port: u16,
            /// The pipelines of the user's own.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub pipeline: Vec<UserPipelineConfig>,
            /// Devices that are polled, in the role sources.
            #[serde(skip_serializing_if = "Vec::is_empty")]
            pub source: Vec<SourceConfig>,
            $(#[doc = concat!("The section `[", stringify!($name), "]`.")] pub $name: $section,)*
        }

        impl Default for Config {
            fn default() -> Self {
                Self {
                    data_dir: PathBuf::from("headframe-data"),
                    roles: vec![Role::Pipelines, Role::Maintenance, Role::Query, Role::Sources],
                    managed_nats: true,
                    nats_port: 0,
                    pipeline: Vec::new(),
                    source: Vec::new(),
                    $($name: <$section>::default(),)*
                }
            }
        }

        /// Every section, in the order of the file.
        pub const ALL: &[SectionEntry] = &[$(SectionEntry {
            name: stringify!($name),
            doc: <$section as Section>::DOC,
            faults: |config| config.$name.faults(config),
        },)*];
    };
}

sections! {
    nats: NatsConfig,
    lake: LakeConfig,
    streams: StreamSettings,
    publisher: PublisherConfig,
    pipelines: PipelineConfig,
    anomalies: AnomalyConfig,
    maintenance: MaintenanceSection,
    query: QueryConfig,
    postgres: PostgresConfig,
    access: AccessConfig,
    ingest: HttpIngestConfig,
    sources: SourcesConfig,
    forward: ForwardConfig,
    stratum: StratumConfig,
    coopmine: CoordinatorConfig,
    payouts: PayoutsSection,
    payments: PaymentConfig,
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
        let parsed = merged.clone().try_into().map_err(|error: toml::de::Error| {
            anyhow!("{}", error.to_string().trim_end().replace('\n', " "))
        });
        let mut config: Self = parsed.with_context(|| format!("{what} cannot be used"))?;
        config.roles = roles.unwrap_or(config.roles);
        chain_defaults::apply(&mut config, &merged)
            .map_err(|fault| anyhow!("{fault}"))
            .with_context(|| format!("{what} cannot be used"))?;
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
        let mut faults = self.process_faults();
        faults.extend(ALL.iter().flat_map(|section| (section.faults)(self)));
        faults.extend(self.user_pipelines().err().into_iter().flatten());
        let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
        match texts.as_slice() {
            [] => Ok(()),
            [fault] => bail!("{fault}"),
            faults => bail!("\n  {}", faults.join("\n  ")),
        }
    }

    /// Faults of the keys that stand before all sections.
    fn process_faults(&self) -> Vec<ConfigFault> {
        let mut faults = Vec::new();
        if self.roles.is_empty() {
            let names = Role::names(<Role as clap::ValueEnum>::value_variants()).join(", ");
            faults.push(ConfigFault(format!(
                "roles is empty; name at least one of {names}"
            )));
        }
        if self.data_dir.as_os_str().is_empty() || self.data_dir.is_file() {
            faults.push(ConfigFault(format!(
                "data_dir is {:?}; it must name a folder, which is made when it is not there",
                self.data_dir
            )));
        }
        if !self.managed_nats && self.nats_port != 0 {
            faults.push(ConfigFault(
                "nats_port is set but managed_nats is false; nats.url says where a server of \
                 yours is"
                    .to_owned(),
            ));
        }
        faults
    }

    /// Whether this process has the role.
    pub fn runs(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether a role of this process reads or writes tables.
    pub fn needs_tables(&self) -> bool {
        let works_without = |role: &Role| {
            matches!(
                role,
                Role::Stratum | Role::Coopmine | Role::Sources | Role::Forward
            )
        };
        !self.roles.iter().all(works_without)
    }

    /// How long a stop may take before what still runs is dropped; a kill is safe, only slower to
    /// come back from. A pool has as long as it was given for the shares in flight, and some
    /// seconds to make them durable.
    pub fn drain(&self) -> Duration {
        match self.runs(Role::Stratum) {
            true => DRAIN.max(Duration::from_secs(
                self.stratum.drain_s.saturating_add(DRAIN_MARGIN_S),
            )),
            false => DRAIN,
        }
    }

    /// The roles, separated by commas.
    pub fn role_list(&self) -> String {
        Role::names(&self.roles).join(",")
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
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_section_is_in_the_example_and_on_the_page_with_its_own_words() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR"));
        let read = |path: &str| std::fs::read_to_string(top.join(path)).unwrap();
        let (example, page) = (
            read("deploy/headframe.example.toml"),
            read("docs/configuration.md"),
        );
        let printed = Config::default()
            .to_toml()
            .unwrap()
            .parse::<toml::Table>()
            .unwrap();
        for section in ALL {
            let (name, doc) = (section.name, section.doc);
            assert!(printed.contains_key(name), "[{name}] has no default");
            assert!(
                example.contains(&format!("\n[{name}]\n")),
                "the example has no [{name}]"
            );
            assert!(
                page.contains(&format!("## `[{name}]`\n\n{doc}\n")),
                "the page has no [{name}]: {doc}"
            );
            assert_eq!(
                (section.faults)(&Config::default()),
                [],
                "[{name}] refuses its defaults"
            );
        }
        let sections = printed.values().filter(|value| value.is_table()).count();
        assert_eq!(sections, ALL.len(), "a section is not in ALL");
    }

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
