//! Flight SQL before an engine whose answers are known: statements, their ends, and calls that do
//! not follow the protocol.

mod ingest;
mod login;
mod refusals;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray};
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, Any, CommandGetPrimaryKeys,
    CommandGetXdbcTypeInfo, CommandStatementQuery, ProstMessageExt, SqlInfo,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightDescriptor,
    FlightInfo, Ticket,
};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use futures::TryStreamExt;
use headframe_query_front::Services;
use headframe_query_front::sql::{ParameterKind, ParameterValue};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use tonic::{Code, Status};
use tower::ServiceExt;

use crate::postgres::engine::{Seen, engines};
use crate::server::{ask, config, router, services};

pub type Client = FlightSqlServiceClient<Router>;

pub struct Wire {
    pub router: Router,
    pub seen: Seen,
}

impl Wire {
    pub async fn start() -> Self {
        Self::start_with(config(), services()).await
    }

    pub async fn start_with(config: headframe_query_front::QueryConfig, more: Services) -> Self {
        let seen = Seen::default();
        let services = Services {
            engines: Some(engines(&seen)),
            ..more
        };
        Self {
            router: router(config, services).await,
            seen,
        }
    }

    pub fn client(&self) -> Client {
        FlightSqlServiceClient::new(self.router.clone())
    }

    async fn until_nothing_works(&self) {
        let waited = tokio::time::timeout(Duration::from_secs(120), async {
            while self.seen.working.load(Ordering::SeqCst) > 0 {
                tokio::task::yield_now().await;
            }
        });
        waited
            .await
            .expect("the work behind an answer ends with it");
    }
}

pub fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

pub async fn rows(client: &mut Client, info: &FlightInfo) -> Result<Vec<RecordBatch>, FlightError> {
    client.do_get(ticket(info)).await?.try_collect().await
}

/// The gRPC status of an error.
pub fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    }
}

async fn start(client: &mut Client, sql: &str) -> (FlightInfo, FlightRecordBatchStream) {
    let info = client.execute(sql.to_owned(), None).await.unwrap();
    let mut answer = client.do_get(ticket(&info)).await.unwrap();
    answer.try_next().await.unwrap().unwrap();
    (info, answer)
}

#[tokio::test]
async fn a_statement_is_planned_and_its_rows_have_the_columns_that_were_told() {
    let wire = Wire::start().await;
    let mut client = wire.client();
    let info = client.execute("rows 2500".to_owned(), None).await.unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    assert_eq!(
        wire.seen.requests.lock().unwrap().len(),
        0,
        "it is planned only"
    );
    let mut answer = client.do_get(ticket(&info)).await.unwrap();
    let batches: Vec<RecordBatch> = (&mut answer).try_collect().await.unwrap();
    assert_eq!(
        batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
        2_500
    );
    assert_eq!(*batches[0].schema(), schema);
    let query_id = String::from_utf8(info.app_metadata.to_vec()).unwrap();
    assert_eq!(
        answer.headers().get("headframe-query-id").unwrap(),
        &query_id
    );
    let received = wire.seen.requests.lock().unwrap()[0].clone();
    assert_eq!(received.query_id.as_deref(), Some(query_id.as_str()));
    // What is planned with other columns than it has says so.
    let info = client.execute("types".to_owned(), None).await.unwrap();
    let refused = status(rows(&mut client, &info).await.unwrap_err());
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("prepare it again"), "{refused}");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_any_more_ends_its_work() {
    let wire = Wire::start().await;
    let mut client = wire.client();
    let (_, answer) = start(&mut client, "endless").await;
    assert_eq!(wire.seen.working.load(Ordering::SeqCst), 1);
    drop(answer);
    wire.until_nothing_works().await;
}

