//! The transactions that paid miners, without whom they paid.

use serde_json::{Value, json};

use super::payments_sql;
use crate::pool_queries::{cut, rows, text, value};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::payments::{SentPaymentsAnswer, SentRow};
use headframe_query_front::answers::table_row::{TableRow, select};
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
        "SELECT {} FROM (SELECT max(cursor) AS cursor, max(tx_id) AS tx_id, min(reserved_at) AS \
         reserved_at, max(updated_at) AS updated_at, min(step) AS step, count(DISTINCT account) AS \
         payees, {} AS sent_atomic, {} AS network_fee_atomic FROM ({payments}) WHERE step IN \
         ('submitted', 'confirmed') GROUP BY payment) WHERE cursor < $2 ORDER BY cursor DESC LIMIT \
         {}",
        select::<SentRow>(),
        sum("sent_atomic"),
        sum("network_fee_atomic"),
        page.limit + 1
    );
    let before = page.before.unwrap_or(i64::MAX);
    let found = rows(service, sql, json!([pool, before])).await?;
    let (found, next) = cut(found, page.limit);
    let sql = "SELECT CAST(coalesce(sum(sent_atomic), 0) AS VARCHAR) AS paid_atomic, \
               count(DISTINCT account) AS payees, count(DISTINCT payment) AS transactions FROM \
               payments WHERE pool = $1 AND step = 'confirmed'";
    let all = rows(service, sql.to_owned(), json!([pool])).await?.pop();
    let all = all.as_ref();
    to_json(&SentPaymentsAnswer {
        pool: pool.to_owned(),
        paid_atomic: text(all, "paid_atomic"),
        payees: value(all, "payees").as_i64(),
        transactions: value(all, "transactions").as_i64(),
        payments: TableRow::all(found),
        next,
    })
}
