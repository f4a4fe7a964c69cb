//! The `[stratum]` section: the pool, and the files that it names.
//!
//! The pool itself reads its files after its ports are bound and NATS is up, which is late for a
//! name that was mistyped; so whether they can be used is checked here.

use std::path::Path;

use headframe_stratum::StratumConfig;
use headframe_stratum::defence::privacy::Privacy;
use headframe_stratum::net::tls::TlsIdentity;

use super::section::{ConfigFault, Section, faults_of};
use super::{Config, Role};

impl Section for StratumConfig {
    const DOC: &'static str = "The pool. Only used in the stratum role.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        if !config.runs(Role::Stratum) {
            return Vec::new();
        }
        let mut faults = faults_of(self.validate());
        for checked in check_files(self) {
            faults.extend(faults_of(checked));
        }
        faults
    }
}

/// A check for each file; the reason names key and path.
fn check_files(config: &StratumConfig) -> Vec<Result<(), String>> {
    let mut checks = Vec::new();
    if let (true, Some(cert), Some(key)) = (
        config.tls.enabled,
        &config.tls.cert_file,
        &config.tls.key_file,
    ) {
        let files = [
            readable("stratum.tls.cert_file", cert),
            readable("stratum.tls.key_file", key),
        ];
        let all = files.iter().all(Result::is_ok);
        checks.extend(files);
        if all {
            let pair = TlsIdentity::load(&config.tls).map(|_| ());
            checks
                .push(pair.map_err(|error| format!("stratum.tls.cert_file and key_file: {error}")));
        }
    }
    let defence = &config.defence;
    if let Some(path) = &defence.address_key_file {
        let key = Privacy::new(defence.addresses_in_rows, Some(path)).map(|_| ());
        checks.push(key.map_err(|error| {
            format!(
                "stratum.defence.address_key_file is {}, which cannot be used: {error}",
                path.display()
            )
        }));
    }
    checks
}

fn readable(key: &str, path: &Path) -> Result<(), String> {
    let read = std::fs::read(path).map(|_| ());
    read.map_err(|error| {
        format!(
            "{key} is {}, which cannot be read: {error}; check the path and its permissions",
            path.display()
        )
    })
}
