//! What is answered about payments and the ledger. Amounts are atomic units, exact numbers as text.

use headframe_schemas::sql_view::money;
use headframe_schemas::stream::payments::Payments;
use headframe_schemas::{Column, Kind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answers::described::{Components, Described, answer_type};
use crate::answers::table_row::{RowShape, TableRow, columns_of};

/// A payment to one destination with its last step.
#[derive(Debug, Clone, PartialEq)]
pub struct PaymentRow;

impl RowShape for PaymentRow {
    const NAME: &'static str = "Payment";
    const DOC: &'static str = "A payment to one destination, with its last step.";

    fn columns() -> Vec<Column> {
        let names = [
            "payment",
            "account",
            "address",
            "step",
            "amount_atomic",
            "sent_atomic",
            "network_fee_atomic",
            "tx_id",
            "reason",
        ];
        [&place_and_times()[..], &columns_of(&Payments, &names)].concat()
    }
}

/// A transaction that paid miners.
#[derive(Debug, Clone, PartialEq)]
pub struct SentRow;

impl RowShape for SentRow {
    const NAME: &'static str = "SentPayment";
    const DOC: &'static str = "A transaction that paid miners, without whom it paid.";

    fn columns() -> Vec<Column> {
        let payees = Column::new("payees", Kind::Int, "How many miners it paid.").required();
        let names = ["tx_id", "step", "sent_atomic", "network_fee_atomic"];
        let of_stream = columns_of(&Payments, &names);
        [&place_and_times()[..], &[payees], &of_stream].concat()
    }
}

/// The columns that a payment has beside those of its steps.
fn place_and_times() -> [Column; 3] {
    [
        Column::new("cursor", Kind::Int, "Its place in the list.").required(),
        Column::time("reserved_at", "When it was taken from the balance.").required(),
        Column::time("updated_at", "When its last step happened.").required(),
    ]
}

/// An entry of the ledger of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerRow;

impl RowShape for LedgerRow {
    const NAME: &'static str = "LedgerEntry";
    const DOC: &'static str = "An entry of the ledger, which takes from one account what it gives \
                               to another.";

    fn columns() -> Vec<Column> {
        let mut columns = money::ledger_columns();
        columns.retain(|column| column.name != "pool");
        columns
    }
}

/// An account of one pool.
#[derive(Debug, Clone, PartialEq)]
pub struct BalanceRow;

impl RowShape for BalanceRow {
    const NAME: &'static str = "Balance";
    const DOC: &'static str = "What an account of the ledger holds now.";

    fn columns() -> Vec<Column> {
        let mut columns = money::balance_columns();
        columns.retain(|column| matches!(column.name, "account" | "balance_atomic"));
        columns
    }
}

answer_type! {
    /// A page of payments, the newest first.
    PaymentsAnswer {
        /// The pool that pays.
        pool: String,
        /// The payments.
        payments: Vec<TableRow<PaymentRow>>,
        /// The `before` of the next page; null on the last.
        next: Option<i64>,
    }
}

answer_type! {
    /// A page of the transactions that paid miners, the newest first, with sums of all.
    SentPaymentsAnswer {
        /// The pool that pays.
        pool: String,
        /// What all miners got so far, atomic units.
        paid_atomic: Option<String>,
        /// How many miners were paid so far.
        payees: Option<i64>,
        /// How many transactions paid them.
        transactions: Option<i64>,
        /// The transactions.
        payments: Vec<TableRow<SentRow>>,
        /// The `before` of the next page; null on the last.
        next: Option<i64>,
    }
}

answer_type! {
    /// Balances and a page of entries of the ledger, the newest first.
    LedgerAnswer {
        /// The pool.
        pool: String,
        /// What accounts hold: those asked for, or the pool's own.
        balances: Vec<TableRow<BalanceRow>>,
        /// The entries.
        entries: Vec<TableRow<LedgerRow>>,
        /// The `before` of the next page; null on the last.
        next: Option<String>,
    }
}

answer_type! {
    /// What a miner has coming, what it got, and why it has not got the rest.
    MinerPaymentsAnswer {
        /// The pool that pays.
        pool: String,
        /// The miner's name.
        miner: String,
        /// What can be paid, atomic units.
        balance_atomic: String,
        /// What is of blocks that cannot be spent yet, atomic units.
        immature_atomic: String,
        /// The balance from which it is paid, atomic units.
        threshold_atomic: String,
        /// What it got so far, atomic units.
        paid_atomic: String,
        /// Why the rest is not paid, the nearest reason first.
        why: Vec<WhyUnpaid>,
        /// A page of its payments, the newest first.
        payments: Vec<TableRow<PaymentRow>>,
        /// The `before` of the next page; null on the last.
        next: Option<i64>,
    }
}

answer_type! {
    /// Why a miner has not got all it has coming.
    WhyUnpaid {
        /// A word for programs, which docs/payments.md lists.
        code: String,
        /// The same for people.
        text: String,
    }
}

answer_type! {
    /// What the payer does now.
    PayerAnswer {
        /// The pool that it pays for.
        pool: String,
        /// The rule that stops payments, and why; null where none does.
        stopped: Option<String>,
        /// Why nothing moves just now; null where something may.
        waiting: Option<String>,
        /// Whether payments are only named.
        dry_run: bool,
        /// Who would be paid now; the first thousand.
        due: Vec<DueAccount>,
        /// Addresses that the wallet refuses; the first thousand.
        refused: Vec<AccountReason>,
        /// Accounts that an operator holds; the first thousand.
        held: Vec<AccountReason>,
        /// What the wallet has and owes; null when it did not answer.
        wallet: Option<WalletNow>,
        /// When this was true, microseconds since 1970; 0 before the first look.
        at: i64,
    }
}

answer_type! {
    /// An account that would be paid now.
    DueAccount {
        /// The account.
        account: String,
        /// How much, atomic units.
        amount_atomic: String,
    }
}

answer_type! {
    /// An account that is not paid.
    AccountReason {
        /// The account.
        account: String,
        /// Why.
        reason: String,
    }
}

answer_type! {
    /// What the wallet has, and what the ledger owes.
    WalletNow {
        /// What can be spent now, atomic units.
        unlocked_atomic: String,
        /// What it holds, atomic units.
        total_atomic: String,
        /// What the ledger owes, atomic units.
        owed_atomic: String,
        /// That it does not hold what is owed, in words; null where it does.
        shortage: Option<String>,
    }
}

answer_type! {
    /// What became of an instruction.
    InstructionAnswer {
        /// That it is kept.
        done: bool,
        /// What the operator should know of it; null where there is nothing.
        note: Option<String>,
    }
}

answer_type! {
    /// What a miner signs to set its threshold.
    TextToSign {
        /// The text, to be signed exactly so by the miner's wallet.
        sign: String,
    }
}

answer_type! {
    /// A miner's threshold was set.
    ThresholdSet {
        /// That it is kept.
        done: bool,
    }
}

/// What a miner is told who sets its threshold: what to sign, or that it is set.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum ThresholdAnswer {
    /// Without a signature.
    Sign(TextToSign),
    /// With one.
    Set(ThresholdSet),
}

impl Described for ThresholdAnswer {
    fn schema(components: &mut Components) -> Value {
        json!({"oneOf": [TextToSign::schema(components), ThresholdSet::schema(components)]})
    }
}
