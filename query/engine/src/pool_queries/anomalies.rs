//! Anomalies, the newest first.

use serde_json::json;

use crate::pool_queries::rows;
use headframe_query_front::reports::{AnomaliesPage, Row};
use headframe_query_front::{QueryError, QueryService};

/// A page of them.
pub async fn page(service: &QueryService, page: &AnomaliesPage) -> Result<Vec<Row>, QueryError> {
    let open = match page.open {
        None => "",
        Some(true) => " AND ended_at IS NULL",
        Some(false) => " AND ended_at IS NOT NULL",
    };
    let sql = format!(
        "SELECT site, source, signal, detector, since, found_at, ended_at, reason, value, \
         expected, deviation, lower, upper, score FROM anomaly_periods WHERE ($1 IS NULL OR site \
         = $1) AND ($2 IS NULL OR source = $2) AND ($3 IS NULL OR found_at >= $3) AND ($4 IS NULL \
         OR found_at < $4){open} ORDER BY found_at DESC, signal, detector LIMIT {}",
        page.limit
    );
    let params = json!([page.site, page.source, page.from, page.to]);
    rows(service, sql, params).await
}
