//! The product's own tail under a source: rows are seen at once, and seen once while commits move
//! them into storage.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use headframe_ingest::{DecodedRows, Tail};
use headframe_query_engine::{LastSeq, Source, SourceError, Stored, StreamSource, Tables};
use headframe_query_front::access::ReadScope;
use headframe_query_front::{At, QueryConfig, QueryService, SqlRequest};
use headframe_schemas::Rollup;
use headframe_schemas::stream::shares::Shares;

use crate::scripted::{Scripted, older_than, split, ten_shares};
use crate::server::{batches, config, service, sql_request};

/// A table that is stored through a sequence that the test moves, and a stream of ten messages.
struct Lake {
    rows: RecordBatch,
    stored: Mutex<i64>,
}

#[async_trait]
impl Tables for Lake {
    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        let stored = *self.stored.lock().unwrap();
        Scripted::new(&Shares, split(&self.rows, stored, 10))
            .raw(at)
            .await
    }
    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError> {
        Scripted::new(&Shares, split(&self.rows, 0, 10))
            .rollup(rollup, at)
            .await
    }
}

struct Ten;

#[async_trait]
impl LastSeq for Ten {
    async fn last_seq(&self) -> Result<i64, String> {
        Ok(10)
    }
}

fn chunk(rows: &RecordBatch, first: i64, last: i64) -> DecodedRows {
    let batch = rows.slice(first as usize - 1, (last - first + 1) as usize);
    DecodedRows {
        first,
        last,
        batch,
        duplicates: 0,
        rejected: 0,
    }
}

fn made(capacity: usize, wait_ms: u64) -> (RecordBatch, Arc<Tail>, Arc<Lake>, Arc<QueryService>) {
    let rows = ten_shares();
    let tail = Arc::new(Tail::new(0, capacity));
    let lake = Arc::new(Lake {
        rows: rows.clone(),
        stored: Mutex::new(0),
    });
    let source: Arc<dyn Source> = Arc::new(StreamSource::new(
        &Shares,
        tail.clone(),
        lake.clone(),
        Arc::new(Ten),
    ));
    let config = QueryConfig {
        freshness_wait_ms: wait_ms,
        ..config()
    };
    (rows, tail, lake, Arc::new(service(&config, vec![source])))
}

async fn seqs(engine: &QueryService) -> Vec<i64> {
    use arrow::array::AsArray;
    let got = batches(engine, "SELECT seq FROM shares ORDER BY seq", At::Latest).await;
    got.iter()
        .flat_map(|batch| {
            batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        })
        .collect()
}

#[tokio::test]
async fn a_query_waits_for_rows_that_are_acknowledged() {
    let (rows, tail, _lake, engine) = made(1 << 20, 60_000);
    tail.push(&chunk(&rows, 1, 4));
    let asking = tokio::spawn({
        let engine = engine.clone();
        async move { seqs(&engine).await }
    });
    // The query has to be seen waiting before the rest arrives; a minute's wait is allowed, so that
    // it cannot have given up.
    while engine.running().list_for(&ReadScope::Everything).is_empty() {
        tokio::task::yield_now().await;
    }
    tail.push(&chunk(&rows, 5, 10));
    assert_eq!(asking.await.unwrap(), (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn rows_are_seen_once_while_commits_move_them() {
    let (rows, tail, lake, engine) = made(1 << 20, 1_000);
    tail.push(&chunk(&rows, 1, 10));
    for stored in 0..=10 {
        // Stored, but the tail does not know yet.
        *lake.stored.lock().unwrap() = stored;
        assert_eq!(
            seqs(&engine).await,
            (1..=10).collect::<Vec<_>>(),
            "stored {stored}"
        );
        tail.committed(stored);
        assert_eq!(
            seqs(&engine).await,
            (1..=10).collect::<Vec<_>>(),
            "committed {stored}"
        );
    }
}

#[tokio::test]
async fn a_full_tail_is_told_and_heals_with_the_next_commit() {
    let (rows, tail, lake, engine) = made(1, 10);
    tail.push(&chunk(&rows, 1, 10));
    *lake.stored.lock().unwrap() = 4;
    tail.committed(4);
    let ask = SqlRequest {
        timeout: Some(Duration::from_secs(60)),
        ..sql_request("SELECT seq FROM shares", At::Latest)
    };
    let answer = engine.ask(ask.clone()).await.unwrap();
    assert_eq!(
        (answer.coverage[0].through, answer.coverage[0].complete),
        (Some(4), Some(false))
    );
    assert!(
        answer.coverage[0]
            .reason
            .as_ref()
            .unwrap()
            .contains("memory"),
        "{:?}",
        answer.coverage
    );
    drop(answer);
    assert_eq!(
        older_than(&[rows], 4)[0].num_rows(),
        seqs(&engine).await.len()
    );
    *lake.stored.lock().unwrap() = 10;
    tail.committed(10);
    let answer = engine.ask(ask).await.unwrap();
    assert_eq!(
        (answer.coverage[0].through, answer.coverage[0].complete),
        (Some(10), Some(true))
    );
}
