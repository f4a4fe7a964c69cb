//! Hashrate over time, as numbers and as drawings: of the cluster, and a line for each worker.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use headframe_query_front::time_series::TimeSeries;
use headframe_query_front::{QueryError, sparkline, time_chart};
use serde::Deserialize;
use serde_json::{Value, json};

use super::shared_cluster::SharedCluster;
use crate::cluster::hashrate_history::{HISTORY_S, HashratePoint, STEP_S};

/// Seconds that a drawing shows at least: one of a few points says nothing.
const LEAST_S: i64 = 2 * 60;
/// Pixels of the cluster's drawing: from side to side the least and the most, and its height.
const WIDTH: (u32, u32) = (240, 2_000);
const HEIGHT: u32 = 220;

/// The routes.
pub(super) fn routes(cluster: Arc<SharedCluster>) -> Router {
    Router::new()
        .route("/api/hashrate", get(numbers))
        .route("/api/hashrate.svg", get(drawing))
        .with_state(cluster)
}

async fn numbers(State(cluster): State<Arc<SharedCluster>>) -> Result<Json<Value>, QueryError> {
    let (of_cluster, of_workers) =
        cluster.read(|cluster, now| (cluster.hashrate_history(now), cluster.worker_histories(now)));
    let age_s = of_cluster.first().map_or(0, |point| point.age_s);
    let of_cluster = series(&of_cluster, age_s);
    let points = of_cluster.points.iter();
    let points: Vec<Value> = points
        .map(|(at_s, hashrate_hs)| json!({"at_s": at_s, "hashrate_hs": hashrate_hs}))
        .collect();
    let mut workers = Vec::new();
    for (worker, history) in of_workers {
        let drawing = sparkline::draw(&series(&history, age_s))?;
        workers.push(json!({"worker": worker, "drawing": drawing}));
    }
    let (from_s, to_s, step_s) = (of_cluster.from_s, of_cluster.to_s, of_cluster.step_s);
    Ok(Json(json!({
        "cluster": {"from_s": from_s, "to_s": to_s, "step_s": step_s, "points": points},
        "workers": workers,
    })))
}

/// How wide a drawing is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrawingQuery {
    width: Option<u32>,
}

async fn drawing(
    State(cluster): State<Arc<SharedCluster>>,
    Query(DrawingQuery { width }): Query<DrawingQuery>,
) -> Result<Response, QueryError> {
    let history = cluster.read(|cluster, now| cluster.hashrate_history(now));
    let age_s = history.first().map_or(0, |point| point.age_s);
    let width = width.unwrap_or(720).clamp(WIDTH.0, WIDTH.1);
    let text = time_chart::draw(&series(&history, age_s), (width, HEIGHT))?;
    let mut response = text.into_response();
    let headers = response.headers_mut();
    let mut insert =
        |name: HeaderName, value| headers.insert(name, HeaderValue::from_static(value));
    insert(header::CONTENT_TYPE, "image/svg+xml");
    // Opened by itself a drawing is a document, and nothing runs in it.
    insert(header::CONTENT_SECURITY_POLICY, "default-src 'none'");
    Ok(response)
}

/// The points of a history at the time of day, from so long ago until now.
fn series(history: &[HashratePoint], age_s: i64) -> TimeSeries {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let to_s = since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    });
    let points = history.iter();
    TimeSeries {
        from_s: to_s - age_s.clamp(LEAST_S, HISTORY_S),
        to_s,
        step_s: STEP_S,
        points: points
            .map(|point| (to_s - point.age_s, point.hashrate_hs))
            .collect(),
    }
}
