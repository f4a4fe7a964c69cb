//! The columns of the views about money, whose statements the engine makes.

use crate::column::{Column, Kind, Unit};

/// The columns of `ledger`.
pub fn ledger_columns() -> Vec<Column> {
    vec![
        Column::time("entry_time", "When what the entry follows from happened."),
        Column::new("pool", Kind::Text, "The pool."),
        Column::new(
            "debit_account",
            Kind::Text,
            "Where the amount is taken: coinbase, immature:<miner>, immature:fee, miner:<miner>, \
             fee, reserve, in_transit.",
        ),
        Column::new(
            "credit_account",
            Kind::Text,
            "Where it goes: one of the same, or paid, or network (fees of transactions).",
        ),
        Column::new("amount_atomic", Kind::Decimal, "How much; never negative.")
            .unit(Unit::AtomicUnits),
        Column::new(
            "cause_kind",
            Kind::Text,
            "block, reversal (of a block), payment or adjustment (by an operator).",
        ),
        Column::new(
            "cause",
            Kind::Text,
            "The block's hash, the payment's name, or the account adjusted.",
        ),
        Column::new(
            "reason",
            Kind::Text,
            "In words, where there is one; always with an adjustment.",
        ),
    ]
}

/// The columns of `balances`.
pub fn balance_columns() -> Vec<Column> {
    vec![
        Column::new("pool", Kind::Text, "The pool."),
        Column::new("account", Kind::Text, "The account, as in ledger."),
        Column::new(
            "balance_atomic",
            Kind::Decimal,
            "What it holds; all accounts of a pool together hold 0.",
        )
        .unit(Unit::AtomicUnits),
        Column::time("last_entry_time", "Its newest entry."),
    ]
}
