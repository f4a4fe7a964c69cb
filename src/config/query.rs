//! The `[query]` section: SQL over HTTP.

use headframe_query_front::access::Guard;
use headframe_query_front::{QueryConfig, load_certificate};

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for QueryConfig {
    const DOC: &'static str = "SQL over HTTP, and what one question may cost.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        let mut faults = faults_of(self.validate());
        faults.extend(faults_of(Guard::from_config(self)));
        faults.extend(faults_of(load_certificate(self)));
        faults
    }
}
