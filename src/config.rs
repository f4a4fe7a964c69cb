//! The one configuration file: a section a room, every key with a default, unknown keys refused.
//!
//! Every key can be overridden by the environment: `HEADFRAME__QUERY__LISTEN=127.0.0.1:9000` sets `listen` in `[query]`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use headframe_ingest::{DoorConfig, NatsConfig, PublisherConfig, StreamSettings};
use headframe_pipelines::PipelineConfig;
use headframe_query::QueryConfig;
use headframe_stratum::StratumConfig;
use serde::Deserialize;

const ENV_PREFIX: &str = "HEADFRAME__";

/// A part of the system that can run in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
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
}

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the managed nats-server keeps its streams.
    pub data_dir: PathBuf,
    /// What this process runs.
    pub roles: Vec<Role>,
    /// Whether this process starts and supervises nats-server itself; otherwise `[nats]` says where it is.
    pub managed_nats: bool,
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
    /// SQL over HTTP.
    pub query: QueryConfig,
    /// The HTTP door for rows.
    pub ingest: DoorConfig,
    /// The pool.
    pub stratum: StratumConfig,
}

/// Where the tables are.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakeConfig {
    /// A folder or `s3://bucket/path`; `tables` in the data folder when empty.
    pub url: String,
    /// Options of the object store, e.g. `aws_endpoint`; secrets belong into the environment.
    pub options: HashMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("headframe-data"),
            roles: vec![Role::Pipelines, Role::Maintenance, Role::Query],
            managed_nats: true,
            nats: NatsConfig::default(),
            lake: LakeConfig::default(),
            streams: StreamSettings::default(),
            publisher: PublisherConfig::default(),
            pipelines: PipelineConfig::default(),
            query: QueryConfig::default(),
            ingest: DoorConfig::default(),
            stratum: StratumConfig::default(),
        }
    }
}

impl Config {
    /// Reads a file, applies the environment and checks every section. The error names the key.
    pub fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        let config: Self = merged(file)?.try_into().context("the configuration cannot be used")?;
        config.validate()?;
        Ok(config)
    }

    /// The merged configuration as TOML, as far as it differs from the defaults.
    pub fn print(file: Option<&Path>) -> anyhow::Result<String> {
        let table = merged(file)?;
        let _checked: Self = table.clone().try_into().context("the configuration cannot be used")?;
        Ok(toml::to_string_pretty(&table)?)
    }

    /// Refuses what cannot work.
    pub fn validate(&self) -> anyhow::Result<()> {
        if self.roles.is_empty() {
            bail!("roles is empty: name at least one of stratum, pipelines, maintenance, query");
        }
        self.query.validate()?;
        self.pipelines.validate().map_err(anyhow::Error::msg)?;
        if self.roles.contains(&Role::Stratum) {
            self.stratum.validate()?;
        }
        Ok(())
    }

    /// Where the tables are.
    pub fn lake_url(&self) -> String {
        match self.lake.url.as_str() {
            "" => self.data_dir.join("tables").display().to_string(),
            url => url.to_owned(),
        }
    }
}

fn merged(file: Option<&Path>) -> anyhow::Result<toml::Table> {
    let mut table = match file {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            text.parse::<toml::Table>().with_context(|| format!("{} is not TOML", file.display()))?
        }
        None => toml::Table::new(),
    };
    for (key, value) in std::env::vars().filter(|(key, _)| key.starts_with(ENV_PREFIX)) {
        let path: Vec<String> = key[ENV_PREFIX.len()..].split("__").map(str::to_lowercase).collect();
        set(&mut table, &path, &value).with_context(|| format!("environment variable {key}"))?;
    }
    Ok(table)
}

fn set(table: &mut toml::Table, path: &[String], text: &str) -> anyhow::Result<()> {
    let Some((key, rest)) = path.split_first() else { bail!("names no key") };
    if !rest.is_empty() {
        let section = table.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let Some(section) = section.as_table_mut() else { bail!("{key} is not a section") };
        return set(section, rest, text);
    }
    // What reads as a TOML value is one; anything else is text.
    let value = format!("value = {text}").parse::<toml::Table>().ok().and_then(|mut parsed| parsed.remove("value"));
    table.insert(key.clone(), value.unwrap_or_else(|| toml::Value::String(text.to_owned())));
    Ok(())
}
