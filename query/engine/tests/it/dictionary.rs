//! `information_schema` says of every table what is true of it.

use std::sync::Arc;

use headframe_query_engine::Source;
use headframe_query_engine::catalog::described;
use headframe_query_front::At;
use headframe_schemas::stream;
use serde_json::json;

use crate::scripted::{Scripted, split};
use crate::server::{batches, config, router, rows, service, sql_request};

/// Every stream, all empty.
fn sources() -> Vec<Arc<dyn Source>> {
    let empty = |stream: &&'static dyn headframe_schemas::Stream| -> Arc<dyn Source> {
        Scripted::new(
            *stream,
            split(&crate::scripted::raw_batch(*stream, &[]), 0, 0),
        )
    };
    stream::ALL.iter().map(empty).collect()
}

#[tokio::test]
async fn every_description_is_true() {
    let service = service(&config(), sources());
    for table in described::all() {
        let ask = format!("SELECT * FROM {} LIMIT 0", table.name);
        let answer = service
            .ask(sql_request(&ask, At::Latest))
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", table.name));
        let actual: Vec<_> = answer
            .schema
            .fields()
            .iter()
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect();
        let described: Vec<_> = table
            .columns
            .iter()
            .map(|column| (column.name.to_owned(), column.kind.arrow()))
            .collect();
        assert_eq!(actual, described, "{}", table.name);
        assert!(!table.doc.is_empty());
        drop(answer);
        let all = batches(
            &service,
            &format!("SELECT * FROM {}", table.name),
            At::Latest,
        )
        .await;
        assert_eq!(
            all.iter().map(|batch| batch.num_rows()).sum::<usize>(),
            0,
            "{}",
            table.name
        );
    }
}

#[tokio::test]
async fn tables_and_columns_can_be_shown() {
    let router = router(config(), sources()).await;
    let tables = rows(&router, "SHOW TABLES").await;
    assert_eq!(tables.len(), described::all().len());
    let shares = tables
        .iter()
        .find(|table| table["table_name"] == "shares")
        .unwrap();
    assert_eq!(shares["table_type"], "BASE TABLE");
    assert!(
        shares["comment"]
            .as_str()
            .unwrap()
            .starts_with("Every share")
    );

    let described = rows(&router, "DESCRIBE hashrate_1m").await;
    assert_eq!(described[0]["column_name"], "window_start");
    let shown = rows(&router, "SHOW COLUMNS FROM shares").await;
    assert_eq!(
        shown[0],
        json!({"table_catalog": "headframe", "table_schema": "public", "table_name": "shares",
            "column_name": "event_time", "data_type": "TIMESTAMP WITH TIME ZONE",
            "is_nullable": "NO"})
    );
    let units = "SELECT column_name, unit FROM information_schema.columns WHERE table_name = \
                 'energy' AND column_name LIKE '%\\_w' ORDER BY 1";
    assert_eq!(
        rows(&router, units).await,
        vec![json!({"column_name": "power_w", "unit": "W"})]
    );
    let undocumented = rows(
        &router,
        "SELECT table_name, column_name FROM information_schema.columns WHERE comment = ''",
    )
    .await;
    assert_eq!(undocumented, Vec::<serde_json::Value>::new());
}
