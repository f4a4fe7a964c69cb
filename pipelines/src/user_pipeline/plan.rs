//! Plans a pipeline's SELECT over no rows: what it may contain, and which columns come out.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;
use futures::FutureExt;
use headframe_schemas::table::visible_columns;
use headframe_schemas::user_table::{RESERVED, UserColumn};
use headframe_schemas::{Column, Kind, Stream};

use crate::user_pipeline::config::is_plain;
use crate::user_pipeline::row_places;
use crate::user_pipeline::session::{self, INPUT};

/// Columns that a table of a user has at most.
const MAX_COLUMNS: usize = 200;
/// Memory for planning over no rows.
const PLANNING_BYTES: usize = 16 << 20;

/// The columns that windows add to the input.
pub(super) const WINDOW_COLUMNS: [Column; 2] = [
    Column::time("window_start", "Start of the window, included."),
    Column::time("window_end", "End of the window, excluded."),
];

/// The schema of the relation `input`.
pub(super) fn input_schema(stream: &dyn Stream, has_windows: bool) -> SchemaRef {
    let mut columns = visible_columns(stream);
    if has_windows {
        columns.extend(WINDOW_COLUMNS);
    }
    let fields: Vec<Field> = columns.iter().map(Column::field).collect();
    Arc::new(Schema::new(fields))
}

/// The columns of a SELECT over a stream, or why it cannot be a pipeline.
pub(super) fn columns(
    sql: &str,
    stream: &dyn Stream,
    has_windows: bool,
) -> Result<Vec<UserColumn>, String> {
    let said = |error: DataFusionError| format!("sql: {}", error.strip_backtrace());
    let rows = MemTable::try_new(input_schema(stream, has_windows), vec![vec![]]);
    let base = session::base(PLANNING_BYTES).map_err(said)?;
    let state = rows.and_then(|rows| session::with_relation(&base, INPUT, Arc::new(rows)));
    let state = state.map_err(said)?;
    let statement = parse(&state, sql, stream)?;
    // Nothing is read, so that nothing is waited for.
    let plan = state.statement_to_plan(statement).now_or_never();
    let plan = plan.ok_or("sql: it cannot be planned at once")?;
    let plan = plan.map_err(said)?;
    check(&plan)?;
    if !has_windows {
        let carried = row_places::carry(&plan);
        carried.map_err(|error| format!("sql: {}", row_places::refusal(&error)))?;
    }
    let optimized = state.optimize(&plan).map_err(said)?;
    let fields = optimized.schema().fields();
    let columns = fields.iter().enumerate().map(|(at, field)| {
        let column = column(at, field.name(), field.data_type());
        column.map_err(|why| format!("sql: {why}"))
    });
    let columns = columns.collect::<Result<Vec<UserColumn>, String>>()?;
    for (at, column) in columns.iter().enumerate() {
        if columns[..at].iter().any(|other| other.name == column.name) {
            return Err(format!("sql: two columns are called {}", column.name));
        }
    }
    if columns.len() > MAX_COLUMNS {
        let count = columns.len();
        return Err(format!(
            "sql: it has {count} columns; at most {MAX_COLUMNS} are taken"
        ));
    }
    Ok(columns)
}

/// Exactly one SELECT over `input`.
fn parse(state: &SessionState, sql: &str, stream: &dyn Stream) -> Result<Statement, String> {
    let dialect = state.config().options().sql_parser.dialect;
    let statement = state.sql_to_statement(sql, &dialect);
    let statement = statement.map_err(|error| match error.find_root() {
        DataFusionError::NotImplemented(text) if text.contains("single") => {
            "sql: it has several statements; write one SELECT".to_owned()
        }
        _ => format!("sql: {}", error.strip_backtrace()),
    })?;
    let is_query = match &statement {
        Statement::Statement(sql) => matches!(sql.as_ref(), Sql::Query(_)),
        _ => false,
    };
    if !is_query {
        return Err("sql: it is no SELECT; a pipeline only reads".to_owned());
    }
    let references = state.resolve_table_references(&statement);
    let references = references.map_err(|error| format!("sql: {}", error.strip_backtrace()))?;
    match references
        .iter()
        .find(|reference| reference.table() != INPUT)
    {
        Some(other) => Err(format!(
            "sql: it reads {other}; the only relation is input, the rows of {}",
            stream.name()
        )),
        None => Ok(statement),
    }
}

