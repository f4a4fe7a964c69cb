//! Bulk ingest before a handler that keeps what it is given: pieces, their numbers, and refusals.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::sql::{CommandStatementIngest, TableDefinitionOptions};
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::post;
use axum::{Json, response::IntoResponse};
use futures::{StreamExt, stream};
use headframe_query_front::{RouteHandler, Services};
use headframe_schemas::arrow_stream;
use serde_json::json;
use tonic::Code;

use super::{Wire, status};
use crate::account_store::{MemoryStore, accounts, actor, token};
use crate::server::config;

/// What a request said: the stream, its headers, and the numbers of its rows.
type Accepted = Arc<Mutex<Vec<(String, HeaderMap, Vec<i64>)>>>;

/// A handler that takes rows up to the number 1,000.
fn services(taken: &Accepted) -> Services {
    let taken = taken.clone();
    let take = async move |Path(stream): Path<String>, headers: HeaderMap, body: Bytes| {
        let (_, batches) = arrow_stream::read(&body).unwrap();
        let numbers = batches.iter().flat_map(|batch| {
            let column = batch.column(0).as_any().downcast_ref::<Int64Array>();
            column.unwrap().values().to_vec()
        });
        let numbers: Vec<i64> = numbers.collect();
        let bad = numbers.iter().position(|number| *number > 1_000);
        if let Some(at) = bad {
            let body = json!({"error": {"message": "1 rows are not taken", "hint": "see docs"},
                "rejected": [{"line": at + 1, "reason": "too large"}]});
            return (StatusCode::BAD_REQUEST, Json(body)).into_response();
        }
        let accepted = numbers.len();
        taken.lock().unwrap().push((stream, headers, numbers));
        Json(json!({"accepted": accepted})).into_response()
    };
    Services {
        handlers: vec![RouteHandler {
            method: Method::POST,
            path: "/api/v1/ingest/{stream}",
            answers: post(take).layer(DefaultBodyLimit::disable()),
        }],
        max_ingest_bytes: Some(8 << 20),
        ..Services::default()
    }
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(range.collect::<Int64Array>());
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn append(table: &str, if_not_exist: i32, if_exists: i32) -> CommandStatementIngest {
    CommandStatementIngest {
        table_definition_options: Some(TableDefinitionOptions {
            if_not_exist,
            if_exists,
        }),
        table: table.to_owned(),
        ..CommandStatementIngest::default()
    }
}

#[tokio::test]
async fn every_row_is_handed_over_once_and_numbered_through() {
    let taken = Accepted::default();
    let wire = Wire::start_with(config(), services(&taken)).await;
    let mut client = wire.client();
    client.set_header("headframe-producer", "notebook-7");
    client.set_header("headframe-seq", "40");
    let batches: Vec<_> = (0..10)
        .map(|n| Ok(numbers(n * 100..n * 100 + 100)))
        .collect();
    let count = client.execute_ingest(append("energy", 2, 2), stream::iter(batches));
    assert_eq!(count.await.unwrap(), 1_000);
    let taken = taken.lock().unwrap();
    let mut next = 0;
    for (stream, headers, rows) in taken.iter() {
        assert_eq!(stream, "energy");
        assert_eq!(
            headers["content-type"],
            "application/vnd.apache.arrow.stream"
        );
        assert_eq!(headers["headframe-bad-rows"], "refuse");
        assert_eq!(headers["headframe-producer"], "notebook-7");
        assert_eq!(headers["headframe-seq"], (40 + next).to_string());
        assert_eq!(*rows, (next..next + rows.len() as i64).collect::<Vec<_>>());
        next += rows.len() as i64;
    }
    assert_eq!(next, 1_000);
}

#[tokio::test]
async fn a_bad_batch_is_refused_with_its_row_and_what_came_before_it() {
    let taken = Accepted::default();
    let wire = Wire::start_with(config(), services(&taken)).await;
    let mut client = wire.client();
    // Each batch is larger than what is put together.
    let good = numbers(0..1_000);
    let many = vec![good.clone(); 300];
    let large = arrow::compute::concat_batches(&good.schema(), &many).unwrap();
    let batches = [large, numbers(990..1_010)].map(Ok);
    let refused = client.execute_ingest(append("energy", 1, 2), stream::iter(batches));
    let refused = status(refused.await.unwrap_err());
    assert_eq!(refused.code(), Code::InvalidArgument);
    let said = refused.message();
    assert!(said.contains("row 300012: too large"), "{said}");
    assert!(
        said.contains("300000 rows of energy that came before are stored"),
        "{said}"
    );
    assert!(said.contains("see docs"), "{said}");
}

#[tokio::test]
async fn batches_are_bounded_by_the_ingest_and_not_by_grpc() {
    let taken = Accepted::default();
    let wire = Wire::start_with(config(), services(&taken)).await;
    let mut client = wire.client();
    let rows = |count: usize| {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1; count]));
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    };
    let encoder = |rows: RecordBatch| {
        use arrow_flight::FlightDescriptor;
        use arrow_flight::encode::FlightDataEncoderBuilder;
        use arrow_flight::sql::ProstMessageExt;
        use prost::Message;
        let command = append("energy", 2, 2).as_any().encode_to_vec();
        FlightDataEncoderBuilder::new()
            .with_max_flight_data_size(usize::MAX)
            .with_flight_descriptor(Some(FlightDescriptor::new_cmd(command)))
            .build(stream::iter([Ok(rows)]))
            .map(Result::unwrap)
    };
    // 6 MB in one message: more than gRPC takes by itself.
    client.do_put(encoder(rows(750_000))).await.unwrap();
    assert_eq!(taken.lock().unwrap()[0].2.len(), 750_000);
    let refused = status(client.do_put(encoder(rows(1_100_000))).await.unwrap_err());
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("max_body_bytes"), "{refused}");
}

