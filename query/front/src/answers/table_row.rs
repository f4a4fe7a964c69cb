//! Rows that a statement selects, with the columns of the stream or view that they come from.

use std::marker::PhantomData;

use headframe_schemas::column::{Column, Limits};
use headframe_schemas::{Kind, Stream};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::answers::described::{Components, Described, reference};

/// What rows have: their name in the OpenAPI document, and their columns.
pub trait RowShape {
    /// The name.
    const NAME: &'static str;
    /// What a row is, in one sentence.
    const DOC: &'static str;

    /// The columns, in the order in which a statement selects them.
    fn columns() -> Vec<Column>;
}

/// A row of this shape.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow<T> {
    values: Map<String, Value>,
    shape: PhantomData<T>,
}

impl<T: RowShape> TableRow<T> {
    /// A row that [`select`] has selected.
    pub fn new(values: Map<String, Value>) -> Self {
        Self {
            values,
            shape: PhantomData,
        }
    }

    /// The same of many.
    pub fn all(rows: Vec<Map<String, Value>>) -> Vec<Self> {
        rows.into_iter().map(Self::new).collect()
    }
}

impl<T> Serialize for TableRow<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.values.serialize(serializer)
    }
}

impl<T: RowShape> Described for TableRow<T> {
    fn schema(components: &mut Components) -> Value {
        let columns: Vec<Column> = T::columns().iter().map(in_json).collect();
        components.insert(T::NAME.to_owned(), row_schema(T::DOC, &columns));
        reference(T::NAME)
    }
}

/// What a statement selects for rows of this shape: every column by its name, exact numbers as
/// text, because readers of JSON round large ones.
pub fn select<T: RowShape>() -> String {
    let columns = T::columns();
    let columns = columns.iter().map(|column| match column.kind {
        Kind::Decimal => format!("CAST({0} AS VARCHAR) AS {0}", column.name),
        _ => column.name.to_owned(),
    });
    columns.collect::<Vec<_>>().join(", ")
}

/// These columns of a stream, in this order.
pub fn columns_of(stream: &dyn Stream, names: &[&str]) -> Vec<Column> {
    let columns = stream.columns().iter();
    let named = |name: &&str| columns.clone().find(|column| column.name == *name).copied();
    names.iter().filter_map(named).collect()
}

/// A column as a row's JSON has it.
fn in_json(column: &Column) -> Column {
    match column.kind {
        Kind::Decimal => Column {
            kind: Kind::Text,
            ..*column
        },
        _ => *column,
    }
}

/// The schema of rows with these columns. Those that a row has no value for are null.
pub fn row_schema(doc: &str, columns: &[Column]) -> Value {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let properties = columns
        .iter()
        .map(|column| (column.name.to_owned(), column_schema(column)));
    json!({
        "type": "object",
        "description": doc,
        "required": names,
        "properties": properties.collect::<Components>(),
    })
}

/// Times are text.
fn column_schema(column: &Column) -> Value {
    let unit = match column.kind {
        Kind::Timestamp => "",
        _ => column.unit.symbol(),
    };
    let doc = match unit {
        "" => column.doc.to_owned(),
        unit => format!("{} Unit: {unit}.", column.doc),
    };
    let mut schema = json!({"description": doc});
    let name = match column.kind {
        Kind::Timestamp | Kind::Text => "string",
        Kind::Int | Kind::SmallInt => "integer",
        Kind::Float => "number",
        Kind::Bool => "boolean",
        Kind::Date | Kind::Bytes | Kind::Decimal => return schema,
    };
    schema["type"] = match column.required {
        true => json!(name),
        false => json!([name, "null"]),
    };
    if let (Limits::OneOf(words), true) = (column.limits, column.required) {
        schema["enum"] = json!(words);
    }
    schema
}
