//! Payments: what a miner has coming, what it got, and why it has not got the rest yet; and the
//! ledger as it is.

use serde_json::{Value, json};

mod sent;
mod why;

use crate::pool_queries::{cut, rows, text};
use headframe_query_front::QueryError;
use headframe_query_front::QueryService;
use headframe_query_front::access::Principal;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::payments::{MinerPaymentsAnswer, PaymentRow, PaymentsAnswer};
use headframe_query_front::answers::table_row::{TableRow, select};
use headframe_query_front::reports::{PaymentsPage, Row};
use headframe_schemas::payment::{PayerStatus, PaymentRules};
pub use sent::sent;
use why::{Facts, why};

/// Payments that the reasons follow from.
const NEWEST: usize = 50;
/// More rows than a message has.
const ROWS: i64 = 1 << 20;

/// Rows of payments: one a payment and destination, with its last step. The cursor is the place of
/// its first one, which no later step changes.
fn payments_sql(condition: &str) -> String {
    format!(
        "SELECT payment, account, address, last_value(step ORDER BY seq) AS step, min(event_time) \
         AS reserved_at, max(event_time) AS updated_at, CAST(last_value(amount_atomic ORDER BY \
         seq) AS VARCHAR) AS amount_atomic, CAST(last_value(sent_atomic ORDER BY seq) AS VARCHAR) \
         AS sent_atomic, CAST(last_value(network_fee_atomic ORDER BY seq) AS VARCHAR) AS \
         network_fee_atomic, last_value(tx_id ORDER BY seq) AS tx_id, last_value(reason ORDER BY \
         seq) AS reason, min(seq * {ROWS} + \"row\") AS cursor FROM payments WHERE \
         {condition} GROUP BY payment, account, address"
    )
}

/// A page of payments, newest first, and the cursor of the next one.
pub async fn list(
    service: &QueryService,
    pool: &str,
    page: &PaymentsPage,
) -> Result<Value, QueryError> {
    let (payments, next) = list_page(service, pool, None, page).await?;
    to_json(&PaymentsAnswer {
        pool: pool.to_owned(),
        payments: TableRow::all(payments),
        next,
    })
}

/// The rows of a page, of one account if wanted, and the cursor of the next one.
async fn list_page(
    service: &QueryService,
    pool: &str,
    account: Option<&str>,
    page: &PaymentsPage,
) -> Result<(Vec<Row>, Option<i64>), QueryError> {
    let sql = format!(
        "SELECT {} FROM ({}) WHERE ($3 IS NULL OR step = $3) AND cursor < $4 ORDER BY cursor DESC \
         LIMIT {}",
        select::<PaymentRow>(),
        payments_sql("pool = $1 AND ($2 IS NULL OR account = $2)"),
        page.limit + 1
    );
    let before = page.before.unwrap_or(i64::MAX);
    let params = json!([pool, account, page.step, before]);
    let found = rows(service, sql, params).await?;
    Ok(cut(found, page.limit))
}

/// One miner: balances, payments, and the reasons why the rest is not paid. A stranger gets no
/// words of the operator's or the wallet's.
pub async fn miner(
    service: &QueryService,
    rules: &PaymentRules,
    payer: Option<&PayerStatus>,
    miner: &str,
    page: &PaymentsPage,
    principal: &Principal,
) -> Result<Value, QueryError> {
    let pool = &rules.pool;
    let found = balances_of(service, pool, miner).await?;
    let balance = |kind: &str| -> i128 {
        let row = found.iter().find(|row| {
            row["account"]
                .as_str()
                .is_some_and(|name| name.starts_with(kind))
        });
        row.and_then(|row| row["balance_atomic"].as_str()?.parse().ok())
            .unwrap_or_default()
    };
    let (mut list, next) = list_page(service, pool, Some(miner), page).await?;
    // The reasons follow from the newest payments, whichever page is wanted.
    let newest = match page.before {
        None => list.clone(),
        Some(_) => {
            let first = PaymentsPage {
                limit: NEWEST,
                ..PaymentsPage::default()
            };
            list_page(service, pool, Some(miner), &first).await?.0
        }
    };
    let sql = "SELECT kind, account, CAST(amount_atomic AS VARCHAR) AS amount_atomic, reason, \
               event_time FROM instructions \
               WHERE pool = $1 AND (account = $2 OR account IS NULL) AND kind IN ('threshold', \
               'hold', 'resume') ORDER BY seq, \"row\"";
    let said = rows(service, sql.to_owned(), json!([pool, miner])).await?;
    let own = said
        .iter()
        .rfind(|row| row["kind"] == "threshold")
        .and_then(|row| row["amount_atomic"].as_str()?.parse::<i128>().ok());
    let threshold = rules.threshold(own);
    let sql = "SELECT CAST(sum(sent_atomic) AS VARCHAR) AS paid FROM payments WHERE pool = $1 AND \
               account = $2 AND step = 'confirmed'";
    let paid = rows(service, sql.to_owned(), json!([pool, miner]))
        .await?
        .pop();
    let facts = Facts {
        payable: balance("miner:"),
        immature: balance("immature:"),
        threshold,
        said: &said,
        list: &newest,
        interval_s: rules.interval_s,
    };
    // Only who has nothing here is looked for elsewhere.
    let elsewhere = match (found.is_empty(), newest.is_empty()) {
        (true, true) => elsewhere(service, pool, miner).await?,
        _ => Vec::new(),
    };
    let why = why(&facts, payer, miner, elsewhere, principal);
    let (payable, immature) = (facts.payable, facts.immature);
    if !principal.is_reader() {
        for row in &mut list {
            row.insert("reason".to_owned(), Value::Null);
        }
    }
    to_json(&MinerPaymentsAnswer {
        pool: pool.clone(),
        miner: miner.to_owned(),
        balance_atomic: payable.to_string(),
        immature_atomic: immature.to_string(),
        threshold_atomic: threshold.to_string(),
        paid_atomic: text(paid.as_ref(), "paid").unwrap_or_else(|| "0".to_owned()),
        why,
        payments: TableRow::all(list),
        next,
    })
}

