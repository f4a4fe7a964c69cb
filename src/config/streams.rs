//! The `[streams]` section: how JetStream streams are made.

use headframe_ingest::StreamSettings;

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for StreamSettings {
    const DOC: &'static str = "How JetStream streams are made. One that exists is never changed, \
                               and refused when it would lose or change rows.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate())
    }
}
