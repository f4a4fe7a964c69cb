//! What is answered about blocks.

use std::collections::BTreeMap;

use headframe_schemas::stream::blocks::{Blocks, STATUSES};
use headframe_schemas::{Column, Kind};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answers::described::{Components, Described, answer_type, reference};
use crate::answers::table_row::{RowShape, TableRow, columns_of};

/// A block with the last step of its life.
#[derive(Debug, Clone, PartialEq)]
pub struct BlockRow;

impl RowShape for BlockRow {
    const NAME: &'static str = "Block";
    const DOC: &'static str = "A block with the last step of its life.";

    fn columns() -> Vec<Column> {
        let own = [
            Column::new("cursor", Kind::Int, "Its place in the list.").required(),
            Column::time("found_at", "When it was found.").required(),
            Column::time("updated_at", "When its last step happened.").required(),
        ];
        let names = [
            "pool",
            "hash",
            "height",
            "miner",
            "worker",
            "status",
            "network_difficulty",
            "reward_atomic",
            "reason",
            "solo",
        ];
        [&own[..], &columns_of(&Blocks, &names)].concat()
    }
}

answer_type! {
    /// A page of blocks, the newest first.
    BlocksAnswer {
        /// The blocks, each hash once.
        blocks: Vec<TableRow<BlockRow>>,
        /// The `before` of the next page; null on the last.
        next: Option<i64>,
    }
}

answer_type! {
    /// The newest block that the daemon took.
    LastBlock {
        /// Its height.
        height: i64,
        /// When it was found.
        found_at: Option<String>,
    }
}

/// How many blocks there are: `found` that the daemon ever took, and of each last status, where
/// there are any.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct BlockCounts(pub BTreeMap<String, i64>);

impl BlockCounts {
    /// The key of those that the daemon ever took.
    pub const FOUND: &'static str = "found";
}

impl Described for BlockCounts {
    fn schema(components: &mut Components) -> Value {
        let count = |doc: String| json!({"type": "integer", "description": doc});
        let of_status = |status: &&str| ((*status).to_owned(), count(format!("Now {status}.")));
        let mut properties: Components = STATUSES.iter().map(of_status).collect();
        let found = "That the daemon ever took.".to_owned();
        properties.insert(Self::FOUND.to_owned(), count(found));
        let schema = json!({
            "type": "object",
            "description": "How many blocks there are, by their last status.",
            "required": [Self::FOUND],
            "properties": properties,
        });
        components.insert("BlockCounts".to_owned(), schema);
        reference("BlockCounts")
    }
}
