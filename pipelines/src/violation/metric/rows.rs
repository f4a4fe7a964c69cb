//! The columns of a row.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};

/// A row of a batch.
#[derive(Clone, Copy)]
pub(super) struct BatchRow<'a> {
    batch: &'a RecordBatch,
    row: usize,
}

/// The rows of batches, in their order.
pub(super) fn rows(batches: &[RecordBatch]) -> impl Iterator<Item = BatchRow<'_>> {
    batches
        .iter()
        .flat_map(|batch| (0..batch.num_rows()).map(move |row| BatchRow { batch, row }))
}

impl<'a> BatchRow<'a> {
    fn column(self, name: &str) -> Option<&'a dyn Array> {
        let column = self.batch.column_by_name(name)?;
        column.is_valid(self.row).then_some(column.as_ref())
    }

    pub(super) fn text(self, name: &str) -> Option<&'a str> {
        Some(self.column(name)?.as_string_view_opt()?.value(self.row))
    }

    pub(super) fn float(self, name: &str) -> Option<f64> {
        let column = self.column(name)?.as_primitive_opt::<Float64Type>()?;
        Some(column.value(self.row))
    }

    pub(super) fn whole(self, name: &str) -> Option<i64> {
        let column = self.column(name)?.as_primitive_opt::<Int64Type>()?;
        Some(column.value(self.row))
    }

    pub(super) fn time(self, name: &str) -> Option<i64> {
        let column = self.column(name)?;
        let column = column.as_primitive_opt::<TimestampMicrosecondType>()?;
        Some(column.value(self.row))
    }
}
