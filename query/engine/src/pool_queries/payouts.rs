//! Payouts as they stand: of one miner over its blocks, of one block over its accounts, and the key
//! that signs them.

use serde_json::{Value, json};

use crate::pool_queries::{count, rows, value};
use headframe_query_front::QueryService;
use headframe_query_front::reports::PayoutsPage;
use headframe_query_front::reports::Row;
use headframe_query_front::{ErrorCode, QueryError};

/// What an account's rows come to: credited and not yet mature, and spendable. A reversal takes
/// from where the amount was.
const SUMS: &str = "CAST(coalesce(sum(CASE WHEN step = 'credited' THEN amount_atomic WHEN step = \
                    'matured' THEN -amount_atomic \
     WHEN step = 'reversed' AND was_mature IS NOT TRUE THEN -amount_atomic ELSE 0 END), 0) AS \
     VARCHAR) AS immature_atomic, \
   CAST(coalesce(sum(CASE WHEN step = 'matured' THEN amount_atomic WHEN step = 'reversed' AND \
   was_mature THEN -amount_atomic ELSE 0 END), 0) \
     AS VARCHAR) AS matured_atomic";

/// `{miner, immature_atomic, matured_atomic, payouts: […], next}`: each block that ever credited
/// the miner, with its last step.
pub async fn of_miner(
    service: &QueryService,
    miner: &str,
    page: &PayoutsPage,
) -> Result<Value, QueryError> {
    let total = rows(
        service,
        format!("SELECT {SUMS} FROM payouts WHERE account = $1"),
        json!([miner]),
    )
    .await?
    .pop();
    let sql = format!(
        "SELECT * FROM (SELECT min(seq) AS cursor, pool, block_hash, max(height) AS height, \
         last_value(step ORDER BY seq, \"row\") AS status, min(event_time) AS credited_at, \
         max(event_time) AS updated_at, CAST(last_value(amount_atomic ORDER BY seq, \"row\") AS \
         VARCHAR) AS amount_atomic FROM payouts WHERE account = $1 GROUP BY pool, block_hash) \
         WHERE cursor < $2 ORDER BY cursor DESC, block_hash LIMIT {}",
        page.limit + 1
    );
    let (payouts, next) = cut(
        rows(
            service,
            sql,
            json!([miner, page.before.unwrap_or(i64::MAX)]),
        )
        .await?,
        page.limit,
        "cursor",
    );
    let total = total.as_ref();
    Ok(json!({
        "miner": miner,
        "immature_atomic": value(total, "immature_atomic"),
        "matured_atomic": value(total, "matured_atomic"),
        "payouts": payouts,
        "next": next,
    }))
}

/// `{block_hash, windows: […], steps: […], accounts: […], next}`: the frozen terms, what followed,
/// and a page of the window in its order (`before` is then the position it begins with). 404 for a
/// block without a frozen window.
pub async fn of_block(
    service: &QueryService,
    hash: &str,
    page: &PayoutsPage,
) -> Result<Value, QueryError> {
    let frozen = "SELECT pool, height, event_time AS found_at, scheme, window_milli, fee_bp, \
                  CAST(reward_atomic AS VARCHAR) AS reward_atomic, \
         CAST(total_weight AS VARCHAR) AS total_weight, shares, miners, winning_seq, winning_row, \
         edge_seq, edge_row, merkle_root, \
         signature, public_key, reason FROM payouts WHERE block_hash = $1 AND step = 'frozen' \
         ORDER BY seq";
    let windows = rows(service, frozen.to_owned(), json!([hash])).await?;
    if windows.is_empty() {
        let hint = "hashes are 64 hex digits; the window of a new block is frozen seconds after it \
                    is found, and only where [payouts] is enabled";
        return Err(QueryError::new(
            ErrorCode::NotFound,
            format!("no window of block {hash} is frozen"),
            hint,
        ));
    }
    let steps = "SELECT pool, step, min(event_time) AS event_time, cause_seq, cause_row, \
                 CAST(sum(amount_atomic) AS VARCHAR) AS amount_atomic, \
         max(reason) AS reason FROM payouts WHERE block_hash = $1 AND step <> 'frozen' GROUP BY \
         pool, step, cause_seq, cause_row \
         ORDER BY cause_seq, cause_row, min(seq)";
    let steps = rows(service, steps.to_owned(), json!([hash])).await?;
    let accounts = format!(
        "SELECT pool, position, miner, CAST(weight AS VARCHAR) AS weight, shares, \
         CAST(amount_atomic AS VARCHAR) AS amount_atomic FROM windows WHERE block_hash = $1 AND \
         position >= $2 ORDER BY position, pool LIMIT {}",
        page.limit + 1
    );
    let mut accounts = rows(service, accounts, json!([hash, page.before.unwrap_or(0)])).await?;
    let next = accounts
        .get(page.limit)
        .and_then(|row| row.get("position"))
        .cloned();
    accounts.truncate(page.limit);
    Ok(
        json!({"block_hash": hash, "windows": windows, "steps": steps, "accounts": accounts,
            "next": next}),
    )
}

/// `{public_key, algorithm}`: the key of this process, else of the newest window; 404 before there
/// is any.
pub async fn key(service: &QueryService, own: Option<&str>) -> Result<Value, QueryError> {
    let newest = "SELECT count(*) AS windows, last_value(public_key ORDER BY seq) AS public_key \
                  FROM payouts WHERE step = 'frozen'";
    let newest = match own {
        Some(own) => json!(own),
        None => {
            let row = rows(service, newest.to_owned(), json!([])).await?.pop();
            if count(row.as_ref(), "windows") == 0 {
                let hint = "the process with the role pipelines knows it from its start; others \
                            learn it from the first frozen window";
                return Err(QueryError::new(
                    ErrorCode::NotFound,
                    "no window was signed yet",
                    hint,
                ));
            }
            value(row.as_ref(), "public_key")
        }
    };
    Ok(json!({"public_key": newest, "algorithm": "Ed25519"}))
}

/// A page of rows, and the cursor of the next one.
pub(super) fn cut(mut rows: Vec<Row>, limit: usize, cursor: &str) -> (Vec<Row>, Option<Value>) {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows
        .last()
        .filter(|_| more)
        .and_then(|last| last.get(cursor))
        .cloned();
    (rows, next)
}
