//! Tables of many small files: how many of them a question opens.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use headframe_query_engine::{
    DeltaTables, Engine, Live, Source, SourceError, SqlReports, Stored, Tables, Tail,
};
use headframe_query_front::{At, Engines, Server, Services};
use headframe_schemas::stream::shares::Shares;
use headframe_schemas::{Rollup, Stream, Table};
use headframe_sinks::{Lake, SeqRange, StreamBinding, TableWriter};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::scripted::{DAY, bad_row, raw_batch, raw_row, share};
use crate::server::{config, rows, sql};

/// A stream of which everything is stored, in tables of a lake.
struct Settled {
    tables: DeltaTables,
    last_seq: i64,
}

#[async_trait]
impl Source for Settled {
    fn stream(&self) -> &'static dyn Stream {
        &Shares
    }

    async fn live(&self, _: Duration) -> Live {
        Live {
            acknowledged: Ok(self.last_seq),
            tail: Tail::empty(),
        }
    }

    async fn raw(&self, at: At) -> Result<Stored, SourceError> {
        self.tables.raw(at).await
    }

    async fn rollup(&self, rollup: &'static dyn Rollup, at: At) -> Result<Stored, SourceError> {
        self.tables.rollup(rollup, at).await
    }
}

/// Forty commits of one small file each; the rows of message `bad` are one good and one refused.
async fn forty_files(folder: &Path, bad: Option<i64>) -> Router {
    let lake = Lake::open(folder.to_str().unwrap(), &HashMap::new()).unwrap();
    let (table, stop) = (Table::raw(&Shares), CancellationToken::new());
    let binding = StreamBinding {
        created_ns: 7,
        base: 0,
    };
    let mut writer = TableWriter::open(&lake, table, binding, stop)
        .await
        .unwrap();
    for seq in 1..=40 {
        let time = DAY + seq * 1_000_000;
        let mut lines = vec![raw_row(seq, 0, time, share(time, "rig", "accepted", 5))];
        if bad == Some(seq) {
            lines.push(bad_row(seq, 1, time, "not a JSON object"));
        }
        let range = SeqRange {
            first: seq,
            last: seq,
        };
        let batch = raw_batch(&Shares, &lines);
        writer.commit(range, &[batch]).await.unwrap();
    }
    let tables = DeltaTables::open(&lake, &Shares);
    let source: Arc<dyn Source> = Arc::new(Settled {
        tables,
        last_seq: 40,
    });
    let stores = vec![(lake.object_store_url(), lake.store().clone())];
    let engine = Arc::new(Engine::new(config(), vec![source], stores).unwrap());
    let services = Services {
        engines: Some(Engines {
            sql: engine.clone(),
            reports: Arc::new(SqlReports::new(&config(), engine)),
        }),
        ..Services::default()
    };
    Server::bind(config(), services).await.unwrap().router()
}

/// Removes every data file below the folder, so that whoever opens one fails; how many there were.
fn remove_data_files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries
        .map(|entry| match entry.path() {
            below if below.is_dir() => remove_data_files(&below),
            file if file.extension().is_some_and(|name| name == "parquet") => {
                std::fs::remove_file(file).unwrap();
                1
            }
            _ => 0,
        })
        .sum()
}

#[tokio::test]
async fn a_count_of_all_rows_opens_no_file() {
    for bad in [None, Some(17)] {
        let folder = tempfile::tempdir().unwrap();
        let router = forty_files(folder.path(), bad).await;
        let count = "SELECT count(*) AS n FROM shares";
        let named = "SELECT count(*) AS n, min(seq) AS first FROM shares WHERE worker = 'rig'";
        assert_eq!(rows(&router, count).await, vec![json!({"n": 40})]);
        assert_eq!(
            rows(&router, named).await,
            vec![json!({"n": 40, "first": 1})]
        );
        let limited = "SELECT worker FROM shares ORDER BY seq DESC LIMIT 3";
        assert_eq!(rows(&router, limited).await.len(), 3);
        let letters = "SELECT count(*) AS n FROM dead_letters";
        let refused = i64::from(bad.is_some());
        assert_eq!(rows(&router, letters).await, vec![json!({"n": refused})]);
        for (statement, files) in [
            (count, "files;desc=\"0\""),
            ("SELECT DISTINCT outcome FROM shares", "files;desc=\"40\""),
        ] {
            let answer = sql(&router, statement).await;
            let timing = answer.header("server-timing");
            assert!(timing.ends_with(files), "{statement}: {timing}");
        }
        assert_eq!(remove_data_files(&folder.path().join("shares")), 40);
        assert_eq!(
            rows(&router, count).await,
            vec![json!({"n": 40})],
            "bad: {bad:?}"
        );
        // The files are really gone: whoever needs them says so.
        let answer = sql(&router, "SELECT DISTINCT outcome FROM shares").await;
        assert_ne!(answer.status.as_u16(), 200, "{}", answer.text());
    }
}

/// What Operate asks for.
const LETTERS: &str = "SELECT stream, seq, \"row\", ingest_time, reason, payload FROM dead_letters \
                       ORDER BY ingest_time DESC LIMIT 20";

#[tokio::test]
async fn dead_letters_read_the_files_with_refused_rows_and_no_other() {
    for bad in [None, Some(17)] {
        let folder = tempfile::tempdir().unwrap();
        let router = forty_files(folder.path(), bad).await;
        let found = rows(&router, LETTERS).await;
        let found: Vec<i64> = found
            .iter()
            .map(|row| row["seq"].as_i64().unwrap())
            .collect();
        assert_eq!(found, Vec::from_iter(bad));
        let answer = sql(&router, LETTERS).await;
        let timing = answer.header("server-timing");
        let files = format!("files;desc=\"{}\"", found.len());
        assert!(timing.ends_with(&files), "{timing}");
    }
}

#[tokio::test]
async fn rows_are_counted_since_a_time_by_what_is_known_of_files() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
    let binding = StreamBinding {
        created_ns: 7,
        base: 0,
    };
    let (table, stop) = (Table::raw(&Shares), CancellationToken::new());
    let mut writer = TableWriter::open(&lake, table, binding, stop)
        .await
        .unwrap();
    // Twenty good rows over ten seconds and one that was refused, and a second file of two rows.
    let first = (0..=20).map(|n| (n + 1, DAY + n * 500_000));
    let second = (21..=22).map(|n| (n + 1, DAY + n * 1_000_000));
    for (first, last, times) in [
        (1, 21, first.collect::<Vec<_>>()),
        (22, 23, second.collect()),
    ] {
        let line = |(seq, time): (i64, i64)| match seq {
            7 => bad_row(seq, 0, time, "not a JSON object"),
            _ => raw_row(seq, 0, time, share(time, "rig", "accepted", 5)),
        };
        let lines: Vec<_> = times.into_iter().map(line).collect();
        let batch = raw_batch(&Shares, &lines);
        let range = SeqRange { first, last };
        writer.commit(range, &[batch]).await.unwrap();
    }
    let stored = DeltaTables::open(&lake, &Shares).raw(At::Latest).await;
    let rows = stored.unwrap().rows;
    for (after_s, count) in [(0, 22.0), (5, 12.0), (11, 2.0), (22, 0.0), (23, 0.0)] {
        let found = rows.count_since(DAY + after_s * 1_000_000);
        assert_eq!(found, Some(count), "{after_s}");
    }
}