/// The rows of a miner's two accounts: what is its own, and what has to mature.
async fn balances_of(
    service: &QueryService,
    pool: &str,
    miner: &str,
) -> Result<Vec<Row>, QueryError> {
    let sql = "SELECT account, CAST(balance_atomic AS VARCHAR) AS balance_atomic FROM balances \
               WHERE pool = $1 AND account IN ($2, $3)";
    let accounts = json!([pool, format!("miner:{miner}"), format!("immature:{miner}")]);
    rows(service, sql.to_owned(), accounts).await
}

/// What an account holds now, atomic units; nothing when it was never used.
pub async fn balance(
    service: &QueryService,
    pool: &str,
    account: &str,
) -> Result<Option<i128>, QueryError> {
    let sql = "SELECT CAST(balance_atomic AS VARCHAR) AS balance FROM balances WHERE pool = $1 AND \
               account = $2";
    let found = rows(service, sql.to_owned(), json!([pool, account])).await?;
    Ok(found
        .first()
        .and_then(|row| row["balance"].as_str()?.parse().ok()))
}

/// Whether the ledger has an account of this miner's.
pub async fn known(service: &QueryService, pool: &str, miner: &str) -> Result<bool, QueryError> {
    let sql = "SELECT 1 AS n FROM balances WHERE pool = $1 AND account IN ($2, $3) LIMIT 1";
    let names = json!([pool, format!("miner:{miner}"), format!("immature:{miner}")]);
    Ok(!rows(service, sql.to_owned(), names).await?.is_empty())
}

/// The steps that the destinations of a payment are in, each once; none when there is no such
/// payment.
pub async fn steps(
    service: &QueryService,
    pool: &str,
    payment: &str,
) -> Result<Vec<String>, QueryError> {
    let sql = format!(
        "SELECT DISTINCT step FROM ({}) ORDER BY step",
        payments_sql("pool = $1 AND payment = $2")
    );
    let found = rows(service, sql, json!([pool, payment])).await?;
    Ok(found
        .iter()
        .filter_map(|row| row["step"].as_str().map(str::to_owned))
        .collect())
}

/// The adjustments of an account since a time, microseconds since 1970: the time of each and what
/// the account gained, atomic units.
pub async fn adjusted(
    service: &QueryService,
    pool: &str,
    account: &str,
    since: i64,
) -> Result<Vec<(i64, i128)>, QueryError> {
    let sql = "SELECT CAST(event_time AS BIGINT) AS at, CAST(amount_atomic AS VARCHAR) AS amount \
               FROM instructions \
               WHERE pool = $1 AND account = $2 AND kind = 'adjust' AND CAST(event_time AS BIGINT) \
               >= $3";
    let found = rows(service, sql.to_owned(), json!([pool, account, since])).await?;
    Ok(found
        .iter()
        .filter_map(|row| Some((row["at"].as_i64()?, row["amount"].as_str()?.parse().ok()?)))
        .collect())
}

/// What other pools' ledgers owe this miner, in words.
async fn elsewhere(
    service: &QueryService,
    pool: &str,
    miner: &str,
) -> Result<Vec<String>, QueryError> {
    let sql = "SELECT pool, CAST(sum(balance_atomic) AS VARCHAR) AS owed FROM balances \
               WHERE pool <> $1 AND account IN ($2, $3) GROUP BY pool HAVING sum(balance_atomic) > \
               0 ORDER BY pool";
    let found = rows(
        service,
        sql.to_owned(),
        json!([pool, format!("miner:{miner}"), format!("immature:{miner}")]),
    )
    .await?;
    let text = |row: &Row| {
        let (other, owed) = (
            row["pool"].as_str().unwrap_or_default(),
            row["owed"].as_str().unwrap_or_default(),
        );
        format!(
            "pool {other} owes it {owed} atomic units, and here only pool {pool} is paid for; is \
             payments.pool right?"
        )
    };
    Ok(found.iter().map(text).collect())
}

/// Whether this signature was taken before; a second time it would be somebody's repetition.
pub async fn used(service: &QueryService, proof: &str) -> Result<bool, QueryError> {
    let sql = "SELECT 1 AS n FROM instructions WHERE proof = $1 LIMIT 1";
    Ok(!rows(service, sql.to_owned(), json!([proof]))
        .await?
        .is_empty())
}
