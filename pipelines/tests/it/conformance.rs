//! Every stream through every pipeline: stored once, resumed after a stop, and recovered when the
//! state is gone.

use arrow::array::RecordBatch;
use headframe_pipelines::pipeline;
use headframe_schemas::{Stream, Table, codec, stream};
use serde_json::json;

use crate::fixture::Fixture;

/// One good row of any stream, made of its columns alone, so that a new stream is tested by being
/// there.
fn row(stream: &'static dyn Stream, number: i64) -> RecordBatch {
    let mut row = serde_json::Map::new();
    let limits = |column: &headframe_schemas::Column| match column.limits {
        headframe_schemas::column::Limits::OneOf(words) => Some(json!(words[0])),
        _ => None,
    };
    for column in stream.columns() {
        let value = match column.kind {
            headframe_schemas::Kind::Timestamp => {
                json!(1_772_362_800_000_000_i64 + number * 1_000_000)
            }
            headframe_schemas::Kind::Text => json!("a".repeat(64)),
            headframe_schemas::Kind::Float => match column.limits {
                headframe_schemas::column::Limits::Float(least, most) => {
                    json!((number as f64 + 0.5).clamp(least, most))
                }
                _ => json!(number as f64 + 0.5),
            },
            headframe_schemas::Kind::Bool => json!(true),
            _ => match column.limits {
                headframe_schemas::column::Limits::Int(least, most) => {
                    json!(number.clamp(least, most))
                }
                _ => json!(number),
            },
        };
        row.insert(column.name.to_owned(), limits(column).unwrap_or(value));
    }
    let line = serde_json::Value::Object(row).to_string();
    let decoded = codec::decode_ndjson(stream, &[line.as_bytes()]);
    assert!(
        decoded.rejects.is_empty(),
        "{}: {line}: {:?}",
        stream.name(),
        decoded.rejects
    );
    decoded.batch
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_stream_is_stored_once_resumed_and_recovered() {
    for stream in stream::ALL {
        let fixture = Fixture::new(*stream).await;
        let mut last = 0;
        for round in 0..3 {
            let running = fixture.run(*stream).await;
            for number in 0..4 {
                last = fixture
                    .publisher
                    .batch(*stream, row(*stream, round * 4 + number))
                    .await
                    .unwrap()
                    .seq;
            }
            fixture.until_complete(*stream, last).await;
            running.stop().await;
            if round == 1 {
                let state = fixture
                    .folder
                    .path()
                    .join("tables")
                    .join(stream.name())
                    .join("_state");
                std::fs::remove_dir_all(state).unwrap();
            }
        }
        let sql =
            "SELECT count(*) AS n, count(DISTINCT seq) AS d, count(reject_reason) AS bad FROM t";
        let found = fixture.ask(Table::raw(*stream), sql).await;
        assert!(
            found.contains("| 12 | 12 | 0   |"),
            "{}:\n{found}",
            stream.name()
        );
        assert_eq!(
            fixture.offsets(*stream).await,
            vec![Some(last as i64); fixture.offsets(*stream).await.len()]
        );
        fixture.end().await;
    }
}

/// The name stands in faults, probes and documents, so that it must be plain and nobody else's.
#[test]
fn every_pipeline_has_a_name_of_its_own_a_doc_and_a_stream() {
    let mut names = std::collections::BTreeSet::new();
    for pipeline in pipeline::ALL {
        let name = pipeline.name();
        assert!(names.insert(name), "{name} is there twice");
        let is_plain = |name: &str| {
            let letters = |c: char| c.is_ascii_lowercase() || c == '_';
            !name.is_empty() && name.chars().all(letters)
        };
        assert!(is_plain(name), "{name:?} must be of small letters");
        assert!(pipeline.doc().ends_with('.'), "{name}: a sentence");
        assert!(
            stream::ALL.iter().any(|stream| pipeline.takes(*stream)),
            "{name} takes no stream"
        );
    }
}
