//! The `[ingest]` section: rows over HTTP.

use headframe_ingest::HttpIngestConfig;

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for HttpIngestConfig {
    const DOC: &'static str = "The HTTP door for rows, POST /api/v1/ingest/{stream} at \
                               query.listen, in the query role.";

    fn faults(&self, _: &Config) -> Vec<ConfigFault> {
        faults_of(self.validate())
    }
}
