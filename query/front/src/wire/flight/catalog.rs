//! What clients ask about the tables: catalogs, schemas, tables with their columns, types, and
//! keys, of which there are none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::{
    Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables,
};
use futures::TryStreamExt;
use headframe_schemas::column::Kind;

use crate::access::{Principal, ReadScope};
use crate::app_state::AppState;
use crate::error::QueryError;
use crate::sql::{At, SqlRequest};
use crate::wire::flight::columns::sent_schema;
use crate::wire::flight::server_info;

/// The name of the one catalog.
pub(super) const CATALOG: &str = "headframe";
/// The schema of the tables.
pub(super) const SCHEMA: &str = "public";
/// The schema that describes them.
const INFORMATION_SCHEMA: &str = "information_schema";

/// What information_schema calls a table, and what clients call it.
const TABLE_TYPES: [(&str, &str); 2] = [("BASE TABLE", "TABLE"), ("VIEW", "VIEW")];

/// One line a column, in the order of the columns.
const COLUMNS: &str = "SELECT t.table_name, t.table_type, c.column_name, c.data_type \
                       FROM information_schema.tables t JOIN information_schema.columns c \
                       ON c.table_schema = t.table_schema AND c.table_name = t.table_name \
                       ORDER BY t.table_name, c.ordinal_position";

/// More columns than all tables have.
const MAX_COLUMNS: usize = 100_000;

const KINDS: [Kind; 9] = [
    Kind::Timestamp,
    Kind::Date,
    Kind::Text,
    Kind::Bytes,
    Kind::Int,
    Kind::SmallInt,
    Kind::Decimal,
    Kind::Float,
    Kind::Bool,
];

/// The columns of the answer to a question about the tables; `None` when it is none.
pub(super) fn schema_of(command: &Command) -> Option<SchemaRef> {
    Some(match command {
        Command::CommandGetCatalogs(ask) => (*ask).into_builder().schema(),
        Command::CommandGetDbSchemas(ask) => ask.clone().into_builder().schema(),
        Command::CommandGetTables(ask) => ask.clone().into_builder().schema(),
        Command::CommandGetTableTypes(ask) => (*ask).into_builder().schema(),
        Command::CommandGetSqlInfo(_) => server_info::sql_info_schema(),
        Command::CommandGetXdbcTypeInfo(_) => server_info::types(None).ok()?.schema(),
        Command::CommandGetPrimaryKeys(_) => Arc::new(primary_keys()),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => Arc::new(foreign_keys()),
        _ => return None,
    })
}

/// The answer to a question about the tables; `None` when it is none.
pub(super) async fn answer(
    app: &AppState,
    principal: &Principal,
    command: Command,
) -> Result<Option<RecordBatch>, QueryError> {
    let schema = schema_of(&command);
    let built = match command {
        Command::CommandGetCatalogs(ask) => catalogs(ask),
        Command::CommandGetDbSchemas(ask) => db_schemas(ask),
        Command::CommandGetTables(ask) => return tables(app, principal, ask).await.map(Some),
        Command::CommandGetTableTypes(ask) => table_types(ask),
        Command::CommandGetSqlInfo(ask) => server_info::sql_info(&ask),
        Command::CommandGetXdbcTypeInfo(ask) => server_info::types(ask.data_type),
        _ => return Ok(schema.map(RecordBatch::new_empty)),
    };
    built.map(Some).map_err(unbuilt)
}

fn unbuilt(error: impl std::fmt::Display) -> QueryError {
    QueryError::internal(format!("the tables cannot be described: {error}"))
}

type Built = arrow_flight::error::Result<RecordBatch>;

fn catalogs(ask: CommandGetCatalogs) -> Built {
    let mut builder = ask.into_builder();
    builder.append(CATALOG);
    builder.build()
}

