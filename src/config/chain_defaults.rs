//! Defaults that follow the chain: the thresholds of payments, which are amounts of its coin.
//!
//! A tenth of a coin is much of one chain's block and nothing of another's. What the file or the
//! environment names is left as it is.

use headframe_pipelines::PaymentConfig;
use headframe_sinks::wallet::WalletKind;
use headframe_stratum::chain::driver::ChainKind;

use super::Config;

/// Thresholds of payments, atomic units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Thresholds {
    /// What is paid.
    usual: u64,
    /// The least that a miner may set.
    least: u64,
    /// The most that a miner may set.
    most: u64,
}

impl Thresholds {
    /// Those of a chain, where one coin has so many digits after the point; `None` where they do
    /// not fit into 64 bits.
    fn of_chain(chain: ChainKind, decimals: u32) -> Option<Self> {
        match chain {
            // A tenth, a hundredth and a hundred of a coin: a block brings 0.6.
            ChainKind::Monero => Some(Self {
                usual: 100_000_000_000,
                least: 10_000_000_000,
                most: 100_000_000_000_000,
            }),
            // A block brings 10,000 coins at first.
            ChainKind::Opensy => {
                let coin = 10_u64.checked_pow(decimals)?;
                Some(Self {
                    usual: coin.checked_mul(1_000)?,
                    least: coin.checked_mul(100)?,
                    most: coin.checked_mul(1_000_000)?,
                })
            }
        }
    }
}

/// The chain whose coins are paid. The wallet tells, for a process that only pays need not say what
/// another one mines.
fn chain_of_payments(config: &Config) -> ChainKind {
    match config.payments.wallet.kind {
        WalletKind::Monero => ChainKind::Monero,
        WalletKind::Bitcoin => ChainKind::Opensy,
        WalletKind::None => config.stratum.chain,
    }
}

/// Puts the chain's thresholds where the configuration, of which `named` are the keys, names none.
/// The error names the keys that must be written.
pub fn apply(config: &mut Config, named: &toml::Table) -> Result<(), String> {
    let section = named.get("payments").and_then(toml::Value::as_table);
    let is_named = |key: &str| section.is_some_and(|section| section.contains_key(key));
    let decimals = config.payments.wallet.decimals;
    let chain = Thresholds::of_chain(chain_of_payments(config), decimals);
    let PaymentConfig {
        threshold_atomic,
        least_threshold_atomic,
        most_threshold_atomic,
        ..
    } = &mut config.payments;
    let usual = chain.map(|chain| chain.usual);
    for (key, value, default) in [
        ("threshold_atomic", threshold_atomic, usual),
        (
            "least_threshold_atomic",
            least_threshold_atomic,
            chain.map(|chain| chain.least),
        ),
        (
            "most_threshold_atomic",
            most_threshold_atomic,
            chain.map(|chain| chain.most),
        ),
    ] {
        match default {
            _ if is_named(key) => {}
            Some(default) => *value = default,
            None => {
                return Err(format!(
                    "payments.{key} is left out, and with payments.wallet.decimals of {decimals} \
                     the chain's own is more than fits; write it"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn thresholds(text: &str) -> Result<(u64, u64, u64), String> {
        let table: toml::Table = text.parse().unwrap();
        let mut config: Config = table.clone().try_into().unwrap();
        apply(&mut config, &table)?;
        let PaymentConfig {
            threshold_atomic: usual,
            least_threshold_atomic: least,
            most_threshold_atomic: most,
            ..
        } = config.payments;
        Ok((usual, least, most))
    }

    #[test]
    fn thresholds_follow_the_chain_that_is_mined_or_paid() {
        let monero = Ok((100_000_000_000, 10_000_000_000, 100_000_000_000_000));
        let opensy = |coin: u64| Ok((1_000 * coin, 100 * coin, 1_000_000 * coin));
        let mined = "[stratum]\nchain = \"opensy\"";
        for (text, wanted) in [
            ("", monero.clone()),
            ("[stratum]\nchain = \"monero\"", monero.clone()),
            (mined, opensy(100_000_000)),
            (
                &format!("{mined}\n[payments.wallet]\ndecimals = 6"),
                opensy(1_000_000),
            ),
            // The wallet of a process that only pays, and of one that mines something else.
            (
                "[payments.wallet]\nkind = \"bitcoin\"\ndecimals = 4",
                opensy(10_000),
            ),
            (
                &format!("{mined}\n[payments.wallet]\nkind = \"monero\""),
                monero.clone(),
            ),
            // Monero's coin has its digits whatever is written for other wallets.
            ("[payments.wallet]\nkind = \"monero\"\ndecimals = 3", monero),
        ] {
            assert_eq!(thresholds(text), wanted, "{text}");
        }
    }

    #[test]
    fn the_defaults_of_before_hold_for_both_chains() {
        let before = PaymentConfig::default();
        let wanted = Ok((
            before.threshold_atomic,
            before.least_threshold_atomic,
            before.most_threshold_atomic,
        ));
        assert_eq!(thresholds(""), wanted);
        assert_eq!(thresholds("[stratum]\nchain = \"opensy\""), wanted);
    }

    #[test]
    fn what_is_named_wins_and_what_does_not_fit_must_be_named() {
        let named = "[payments]\nthreshold_atomic = 7\nmost_threshold_atomic = 9";
        assert_eq!(thresholds(named), Ok((7, 10_000_000_000, 9)));
        let many = "[payments.wallet]\nkind = \"bitcoin\"\ndecimals = 17";
        let refused = thresholds(many).unwrap_err();
        assert!(
            refused.starts_with("payments.threshold_atomic is left out"),
            "{refused}"
        );
        let all = "[payments]\nthreshold_atomic = 2\nleast_threshold_atomic = 1\n\
                   most_threshold_atomic = 3\n";
        assert_eq!(thresholds(&format!("{all}{many}")), Ok((2, 1, 3)));
    }
}
