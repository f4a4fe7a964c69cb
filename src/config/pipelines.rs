//! The `[pipelines]` section: when batches are committed.

use headframe_pipelines::PipelineConfig;

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for PipelineConfig {
    const DOC: &'static str = "When batches are committed. Live queries do not wait for commits.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate())
    }
}
