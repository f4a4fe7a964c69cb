//! `GET /api/v1/miners/{address}/workers/hashrate`: hashrate of a day of each worker of a miner, as
//! numbers and as a small drawing.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::access::Permission;
use crate::answers::described::{self, AnswerType};
use crate::answers::hashrate::{HashrateAnswer, WorkerHashrate, WorkerHashratesAnswer};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::query_params;
use crate::reports::TimeSeries;
use crate::route::pool_snapshot::{visitor_answer, worker_hashrates};
use crate::route::schema::{ADDRESS, Schema};
use crate::route::{Handler, Route};
use crate::sparkline;

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/miners/{address}/workers/hashrate",
    permission: Permission::MinerPage,
    doc: "Hashrate of a day of each worker of one miner, the 400 hardest working at most, every \
          ten minutes or, of many workers, every hour; each with a small `drawing` in SVG. Made \
          at most every ten seconds.",
    schema: Schema {
        path: ADDRESS,
        answer: Some(AnswerType::new::<WorkerHashratesAnswer>()),
        ..Schema::JSON
    },
    handler: Handler::Page(|| get(list)),
};

async fn list(
    State(app): State<Arc<AppState>>,
    Path(address): Path<String>,
) -> Result<Response, QueryError> {
    let miner = query_params::miner_name(&address)?;
    let make = async || {
        let workers = worker_hashrates(&app, miner).await?;
        let workers: Result<_, QueryError> = workers.iter().map(worker_hashrate).collect();
        described::to_json(&WorkerHashratesAnswer {
            miner: miner.to_owned(),
            workers: workers?,
        })
    };
    let key = format!("worker hashrates {miner}");
    Ok(visitor_answer(&app, key, make).await?.into_response())
}

fn worker_hashrate((name, series): &(String, TimeSeries)) -> Result<WorkerHashrate, QueryError> {
    let drawing = sparkline::draw(series)?;
    let series = HashrateAnswer::from(series);
    Ok(WorkerHashrate {
        worker: name.clone(),
        from_s: series.from_s,
        to_s: series.to_s,
        step_s: series.step_s,
        points: series.points,
        drawing,
    })
}