/// Refuses what does more than read, or what would give other rows another time.
fn check(plan: &LogicalPlan) -> Result<(), String> {
    let read_only = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    read_only
        .verify_plan(plan)
        .map_err(|error| format!("sql: {}", error.strip_backtrace()))?;
    let (mut refused, mut reads) = (None, false);
    let walked = plan.apply_with_subqueries(|node| {
        reads |= matches!(node, LogicalPlan::TableScan(_));
        if matches!(node, LogicalPlan::RecursiveQuery(_)) {
            refused = Some("a recursive query may never end; write it without".to_owned());
        }
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                refused = refused.take().or_else(|| refusal(part));
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    walked.map_err(|error| format!("sql: {}", error.strip_backtrace()))?;
    match refused {
        Some(why) => Err(format!("sql: {why}")),
        None if !reads => Err("sql: it does not read input".to_owned()),
        None => Ok(()),
    }
}

/// Why a part of an expression may not stand in a pipeline.
fn refusal(part: &Expr) -> Option<String> {
    match part {
        Expr::ScalarFunction(call) if call.func.signature().volatility != Volatility::Immutable => {
            let name = call.func.name();
            Some(format!(
                "{name}() gives another value each time; use event_time, ingest_time or window_end"
            ))
        }
        Expr::Placeholder(placeholder) => {
            let id = &placeholder.id;
            Some(format!(
                "the placeholder {id} has no value; write the value"
            ))
        }
        _ => None,
    }
}

fn column(at: usize, name: &str, data_type: &DataType) -> Result<UserColumn, String> {
    let number = at + 1;
    if !is_plain(name) {
        return Err(format!(
            "column {number} is called {name:?}; give it a name in snake_case with AS"
        ));
    }
    if RESERVED.contains(&name) {
        return Err(format!(
            "column {number} is called {name}, which the table has by itself; leave it out (as \
             SELECT * EXCLUDE ({name})) or give it another name with AS"
        ));
    }
    match kind_of(data_type) {
        Some(kind) => Ok(UserColumn {
            name: name.to_owned(),
            kind,
        }),
        None => Err(format!(
            "column {name} is of type {data_type}, which no table holds; write {}",
            cast_for(name, data_type)
        )),
    }
}

/// The kind of column that holds every value of a type, if there is one: a value that does not fit
/// must fail in the SELECT, where its row is known.
fn kind_of(data_type: &DataType) -> Option<Kind> {
    Some(match data_type {
        DataType::Timestamp(TimeUnit::Microsecond | TimeUnit::Nanosecond, _) => Kind::Timestamp,
        DataType::Date32 => Kind::Date,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => Kind::Bytes,
        DataType::Int64 | DataType::UInt32 => Kind::Int,
        DataType::Int32 | DataType::Int16 | DataType::Int8 | DataType::UInt16 | DataType::UInt8 => {
            Kind::SmallInt
        }
        DataType::Decimal128(_, 0) => Kind::Decimal,
        DataType::Float64 | DataType::Float32 => Kind::Float,
        DataType::Boolean => Kind::Bool,
        _ => return None,
    })
}

fn cast_for(name: &str, data_type: &DataType) -> String {
    match data_type {
        DataType::Decimal128(..) | DataType::Decimal256(..) => format!(
            "CAST({name} AS DOUBLE) AS {name}, or for whole numbers CAST({name} AS DECIMAL(38,0)) \
             AS {name}"
        ),
        DataType::UInt64 => format!("CAST({name} AS BIGINT) AS {name}"),
        DataType::Timestamp(..) => format!("CAST({name} AS TIMESTAMP) AS {name}"),
        DataType::Null => format!("CAST(NULL AS DOUBLE) AS {name}"),
        _ => format!("CAST({name} AS VARCHAR) AS {name}"),
    }
}
