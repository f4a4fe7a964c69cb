//! The `[publisher]` section: how rows are gathered into messages.

use headframe_ingest::PublisherConfig;

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for PublisherConfig {
    const DOC: &'static str = "How rows are gathered into messages.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate(config.streams.duplicate_window_s))
    }
}
