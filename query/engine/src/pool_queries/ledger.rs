//! The ledger as it is: balances, and entries a page at a time.

use serde_json::{Value, json};

use crate::pool_queries::rows;
use headframe_query_front::answers::described::to_json;
use headframe_query_front::answers::payments::{BalanceRow, LedgerAnswer, LedgerRow};
use headframe_query_front::answers::table_row::{TableRow, select};
use headframe_query_front::reports::{LedgerPage, LedgerPlace, Row};
use headframe_query_front::{QueryError, QueryService};

/// Balances and a page of entries, newest first, of one account if wanted.
pub async fn answer(
    service: &QueryService,
    pool: &str,
    page: &LedgerPage,
) -> Result<Value, QueryError> {
    let before = page.before.unwrap_or(LedgerPlace {
        time_us: i64::MAX,
        count: 0,
    });
    // Entries that are equal in all of these are the same to whoever reads them.
    let sql = format!(
        "SELECT {}, CAST(entry_time AS BIGINT) AS cursor FROM ledger WHERE pool = $1 AND ($2 IS \
         NULL OR debit_account = $2 OR credit_account = $2) AND CAST(entry_time AS BIGINT) <= $3 \
         ORDER BY entry_time DESC, debit_account, credit_account, cause_kind, cause, \
         amount_atomic, reason LIMIT {} OFFSET {}",
        select::<LedgerRow>(),
        page.limit + 1,
        before.count
    );
    let params = json!([pool, page.account, before.time_us]);
    let mut entries = rows(service, sql, params).await?;
    let has_more = entries.len() > page.limit;
    entries.truncate(page.limit);
    let next = match has_more {
        true => next(&entries, before).map(|place| place.to_string()),
        false => None,
    };
    for entry in &mut entries {
        entry.remove("cursor");
    }
    let sql = format!(
        "SELECT {} FROM balances WHERE pool = $1 AND ($2 IS NULL OR account = $2) AND ($2 IS NOT \
         NULL OR account NOT LIKE '%:%' OR account = 'immature:fee') ORDER BY account",
        select::<BalanceRow>()
    );
    let balances = rows(service, sql, json!([pool, page.account])).await?;
    to_json(&LedgerAnswer {
        pool: pool.to_owned(),
        balances: TableRow::all(balances),
        entries: TableRow::all(entries),
        next,
    })
}

/// The place after the last of these entries, which follow `before`.
fn next(entries: &[Row], before: LedgerPlace) -> Option<LedgerPlace> {
    let time = |entry: &Row| entry.get("cursor").and_then(Value::as_i64);
    let last = time(entries.last()?)?;
    let at_last = entries.iter().rev();
    let at_last = at_last
        .take_while(|entry| time(entry) == Some(last))
        .count();
    let count_before = if last == before.time_us {
        before.count
    } else {
        0
    };
    Some(LedgerPlace {
        time_us: last,
        count: count_before.checked_add(u32::try_from(at_last).ok()?)?,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_page_that_ends_among_entries_of_one_time_says_how_many_came_before() {
        let entries = |times: &[i64]| -> Vec<Row> {
            let rows = times.iter().map(|time| json!({"cursor": time}));
            rows.map(|row| row.as_object().unwrap().clone()).collect()
        };
        let place = |time_us, count| LedgerPlace { time_us, count };
        let first = place(i64::MAX, 0);
        assert_eq!(next(&entries(&[9, 7, 7]), first), Some(place(7, 2)));
        assert_eq!(next(&entries(&[7, 7, 7]), place(7, 2)), Some(place(7, 5)));
        assert_eq!(next(&entries(&[7, 5]), place(7, 5)), Some(place(5, 1)));
        for text in ["7.2", "-7.0", "9223372036854775807.0"] {
            assert_eq!(LedgerPlace::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "7", "7.-1", "7.x", ".1", "1.2.3"] {
            assert_eq!(LedgerPlace::parse(wrong), None, "{wrong}");
        }
    }
}
