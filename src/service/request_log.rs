//! Writes the requests of the HTTP API into the stream `requests`, once a second, and drops what
//! cannot be written in time: an access log must not fill a queue that shares are waiting in.

use std::time::Duration;

use headframe_ingest::Publisher;
use headframe_query_front::request_log::{RequestLog, count_unlogged};
use headframe_schemas::stream::requests::RequestEvent;
use tokio_util::sync::CancellationToken;

/// How long rows are gathered.
const GATHER: Duration = Duration::from_secs(1);
/// The longest that rows of one round may take to be stored.
const PATIENCE: Duration = Duration::from_secs(5);
/// The publisher's queue may be this full before the log keeps out of it.
const MAX_LOAD: f64 = 0.5;

/// Writes until `stop`, and then what is left.
pub async fn write(log: RequestLog, publisher: Publisher, stop: CancellationToken) {
    let mut rounds = tokio::time::interval(GATHER);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let is_last = tokio::select! {
            _ = rounds.tick() => false,
            () = stop.cancelled() => true,
        };
        write_round(log.take(), &publisher).await;
        if is_last {
            return;
        }
    }
}

async fn write_round(rows: Vec<RequestEvent>, publisher: &Publisher) {
    if rows.is_empty() {
        return;
    }
    if publisher.load() > MAX_LOAD {
        count_unlogged(requests(&rows));
        return;
    }
    let writes = rows.iter().map(|row| publisher.record(row));
    let written = tokio::time::timeout(PATIENCE, futures::future::join_all(writes)).await;
    match written {
        Ok(results) => {
            let failed = rows
                .iter()
                .zip(&results)
                .filter(|(_, result)| result.is_err());
            count_unlogged(failed.map(|(row, _)| row.requests).sum());
        }
        // What was stored meanwhile counts as lost, since nobody knows.
        Err(_) => count_unlogged(requests(&rows)),
    }
}

fn requests(rows: &[RequestEvent]) -> u64 {
    rows.iter().map(|row| row.requests).sum()
}
