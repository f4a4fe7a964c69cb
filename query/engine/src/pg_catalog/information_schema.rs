//! `information_schema` as PostgreSQL's clients expect it: the columns of the standard with
//! PostgreSQL's names of types, and our units and comments behind them.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, MemorySchemaProvider, SchemaProvider};
use datafusion::error::Result;
use headframe_schemas::Column;

use crate::catalog::described::Described;
use crate::catalog::{CATALOG, INFORMATION_SCHEMA, SCHEMA};
use crate::pg_catalog::PG_CATALOG;

/// The tables of the schema.
pub const NAMES: [&str; 18] = [
    "tables",
    "columns",
    "schemata",
    "views",
    "routines",
    "table_constraints",
    "key_column_usage",
    "referential_constraints",
    "table_privileges",
    "role_table_grants",
    "sequences",
    "triggers",
    "character_sets",
    "constraint_column_usage",
    "enabled_roles",
    "applicable_roles",
    "parameters",
    "domains",
];

/// A column of texts or numbers; `None` is NULL.
enum Values {
    Texts(Vec<Option<String>>),
    Numbers(Vec<Option<i32>>),
}

/// The schema that describes these tables.
pub fn schema(described: &[Described]) -> Result<Arc<dyn SchemaProvider>> {
    let schema = MemorySchemaProvider::new();
    let add = |name: &str, columns| -> Result<()> {
        schema.register_table(name.to_owned(), table(columns)?)?;
        Ok(())
    };
    add("tables", tables(described))?;
    add("columns", columns(described))?;
    add("schemata", schemata())?;
    let views: Vec<&Described> = described
        .iter()
        .filter(|table| table.kind == "VIEW")
        .collect();
    let of_views = |value: fn(&Described) -> Option<String>| {
        Values::Texts(views.iter().map(|view| value(view)).collect())
    };
    add(
        "views",
        vec![
            ("table_catalog", of_views(|_| some(CATALOG))),
            ("table_schema", of_views(|_| some(SCHEMA))),
            ("table_name", of_views(|view| Some(view.name.clone()))),
            ("view_definition", of_views(|_| None)),
            ("check_option", of_views(|_| some("NONE"))),
            ("is_updatable", of_views(|_| some("NO"))),
        ],
    )?;
    for name in ["table_privileges", "role_table_grants"] {
        add(name, privileges(described))?;
    }
    for (name, columns) in EMPTY {
        let none = columns
            .iter()
            .map(|column| (*column, Values::Texts(Vec::new())));
        add(name, none.collect())?;
    }
    Ok(Arc::new(schema))
}

/// Tables that have no rows here.
const EMPTY: &[(&str, &[&str])] = &[
    (
        "routines",
        &[
            "specific_schema",
            "specific_name",
            "routine_schema",
            "routine_name",
            "routine_type",
        ],
    ),
    (
        "table_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "constraint_type",
        ],
    ),
    (
        "key_column_usage",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "ordinal_position",
            "position_in_unique_constraint",
        ],
    ),
    (
        "referential_constraints",
        &[
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
            "unique_constraint_schema",
            "unique_constraint_name",
            "update_rule",
            "delete_rule",
        ],
    ),
    (
        "sequences",
        &[
            "sequence_catalog",
            "sequence_schema",
            "sequence_name",
            "data_type",
            "start_value",
            "minimum_value",
            "maximum_value",
            "increment",
            "cycle_option",
        ],
    ),
    (
        "triggers",
        &[
            "trigger_catalog",
            "trigger_schema",
            "trigger_name",
            "event_manipulation",
            "event_object_schema",
            "event_object_table",
            "action_statement",
            "action_timing",
        ],
    ),
    (
        "character_sets",
        &[
            "character_set_catalog",
            "character_set_schema",
            "character_set_name",
            "character_repertoire",
            "form_of_use",
        ],
    ),
    (
        "constraint_column_usage",
        &[
            "table_catalog",
            "table_schema",
            "table_name",
            "column_name",
            "constraint_catalog",
            "constraint_schema",
            "constraint_name",
        ],
    ),
    ("enabled_roles", &["role_name"]),
    (
        "applicable_roles",
        &["grantee", "role_name", "is_grantable"],
    ),
    (
        "parameters",
        &[
            "specific_schema",
            "specific_name",
            "ordinal_position",
            "parameter_mode",
            "parameter_name",
            "data_type",
        ],
    ),
    (
        "domains",
        &[
            "domain_catalog",
            "domain_schema",
            "domain_name",
            "data_type",
            "domain_default",
        ],
    ),
];

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn tables(described: &[Described]) -> Vec<(&'static str, Values)> {
    let texts = |value: fn(&Described) -> Option<String>| {
        Values::Texts(described.iter().map(value).collect())
    };
    vec![
        ("table_catalog", texts(|_| some(CATALOG))),
        ("table_schema", texts(|_| some(SCHEMA))),
        ("table_name", texts(|table| Some(table.name.clone()))),
        ("table_type", texts(|table| some(table.kind))),
        ("is_insertable_into", texts(|_| some("NO"))),
        ("is_typed", texts(|_| some("NO"))),
        ("comment", texts(|table| Some(table.doc.clone()))),
    ]
}

/// Whoever sees a table may read it.
fn privileges(described: &[Described]) -> Vec<(&'static str, Values)> {
    let texts = |value: fn(&Described) -> Option<String>| {
        Values::Texts(described.iter().map(value).collect())
    };
    vec![
        ("grantor", texts(|_| some(CATALOG))),
        ("grantee", texts(|_| some("PUBLIC"))),
        ("table_catalog", texts(|_| some(CATALOG))),
        ("table_schema", texts(|_| some(SCHEMA))),
        ("table_name", texts(|table| Some(table.name.clone()))),
        ("privilege_type", texts(|_| some("SELECT"))),
        ("is_grantable", texts(|_| some("NO"))),
        ("with_hierarchy", texts(|_| some("YES"))),
    ]
}

