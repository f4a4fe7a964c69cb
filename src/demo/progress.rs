//! What the demo waits for on its way to the first payment, for its status line.

use std::net::SocketAddr;

use super::stages::query_row;

/// Blocks on top of a block until its coins can be spent: Monero's rule.
const UNLOCK_BLOCKS: i64 = 60;

const PROGRESS: &str = "SELECT \
    (SELECT min(height) FROM blocks WHERE status = 'accepted') AS first_block, \
    (SELECT count(DISTINCT block_hash) FROM payouts WHERE step = 'matured') AS matured, \
    (SELECT count(DISTINCT tx_id) FROM payments WHERE step = 'submitted') AS sent, \
    (SELECT count(DISTINCT tx_id) FROM payments WHERE step = 'confirmed') AS confirmed";

/// How far the first payment is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// The height of the pool's first block.
    first_block: Option<i64>,
    matured: i64,
    sent: i64,
    confirmed: i64,
}

/// The next step on the way to a payment, in words.
pub async fn next_step(http: SocketAddr, height: u64) -> anyhow::Result<String> {
    let row = query_row(http, PROGRESS).await?;
    let number = |key: &str| row[key].as_i64();
    let progress = Progress {
        first_block: number("first_block"),
        matured: number("matured").unwrap_or_default(),
        sent: number("sent").unwrap_or_default(),
        confirmed: number("confirmed").unwrap_or_default(),
    };
    Ok(describe(
        progress,
        i64::try_from(height).unwrap_or(i64::MAX),
    ))
}

fn describe(progress: Progress, height: i64) -> String {
    match progress {
        Progress {
            confirmed: 1..,
            sent,
            ..
        } => format!("{sent} transactions sent to miners"),
        Progress { sent: 1.., .. } => "the first payment waits for its confirmations".to_owned(),
        Progress { matured: 1.., .. } => {
            "coins can be spent; the first payment waits for the payer's next round".to_owned()
        }
        Progress {
            first_block: Some(first),
            ..
        } => match first + UNLOCK_BLOCKS - height {
            left @ 1.. => format!("coins of block {first} can be spent in {left} blocks"),
            _ => format!("coins of block {first} can be spent; their row is on its way"),
        },
        Progress { .. } => "waiting for the pool's first block".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_to_the_first_payment_says_what_it_waits_for() {
        let mut progress = Progress::default();
        assert_eq!(describe(progress, 31), "waiting for the pool's first block");
        progress.first_block = Some(31);
        assert_eq!(
            describe(progress, 40),
            "coins of block 31 can be spent in 51 blocks"
        );
        assert!(describe(progress, 91).contains("their row is on its way"));
        progress.matured = 1;
        assert!(describe(progress, 95).contains("the payer's next round"));
        progress.sent = 1;
        assert!(describe(progress, 95).contains("confirmations"));
        progress.confirmed = 1;
        assert_eq!(describe(progress, 99), "1 transactions sent to miners");
    }
}