#[tokio::test]
async fn a_running_statement_is_cancelled_over_flight_and_over_http() {
    let wire = Wire::start().await;
    let mut client = wire.client();
    let (info, answer) = start(&mut client, "endless").await;
    let body = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
    let action = Action::new("CancelFlightInfo", body);
    let mut results = client.do_action(action).await.unwrap();
    let result = results.message().await.unwrap().unwrap();
    let result = CancelFlightInfoResult::decode(result.body).unwrap();
    assert_eq!(result.status, CancelStatus::Cancelled as i32);
    let ended = answer.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(status(ended).code(), Code::Cancelled);
    wire.until_nothing_works().await;
    let again = status(rows(&mut client, &info).await.unwrap_err());
    assert_eq!(again.code(), Code::NotFound, "its ticket is gone as well");

    let (info, answer) = start(&mut client, "endless").await;
    let request = ActionCancelQueryRequest {
        info: info.encode_to_vec().into(),
    };
    let action = Action::new("CancelQuery", request.as_any().encode_to_vec());
    let mut results = client.do_action(action).await.unwrap();
    let any = Any::decode(results.message().await.unwrap().unwrap().body).unwrap();
    let result: ActionCancelQueryResult = any.unpack().unwrap().unwrap();
    assert_eq!(result.result, CancelStatus::Cancelled as i32);
    assert!(answer.try_collect::<Vec<_>>().await.is_err());

    let (info, answer) = start(&mut client, "endless").await;
    let id = String::from_utf8(info.app_metadata.to_vec()).unwrap();
    let listed = ask(&wire.router, &Method::GET, "/api/v1/sql", &[]).await;
    assert!(listed.text.contains(&id), "{}", listed.text);
    let path = format!("/api/v1/sql/{id}");
    let cancelled = ask(&wire.router, &Method::DELETE, &path, &[]).await;
    assert_eq!(cancelled.status.as_u16(), 200, "{}", cancelled.text);
    let ended = answer.try_collect::<Vec<_>>().await.unwrap_err();
    assert_eq!(status(ended).code(), Code::Cancelled);
    wire.until_nothing_works().await;
}

#[tokio::test]
async fn parameters_arrive_with_their_types() {
    let wire = Wire::start().await;
    let mut client = wire.client();
    let mut prepared = client
        .prepare("echo ?, ?, ?".to_owned(), None)
        .await
        .unwrap();
    let schema = prepared.parameter_schema().unwrap();
    assert_eq!(schema.fields().len(), 3);
    assert_eq!(prepared.dataset_schema().unwrap().field(0).name(), "n");
    let unbound = status(prepared.execute().await.unwrap_err());
    assert_eq!(unbound.code(), Code::InvalidArgument);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("0", Arc::new(Int32Array::from(vec![7]))),
        ("1", Arc::new(StringArray::from(vec!["x"]))),
        ("2", Arc::new(Float64Array::from(vec![None::<f64>]))),
    ];
    let row = RecordBatch::try_from_iter_with_nullable(
        columns
            .clone()
            .into_iter()
            .map(|(name, of)| (name, of, true)),
    );
    prepared.set_parameters(row.unwrap()).unwrap();
    for _ in 0..2 {
        let info = prepared.execute().await.unwrap();
        assert_eq!(rows(&mut client, &info).await.unwrap()[0].num_rows(), 1);
    }
    let received = wire.seen.requests.lock().unwrap()[0].clone();
    assert_eq!(received.sql, "echo $1, $2, $3");
    let given: Vec<_> = received
        .parameters
        .unwrap()
        .into_iter()
        .map(|parameter| (parameter.kind, parameter.value))
        .collect();
    let expected = [
        (Some(ParameterKind::Int), ParameterValue::Int(7)),
        (None, ParameterValue::Text("x".to_owned())),
        (Some(ParameterKind::Float), ParameterValue::Null),
    ];
    assert_eq!(given, expected);
    let few = RecordBatch::try_from_iter(columns[..2].to_vec()).unwrap();
    prepared.set_parameters(few).unwrap();
    let few = status(prepared.execute().await.unwrap_err());
    assert!(few.message().contains("2 values were bound"), "{few}");
    prepared.clone().close().await.unwrap();
    let closed = status(prepared.execute().await.unwrap_err());
    assert_eq!(closed.code(), Code::NotFound);
}