fn columns(described: &[Described]) -> Vec<(&'static str, Values)> {
    let all: Vec<(&Described, i32, &Column)> = described
        .iter()
        .flat_map(|table| {
            (1..)
                .zip(&table.columns)
                .map(move |(n, column)| (table, n, column))
        })
        .collect();
    let texts = |value: fn(&Described, &Column) -> Option<String>| {
        Values::Texts(
            all.iter()
                .map(|(table, _, column)| value(table, column))
                .collect(),
        )
    };
    let numbers = |value: fn(&DataType) -> Option<i32>| {
        Values::Numbers(
            all.iter()
                .map(|(_, _, column)| value(&column.kind.arrow()))
                .collect(),
        )
    };
    vec![
        ("table_catalog", texts(|_, _| some(CATALOG))),
        ("table_schema", texts(|_, _| some(SCHEMA))),
        ("table_name", texts(|table, _| Some(table.name.clone()))),
        ("column_name", texts(|_, column| some(column.name))),
        (
            "ordinal_position",
            Values::Numbers(all.iter().map(|(_, n, _)| Some(*n)).collect()),
        ),
        ("column_default", texts(|_, _| None)),
        (
            "is_nullable",
            texts(|_, column| some(if column.required { "NO" } else { "YES" })),
        ),
        (
            "data_type",
            texts(|_, column| some(names_of(&column.kind.arrow()).0)),
        ),
        ("character_maximum_length", numbers(|_| None)),
        (
            "numeric_precision",
            numbers(|kind| precision(kind).map(|(digits, _, _)| digits)),
        ),
        (
            "numeric_precision_radix",
            numbers(|kind| precision(kind).map(|(_, radix, _)| radix)),
        ),
        (
            "numeric_scale",
            numbers(|kind| precision(kind).and_then(|(_, _, scale)| scale)),
        ),
        (
            "datetime_precision",
            numbers(|kind| kind.is_temporal().then_some(6)),
        ),
        ("udt_catalog", texts(|_, _| some(CATALOG))),
        ("udt_schema", texts(|_, _| some(PG_CATALOG))),
        (
            "udt_name",
            texts(|_, column| some(names_of(&column.kind.arrow()).1)),
        ),
        ("is_identity", texts(|_, _| some("NO"))),
        ("is_updatable", texts(|_, _| some("NO"))),
        ("unit", texts(|_, column| some(column.unit.symbol()))),
        ("comment", texts(|_, column| some(column.doc))),
    ]
}

fn schemata() -> Vec<(&'static str, Values)> {
    let schemas = [SCHEMA, PG_CATALOG, INFORMATION_SCHEMA];
    let each = |value: fn(&str) -> String| {
        Values::Texts(schemas.iter().map(|schema| Some(value(schema))).collect())
    };
    vec![
        ("catalog_name", each(|_| CATALOG.to_owned())),
        ("schema_name", each(str::to_owned)),
        ("schema_owner", each(|_| CATALOG.to_owned())),
    ]
}

/// The name of a type in the standard, and PostgreSQL's own.
fn names_of(data_type: &DataType) -> (&'static str, &'static str) {
    match data_type {
        DataType::Boolean => ("boolean", "bool"),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => ("smallint", "int2"),
        DataType::Int32 | DataType::UInt16 => ("integer", "int4"),
        DataType::Int64 | DataType::UInt32 => ("bigint", "int8"),
        DataType::Float16 | DataType::Float32 => ("real", "float4"),
        DataType::Float64 => ("double precision", "float8"),
        DataType::UInt64 => ("numeric", "numeric"),
        decimal if decimal.is_decimal() => ("numeric", "numeric"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ("bytea", "bytea"),
        DataType::Date32 => ("date", "date"),
        DataType::Time32(_) | DataType::Time64(_) => ("time without time zone", "time"),
        DataType::Date64 | DataType::Timestamp(_, None) => {
            ("timestamp without time zone", "timestamp")
        }
        DataType::Timestamp(_, Some(_)) => ("timestamp with time zone", "timestamptz"),
        DataType::Interval(_) | DataType::Duration(_) => ("interval", "interval"),
        DataType::List(_) | DataType::LargeList(_) => ("ARRAY", "_text"),
        _ => ("text", "text"),
    }
}

/// Digits of a number, to which base, and how many stand behind its point.
fn precision(data_type: &DataType) -> Option<(i32, i32, Option<i32>)> {
    match data_type {
        DataType::Decimal128(digits, scale) => {
            Some((i32::from(*digits), 10, Some(i32::from(*scale))))
        }
        DataType::Int16 => Some((16, 2, Some(0))),
        DataType::Int32 => Some((32, 2, Some(0))),
        DataType::Int64 => Some((64, 2, Some(0))),
        DataType::Float32 => Some((24, 2, None)),
        DataType::Float64 => Some((53, 2, None)),
        _ => None,
    }
}

fn table(columns: Vec<(&'static str, Values)>) -> Result<Arc<MemTable>> {
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns
        .into_iter()
        .map(|(name, values)| match values {
            Values::Texts(texts) => {
                let array: ArrayRef = Arc::new(StringArray::from(texts));
                (Field::new(name, DataType::Utf8, true), array)
            }
            Values::Numbers(numbers) => {
                let array: ArrayRef = Arc::new(Int32Array::from(numbers));
                (Field::new(name, DataType::Int32, true), array)
            }
        })
        .unzip();
    let schema = Arc::new(Schema::new(fields));
    let batch = RecordBatch::try_new(schema.clone(), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
}
