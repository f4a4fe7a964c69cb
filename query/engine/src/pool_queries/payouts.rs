//! Payouts as they stand: of one miner over its blocks, of one block over its accounts, and the key
//! that signs them.

use serde_json::{Value, json};

use crate::pool_queries::{cut, rows, text};
use headframe_query_front::QueryService;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::payouts::{
    BlockPayoutsAnswer, FrozenWindowRow, MinerPayoutRow, MinerPayoutsAnswer, PayoutKeyAnswer,
    PayoutStepRow, WindowAccountRow,
};
use headframe_query_front::answers::table_row::{TableRow, select};
use headframe_query_front::reports::PayoutsPage;
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
        "SELECT {} FROM (SELECT min(seq) AS cursor, pool, block_hash, max(height) AS height, \
         last_value(step ORDER BY seq, \"row\") AS status, min(event_time) AS credited_at, \
         max(event_time) AS updated_at, last_value(amount_atomic ORDER BY seq, \"row\") AS \
         amount_atomic FROM payouts WHERE account = $1 GROUP BY pool, block_hash) WHERE cursor < \
         $2 ORDER BY cursor DESC, block_hash LIMIT {}",
        select::<MinerPayoutRow>(),
        page.limit + 1
    );
    let params = json!([miner, page.before.unwrap_or(i64::MAX)]);
    let (payouts, next) = cut(rows(service, sql, params).await?, page.limit);
    let sum = |name| text(total.as_ref(), name).unwrap_or_else(|| "0".to_owned());
    to_json(&MinerPayoutsAnswer {
        miner: miner.to_owned(),
        immature_atomic: sum("immature_atomic"),
        matured_atomic: sum("matured_atomic"),
        payouts: TableRow::all(payouts),
        next,
    })
}

/// `{block_hash, windows: […], steps: […], accounts: […], next}`: the frozen terms, what followed,
/// and a page of the window in its order (`before` is then the position it begins with). 404 for a
/// block without a frozen window.
pub async fn of_block(
    service: &QueryService,
    hash: &str,
    page: &PayoutsPage,
) -> Result<Value, QueryError> {
    let frozen = format!(
        "SELECT {} FROM (SELECT *, event_time AS found_at FROM payouts WHERE block_hash = $1 AND \
         step = 'frozen') ORDER BY seq",
        select::<FrozenWindowRow>()
    );
    let windows = rows(service, frozen, json!([hash])).await?;
    if windows.is_empty() {
        let hint = "hashes are 64 hex digits; the window of a new block is frozen seconds after it \
                    is found, and only where [payouts] is enabled";
        return Err(QueryError::new(
            ErrorCode::NotFound,
            format!("no window of block {hash} is frozen"),
            hint,
        ));
    }
    let steps = format!(
        "SELECT {} FROM (SELECT pool, step, min(event_time) AS event_time, cause_seq, cause_row, \
         sum(amount_atomic) AS amount_atomic, max(reason) AS reason, min(seq) AS seq FROM payouts \
         WHERE block_hash = $1 AND step <> 'frozen' GROUP BY pool, step, cause_seq, cause_row) \
         ORDER BY cause_seq, cause_row, seq",
        select::<PayoutStepRow>()
    );
    let steps = rows(service, steps, json!([hash])).await?;
    let accounts = format!(
        "SELECT {} FROM windows WHERE block_hash = $1 AND position >= $2 ORDER BY position, pool \
         LIMIT {}",
        select::<WindowAccountRow>(),
        page.limit + 1
    );
    let mut accounts = rows(service, accounts, json!([hash, page.before.unwrap_or(0)])).await?;
    let next = accounts.get(page.limit).and_then(|row| row.get("position"));
    let next = next.and_then(Value::as_i64);
    accounts.truncate(page.limit);
    to_json(&BlockPayoutsAnswer {
        block_hash: hash.to_owned(),
        windows: TableRow::all(windows),
        steps: TableRow::all(steps),
        accounts: TableRow::all(accounts),
        next,
    })
}

/// `{public_key, algorithm}`: the key of this process, else of the newest window; 404 before there
/// is any.
pub async fn key(service: &QueryService, own: Option<&str>) -> Result<Value, QueryError> {
    let newest = "SELECT last_value(public_key ORDER BY seq) AS public_key FROM payouts WHERE \
                  step = 'frozen'";
    let public_key = match own {
        Some(own) => Some(own.to_owned()),
        None => {
            let row = rows(service, newest.to_owned(), json!([])).await?.pop();
            text(row.as_ref(), "public_key")
        }
    };
    let Some(public_key) = public_key else {
        return Err(QueryError::new(
            ErrorCode::NotFound,
            "no window was signed yet",
            "the process with the role pipelines knows it from its start; others learn it from \
             the first frozen window",
        ));
    };
    to_json(&PayoutKeyAnswer {
        public_key,
        algorithm: "Ed25519".to_owned(),
    })
}
