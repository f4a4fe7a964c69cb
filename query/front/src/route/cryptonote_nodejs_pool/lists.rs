//! The lists of the shape, which are flat: each entry is a text with colons, followed by its key.

use serde_json::{Value, json};

use crate::app_state::AppState;
use crate::error::{ErrorCode, QueryError};
use crate::pool_block::PoolBlock;
use crate::pool_terms::ChainTerms;
use crate::reports::Row;
use crate::route::pool_snapshot::{
    self, last_share_s, payments_of, ring_mates, seconds, sent_payments, shortened, text, whole,
};

/// Entries of a list, as the peer has unless told otherwise.
pub(super) const ROWS: usize = 30;
/// Payments of a miner that are looked at.
const OWN_PAYMENTS: usize = 1_000;
/// The least score of a block that waits: as a state, 0 and 1 say how it ended.
const LEAST_SCORE: u64 = 2;

/// `prop:finder:hash:s:difficulty:work:score` of a block that waits, and with its end and its
/// reward instead of the score, `prop:finder:hash:s:difficulty:work:orphaned:reward`. One that was
/// mined solo begins with `solo`.
pub(super) fn blocks<'a>(blocks: impl Iterator<Item = &'a PoolBlock>) -> Vec<Value> {
    let entry = |block: &PoolBlock| {
        let end = match (block.is_orphaned(), block.is_matured()) {
            (true, _) => format!("1:{}", text(&block.reward)),
            (_, true) => format!("0:{}", text(&block.reward)),
            _ => block.work.max(LEAST_SCORE).to_string(),
        };
        let entry = format!(
            "{}:{}:{}:{}:{}:{}:{end}",
            if block.solo { "solo" } else { "prop" },
            shortened(&block.miner),
            block.hash,
            block.found_us / 1_000_000,
            text(&block.difficulty),
            block.work,
        );
        [json!(entry), json!(block.height.to_string())]
    };
    blocks.flat_map(entry).collect()
}

/// `transaction:amount:fee:ring mates:payees` of each payment, then its time in seconds.
pub(super) fn sent(payments: &[Value], chain: &ChainTerms) -> Vec<Value> {
    let entry = |row: &Value| {
        let entry = format!(
            "{}:{}:{}:{}:{}",
            row["tx_id"].as_str().unwrap_or_default(),
            text(&row["sent_atomic"]),
            text(&row["network_fee_atomic"]),
            ring_mates(chain),
            row["payees"].as_u64().unwrap_or(1),
        );
        [json!(entry), json!(sent_s(row).to_string())]
    };
    payments.iter().flat_map(entry).collect()
}

/// When a payment was made, which no later step changes, seconds since 1970.
fn sent_s(row: &Value) -> i64 {
    seconds(&row["reserved_at"])
}

/// The payments before a time, of one miner or of all.
pub(super) async fn payments_before(
    app: &AppState,
    address: Option<&str>,
    before_s: i64,
) -> Result<Value, QueryError> {
    let mut rows = match address {
        Some(address) => payments_of(app, address, OWN_PAYMENTS, None).await?["payments"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        None => sent_payments(app).await?,
    };
    rows.retain(|row| sent_s(row) < before_s);
    rows.truncate(ROWS);
    Ok(Value::Array(sent(&rows, &app.pool_terms()?.chain)))
}

/// The blocks below a height that have ended, as the peer lists them.
pub(super) async fn blocks_below(app: &AppState, below: i64) -> Result<Value, QueryError> {
    let found = pool_snapshot::blocks(app).await?;
    let ended = found
        .iter()
        .filter(|block| block.height < below && (block.is_orphaned() || block.is_matured()));
    Ok(Value::Array(blocks(ended.take(ROWS))))
}

/// The hardest working miners by shortened addresses; times and hashes are texts.
pub(super) async fn top_miners(app: &AppState) -> Result<Value, QueryError> {
    let rows = match app.reports()?.top_miners(10).await {
        Err(error) if error.code == ErrorCode::NotFound => Vec::new(),
        rows => rows?,
    };
    let entry = |row: &Row| {
        let row = Value::Object(row.clone());
        json!({
            "miner": shortened(row["miner"].as_str().unwrap_or_default()),
            "hashrate": whole(&row["hashrate_hs"]),
            "lastShare": last_share_s(&row).to_string(),
            "hashes": text(&row["work_hashes"]),
        })
    };
    let mut miners: Vec<Value> = rows.iter().map(entry).collect();
    miners.sort_by_key(|miner| std::cmp::Reverse(miner["hashrate"].as_u64()));
    Ok(Value::Array(miners))
}
