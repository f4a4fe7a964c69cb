//! The columns of an answer as Flight sends them: the same for a statement that is planned and for
//! one that runs, in layouts that every Arrow client knows.
//!
//! A plan and its rows may differ in what they say about NULL, so that every column may have one.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};

use crate::error::{ErrorCode, QueryError};

/// The most that the rows of a message take; clients refuse messages over 4 MiB or 16 MiB.
const MESSAGE_BYTES: usize = 2 << 20;

/// The columns as they are sent.
pub(super) fn sent_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let kind = sent_type(field.data_type());
        Field::new(field.name(), kind, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A batch with the columns that [`sent_schema`] made of its own.
pub(super) fn sent_batch(
    schema: &SchemaRef,
    batch: &RecordBatch,
) -> Result<RecordBatch, QueryError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(
        |(column, field)| match column.data_type() == field.data_type() {
            true => Ok(column.clone()),
            false => cast(column, field.data_type()),
        },
    );
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(unsendable)?;
    // A batch without columns has no other way to know its rows.
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(unsendable)
}

/// The same rows in batches of at most [`MESSAGE_BYTES`], where a row takes less.
///
/// The encoder's own way to divide a batch counts whole buffers, which the columns of one message
/// share: it made seven times as many messages.
pub(super) fn divided(batch: RecordBatch) -> Vec<RecordBatch> {
    if batch.num_rows() <= 1 || bytes(&batch) <= MESSAGE_BYTES {
        return vec![batch];
    }
    let half = batch.num_rows() / 2;
    let rest = batch.slice(half, batch.num_rows() - half);
    let mut parts = divided(batch.slice(0, half));
    parts.extend(divided(rest));
    parts
}

/// Bytes that the rows of a batch take in a message.
fn bytes(batch: &RecordBatch) -> usize {
    let sizes = batch.columns().iter().map(|column| {
        let rows = column.to_data().get_slice_memory_size();
        rows.unwrap_or_else(|_| column.get_buffer_memory_size())
    });
    sizes.sum()
}

fn unsendable(error: impl std::fmt::Display) -> QueryError {
    QueryError::new(
        ErrorCode::SqlExecution,
        format!("the answer cannot be sent: {error}"),
        "cast the column to VARCHAR",
    )
}

fn sent_type(kind: &DataType) -> DataType {
    let item = |field: &FieldRef| {
        let kind = sent_type(field.data_type());
        Arc::new(field.as_ref().clone().with_data_type(kind))
    };
    match kind {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(_, values) => sent_type(values),
        DataType::RunEndEncoded(_, values) => sent_type(values.data_type()),
        DataType::List(field) | DataType::ListView(field) => DataType::List(item(field)),
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            DataType::LargeList(item(field))
        }
        DataType::FixedSizeList(field, length) => DataType::FixedSizeList(item(field), *length),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        DataType::Map(field, sorted) => DataType::Map(item(field), *sorted),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ArrayRef, AsArray, BinaryArray, DictionaryArray, StringViewArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn text_in_any_layout_is_sent_as_plain_text() {
        let views: ArrayRef = Arc::new(StringViewArray::from(vec![Some("a"), None]));
        let words: DictionaryArray<Int32Type> = vec!["x", "x"].into_iter().collect();
        let batch =
            RecordBatch::try_from_iter([("v", views), ("d", Arc::new(words) as ArrayRef)]).unwrap();
        let schema = sent_schema(&batch.schema());
        let sent = sent_batch(&schema, &batch).unwrap();
        for column in sent.columns() {
            assert_eq!(column.data_type(), &DataType::Utf8);
        }
        assert!(sent.column(0).is_null(1));
        assert_eq!(sent.column(1).as_string::<i32>().value(1), "x");
        assert!(schema.fields().iter().all(|field| field.is_nullable()));
        let items = Field::new_list_field(DataType::Utf8View, true);
        let list = DataType::List(Arc::new(items));
        let plain = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
        assert_eq!(sent_type(&list), plain);
    }

    #[test]
    fn rows_without_columns_keep_their_number() {
        let options = RecordBatchOptions::new().with_row_count(Some(3));
        let schema = Arc::new(Schema::empty());
        let batch = RecordBatch::try_new_with_options(schema.clone(), vec![], &options).unwrap();
        assert_eq!(sent_batch(&schema, &batch).unwrap().num_rows(), 3);
    }

    #[test]
    fn large_batches_are_divided_by_the_bytes_of_their_rows() {
        let long = "x".repeat(1 << 20);
        let texts: Vec<&str> = (0..9)
            .map(|row| if row < 4 { &*long } else { "" })
            .collect();
        let texts: ArrayRef = Arc::new(BinaryArray::from_iter_values(&texts));
        let batch = RecordBatch::try_from_iter([("a", texts.clone()), ("b", texts)]).unwrap();
        let parts = divided(batch.clone());
        let rows: Vec<usize> = parts.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(rows, [1, 1, 1, 1, 5]);
        let joined = arrow::compute::concat_batches(&batch.schema(), &parts).unwrap();
        assert_eq!(joined, batch);
        // Rows of a few bytes stay together, whatever buffer they share.
        assert_eq!(divided(batch.slice(4, 5)).len(), 1);
    }
}
