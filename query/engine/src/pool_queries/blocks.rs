//! Blocks as they stand: each hash once, with the last step of its life.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::pool_queries::{count, cut, rows, text};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::answers::blocks::{BlockCounts, BlockRow, BlocksAnswer, LastBlock};
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::table_row::{TableRow, select};
use headframe_query_front::reports::BlocksPage;
use headframe_query_front::reports::Row;

/// The steps that say the daemon took the block; one that did is found, whatever became of it.
const TAKEN: &str = "'accepted', 'confirmed', 'orphaned', 'matured'";

/// One row a block, with `taken` 1 where the daemon took it. `$1` is a pool or null, `$2` a miner
/// or null.
pub fn taken_sql() -> String {
    format!(
        "SELECT hash, min(seq) AS cursor, first_value(pool ORDER BY seq, \"row\") AS pool, \
         first_value(miner ORDER BY seq, \"row\") AS miner, first_value(worker ORDER BY seq, \
         \"row\") AS worker, max(height) AS height, last_value(status ORDER BY seq, \"row\") AS \
         status, min(event_time) AS found_at, max(event_time) AS updated_at, max(CASE WHEN status \
         IN ({TAKEN}) THEN 1 ELSE 0 END) AS taken, last_value(network_difficulty ORDER BY seq, \
         \"row\") AS network_difficulty, last_value(reward_atomic ORDER BY seq, \"row\") AS \
         reward_atomic, last_value(reason ORDER BY seq, \"row\") AS reason, \
         max(CASE WHEN solo THEN 1 ELSE 0 END) = 1 AS solo FROM blocks WHERE ($1 \
         IS NULL OR pool = $1) AND ($2 IS NULL OR miner = $2) GROUP BY hash"
    )
}

/// `{blocks: […], next}`; `next` is the `before` of the next page, null on the last.
pub async fn answer(service: &QueryService, page: &BlocksPage) -> Result<Value, QueryError> {
    let sql = format!(
        "SELECT {} FROM ({}) WHERE cursor < $3 ORDER BY cursor DESC LIMIT {}",
        select::<BlockRow>(),
        taken_sql(),
        page.limit + 1
    );
    let blocks = rows(
        service,
        sql,
        json!([page.pool, Value::Null, page.before.unwrap_or(i64::MAX)]),
    )
    .await?;
    let (blocks, next) = cut(blocks, page.limit);
    to_json(&BlocksAnswer {
        blocks: TableRow::all(blocks),
        next,
    })
}

/// The number of blocks by pool and latest status: of all miners or of one.
pub async fn by_pool(
    service: &QueryService,
    miner: Option<&str>,
) -> Result<BTreeMap<String, Vec<Row>>, QueryError> {
    let sql = format!(
        "SELECT pool, status, count(*) AS blocks, sum(taken) AS found, max(CASE WHEN taken = 1 \
         THEN height END) AS height, max(CASE WHEN taken = 1 THEN found_at END) AS found_at FROM \
         ({}) GROUP BY pool, status ORDER BY pool, status LIMIT 1000",
        taken_sql()
    );
    let mut pools: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in rows(service, sql, json!([Value::Null, miner])).await? {
        let Some(pool) = row.get("pool").and_then(Value::as_str) else {
            continue;
        };
        pools.entry(pool.to_owned()).or_default().push(row);
    }
    Ok(pools)
}

/// How many there are of each latest status, and how many the daemon ever took.
pub fn counts(rows: Option<&Vec<Row>>) -> BlockCounts {
    let rows = rows.map_or(&[][..], Vec::as_slice);
    let found: i64 = rows.iter().map(|row| count(Some(row), "found")).sum();
    let mut counts = BTreeMap::from([(BlockCounts::FOUND.to_owned(), found)]);
    for row in rows {
        if let Some(status) = row.get("status").and_then(Value::as_str) {
            *counts.entry(status.to_owned()).or_default() += count(Some(row), "blocks");
        }
    }
    BlockCounts(counts)
}

/// The newest block the daemon took.
pub fn last(rows: Option<&Vec<Row>>) -> Option<LastBlock> {
    let found = |row: &&Row| row.get("height").is_some_and(Value::is_number);
    let newest = rows
        .into_iter()
        .flatten()
        .filter(found)
        .max_by_key(|row| count(Some(row), "height"));
    newest.map(|row| LastBlock {
        height: count(Some(row), "height"),
        found_at: text(Some(row), "found_at"),
    })
}
