//! `information_schema`: which tables and columns there are, what they mean and in which unit.
//!
//! The engine's own version knows names and types only, so this one stands in its place; `SHOW
//! TABLES` and `SHOW COLUMNS` read it too.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::error::Result;

use crate::catalog::described::Described;
use crate::catalog::{CATALOG, SCHEMA};

/// The schema `information_schema` of these tables, with the tables `tables` and `columns`.
pub fn schema(described: &[Described]) -> Result<Arc<dyn SchemaProvider>> {
    let schema = MemorySchemaProvider::new();
    schema.register_table("tables".to_owned(), table(tables(described))?)?;
    schema.register_table("columns".to_owned(), table(columns(described))?)?;
    Ok(Arc::new(schema))
}

fn tables(described: &[Described]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("table_catalog", text(described.iter().map(|_| CATALOG))),
        ("table_schema", text(described.iter().map(|_| SCHEMA))),
        (
            "table_name",
            text(described.iter().map(|table| table.name.as_str())),
        ),
        ("table_type", text(described.iter().map(|table| table.kind))),
        (
            "comment",
            text(described.iter().map(|table| table.doc.as_str())),
        ),
    ]
}

fn columns(described: &[Described]) -> Vec<(&'static str, ArrayRef)> {
    let rows = || {
        described.iter().flat_map(|table| {
            table
                .columns
                .iter()
                .enumerate()
                .map(move |(index, column)| (table, index, column))
        })
    };
    let positions: Int64Array = rows().map(|(_, index, _)| Some(index as i64 + 1)).collect();
    vec![
        ("table_catalog", text(rows().map(|_| CATALOG))),
        ("table_schema", text(rows().map(|_| SCHEMA))),
        (
            "table_name",
            text(rows().map(|(table, ..)| table.name.as_str())),
        ),
        (
            "column_name",
            text(rows().map(|(_, _, column)| column.name)),
        ),
        ("ordinal_position", Arc::new(positions)),
        (
            "data_type",
            text(rows().map(|(_, _, column)| column.kind.sql())),
        ),
        (
            "is_nullable",
            text(rows().map(|(_, _, column)| if column.required { "NO" } else { "YES" })),
        ),
        (
            "unit",
            text(rows().map(|(_, _, column)| column.unit.symbol())),
        ),
        ("comment", text(rows().map(|(_, _, column)| column.doc))),
    ]
}

fn text<'a>(values: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<StringViewArray>())
}

fn table(columns: Vec<(&'static str, ArrayRef)>) -> Result<Arc<MemTable>> {
    let field = |(name, array): &(&str, ArrayRef)| -> Field {
        let kind = if matches!(array.data_type(), DataType::Int64) {
            DataType::Int64
        } else {
            DataType::Utf8View
        };
        Field::new(*name, kind, false)
    };
    let schema = Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()));
    let batch = RecordBatch::try_new(
        schema.clone(),
        columns.into_iter().map(|(_, array)| array).collect(),
    )?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
