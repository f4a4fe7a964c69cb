//! The `[payments]` section: how miners are paid.

use headframe_pipelines::PaymentConfig;
use headframe_sinks::wallet::WalletKind;

use super::section::{ConfigFault, Section, faults_of};
use super::{Config, Role};

impl Section for PaymentConfig {
    const DOC: &'static str = "How miners are paid, by the one process that has the role payments.";

    fn faults(&self, config: &Config) -> Vec<ConfigFault> {
        let pays = config.runs(Role::Payments);
        if pays && self.wallet.kind == WalletKind::None {
            return vec![ConfigFault(
                "roles has payments but payments.wallet.kind is none; name the wallet, or leave \
                 the role out"
                    .to_owned(),
            )];
        }
        if pays && config.runs(Role::Stratum) && self.pool != config.stratum.pool {
            return vec![ConfigFault(format!(
                "payments.pool is {:?} but stratum.pool is {:?}",
                self.pool, config.stratum.pool
            ))];
        }
        faults_of(self.validate())
    }
}
