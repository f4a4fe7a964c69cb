//! Tables that pipelines of the configuration fill: who sees them, and what of them.

use std::collections::HashMap;

use arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;
use headframe_query_engine::{Engine, StoredUserTable};
use headframe_query_front::access::ReadScope;
use headframe_query_front::{At, ErrorCode, QueryError, SqlEngine, SqlRequest};
use headframe_schemas::stream::shares::Shares;
use headframe_schemas::user_table::UserColumn;
use headframe_schemas::{Kind, ReadPermission, Stream, UserTable, codec};
use headframe_sinks::{Lake, SeqRange, StreamBinding, TableWriter};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::scripted::{DAY, Scripted, split, ten_shares};
use crate::server::{config, sql_request};

fn user_table(name: &str, read: ReadPermission) -> UserTable {
    let column = |name: &str, kind| UserColumn {
        name: name.to_owned(),
        kind,
    };
    UserTable {
        name: name.to_owned(),
        pipeline: "of_ours".to_owned(),
        input: Shares.name().to_owned(),
        columns: vec![column("site", Kind::Text), column("mean_c", Kind::Float)],
        read,
        retention_days: 30,
    }
}

/// Commits rows as a pipeline does.
async fn fill(lake: &Lake, table: &UserTable, rows: &[Value]) {
    let table = table.table();
    let binding = StreamBinding {
        created_ns: 0,
        base: 0,
    };
    let lines: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let schema = table.schema();
    let fields = schema.fields().iter().cloned();
    let fields: Vec<_> = fields.filter(|field| field.name() != "payload").collect();
    let schema = std::sync::Arc::new(arrow::datatypes::Schema::new(fields));
    let mut reader = arrow::json::ReaderBuilder::new(schema)
        .build(lines.as_bytes())
        .unwrap();
    let batch = codec::conform(&table.schema(), &reader.next().unwrap().unwrap()).unwrap();
    let opened = TableWriter::open(lake, table, binding, CancellationToken::new());
    let range = SeqRange { first: 1, last: 9 };
    opened.await.unwrap().commit(range, &[batch]).await.unwrap();
}

struct World {
    _folder: tempfile::TempDir,
    engine: Engine,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap(), &HashMap::new()).unwrap();
        let tables = [
            user_table("hot_sites", ReadPermission::Reader),
            user_table("closed_sites", ReadPermission::Personal),
            // No pipeline has run yet.
            user_table("new_sites", ReadPermission::Reader),
        ];
        let day = "2026-03-01";
        let good = json!({"seq": 5, "row": 0, "ingest_time": DAY, "ingest_date": day,
            "site": "north", "mean_c": 31.5});
        let bad = json!({"seq": 6, "row": 3, "ingest_time": DAY, "ingest_date": day,
            "reject_reason": "no number"});
        for table in &tables[..2] {
            fill(&lake, table, &[good.clone(), bad.clone()]).await;
        }
        let stores = vec![(lake.object_store_url(), lake.store().clone())];
        let shares = Scripted::new(&Shares, split(&ten_shares(), 6, 10));
        let engine = Engine::new(config(), vec![shares], stores).unwrap();
        let stored = tables.into_iter();
        let stored = stored.map(|table| StoredUserTable::open(&lake, table));
        Self {
            _folder: folder,
            engine: engine.with_user_tables(stored.collect()).unwrap(),
        }
    }

    async fn ask(&self, sql: &str, reads: ReadScope, at: At) -> Result<Vec<String>, QueryError> {
        let request = SqlRequest {
            reads,
            ..sql_request(sql, at)
        };
        let answer = self.engine.execute(&request).await?;
        let batches: Vec<_> = answer.batches.try_collect().await?;
        let text = pretty_format_batches(&batches).unwrap().to_string();
        let rows = text.lines().skip(3).filter(|line| line.starts_with('|'));
        Ok(rows
            .map(|line| line.split_whitespace().collect::<String>())
            .collect())
    }

    async fn all(&self, sql: &str) -> Vec<String> {
        self.ask(sql, ReadScope::Everything, At::Latest)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    }
}

#[tokio::test]
async fn a_table_of_a_pipeline_is_read_like_any_other() {
    let world = World::new().await;
    let found = world.all("SELECT * FROM hot_sites").await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("|north|31.5|") && found[0].ends_with("|5|0|"),
        "{found:?}"
    );
    let joined = "SELECT count(*) AS n FROM hot_sites h JOIN public.shares s ON h.seq >= s.seq";
    assert_eq!(world.all(joined).await, ["|5|"]);
    assert_eq!(world.all("SELECT count(*) FROM new_sites").await, ["|0|"]);
    let letters = "SELECT stream, seq, row, reason FROM dead_letters ORDER BY stream";
    assert_eq!(
        world.all(letters).await,
        ["|closed_sites|6|3|nonumber|", "|hot_sites|6|3|nonumber|"]
    );
    let columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name \
                   = 'hot_sites' ORDER BY ordinal_position LIMIT 2";
    assert_eq!(
        world.all(columns).await,
        ["|site|VARCHAR|", "|mean_c|DOUBLE|"]
    );
    let tables = "SELECT table_name, comment FROM information_schema.tables WHERE table_name LIKE \
                  '%_sites' ORDER BY table_name";
    let found = world.all(tables).await;
    assert_eq!(found.len(), 3);
    assert!(found[1].contains("of_ours"), "{found:?}");
}

#[tokio::test]
async fn the_past_of_a_table_of_a_pipeline_can_be_asked_for() {
    let world = World::new().await;
    let at = |sql: &'static str, at| world.ask(sql, ReadScope::Everything, at);
    let count = "SELECT count(*) FROM hot_sites";
    // Version 0 makes the table, 1 is taken over, 2 has the rows.
    assert_eq!(at(count, At::Version(1)).await.unwrap(), ["|0|"]);
    assert_eq!(at(count, At::Version(2)).await.unwrap(), ["|1|"]);
    let two = "SELECT count(*) FROM hot_sites, closed_sites";
    let refused = at(two, At::Version(2)).await.unwrap_err();
    assert!(
        refused.message.contains("hot_sites and closed_sites"),
        "{refused}"
    );
}

#[tokio::test]
async fn who_may_not_read_a_table_of_a_pipeline_does_not_find_it() {
    let world = World::new().await;
    let miner = ReadScope::Miner("m1".to_owned());
    for (table, reads, exists) in [
        ("hot_sites", ReadScope::Everything, true),
        ("hot_sites", ReadScope::Readers, true),
        ("hot_sites", miner.clone(), false),
        ("hot_sites", ReadScope::Nothing, false),
        ("closed_sites", ReadScope::Everything, true),
        ("closed_sites", ReadScope::Readers, false),
        ("closed_sites", miner, false),
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        let answer = world.ask(&sql, reads.clone(), At::Latest).await;
        match answer {
            Ok(_) => assert!(exists, "{table} for {reads:?}"),
            Err(error) => {
                assert!(!exists, "{table} for {reads:?}: {error}");
                assert_eq!(error.code, ErrorCode::SqlPlan, "{error}");
            }
        }
        let named =
            format!("SELECT count(*) FROM information_schema.tables WHERE table_name = '{table}'");
        let found = world.ask(&named, reads, At::Latest).await.unwrap();
        assert_eq!(found, [format!("|{}|", i64::from(exists))], "{table}");
    }
}
