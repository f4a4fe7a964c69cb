//! The `[anomalies]` section: whether anomalies are looked for, and the limits of the detectors.

use headframe_pipelines::anomaly::AnomalyConfig;

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for AnomalyConfig {
    const DOC: &'static str = "Which readings of power, sensors and hashrate are abnormal. The \
                               defaults are measured in anomalies.md.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate())
    }
}
