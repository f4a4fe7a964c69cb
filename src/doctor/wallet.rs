//! The wallet: a valid address, of a form that blocks can pay, on the network of the daemon.

use async_trait::async_trait;
use headframe_stratum::StratumConfig;
use headframe_stratum::chain::driver::ChainKind;
use headframe_stratum::chain::monero::address::{self, Form, Network};

use super::{Check, CheckContext, Finding, monerod};

pub struct Wallet;

#[async_trait]
impl Check for Wallet {
    fn name(&self) -> &'static str {
        "wallet"
    }

    async fn run(&self, context: &CheckContext) -> Vec<Finding> {
        let Some(pool) = context.pool() else {
            return Vec::new();
        };
        if pool.chain == ChainKind::Opensy {
            return vec![other_chain(pool)];
        }
        let infos = monerod::infos(pool).await;
        vec![judge(
            &pool.wallet,
            infos
                .iter()
                .find_map(|info| Network::from_nettype(&info.nettype)),
        )]
    }
}

/// The driver compares the networks itself, so the finding about the daemon tells.
fn other_chain(pool: &StratumConfig) -> Finding {
    match pool.chain.check_wallet(&pool.wallet) {
        Ok(()) => Finding::ok(
            "a valid address; whether it is of the node's network is told with the daemon",
        ),
        Err(error) => Finding::fail(
            format!("stratum.wallet: {error}"),
            "copy the address again from the wallet",
        ),
    }
}

fn judge(wallet: &str, daemon: Option<Network>) -> Finding {
    let (network, form) = match address::parse(wallet) {
        Ok(read) => read,
        Err(error) => {
            return Finding::fail(
                format!("stratum.wallet: {error}"),
                "copy the address again from the wallet",
            );
        }
    };
    let found = format!("an address on {network:?}");
    if let Some(other) = daemon.filter(|daemon| *daemon != network) {
        let todo = format!("use an address of {other:?}, or a daemon on {network:?}");
        return Finding::fail(format!("{found}, but the daemon is on {other:?}"), todo);
    }
    let primary = "use the primary address of the wallet";
    match (form, daemon) {
        (Form::Subaddress, _) => Finding::fail(
            format!("{found}, a subaddress, which no block can pay"),
            primary,
        ),
        (Form::Integrated, _) => Finding::warn(
            format!("{found}, with a payment id, which blocks do not carry"),
            primary,
        ),
        (Form::Standard, Some(_)) => Finding::ok(format!("{found}, like the daemon")),
        (Form::Standard, None) => Finding::warn(
            format!("{found}; no daemon says on which network it is"),
            "see the finding about the daemon",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Verdict;

    const SUBADDRESS: &str = "84zPbCjb38gBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGMwZRBo";
    const MAINNET: &str = "44AFFq5kSiGBoZ4NMDwYtN18obc8AemS33DBLWs3H7otXft3XjrpDtQGv7SqSsaBYBb98uNbr2VBBEt7f2wfn3RVGQBEP3A";

    #[test]
    fn addresses_that_cannot_be_paid_are_named() {
        let judged = |wallet: &str, network| judge(wallet, network).verdict;
        assert_eq!(judged(MAINNET, Some(Network::Mainnet)), Verdict::Ok);
        assert_eq!(judged(MAINNET, None), Verdict::Warn);
        assert_eq!(judged(MAINNET, Some(Network::Stagenet)), Verdict::Fail);
        assert_eq!(judged(SUBADDRESS, Some(Network::Mainnet)), Verdict::Fail);
        assert_eq!(
            judged(&MAINNET.replace("44AF", "44AG"), Some(Network::Mainnet)),
            Verdict::Fail
        );
        let opensy = StratumConfig {
            chain: ChainKind::Opensy,
            wallet: MAINNET.to_owned(),
            ..StratumConfig::default()
        };
        assert_eq!(other_chain(&opensy).verdict, Verdict::Fail);
    }
}