fn db_schemas(ask: CommandGetDbSchemas) -> Built {
    let mut builder = ask.into_builder();
    for schema in [INFORMATION_SCHEMA, SCHEMA] {
        builder.append(CATALOG, schema);
    }
    builder.build()
}

fn table_types(ask: CommandGetTableTypes) -> Built {
    let mut builder = ask.into_builder();
    for (_, table_type) in TABLE_TYPES {
        builder.append(table_type);
    }
    builder.build()
}

/// The tables that this caller may read, as `information_schema` tells him.
async fn tables(
    app: &AppState,
    principal: &Principal,
    ask: CommandGetTables,
) -> Result<RecordBatch, QueryError> {
    let request = SqlRequest {
        sql: COLUMNS.to_owned(),
        params: serde_json::Value::Null,
        parameters: None,
        at: At::Latest,
        timeout: None,
        max_rows: Some(MAX_COLUMNS),
        query_id: None,
        reads: ReadScope::Nothing,
        postgres: None,
    };
    let answer = app.queries()?.ask_as(principal, request).await?;
    let batches: Vec<RecordBatch> = answer.rows.try_collect().await?;
    let mut builder = ask.into_builder();
    let mut table: Option<(String, String, Vec<Field>)> = None;
    for batch in &batches {
        let texts = texts_of(batch)?;
        for row in 0..batch.num_rows() {
            let [name, kind, column, data_type] =
                [0, 1, 2, 3].map(|index| texts[index].as_string::<i32>().value(row));
            if table.as_ref().is_none_or(|(current, ..)| current != name) {
                append(&mut builder, table.take())?;
                table = Some((name.to_owned(), kind.to_owned(), Vec::new()));
            }
            if let Some((.., fields)) = &mut table {
                fields.push(Field::new(column, type_of(data_type), true));
            }
        }
    }
    append(&mut builder, table)?;
    builder.build().map_err(unbuilt)
}

fn texts_of(batch: &RecordBatch) -> Result<Vec<ArrayRef>, QueryError> {
    let columns = batch.columns().iter();
    let columns = columns.map(|column| cast(column, &DataType::Utf8).map_err(unbuilt));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    match columns.len() == 4 && columns.iter().all(|column| column.null_count() == 0) {
        true => Ok(columns),
        false => Err(unbuilt("information_schema has other columns")),
    }
}

fn append(
    builder: &mut arrow_flight::sql::metadata::GetTablesBuilder,
    table: Option<(String, String, Vec<Field>)>,
) -> Result<(), QueryError> {
    let Some((name, kind, fields)) = table else {
        return Ok(());
    };
    let table_type = TABLE_TYPES.iter().find(|(ours, _)| *ours == kind);
    let table_type = table_type.map_or(kind.as_str(), |(_, theirs)| theirs);
    let schema = sent_schema(&Schema::new(fields));
    let appended = builder.append(CATALOG, SCHEMA, name, table_type, &schema);
    appended.map_err(unbuilt)
}

/// The type of a column that `information_schema` names as SQL does.
fn type_of(sql: &str) -> DataType {
    let kind = KINDS.into_iter().find(|kind| kind.sql() == sql);
    kind.map_or(DataType::Utf8, Kind::arrow)
}

fn primary_keys() -> Schema {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Schema::new(vec![
        text("catalog_name", true),
        text("db_schema_name", true),
        text("table_name", false),
        text("column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("key_name", true),
    ])
}

fn foreign_keys() -> Schema {
    let text = |name, nullable| Field::new(name, DataType::Utf8, nullable);
    Schema::new(vec![
        text("pk_catalog_name", true),
        text("pk_db_schema_name", true),
        text("pk_table_name", false),
        text("pk_column_name", false),
        text("fk_catalog_name", true),
        text("fk_db_schema_name", true),
        text("fk_table_name", false),
        text("fk_column_name", false),
        Field::new("key_sequence", DataType::Int32, false),
        text("fk_key_name", true),
        text("pk_key_name", true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ])
}
