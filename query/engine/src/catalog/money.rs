//! The ledger and the balances: views over `payouts`, `payments` and `instructions`, so that there
//! is no second book.
//!
//! Every entry takes from one account what it gives to another. The statement says in SQL what the
//! payer's own books do in Rust; the end-to-end test of payments compares the two.

use headframe_schemas::Column;
use headframe_schemas::sql_view::money::{balance_columns, ledger_columns};

/// A view over raw tables.
pub struct MoneyView {
    /// Its name.
    pub name: &'static str,
    /// One sentence for the users.
    pub doc: &'static str,
    /// The streams whose tables it reads.
    pub streams: &'static [&'static str],
    /// Its columns.
    pub columns: fn() -> Vec<Column>,
    /// The statement.
    pub sql: fn() -> String,
}

const STREAMS: &[&str] = &["payouts", "payments", "instructions"];

/// Every view about money.
pub const ALL: &[MoneyView] = &[
    MoneyView {
        name: "ledger",
        doc: "Double entry: each row takes an amount from the debit account and gives it to the \
              credit account.",
        streams: STREAMS,
        columns: ledger_columns,
        sql: ledger,
    },
    MoneyView {
        name: "balances",
        doc: "What each account of the ledger holds now.",
        streams: STREAMS,
        columns: balance_columns,
        sql: balances,
    },
];

/// One member of the union: columns of the ledger in order.
fn part(
    time: &str,
    debit: &str,
    credit: &str,
    amount: &str,
    kind: &str,
    cause: &str,
    from: &str,
) -> String {
    format!(
        "SELECT {time} AS entry_time, pool, arrow_cast({debit}, 'Utf8View') AS debit_account, \
         arrow_cast({credit}, 'Utf8View') AS credit_account, CAST({amount} AS DECIMAL(38,0)) AS \
         amount_atomic, arrow_cast({kind}, 'Utf8View') AS cause_kind, arrow_cast({cause}, \
         'Utf8View') AS cause, reason FROM {from}"
    )
}

/// Every entry of the ledger: what blocks, payments and adjustments move from account to account.
fn ledger() -> String {
    let parts = [block_entries(), payment_entries(), adjustment_entries()].concat();
    parts.join(" UNION ALL ")
}

/// The account of what can be spent: a miner's, or that of the pool's part.
const MATURE: &str = "CASE WHEN account = 'fee' THEN 'fee' ELSE concat('miner:', account) END";

fn block_entries() -> Vec<String> {
    let time = "event_time";
    let immature = "concat('immature:', account)";
    let held = format!("CASE WHEN was_mature THEN {MATURE} ELSE {immature} END");
    let block = |step: &str| {
        format!("payouts WHERE account IS NOT NULL AND amount_atomic <> 0 AND step = '{step}'")
    };
    vec![
        part(
            time,
            "'coinbase'",
            immature,
            "amount_atomic",
            "'block'",
            "block_hash",
            &block("credited"),
        ),
        part(
            time,
            immature,
            MATURE,
            "amount_atomic",
            "'block'",
            "block_hash",
            &block("matured"),
        ),
        part(
            time,
            &held,
            "'coinbase'",
            "amount_atomic",
            "'reversal'",
            "block_hash",
            &block("reversed"),
        ),
    ]
}

fn payment_entries() -> Vec<String> {
    let time = "event_time";
    let miner = "concat('miner:', account)";
    let paid = |what: &str| format!("payments WHERE step = 'confirmed' AND {what}");
    let kept = "(amount_atomic - sent_atomic)";
    let (kind, name) = ("'payment'", "payment");
    vec![
        part(
            time,
            miner,
            "'in_transit'",
            "amount_atomic",
            kind,
            name,
            "payments WHERE step = 'reserved'",
        ),
        part(
            time,
            "'in_transit'",
            miner,
            "amount_atomic",
            kind,
            name,
            "payments WHERE step = 'released'",
        ),
        part(
            time,
            "'in_transit'",
            "'paid'",
            "sent_atomic",
            kind,
            name,
            &paid("true"),
        ),
        part(
            time,
            "'in_transit'",
            "'network'",
            &format!("least({kept}, network_fee_atomic)"),
            kind,
            name,
            &paid(&format!("least({kept}, network_fee_atomic) > 0")),
        ),
        part(
            time,
            "'in_transit'",
            "'reserve'",
            &format!("{kept} - network_fee_atomic"),
            kind,
            name,
            &paid(&format!("{kept} > network_fee_atomic")),
        ),
        part(
            time,
            "'reserve'",
            "'network'",
            &format!("network_fee_atomic - {kept}"),
            kind,
            name,
            &paid(&format!("network_fee_atomic > {kept}")),
        ),
    ]
}

fn adjustment_entries() -> Vec<String> {
    let time = "event_time";
    let adjusted = "instructions WHERE kind = 'adjust' AND account IS NOT NULL AND \
                    trim(coalesce(reason, '')) <> ''";
    vec![
        part(
            time,
            "'reserve'",
            MATURE,
            "amount_atomic",
            "'adjustment'",
            "account",
            &format!("{adjusted} AND amount_atomic > 0"),
        ),
        part(
            time,
            MATURE,
            "'reserve'",
            "-amount_atomic",
            "'adjustment'",
            "account",
            &format!("{adjusted} AND amount_atomic < 0"),
        ),
    ]
}

fn balances() -> String {
    let ledger = ledger();
    let side = |account: &str, sign: &str| {
        format!(
            "SELECT pool, {account} AS account, {sign}amount_atomic AS amount, entry_time FROM \
             entries"
        )
    };
    format!(
        "WITH entries AS ({ledger}) SELECT pool, account, CAST(sum(amount) AS DECIMAL(38,0)) AS \
         balance_atomic, max(entry_time) AS last_entry_time FROM ({} UNION ALL {}) GROUP BY pool, \
         account",
        side("credit_account", ""),
        side("debit_account", "-")
    )
}
