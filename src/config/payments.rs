//! The `[payments]` section: how miners are paid.

use headframe_pipelines::PaymentConfig;
use headframe_sinks::wallet::WalletKind;
use headframe_stratum::chain::driver::ChainKind;

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
        if pays && config.runs(Role::Stratum) && !wallet_fits(self.wallet.kind, config) {
            let (kind, chain) = (self.wallet.kind, config.stratum.chain);
            let names = format!("payments.wallet.kind is {kind:?} but stratum.chain is {chain:?}");
            return vec![ConfigFault(format!(
                "{}; the wallet must have the coins that are mined",
                names.to_lowercase()
            ))];
        }
        faults_of(self.validate())
    }
}

/// Whether a wallet of this kind can have the coins of the chain that is mined.
fn wallet_fits(kind: WalletKind, config: &Config) -> bool {
    match kind {
        WalletKind::Monero => config.stratum.chain == ChainKind::Monero,
        WalletKind::Bitcoin => config.stratum.chain == ChainKind::Opensy,
        WalletKind::None => true,
    }
}
