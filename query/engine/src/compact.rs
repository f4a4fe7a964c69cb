//! Batches without bytes that no value points to.
//!
//! A column of views shares its buffers with the file it was read from; sent as it is, ten short
//! names would take megabytes along.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use arrow::datatypes::DataType;
use headframe_query_front::QueryError;

/// Buffers this much larger than their values are copied.
const SLACK: usize = 2;
/// Buffers up to this size are sent as they are.
const SMALL_BYTES: usize = 64 << 10;

/// The same rows in buffers that hold little else.
pub fn compact(batch: RecordBatch) -> Result<RecordBatch, QueryError> {
    let loose = |column: &ArrayRef| match column.data_type() {
        DataType::Utf8View | DataType::BinaryView => {
            let (held, used) = sizes(column);
            held > SMALL_BYTES && held > SLACK * used
        }
        _ => false,
    };
    if !batch.columns().iter().any(loose) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().map(|column| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View if loose(column) => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView if loose(column) => Arc::new(column.as_binary_view().gc()),
            _ => column.clone(),
        }
    });
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)
        .map_err(|error| QueryError::internal(error.to_string()))
}

/// Bytes in the buffers of a column of views, and bytes of its values.
fn sizes(column: &ArrayRef) -> (usize, usize) {
    let (buffers, views) = match column.data_type() {
        DataType::Utf8View => {
            let column = column.as_string_view();
            (column.data_buffers(), column.views())
        }
        _ => {
            let column = column.as_binary_view();
            (column.data_buffers(), column.views())
        }
    };
    let held = buffers.iter().map(|buffer| buffer.len()).sum();
    // The lowest 32 bits of a view are its length.
    let used = views.iter().map(|view| *view as u32 as usize).sum();
    (held, used)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::StringViewArray;

    use super::*;

    #[test]
    fn a_slice_of_a_large_column_becomes_small_and_stays_the_same() {
        let names = (0..10_000).map(|row| Some(format!("a name that is long enough {row}")));
        let names: ArrayRef = Arc::new(names.collect::<StringViewArray>());
        let whole = RecordBatch::try_from_iter([("name", names)]).unwrap();
        let slice = whole.slice(5_000, 10);
        let compacted = compact(slice.clone()).unwrap();
        assert_eq!(compacted, slice);
        assert!(sizes(compacted.column(0)).0 < 1_000);
        assert!(sizes(slice.column(0)).0 > 100_000);
    }
}
