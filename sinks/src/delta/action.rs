//! The actions of Delta's transaction log that our tables use, as the protocol writes them in JSON.
//!
//! Only the features of reader version 1 and writer version 2 appear, so that every reader of Delta
//! can read our tables.

use std::collections::BTreeMap;

use headframe_schemas::{Kind, Table};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// One line of a commit file.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct LogLine {
    /// Who committed, when and what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_info: Option<Value>,
    /// Which protocol versions are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The table's identity, schema and properties.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<MetaData>,
    /// An application's offset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<Txn>,
    /// A file that belongs to the table from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Add>,
    /// A file that no longer belongs to the table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Remove>,
}

/// Required protocol versions.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    /// Smallest reader version.
    pub min_reader_version: i32,
    /// Smallest writer version.
    pub min_writer_version: i32,
}

/// What every table of ours needs.
pub const PROTOCOL: Protocol = Protocol {
    min_reader_version: 1,
    min_writer_version: 2,
};

/// The table's identity, schema and properties.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MetaData {
    /// The table's identity.
    pub id: String,
    /// Its name.
    #[serde(default)]
    pub name: Option<String>,
    /// Its doc sentence.
    #[serde(default)]
    pub description: Option<String>,
    /// Always Parquet.
    pub format: Value,
    /// The schema, as JSON in a string.
    pub schema_string: String,
    /// Partition columns in order.
    pub partition_columns: Vec<String>,
    /// Properties.
    pub configuration: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    #[serde(default)]
    pub created_time: Option<i64>,
}

/// An application's offset.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    /// The application.
    pub app_id: String,
    /// Its offset. No `lastUpdated` is ever written: with it, the entry could expire.
    pub version: i64,
}

/// A file that belongs to the table.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Relative to the table's folder.
    pub path: String,
    /// Column to value, as text.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Bytes.
    pub size: i64,
    /// Milliseconds since 1970.
    pub modification_time: i64,
    /// False when the rows were in the table before.
    pub data_change: bool,
    /// Row count, minima, maxima and null counts, as JSON in a string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<String>,
}

/// A file that no longer belongs to the table.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    /// Relative to the table's folder.
    pub path: String,
    /// Milliseconds since 1970.
    pub deletion_timestamp: i64,
    /// False when the rows stay in the table in other files.
    pub data_change: bool,
    /// True: the two fields below are present.
    pub extended_file_metadata: bool,
    /// Column to value, as text.
    pub partition_values: BTreeMap<String, Option<String>>,
    /// Bytes.
    pub size: i64,
}

impl LogLine {
    /// A line that says who committed and what.
    pub fn commit_info(operation: &str, now_ms: i64, parameters: Value) -> Self {
        let info = json!({
            "timestamp": now_ms,
            "operation": operation,
            "operationParameters": parameters,
            "engineInfo": concat!("headframe/", env!("CARGO_PKG_VERSION")),
        });
        Self {
            commit_info: Some(info),
            ..Self::default()
        }
    }

    /// A line that sets an application's offset.
    pub fn txn(app_id: &str, version: i64) -> Self {
        Self {
            txn: Some(Txn {
                app_id: app_id.to_owned(),
                version,
            }),
            ..Self::default()
        }
    }

    /// A line that adds a file.
    pub fn add(add: Add) -> Self {
        Self {
            add: Some(add),
            ..Self::default()
        }
    }

    /// A line that removes a file.
    pub fn remove(remove: Remove) -> Self {
        Self {
            remove: Some(remove),
            ..Self::default()
        }
    }

    /// A line that sets identity, schema and properties.
    pub fn meta_data(meta_data: MetaData) -> Self {
        Self {
            meta_data: Some(meta_data),
            ..Self::default()
        }
    }

    /// The line that states the protocol.
    pub fn protocol() -> Self {
        Self {
            protocol: Some(PROTOCOL),
            ..Self::default()
        }
    }
}

/// The Delta schema of a table, as the log wants it: JSON in a string, with comments and units.
pub fn schema_string(table: &Table) -> String {
    let fields: Vec<Value> = table
        .columns
        .iter()
        .map(|column| {
            json!({
                "name": column.name,
                "type": delta_type(column.kind),
                "nullable": true,
                "metadata": {"comment": column.doc, "unit": column.unit.symbol()},
            })
        })
        .collect();
    json!({"type": "struct", "fields": fields}).to_string()
}

/// Name and type of each column of a Delta schema string.
pub fn schema_types(schema_string: &str) -> Option<Vec<(String, String)>> {
    let schema: Value = serde_json::from_str(schema_string).ok()?;
    let field = |field: &Value| {
        Some((
            field.get("name")?.as_str()?.to_owned(),
            field.get("type")?.as_str()?.to_owned(),
        ))
    };
    schema
        .get("fields")?
        .as_array()?
        .iter()
        .map(field)
        .collect()
}

/// The Delta name of a type.
pub fn delta_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Timestamp => "timestamp",
        Kind::Date => "date",
        Kind::Text => "string",
        Kind::Bytes => "binary",
        Kind::Int => "long",
        Kind::SmallInt => "integer",
        Kind::Decimal => "decimal(38,0)",
        Kind::Float => "double",
        Kind::Bool => "boolean",
    }
}