#[tokio::test]
async fn what_fails_says_what_and_how() {
    let wire = Wire::start().await;
    let mut client = wire.client();
    let missing = client.execute("missing".to_owned(), None).await;
    let missing = status(missing.unwrap_err());
    assert_eq!(missing.code(), Code::InvalidArgument);
    assert_eq!(missing.message(), "no such table; SHOW TABLES");
    assert_eq!(
        missing.metadata().get("headframe-error").unwrap(),
        "sql_plan"
    );
    let info = client.execute("late error".to_owned(), None).await.unwrap();
    let late = status(rows(&mut client, &info).await.unwrap_err());
    assert_eq!(
        (late.code(), late.message()),
        (Code::ResourceExhausted, "too much; less")
    );
    let update = client.execute_update("DELETE".to_owned(), None).await;
    assert_eq!(status(update.unwrap_err()).code(), Code::PermissionDenied);
    let begun = client.begin_transaction().await.unwrap_err();
    assert_eq!(status(begun).code(), Code::Unimplemented);
    let in_transaction = client
        .execute("rows 1".to_owned(), Some("t".into()))
        .await
        .unwrap_err();
    assert_eq!(status(in_transaction).code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_server_describes_itself_and_has_no_keys() {
    let wire = Wire::start().await;
    let mut client = wire.client();
    let info = client
        .get_sql_info(vec![SqlInfo::FlightSqlServerTransaction])
        .await
        .unwrap();
    let schema = info.clone().try_decode_schema().unwrap();
    let batches = rows(&mut client, &info).await.unwrap();
    assert_eq!((batches[0].num_rows(), &*batches[0].schema()), (1, &schema));
    let info = client.get_sql_info(vec![]).await.unwrap();
    assert!(rows(&mut client, &info).await.unwrap()[0].num_rows() > 20);
    for (info, count) in [
        (client.get_catalogs().await.unwrap(), 1),
        (client.get_db_schemas(Default::default()).await.unwrap(), 2),
        (client.get_table_types().await.unwrap(), 2),
        (
            client
                .get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None })
                .await
                .unwrap(),
            9,
        ),
        (
            client
                .get_primary_keys(CommandGetPrimaryKeys::default())
                .await
                .unwrap(),
            0,
        ),
        (
            client.get_exported_keys(Default::default()).await.unwrap(),
            0,
        ),
    ] {
        let schema = info.clone().try_decode_schema().unwrap();
        let mut answer = client.do_get(ticket(&info)).await.unwrap();
        let batches: Vec<RecordBatch> = (&mut answer).try_collect().await.unwrap();
        assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            count
        );
        assert_eq!(**answer.schema().unwrap(), schema);
    }
}

#[tokio::test]
async fn a_message_that_never_comes_ends_its_call_and_a_large_one_is_not_kept() {
    let hurried = headframe_query_front::QueryConfig {
        body_timeout_ms: 50,
        ..config()
    };
    let wire = Wire::start_with(hurried, services()).await;
    let call = async |body: Body| {
        let request = Request::post("/arrow.flight.protocol.FlightService/GetFlightInfo")
            .header("content-type", "application/grpc")
            .body(body)
            .unwrap();
        let answer = wire.router.clone().oneshot(request).await.unwrap();
        Status::from_header_map(answer.headers()).unwrap().code()
    };
    let never = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    assert_eq!(call(Body::from_stream(never)).await, Code::DeadlineExceeded);
    let large = vec![0; 3 << 20];
    assert_eq!(call(Body::from(large)).await, Code::ResourceExhausted);
}

/// A call with bytes that mean nothing, or what a client may send with some bits turned.
#[derive(Debug, Clone)]
enum Bytes {
    Random(Vec<u8>),
    Turned(usize, u8),
}

fn bytes() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(Bytes::Random),
        (0..200_usize, 0..8_u8).prop_map(|(at, bit)| Bytes::Turned(at, bit)),
    ]
}

impl Bytes {
    fn applied_to(&self, valid: &[u8]) -> Vec<u8> {
        match self {
            Bytes::Random(bytes) => bytes.clone(),
            Bytes::Turned(at, bit) => {
                let mut bytes = valid.to_vec();
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
                bytes
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_bytes_of_a_client_are_our_fault(bytes in bytes()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let codes = runtime.block_on(async {
            let wire = Wire::start().await;
            let mut client = wire.client();
            let info = client.execute("rows 1".to_owned(), None).await.unwrap();
            let mut plain = FlightServiceClient::new(wire.router.clone());
            let command = CommandStatementQuery {
                query: "rows 1".to_owned(),
                transaction_id: None,
            };
            let command = bytes.applied_to(&command.as_any().encode_to_vec());
            let cancel = CancelFlightInfoRequest::new(info.clone()).encode_to_vec();
            let cancel = Action::new("CancelFlightInfo", bytes.applied_to(&cancel));
            let ticket = bytes.applied_to(&ticket(&info).ticket);
            [
                plain.do_get(Ticket::new(ticket)).await.err(),
                plain.get_flight_info(FlightDescriptor::new_cmd(command.clone())).await.err(),
                plain.get_schema(FlightDescriptor::new_cmd(command.clone())).await.err(),
                plain.do_action(cancel).await.err(),
                plain.do_action(Action::new("CreatePreparedStatement", command)).await.err(),
            ]
        });
        for status in codes.into_iter().flatten() {
            let is_ours = matches!(status.code(), Code::Internal | Code::Unknown);
            prop_assert!(!is_ours, "{:?}", status);
            prop_assert!(!status.message().is_empty());
        }
    }
}
