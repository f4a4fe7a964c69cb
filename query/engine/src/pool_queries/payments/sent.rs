//! The transactions that paid miners, without whom they paid.

use serde_json::{Value, json};

use super::payments_sql;
use crate::pool_queries::{rows, value};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::reports::PayoutsPage;

/// `{pool, paid_atomic, payees, transactions, payments: […], next}`, one row a transaction, newest
/// first.
pub async fn sent(
    service: &QueryService,
    pool: &str,
    page: &PayoutsPage,
) -> Result<Value, QueryError> {
    // Exact amounts are text in the inner statement.
    let sum = |column: &str| format!("CAST(sum(CAST({column} AS DECIMAL(38,0))) AS VARCHAR)");
    let payments = payments_sql("pool = $1");
    let sql = format!(
        "SELECT * FROM (SELECT max(cursor) AS cursor, max(tx_id) AS tx_id, min(reserved_at) AS \
         reserved_at, max(updated_at) AS updated_at, min(step) AS step, count(DISTINCT account) AS \
         payees, {} AS sent_atomic, {} AS network_fee_atomic FROM ({payments}) WHERE step IN \
         ('submitted', 'confirmed') GROUP BY payment) WHERE cursor < $2 ORDER BY cursor DESC LIMIT \
         {}",
        sum("sent_atomic"),
        sum("network_fee_atomic"),
        page.limit + 1
    );
    let before = page.before.unwrap_or(i64::MAX);
    let mut found = rows(service, sql, json!([pool, before])).await?;
    let more = found.len() > page.limit;
    found.truncate(page.limit);
    let next = found
        .last()
        .filter(|_| more)
        .and_then(|last| last.get("cursor"))
        .cloned();
    let sql = "SELECT CAST(coalesce(sum(sent_atomic), 0) AS VARCHAR) AS paid_atomic, \
               count(DISTINCT account) AS payees, count(DISTINCT payment) AS transactions FROM \
               payments WHERE pool = $1 AND step = 'confirmed'";
    let all = rows(service, sql.to_owned(), json!([pool])).await?.pop();
    Ok(json!({
        "pool": pool,
        "paid_atomic": value(all.as_ref(), "paid_atomic"),
        "payees": value(all.as_ref(), "payees"),
        "transactions": value(all.as_ref(), "transactions"),
        "payments": found,
        "next": next,
    }))
}