#[tokio::test]
async fn a_refusal_is_told_after_the_client_has_sent_its_rows() {
    let wire = Wire::start_with(config(), services(&Accepted::default())).await;
    let mut client = wire.client();
    let sent = Arc::new(AtomicUsize::new(0));
    let batches = |count: usize| {
        let sent = sent.clone();
        stream::iter(0..count).map(move |_| {
            sent.fetch_add(1, Ordering::SeqCst);
            Ok(numbers(0..1_000))
        })
    };
    let refused = client.execute_ingest(append("energy", 2, 1), batches(500));
    assert_eq!(
        status(refused.await.unwrap_err()).code(),
        Code::AlreadyExists
    );
    assert_eq!(sent.swap(0, Ordering::SeqCst), 500);
    // 80 MB are more than is read for nothing.
    let refused = client.execute_ingest(append("energy", 2, 1), batches(10_000));
    assert_eq!(
        status(refused.await.unwrap_err()).code(),
        Code::AlreadyExists
    );
    assert!((500..5_000).contains(&sent.load(Ordering::SeqCst)));
}

#[tokio::test]
async fn rows_are_appended_to_streams_that_the_caller_may_write_and_nothing_else() {
    let taken = Accepted::default();
    let wire = Wire::start_with(config(), services(&taken)).await;
    let mut client = wire.client();
    for (command, code) in [
        (append("energy", 2, 1), Code::AlreadyExists),
        (append("energy", 1, 3), Code::PermissionDenied),
        (append("energy", 0, 0), Code::InvalidArgument),
        (
            CommandStatementIngest {
                temporary: true,
                ..append("energy", 2, 2)
            },
            Code::Unimplemented,
        ),
        (
            CommandStatementIngest {
                schema: Some("mine".to_owned()),
                ..append("energy", 2, 2)
            },
            Code::NotFound,
        ),
    ] {
        let refused = client.execute_ingest(command, stream::iter([Ok(numbers(0..1))]));
        assert_eq!(status(refused.await.unwrap_err()).code(), code);
    }
    // Money follows from shares, so that they are not for whoever asks.
    let mut stranger = wire.client();
    stranger.set_header("x-forwarded-for", "192.0.2.1");
    let refused =
        stranger.execute_ingest(append("shares", 2, 2), stream::iter([Ok(numbers(0..1))]));
    assert_eq!(
        status(refused.await.unwrap_err()).code(),
        Code::PermissionDenied
    );
    client.set_header("headframe-seq", "1");
    let refused = client.execute_ingest(append("energy", 2, 2), stream::iter([Ok(numbers(0..1))]));
    assert_eq!(
        status(refused.await.unwrap_err()).code(),
        Code::InvalidArgument
    );
    assert!(taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn rows_are_taken_no_longer_when_the_right_to_send_them_is_taken_away() {
    let taken = Accepted::default();
    let accounts = accounts(&MemoryStore::new()).await;
    let operator = token(&accounts, "operator").await;
    let services = Services {
        accounts: Some(accounts.clone()),
        ..services(&taken)
    };
    let mut client = Wire::start_with(config(), services).await.client();
    client.set_token(operator);
    let stored = taken.clone();
    let revoked = async move {
        // The first rows are stored before.
        while stored.lock().unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        accounts.revoke(actor(), "a-operator").await.unwrap();
        Ok(numbers(10..20))
    };
    let batches = stream::iter([Ok(numbers(0..10))]).chain(stream::once(revoked).boxed());
    let refused = client.execute_ingest(append("energy", 2, 2), batches);
    let refused = status(refused.await.unwrap_err());
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
    let said = refused.message();
    assert!(said.contains("10 rows of energy"), "{said}");
    let taken = taken.lock().unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].2, (0..10).collect::<Vec<i64>>());
}
