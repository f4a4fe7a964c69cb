//! The `[nats]` section: where NATS is and how to get in.

use headframe_ingest::NatsConfig;

use super::Config;
use super::section::{ConfigFault, Section, faults_of};

impl Section for NatsConfig {
    const DOC: &'static str = "Where NATS is and how to get in. Only used when managed_nats is \
                               false.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        if config.managed_nats && self.url != Self::default().url {
            return vec![ConfigFault(format!(
                "nats.url is {} but managed_nats is true; say managed_nats = false to use that \
                 server",
                self.url
            ))];
        }
        faults_of(self.validate())
    }
}
