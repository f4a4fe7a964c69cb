//! What is hashed of a fact: its columns as JSON, with where it stands and the hash before it.
//!
//! The JSON is canonical (RFC 8785): names in the order of their bytes, no blanks. Absent values
//! are left out. Whole numbers that JSON readers would round, decimals and fractions are text, in
//! their shortest form, since canonical numbers are those of ECMAScript.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use headframe_schemas::Stream;
use serde_json::{Map, Value, json};

use crate::evidence::tree::{Hash, leaf};

/// Beyond this JSON readers round: 2^53.
const MAX_EXACT: u64 = 1 << 53;

/// A fact, where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// The table.
    pub stream: String,
    /// Its sequence.
    pub seq: i64,
    /// Its index in its message.
    pub row: i64,
    /// Its columns, those that are there.
    pub values: Map<String, Value>,
}

impl Fact {
    /// The hash of its entry behind the fact with the hash `previous`.
    pub fn hash(&self, previous: &Hash) -> Hash {
        leaf(self.entry(previous).as_bytes())
    }

    /// The bytes that are hashed.
    pub fn entry(&self, previous: &Hash) -> String {
        json!({
            "fact": self.values,
            "previous": hex::encode(previous),
            "row": self.row,
            "seq": self.seq,
            "stream": self.stream,
        })
        .to_string()
    }
}

/// The facts of a batch of a raw table's good rows.
pub fn facts_of(stream: &dyn Stream, batch: &RecordBatch) -> Vec<Fact> {
    let columns: Vec<(&str, &ArrayRef)> = stream
        .columns()
        .iter()
        .filter_map(|column| Some((column.name, batch.column_by_name(column.name)?)))
        .collect();
    let number = |name: &str, row: usize| {
        let value = batch
            .column_by_name(name)
            .and_then(|column| value(column, row));
        value.and_then(|value| value.as_i64()).unwrap_or(0)
    };
    let fact = |row: usize| {
        let values = columns
            .iter()
            .filter_map(|(name, column)| Some(((*name).to_owned(), value(column, row)?)));
        Fact {
            stream: stream.name().to_owned(),
            seq: number("seq", row),
            row: number("row", row),
            values: values.collect(),
        }
    };
    (0..batch.num_rows()).map(fact).collect()
}

/// A value as JSON; `None` where there is none.
fn value(column: &ArrayRef, row: usize) -> Option<Value> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8View => json!(column.as_string_view().value(row)),
        DataType::Utf8 => json!(column.as_string::<i32>().value(row)),
        DataType::Boolean => json!(column.as_boolean().value(row)),
        DataType::Int64 => whole(column.as_primitive::<Int64Type>().value(row)),
        DataType::Int32 => json!(column.as_primitive::<Int32Type>().value(row)),
        DataType::Timestamp(..) => whole(
            column
                .as_primitive_opt::<TimestampMicrosecondType>()?
                .value(row),
        ),
        DataType::Float64 => json!(format!(
            "{}",
            column.as_primitive::<Float64Type>().value(row)
        )),
        DataType::Decimal128(..) => {
            json!(
                column
                    .as_primitive::<Decimal128Type>()
                    .value(row)
                    .to_string()
            )
        }
        DataType::BinaryView => json!(hex::encode(column.as_binary_view().value(row))),
        // No other type stands in a stream.
        other => json!(format!("{other}: {:?}", column.slice(row, 1))),
    })
}

fn whole(value: i64) -> Value {
    match value.unsigned_abs() <= MAX_EXACT {
        true => json!(value),
        false => json!(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use headframe_schemas::codec::decode_ndjson;
    use headframe_schemas::stream::commands::Commands;

    use super::*;

    #[test]
    fn an_entry_is_canonical_json() {
        let line = concat!(
            r#"{"event_time":"2026-03-01T12:00:00Z","cluster":"c\u0001é","worker":"w","#,
            r#""command":9223372036854775807,"kind":"pause","state":"sent","hashrate_hs":0.1}"#,
        );
        let decoded = decode_ndjson(&Commands, &[line.as_bytes()]);
        assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
        let facts = facts_of(&Commands, &decoded.batch);
        let expected = concat!(
            r#"{"fact":{"cluster":"c\u0001é","command":"9223372036854775807","#,
            r#""event_time":1772366400000000,"hashrate_hs":"0.1","kind":"pause","state":"sent","#,
            r#""worker":"w"},"previous":""#,
            "0000000000000000000000000000000000000000000000000000000000000000",
            r#"","row":0,"seq":0,"stream":"commands"}"#
        );
        assert_eq!(facts[0].entry(&[0; 32]), expected);
    }
}
