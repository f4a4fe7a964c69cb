//! Answers of a SELECT as rows of its table, and rows on which it failed.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewArray, Int32Array, Int64Array, RecordBatch, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use headframe_schemas::codec;

/// The longest reason that is stored, in bytes.
const MAX_REASON_BYTES: usize = 500;

/// Where rows came from: sequence, index and `ingest_time`, one value a row.
pub(super) struct Places {
    pub(super) seq: ArrayRef,
    pub(super) row: ArrayRef,
    pub(super) ingest_time: ArrayRef,
}

impl Places {
    /// Rows that one message made, the first of which has this index.
    pub(super) fn of_message(seq: i64, first_row: i32, ingest_us: i64, rows: usize) -> Self {
        let indices = (0..rows).map(|index| {
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            first_row.saturating_add(index)
        });
        let times = TimestampMicrosecondArray::from(vec![ingest_us; rows]);
        Self {
            seq: Arc::new(Int64Array::from(vec![seq; rows])),
            row: Arc::new(indices.collect::<Int32Array>()),
            ingest_time: Arc::new(times.with_timezone("UTC")),
        }
    }

    /// Those of rows of the input.
    pub(super) fn of_input(rows: &RecordBatch) -> Option<Self> {
        Some(Self {
            seq: rows.column_by_name("seq")?.clone(),
            row: rows.column_by_name("row")?.clone(),
            ingest_time: rows.column_by_name("ingest_time")?.clone(),
        })
    }

    /// Those that stand in these columns of a batch.
    pub(super) fn in_columns(batch: &RecordBatch, first: usize) -> Self {
        Self {
            seq: batch.column(first).clone(),
            row: batch.column(first + 1).clone(),
            ingest_time: batch.column(first + 2).clone(),
        }
    }
}

/// Rows of a table with this schema, whose first own columns are those of the answer.
pub(super) fn good_rows(
    schema: &SchemaRef,
    answer: &RecordBatch,
    columns: usize,
    places: Places,
) -> Result<RecordBatch, String> {
    let own = schema.fields()[3..3 + columns].iter();
    let own = own.zip(answer.columns());
    let own = own.map(|(field, array)| (field.name().clone(), array.clone()));
    rows(schema, own.collect(), places).map_err(|error| error.to_string())
}

/// A row of the input on which the SELECT failed, with the reason.
pub(super) fn refused_input(
    schema: &SchemaRef,
    row: &RecordBatch,
    reason: &str,
) -> Result<RecordBatch, String> {
    let places = Places::of_input(row).ok_or("the input has no place")?;
    refused(schema, places, reason, &json_line(row))
}

/// A row in place of what the SELECT could not make, with the reason and bytes that say which it
/// is.
pub(super) fn refused(
    schema: &SchemaRef,
    places: Places,
    reason: &str,
    payload: &[u8],
) -> Result<RecordBatch, String> {
    let mut end = reason.len().min(MAX_REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason: ArrayRef = Arc::new(StringViewArray::from(vec![&reason[..end]]));
    let payload: ArrayRef = Arc::new(BinaryViewArray::from(vec![payload]));
    let own = vec![
        ("reject_reason".to_owned(), reason),
        ("payload".to_owned(), payload),
    ];
    rows(schema, own, places).map_err(|error| error.to_string())
}

fn rows(
    schema: &SchemaRef,
    mut columns: Vec<(String, ArrayRef)>,
    places: Places,
) -> Result<RecordBatch, ArrowError> {
    let day = cast(&places.ingest_time, &DataType::Date32)?;
    columns.extend([
        ("seq".to_owned(), places.seq),
        ("row".to_owned(), places.row),
        ("ingest_time".to_owned(), places.ingest_time),
        ("ingest_date".to_owned(), day),
    ]);
    let field =
        |(name, array): &(String, ArrayRef)| Field::new(name, array.data_type().clone(), true);
    let fields: Vec<Field> = columns.iter().map(field).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    codec::conform(schema, &batch).map_err(ArrowError::CastError)
}

/// A row as a line of JSON; empty where a value has no such form.
fn json_line(row: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = LineDelimitedWriter::new(&mut bytes);
    let written = writer.write(row).and_then(|()| writer.finish());
    drop(writer);
    if written.is_err() {
        bytes.clear();
    }
    bytes.truncate(bytes.trim_ascii_end().len());
    bytes
}
