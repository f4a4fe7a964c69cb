//! What is answered about payouts: what blocks bring to a miner, and how one block was shared out.
//! Amounts and weights are exact numbers as text.

use headframe_schemas::column::Limits;
use headframe_schemas::stream::payouts::{Payouts, STEPS};
use headframe_schemas::stream::windows::Windows;
use headframe_schemas::{Column, Kind};

use crate::answers::described::answer_type;
use crate::answers::table_row::{RowShape, TableRow, columns_of};

/// These columns of `payouts` in rows that have them all, whatever other rows of the stream have.
fn always(names: &[&str]) -> Vec<Column> {
    let columns = columns_of(&Payouts, names).into_iter();
    columns.map(Column::required).collect()
}

/// A block that credited a miner, with its last step.
#[derive(Debug, Clone, PartialEq)]
pub struct MinerPayoutRow;

impl RowShape for MinerPayoutRow {
    const NAME: &'static str = "MinerPayout";
    const DOC: &'static str = "A block that credited the miner, with its last step.";

    fn columns() -> Vec<Column> {
        let own = [
            Column::new("cursor", Kind::Int, "Its place in the list.").required(),
            Column::new("status", Kind::Text, "Its last step.")
                .required()
                .limits(Limits::OneOf(STEPS)),
            Column::time("credited_at", "When it was credited.").required(),
            Column::time("updated_at", "When its last step happened.").required(),
        ];
        let names = ["pool", "block_hash", "height", "amount_atomic"];
        [&own[..], &always(&names)].concat()
    }
}

/// The frozen window of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct FrozenWindowRow;

impl RowShape for FrozenWindowRow {
    const NAME: &'static str = "FrozenWindow";
    const DOC: &'static str = "The frozen window of a block: its terms, its root and its \
                               signature.";

    fn columns() -> Vec<Column> {
        let found_at = Column::time("found_at", "When the block was found.").required();
        let names = [
            "pool",
            "height",
            "scheme",
            "window_milli",
            "fee_bp",
            "reward_atomic",
            "total_weight",
            "shares",
            "miners",
            "signature",
            "public_key",
        ];
        // A window without a share has no newest one, no oldest one and no root.
        let names_of_some = [
            "winning_seq",
            "winning_row",
            "edge_seq",
            "edge_row",
            "merkle_root",
            "reason",
        ];
        let some = columns_of(&Payouts, &names_of_some);
        [&[found_at][..], &always(&names), &some].concat()
    }
}

/// A step that followed the frozen window of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct PayoutStepRow;

impl RowShape for PayoutStepRow {
    const NAME: &'static str = "PayoutStep";
    const DOC: &'static str = "A step that followed the frozen window, over all accounts.";

    fn columns() -> Vec<Column> {
        let names = [
            "pool",
            "step",
            "event_time",
            "cause_seq",
            "cause_row",
            "amount_atomic",
        ];
        [always(&names), columns_of(&Payouts, &["reason"])].concat()
    }
}

/// An account of the frozen window of a block.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowAccountRow;

impl RowShape for WindowAccountRow {
    const NAME: &'static str = "WindowAccount";
    const DOC: &'static str = "A miner in the frozen window of a block.";

    fn columns() -> Vec<Column> {
        let names = [
            "pool",
            "position",
            "miner",
            "weight",
            "shares",
            "amount_atomic",
        ];
        columns_of(&Windows, &names)
    }
}

answer_type! {
    /// What blocks bring to a miner: sums, and a page of the blocks, the newest first.
    MinerPayoutsAnswer {
        /// The miner's name.
        miner: String,
        /// What is of blocks that cannot be spent yet, atomic units.
        immature_atomic: String,
        /// What matured so far, atomic units.
        matured_atomic: String,
        /// The blocks.
        payouts: Vec<TableRow<MinerPayoutRow>>,
        /// The `before` of the next page; null on the last.
        next: Option<i64>,
    }
}

answer_type! {
    /// How a block is shared out: the terms, what followed, and a page of the miners.
    BlockPayoutsAnswer {
        /// The block's hash.
        block_hash: String,
        /// Its frozen windows, one a pool that found it.
        windows: Vec<TableRow<FrozenWindowRow>>,
        /// The steps that followed, the oldest first.
        steps: Vec<TableRow<PayoutStepRow>>,
        /// The miners, in the order of the window.
        accounts: Vec<TableRow<WindowAccountRow>>,
        /// The `from` of the next page; null on the last.
        next: Option<i64>,
    }
}

answer_type! {
    /// The key that proves the signatures of windows.
    PayoutKeyAnswer {
        /// The public key, hex.
        public_key: String,
        /// What signs: Ed25519.
        algorithm: String,
    }
}
