//! What the pool's page says of where to connect and on which terms, from the configuration.

use headframe_query_front::pool_terms::{ChainTerms, PaymentTerms, PoolTerms, PortTerms};
use headframe_sinks::wallet::WalletKind;
use headframe_stratum::chain::driver::ChainKind;

use crate::config::Config;

/// The terms of the configured pool; `None` where the configuration names none.
pub fn pool_terms(config: &Config, tls_fingerprint: Option<&str>) -> Option<PoolTerms> {
    let stratum = &config.stratum;
    if stratum.wallet.is_empty() {
        return None;
    }
    let port = |port: &headframe_stratum::net::port::Port| PortTerms {
        port: port.listen.port(),
        start_difficulty: port.start_difficulty,
        fixed_difficulty: port.fixed_difficulty,
        tls: stratum.tls.enabled,
        nicehash: port.nicehash,
        solo: port.solo,
    };
    let terms = config.payouts.terms();
    let payments = &config.payments;
    let pays = payments.wallet.kind != WalletKind::None && payments.pool == stratum.pool;
    Some(PoolTerms {
        pool: stratum.pool.clone(),
        chain: chain_terms(config),
        ports: stratum.all_ports().iter().map(port).collect(),
        tls_fingerprint: tls_fingerprint.map(str::to_owned),
        scheme: terms.scheme,
        window_milli: terms.window_milli,
        fee_bp: terms.fee_bp,
        solo_fee_bp: config.payouts.solo_terms().fee_bp,
        payments: pays.then(|| PaymentTerms {
            threshold_atomic: payments.threshold_atomic.to_string(),
            least_threshold_atomic: payments.least_threshold_atomic.to_string(),
            interval_s: payments.interval_s,
            confirmations: payments.confirmations,
        }),
    })
}

/// Where Monero's chain is shown, and OpenSY's.
const MONERO_EXPLORER: &str = "https://xmrchain.net";
const OPENSY_EXPLORER: &str = "https://explorer.opensyria.net";

fn chain_terms(config: &Config) -> ChainTerms {
    let link = |own: &Option<String>, explorer: &str, what: &str| match own {
        Some(own) => (!own.is_empty()).then(|| own.clone()),
        None => Some(format!("{explorer}/{what}/{{hash}}")),
    };
    let query = &config.query;
    let links = |explorer: &str| {
        (
            link(&query.explorer_block, explorer, "block"),
            link(&query.explorer_transaction, explorer, "tx"),
        )
    };
    match config.stratum.chain {
        ChainKind::Monero => {
            let (explorer_block, explorer_transaction) = links(MONERO_EXPLORER);
            ChainTerms {
                name: "monero".to_owned(),
                symbol: "XMR".to_owned(),
                decimals: 12,
                block_target_s: 120,
                maturity_blocks: 60,
                algorithm: "rx/0".to_owned(),
                daemon_port: 18_081,
                explorer_block,
                explorer_transaction,
            }
        }
        ChainKind::Opensy => {
            let (explorer_block, explorer_transaction) = links(OPENSY_EXPLORER);
            ChainTerms {
                name: "opensy".to_owned(),
                symbol: "SYL".to_owned(),
                decimals: config.payments.wallet.decimals,
                block_target_s: 120,
                maturity_blocks: 100,
                algorithm: config.stratum.opensy.algo.clone(),
                daemon_port: 9_632,
                explorer_block,
                explorer_transaction,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::pool_terms;
    use crate::config::Config;

    #[test]
    fn terms_are_those_of_the_configuration_and_money_is_the_chains() {
        let mut config = Config::default();
        assert_eq!(pool_terms(&config, None), None, "no wallet, no pool");
        config.stratum.wallet = "4Pool".to_owned();
        config.payouts.fee_bp = 90;
        let terms = pool_terms(&config, Some("ab")).unwrap();
        assert_eq!((terms.pool.as_str(), terms.fee_bp), ("main", Some(90)));
        assert_eq!(
            (terms.chain.symbol.as_str(), terms.chain.decimals),
            ("XMR", 12)
        );
        let transaction = "https://xmrchain.net/tx/{hash}";
        assert_eq!(
            terms.chain.explorer_transaction.as_deref(),
            Some(transaction)
        );
        assert_eq!(
            (terms.ports[0].port, terms.ports[0].start_difficulty),
            (3333, 10_000)
        );
        assert_eq!(terms.tls_fingerprint.as_deref(), Some("ab"));
        assert_eq!(terms.payments, None, "nobody is paid without a wallet");
        assert_eq!((terms.ports[0].solo, terms.solo_fee_bp), (false, Some(90)));
        config.payouts.solo_fee_bp = Some(40);
        let port = "listen = \"0.0.0.0:3335\"\nscheme = \"solo\"";
        config.stratum.ports.push(toml::from_str(port).unwrap());
        let terms = pool_terms(&config, None).unwrap();
        assert_eq!((terms.ports[1].solo, terms.solo_fee_bp), (true, Some(40)));
        config.stratum.chain = headframe_stratum::chain::driver::ChainKind::Opensy;
        let chain = pool_terms(&config, None).unwrap().chain;
        assert_eq!((chain.symbol.as_str(), chain.decimals), ("SYL", 8));
        let block = "https://explorer.opensyria.net/block/{hash}";
        assert_eq!(chain.explorer_block.as_deref(), Some(block));
        // Defaults are a part of what a block pays: a sixth of 0.6 XMR, a tenth of 10,000 SYL.
        let coins =
            |decimals: u32| config.payments.threshold_atomic as f64 / 10_f64.powi(decimals as i32);
        assert_eq!((coins(12), coins(chain.decimals)), (0.1, 1_000.0));
        config.query.explorer_block = Some("https://mine.example/b/{hash}".to_owned());
        config.query.explorer_transaction = Some(String::new());
        let chain = pool_terms(&config, None).unwrap().chain;
        let own = "https://mine.example/b/{hash}";
        assert_eq!(chain.explorer_block.as_deref(), Some(own));
        assert_eq!(chain.explorer_transaction, None, "an empty one is none");
    }
}
