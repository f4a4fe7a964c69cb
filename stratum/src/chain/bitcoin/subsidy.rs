//! What a block of OpenSY pays by its schedule, to compare with what the node says: 10,000 SYL that
//! halve every 1,050,000 blocks, on regtest every 150.
//!
//! The node decides what a block may pay. An answer off the schedule means that the node is of
//! another chain or of another version than this pool was made for, so the operator is told.

use super::address::Network;
use super::template::TemplateAnswer;

/// What the first blocks pay, atomic units.
const FIRST: u64 = 10_000 * 100_000_000;
/// Blocks between two halvings.
const INTERVAL: u64 = 1_050_000;
/// The same on regtest.
const REGTEST_INTERVAL: u64 = 150;

/// What a block of this height pays beside its fees, atomic units.
pub fn subsidy(network: Network, height: u64) -> u64 {
    let interval = match network {
        Network::Regtest => REGTEST_INTERVAL,
        Network::Mainnet | Network::Testnet => INTERVAL,
    };
    let halvings = u32::try_from(height / interval).unwrap_or(u32::MAX);
    FIRST.checked_shr(halvings).unwrap_or(0)
}

/// What is wrong with the node's `coinbasevalue`, by the schedule and the fees it names. Where it
/// does not name the fee of each transaction, only less than the schedule is wrong.
pub fn mismatch(network: Network, answer: &TemplateAnswer) -> Option<String> {
    let height = u64::from(answer.height);
    let (value, subsidy) = (answer.coinbasevalue, subsidy(network, height));
    let mut fees = answer.transactions.iter().map(|one| one.fee.as_u64());
    let fees = fees.try_fold(0_u64, |sum, fee| sum.checked_add(fee?));
    let fits = match fees {
        Some(fees) => value == subsidy.saturating_add(fees),
        None => value >= subsidy,
    };
    let fees = fees.map_or_else(
        || "unknown fees".to_owned(),
        |fees| format!("{fees} of fees"),
    );
    (!fits).then(|| {
        format!(
            "the node's coinbasevalue at height {height} is {value} atomic units with {fees}, and \
             the halving schedule says {subsidy}"
        )
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn answer(height: u64, value: u64, fees: &[Option<u64>]) -> TemplateAnswer {
        let transactions: Vec<_> = fees
            .iter()
            .map(|fee| json!({"data": "", "fee": fee}))
            .collect();
        serde_json::from_value(json!({
            "version": 1, "previousblockhash": "", "transactions": transactions,
            "coinbasevalue": value, "curtime": 1, "bits": "207fffff", "height": height,
        }))
        .unwrap()
    }

    #[test]
    fn the_reward_halves_on_time_and_ends_at_nought() {
        for (height, coins) in [(0, 10_000), (1_049_999, 10_000), (1_050_000, 5_000)] {
            assert_eq!(subsidy(Network::Mainnet, height), coins * 100_000_000);
        }
        assert_eq!(subsidy(Network::Mainnet, 40 * 1_050_000), 0);
        assert_eq!(subsidy(Network::Mainnet, u64::MAX), 0);
        assert_eq!(subsidy(Network::Regtest, 150), 5_000 * 100_000_000);
    }

    #[test]
    fn a_real_nodes_answer_is_on_the_schedule_and_others_are_told() {
        // getblocktemplate of a real node on regtest at height 101.
        let real = 1_000_000_000_000;
        assert_eq!(mismatch(Network::Regtest, &answer(101, real, &[])), None);
        let with_fees = answer(101, real + 70, &[Some(50), Some(20)]);
        assert_eq!(mismatch(Network::Regtest, &with_fees), None);
        for (value, fees) in [
            (real + 1, vec![]),
            (real - 1, vec![]),
            (real + 50, vec![Some(20)]),
        ] {
            let said = mismatch(Network::Mainnet, &answer(101, value, &fees)).unwrap();
            assert!(said.contains("1000000000000"), "{said}");
        }
        // Half of it a halving too early.
        let early = answer(1_049_999, real / 2, &[None]);
        assert!(mismatch(Network::Mainnet, &early).is_some());
        let unknown = answer(101, real + 5, &[None]);
        assert_eq!(mismatch(Network::Mainnet, &unknown), None);
    }
}
