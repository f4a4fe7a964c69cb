//! Power and energy of machines, pools and sites, and the use of allocations.

use serde_json::json;

use crate::pool_queries::rows;
use crate::pool_queries::span::{now_s, rfc3339};
use headframe_query_front::reports::{ChartSpan, EnergyWindows, Row, TimeSeries};
use headframe_query_front::{QueryError, QueryService};
use headframe_schemas::sql_view::energy::Subject;

const HOUR_US: i64 = 3_600_000_000;
const SECOND_US: i64 = 1_000_000;

const SUMS: &str = "max(meters) AS meters, sum(energy_wh) AS energy_wh, sum(energy_wh) * 3600 / \
    nullif(sum(covered_s), 0) AS power_mean_w, sum(covered_s) AS covered_s, \
    sum(counter_energy_wh) AS counter_energy_wh, sum(counter_resets) AS counter_resets";

/// The newest minute of each in which power was measured, of the last 15.
pub async fn power_now(
    service: &QueryService,
    of: &Subject,
    id: Option<&str>,
) -> Result<Vec<Row>, QueryError> {
    let sql = format!(
        "SELECT id, power_mean_w AS power_w, meters, window_end AS at, \
         greatest(0, (CAST(now() AS BIGINT) / 1000 - CAST(window_end AS BIGINT)) / 1000000) AS \
         age_s FROM (SELECT {key} AS id, power_mean_w, meters, window_end, row_number() OVER \
         (PARTITION BY {key} ORDER BY window_start DESC) AS place FROM {key}_energy_1m WHERE \
         window_start >= now() - INTERVAL '15 minutes' AND power_mean_w IS NOT NULL AND ($1 IS \
         NULL OR {key} = $1)) WHERE place = 1 ORDER BY id",
        key = of.name,
    );
    rows(service, sql, json!([id])).await
}

/// Energy by spans of time, or by hours where none are named.
pub async fn energy(
    service: &QueryService,
    windows: &EnergyWindows,
) -> Result<Vec<Row>, QueryError> {
    let key = windows.of.name;
    let time = |us: i64| rfc3339(us.div_euclid(SECOND_US));
    let range = "window_start >= $1 AND window_start < $2";
    let sql = match windows.spans.is_empty() {
        true => format!(
            "SELECT window_start AS \"from\", window_start + INTERVAL '1 hour' AS \"to\", {key} \
             AS id, {SUMS} FROM {key}_energy_1h WHERE {range} AND ($3 IS NULL OR {key} = \
             $3) GROUP BY \
             1, 2, 3 ORDER BY 1, 3"
        ),
        false => {
            let tier = tier_of(&windows.spans);
            let value = |(from, to): &(i64, i64)| {
                let micros =
                    |us: i64| format!("arrow_cast({us}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
                format!("({}, {})", micros(*from), micros(*to))
            };
            let values: Vec<String> = windows.spans.iter().map(value).collect();
            format!(
                "SELECT begins AS \"from\", ends AS \"to\", {key} AS id, {SUMS} FROM (SELECT * \
                 FROM {key}_energy_{tier} WHERE {range} AND ($3 IS NULL OR {key} = $3)) AS e JOIN \
                 (VALUES {}) AS s(begins, ends) ON e.window_start >= s.begins AND e.window_start \
                 < s.ends GROUP BY 1, 2, 3 ORDER BY 1, 3",
                values.join(", ")
            )
        }
    };
    let params = json!([time(windows.from_us), time(windows.to_us), windows.id]);
    rows(service, sql, params).await
}

/// Mean power over a span that ends now. The present step is of the part of it that is covered.
pub async fn power(
    service: &QueryService,
    of: &Subject,
    id: &str,
    span: &ChartSpan,
) -> Result<TimeSeries, QueryError> {
    let to_s = now_s() as i64;
    let from_s = (to_s.div_euclid(span.step_s) + 1 - span.steps) * span.step_s;
    let sql = format!(
        "SELECT CAST(window_start AS BIGINT) / {step_us} AS step, sum(energy_wh) * 3600 / \
         nullif(sum(covered_s), 0) AS power_w FROM {key}_energy_{tier} WHERE window_start >= $1 \
         AND {key} = $2 GROUP BY 1 ORDER BY 1 LIMIT {steps}",
        step_us = span.step_s * SECOND_US,
        key = of.name,
        tier = span.tier,
        steps = span.steps,
    );
    let found = rows(service, sql, json!([rfc3339(from_s), id])).await?;
    let point = |row: &Row| {
        let step = row.get("step")?.as_i64()?;
        Some((step * span.step_s, row.get("power_w")?.as_f64()?))
    };
    Ok(TimeSeries {
        from_s,
        to_s,
        step_s: span.step_s,
        points: found.iter().filter_map(point).collect(),
    })
}

/// The widest windows that these spans are whole numbers of.
fn tier_of(spans: &[(i64, i64)]) -> &'static str {
    let whole = |us: i64| us.rem_euclid(HOUR_US) == 0;
    match spans.iter().all(|(from, to)| whole(*from) && whole(*to)) {
        true => "1h",
        false => "1m",
    }
}

/// The newest statement of each allocation of the last day.
pub async fn allocation_usage(service: &QueryService) -> Result<Vec<Row>, QueryError> {
    let sql = "SELECT event_time AS at, allocation, subject_kind, subject, demand_w, \
        demand_covered_s, power_limit_w, power_pct, power_level, period_start, period_end, \
        used_wh, covered_s, energy_limit_wh, energy_pct, energy_level, exhausted_at FROM (SELECT \
        *, row_number() OVER (PARTITION BY allocation ORDER BY event_time DESC, seq DESC) AS \
        place FROM allocation_usage WHERE event_time >= now() - INTERVAL '1 day') WHERE place = 1 \
        ORDER BY allocation";
    rows(service, sql.to_owned(), json!([])).await
}
