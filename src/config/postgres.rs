//! The `[postgres]` section: SQL by PostgreSQL's protocol.

use headframe_query_front::{PostgresConfig, load_postgres_certificate};

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for PostgresConfig {
    const DOC: &'static str = "SQL by PostgreSQL's protocol, for psql, Grafana and drivers.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        let mut faults = faults_of(self.validate(config.query.token_file.is_some()));
        faults.extend(faults_of(load_postgres_certificate(self)));
        faults
    }
}
