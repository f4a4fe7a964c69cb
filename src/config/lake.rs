//! The `[lake]` section: where the tables are.

use std::collections::{BTreeMap, HashMap};

use headframe_sinks::Lake;
use serde::{Deserialize, Serialize};

use super::Config;
use super::section::{ConfigFault, Section};

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

impl Section for LakeConfig {
    const DOC: &'static str = "Where the tables are.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        if !config.needs_tables() {
            return Vec::new();
        }
        let checked = Lake::check(&config.lake_url(), &self.options);
        let fault =
            checked.map_err(|error| ConfigFault(format!("lake.url and lake.options: {error}")));
        fault.err().into_iter().collect()
    }
}
