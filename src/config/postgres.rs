//! The `[postgres]` section: SQL by PostgreSQL's protocol.

use headframe_query_front::PostgresConfig;

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for PostgresConfig {
    const DOC: &'static str = "SQL by PostgreSQL's protocol, for psql, Grafana and drivers.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate(config.query.token_file.is_some()))
    }
}
