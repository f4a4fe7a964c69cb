//! Which rows of a decoded batch are acceptable, and why the others are not.

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};

use crate::column::{Column, Kind, Limits};

/// A row that was refused: its index in the batch and a reason that names the column and the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Index of the row in the batch.
    pub row: usize,
    /// What is wrong, with the column and the value.
    pub reason: String,
}

/// The first fault of each bad row, in row order. An empty answer means every row is good.
///
/// `batch` must have the given columns, by name and of their types.
pub fn faults(columns: &[Column], batch: &RecordBatch) -> Vec<Fault> {
    let mut found: Vec<Fault> = Vec::new();
    for column in columns {
        let Some(array) = batch.column_by_name(column.name) else {
            continue;
        };
        if column.required && array.null_count() > 0 {
            let missing = (0..array.len()).filter(|&row| array.is_null(row));
            found.extend(missing.map(|row| Fault {
                row,
                reason: format!("column {} is missing", column.name),
            }));
        }
        check_limits(column, array.as_ref(), &mut found);
    }
    found.sort_by_key(|fault| fault.row);
    found.dedup_by_key(|fault| fault.row);
    found
}

/// `true` for the rows without a fault.
pub fn keep_mask(rows: usize, faults: &[Fault]) -> BooleanArray {
    let mut keep = vec![true; rows];
    for fault in faults {
        keep[fault.row] = false;
    }
    BooleanArray::from(keep)
}

fn check_limits(column: &Column, array: &dyn Array, found: &mut Vec<Fault>) {
    let name = column.name;
    match (column.kind, column.limits) {
        (Kind::Timestamp, Limits::Int(low, high)) => {
            let values = array.as_primitive::<TimestampMicrosecondType>();
            scan(values.iter(), found, |value| {
                (!(low..=high).contains(&value))
                    .then(|| format!("column {name}: {value} µs is before 2009 or after 2099"))
            });
        }
        (Kind::Int, Limits::Int(low, high)) => {
            let values = array.as_primitive::<Int64Type>();
            scan(values.iter(), found, |value| {
                (!(low..=high).contains(&value))
                    .then(|| format!("column {name}: {value} is outside {low} to {high}"))
            });
        }
        (Kind::Float, limits) => {
            let (low, high) = if let Limits::Float(low, high) = limits {
                (low, high)
            } else {
                (f64::MIN, f64::MAX)
            };
            scan(array.as_primitive::<Float64Type>().iter(), found, |value| {
                (!(low..=high).contains(&value))
                    .then(|| format!("column {name}: {value} is outside {low} to {high}"))
            });
        }
        (Kind::Text, Limits::OneOf(words)) => {
            scan(array.as_string_view().iter(), found, |value| {
                (!words.contains(&value)).then(|| {
                    format!(
                        "column {name}: {:?} is not one of {}",
                        clip(value),
                        words.join(", ")
                    )
                })
            });
        }
        (Kind::Text, limits) => {
            let limit = match limits {
                Limits::TextBytes(bytes) => bytes,
                _ => Column::MAX_TEXT_BYTES,
            };
            let taken = if let Limits::NoneOf(words) = limits {
                words
            } else {
                &[]
            };
            scan(array.as_string_view().iter(), found, |value| match value {
                word if taken.contains(&word) => {
                    Some(format!("column {name}: {word:?} is a reserved name"))
                }
                long if long.len() > limit => Some(format!(
                    "column {name}: {} bytes are more than {limit}",
                    long.len()
                )),
                _ => None,
            });
        }
        _ => {}
    }
}

fn scan<T>(
    values: impl Iterator<Item = Option<T>>,
    found: &mut Vec<Fault>,
    fault: impl Fn(T) -> Option<String>,
) {
    for (row, value) in values.enumerate() {
        if let Some(reason) = value.and_then(&fault) {
            found.push(Fault { row, reason });
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(40).collect()
}
