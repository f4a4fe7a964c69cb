//! An engine whose answers are decided by the text of a statement.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray,
    NullArray, RecordBatch, StringViewArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use futures::future::BoxFuture;
use futures::{StreamExt, stream};
use headframe_query_front::sql::{BatchStream, Description, ParameterKind};
use headframe_query_front::{
    Engines, ErrorCode, Execution, QueryError, SqlEngine, SqlRequest, SqlState,
};

use crate::engine::NoReports;

/// What was asked of the engine, and what it still works on.
#[derive(Clone, Default)]
pub struct Seen {
    pub requests: Arc<Mutex<Vec<SqlRequest>>>,
    pub working: Arc<AtomicUsize>,
}

pub struct Scripted(pub Seen);

/// Counts a statement as long as somebody may want its rows.
struct Working(Arc<AtomicUsize>);

impl Working {
    fn new(seen: &Seen) -> Self {
        seen.working.fetch_add(1, Ordering::SeqCst);
        Self(seen.working.clone())
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn numbers(from: i64, rows: i64) -> RecordBatch {
    let array: ArrayRef = Arc::new((from..from + rows).map(Some).collect::<Int64Array>());
    RecordBatch::try_from_iter([("n", array)]).unwrap()
}

/// One row of each type that has a form of its own, and one of NULLs.
fn types() -> RecordBatch {
    let largest = 99_999_999_999_999_999_999_999_999_999_999_999_999_i128;
    let decimals = Decimal128Array::from(vec![Some(largest), None]);
    let times = TimestampMicrosecondArray::from(vec![Some(1_767_571_200_120_000), None]);
    let items = [Some(vec![Some(1), None]), None];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("yes", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        (
            "amount",
            Arc::new(decimals.with_precision_and_scale(38, 0).unwrap()),
        ),
        (
            "ratio",
            Arc::new(Float64Array::from(vec![Some(0.25), None])),
        ),
        (
            "name",
            Arc::new(StringViewArray::from(vec![Some("矿\t\"a\",b"), None])),
        ),
        (
            "raw",
            Arc::new(BinaryArray::from(vec![Some(&[0_u8, 255][..]), None])),
        ),
        ("time", Arc::new(times.with_timezone("UTC"))),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(items)),
        ),
        ("nothing", Arc::new(NullArray::new(2))),
    ];
    RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, array)| (name, array, true)),
    )
    .unwrap()
}

impl SqlEngine for Scripted {
    fn execute<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Execution, QueryError>> {
        Box::pin(async move {
            self.0.requests.lock().unwrap().push(request.clone());
            let working = Working::new(&self.0);
            let sql = request.sql.as_str();
            let (schema, batches): (SchemaRef, BatchStream) = match sql.split_once(' ') {
                Some(("rows", count)) => {
                    let count: i64 = count.parse().unwrap();
                    let batch = move |from| Ok(numbers(from, 1_000.min(count - from)));
                    let batches = (0..count).step_by(1_000).map(batch);
                    (numbers(0, 0).schema(), Box::pin(stream::iter(batches)))
                }
                _ => match sql {
                    "types" => (types().schema(), Box::pin(stream::iter([Ok(types())]))),
                    "endless" => {
                        let batches = stream::repeat_with(|| Ok(numbers(0, 1_000)));
                        (numbers(0, 0).schema(), batches.boxed())
                    }
                    "silent" => (numbers(0, 0).schema(), stream::pending().boxed()),
                    "late error" => {
                        let error = QueryError::new(ErrorCode::MemoryLimit, "too much", "less");
                        let batches = [Ok(numbers(0, 10)), Err(error)];
                        (numbers(0, 0).schema(), Box::pin(stream::iter(batches)))
                    }
                    "no planning" => {
                        std::future::pending::<()>().await;
                        unreachable!()
                    }
                    sql if sql.starts_with("echo") => (
                        numbers(0, 0).schema(),
                        Box::pin(stream::iter([Ok(numbers(7, 1))])),
                    ),
                    _ => {
                        let error =
                            QueryError::new(ErrorCode::SqlPlan, "no such table", "SHOW TABLES");
                        return Err(error.with_sqlstate(SqlState::UndefinedTable));
                    }
                },
            };
            Ok(Execution {
                schema,
                coverage: Vec::new(),
                times: Default::default(),
                batches: batches
                    .map(move |batch| {
                        let _working = &working;
                        batch
                    })
                    .boxed(),
            })
        })
    }

    fn describe<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Description, QueryError>> {
        Box::pin(async move {
            if request.sql == "missing" {
                return self.execute(request).await.map(|_| unreachable!());
            }
            let of_session = request.postgres.as_ref();
            let of_session = of_session.map(|postgres| &postgres.parameters);
            let given = of_session.or(request.parameters.as_ref()).unwrap().iter();
            let kind =
                |kind: &Option<ParameterKind>| kind.clone().unwrap_or(ParameterKind::Numeric);
            Ok(Description {
                schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)])),
                parameters: given.map(|parameter| kind(&parameter.kind)).collect(),
            })
        })
    }
}

/// The engine behind a server.
pub fn engines(seen: &Seen) -> Engines {
    Engines {
        sql: Arc::new(Scripted(seen.clone())),
        reports: Arc::new(NoReports::default()),
    }
}
