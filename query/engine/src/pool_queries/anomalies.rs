//! Anomalies, the newest first, and the readings around one.

use serde_json::{Value, json};

use crate::pool_queries::rows;
use crate::pool_queries::span::rfc3339;
use headframe_query_front::answers::anomalies::AnomalyRow;
use headframe_query_front::answers::table_row::select;
use headframe_query_front::reports::{AnomaliesPage, Row, SignalWindow, TimeSeries};
use headframe_query_front::{QueryError, QueryService};

/// A page of them.
pub async fn page(service: &QueryService, page: &AnomaliesPage) -> Result<Vec<Row>, QueryError> {
    let open = match page.open {
        None => "",
        Some(true) => " AND ended_at IS NULL",
        Some(false) => " AND ended_at IS NOT NULL",
    };
    let follows = match page.after {
        None => "",
        Some(_) => {
            " AND (found_at < $7 OR (found_at = $7 AND (signal > $8 OR (signal = $8 AND (detector \
             > $9 OR (detector = $9 AND (site > $10 OR (site = $10 AND source > $11))))))))"
        }
    };
    let sql = format!(
        "SELECT {} FROM anomaly_periods WHERE ($1 IS NULL OR site \
         = $1) AND ($2 IS NULL OR source = $2) AND ($3 IS NULL OR found_at >= $3) AND ($4 IS NULL \
         OR found_at < $4) AND ($5 IS NULL OR signal = $5) AND ($6 IS NULL OR detector = \
         $6){open}{follows} ORDER BY found_at DESC, signal, detector, site, source LIMIT {}",
        select::<AnomalyRow>(),
        page.limit
    );
    let mut params = vec![
        json!(page.site),
        json!(page.source),
        json!(page.from),
        json!(page.to),
        json!(page.signal),
        json!(page.detector),
    ];
    if let Some(after) = &page.after {
        let texts = [
            &after.found_at,
            &after.signal,
            &after.detector,
            &after.site,
            &after.source,
        ];
        params.extend(texts.map(|text| json!(text)));
    }
    rows(service, sql, Value::Array(params)).await
}

/// The table of a stream that is watched, the columns that name a signal there, in the order in
/// which its name has them, what follows them, and the value.
const SIGNALS: &[(&str, &str, &str, &str)] = &[
    ("energy", "site", "meter || '/power_w'", "power_w"),
    ("sensors", "site", "sensor || '/' || quantity", "value"),
    (
        "hashrate",
        "pool",
        "miner || '/' || worker || '/' || source || '/hashrate_hs'",
        "hashrate_hs",
    ),
];

/// The readings of a signal, one a step: that which differs most from what was expected.
pub async fn readings(
    service: &QueryService,
    window: &SignalWindow,
) -> Result<TimeSeries, QueryError> {
    let known = SIGNALS.iter().find(|known| known.0 == window.source);
    let Some((table, site, name, value)) = known else {
        return Err(QueryError::bad_request(
            format!("source is {:?}", window.source),
            "name a stream whose signals are watched",
        ));
    };
    let step_s = window.step_s.max(1);
    let sql = format!(
        "SELECT step, CASE WHEN $5 IS NULL THEN mean WHEN most - CAST($5 AS DOUBLE) >= \
         CAST($5 AS DOUBLE) - least THEN most ELSE least END AS value FROM (SELECT \
         CAST(event_time AS BIGINT) / {step_us} AS step, avg({value}) AS mean, min({value}) AS \
         least, max({value}) AS most FROM {table} WHERE event_time >= $1 AND event_time < $2 AND \
         {site} = $3 AND {name} = $4 AND {value} IS NOT NULL GROUP BY 1) ORDER BY step LIMIT 2000",
        step_us = step_s * 1_000_000,
    );
    let params = json!([
        rfc3339(window.from_s),
        rfc3339(window.to_s),
        window.site,
        window.signal,
        window.expected
    ]);
    let found = rows(service, sql, params).await?;
    let point = |row: &Row| {
        let step = row.get("step")?.as_i64()?;
        Some((step * step_s, row.get("value")?.as_f64()?))
    };
    let points: Vec<(i64, f64)> = found.iter().filter_map(point).collect();
    Ok(TimeSeries {
        from_s: window.from_s,
        to_s: window.to_s,
        step_s: usual_step(&points).max(step_s),
        points,
    })
}

/// The usual distance between readings, which is longer than a step where they are seldom: what is
/// further apart is a gap.
fn usual_step(points: &[(i64, f64)]) -> i64 {
    let mut distances: Vec<i64> = points
        .windows(2)
        .map(|pair| pair[1].0 - pair[0].0)
        .collect();
    distances.sort_unstable();
    distances.get(distances.len() / 2).copied().unwrap_or(0)
}
