//! The `[access]` section: whose word is taken for who somebody is.

use headframe_query_front::{AccessConfig, load_issuer_keys, load_oidc_files};

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for AccessConfig {
    const DOC: &'static str = "Whose word is taken for who somebody is, beside our own users.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        match faults_of(self.validate()) {
            faults if faults.is_empty() => {
                let mut faults = faults_of(load_issuer_keys(self));
                faults.extend(faults_of(load_oidc_files(self)));
                faults
            }
            faults => faults,
        }
    }
}
