//! Builds the raw table's columns: the row's place, its times, its producer, its values or its
//! rejection.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::builder::{BinaryViewBuilder, StringViewBuilder};
use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int32Array, Int64Array, Int64Builder, RecordBatch,
    StringViewArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take;
use arrow::datatypes::{Int64Type, SchemaRef};

use super::rows::{Entry, RowValues};
use crate::read::message::Message;

const DAY_US: i64 = 86_400_000_000;

/// Producers and numbers that rows carry themselves.
#[derive(Debug)]
pub struct Identities {
    producer: StringViewArray,
    number: Int64Array,
}

impl Identities {
    /// `None` when no row names itself completely, which is the usual case.
    pub fn from_batch(batch: &RecordBatch) -> Option<Self> {
        let producer = batch
            .column_by_name("producer")?
            .as_string_view_opt()?
            .clone();
        let number = batch
            .column_by_name("producer_seq")?
            .as_primitive_opt::<Int64Type>()?
            .clone();
        let empty = producer.null_count() == producer.len() || number.null_count() == number.len();
        (!empty).then_some(Self { producer, number })
    }

    /// The row's own identity, when complete.
    pub fn of_row(&self, row: u32) -> Option<(&str, i64)> {
        let row = row as usize;
        let complete = self.producer.is_valid(row)
            && self.number.is_valid(row)
            && !self.producer.value(row).is_empty();
        complete.then(|| (self.producer.value(row), self.number.value(row)))
    }
}

/// The rows of `entries` with the columns of `schema`.
pub fn build(
    schema: &SchemaRef,
    base: i64,
    messages: &[Message],
    batch: Option<&RecordBatch>,
    entries: &[Entry],
    named: Option<&Identities>,
) -> RecordBatch {
    let count = entries.len();
    let times = |entry: &Entry| messages[entry.message].time_ns.div_euclid(1_000);
    let (producer, producer_seq) = identities(messages, entries, named);
    let rejections = entries
        .iter()
        .any(|entry| matches!(entry.values, RowValues::Bad { .. }))
        .then(|| rejections(entries));
    let picked = picks(batch, entries);
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "seq" => {
                let place = |entry: &Entry| {
                    base + i64::try_from(messages[entry.message].seq)
                        .unwrap_or(i64::MAX - base.max(0))
                };
                Arc::new(Int64Array::from_iter_values(entries.iter().map(place)))
            }
            "row" => Arc::new(Int32Array::from_iter_values(
                entries
                    .iter()
                    .map(|entry| i32::try_from(entry.row).unwrap_or(i32::MAX)),
            )),
            "ingest_time" => Arc::new(
                TimestampMicrosecondArray::from_iter_values(entries.iter().map(times))
                    .with_timezone("UTC"),
            ),
            "ingest_date" => {
                let day =
                    |entry: &Entry| i32::try_from(times(entry).div_euclid(DAY_US)).unwrap_or(0);
                Arc::new(Date32Array::from_iter_values(entries.iter().map(day)))
            }
            "producer" => producer.clone(),
            "producer_seq" => producer_seq.clone(),
            "reject_reason" => rejections.as_ref().map_or_else(
                || new_null_array(field.data_type(), count),
                |both| both.0.clone(),
            ),
            "payload" => rejections.as_ref().map_or_else(
                || new_null_array(field.data_type(), count),
                |both| both.1.clone(),
            ),
            name => match batch.and_then(|batch| batch.column_by_name(name)) {
                Some(column) => pick(column, picked.as_ref(), count),
                None => new_null_array(field.data_type(), count),
            },
        }
    });
    // Every column was just made with this length and its field's type; an empty batch stands in if
    // that is ever untrue.
    RecordBatch::try_new(schema.clone(), columns.collect())
        .unwrap_or_else(|_| RecordBatch::new_empty(schema.clone()))
}

/// Which rows of the batch to take, null for a rejected row; `None` when it is all of them in
/// order.
fn picks(batch: Option<&RecordBatch>, entries: &[Entry]) -> Option<UInt32Array> {
    let source = |entry: &Entry| match entry.values {
        RowValues::Good { row } => Some(row),
        RowValues::Bad { .. } => None,
    };
    let whole = batch.is_some_and(|batch| batch.num_rows() == entries.len())
        && entries
            .iter()
            .zip(0_u32..)
            .all(|(entry, index)| source(entry) == Some(index));
    (!whole).then(|| entries.iter().map(source).collect())
}

fn pick(column: &ArrayRef, picked: Option<&UInt32Array>, count: usize) -> ArrayRef {
    match picked {
        None => column.clone(),
        // The indices come from the decoder's own row numbers, so that taking cannot fail.
        Some(indices) => take(column, indices, None)
            .unwrap_or_else(|_| new_null_array(column.data_type(), count)),
    }
}

/// The producer's name is stored once per run of rows that share it.
fn identities(
    messages: &[Message],
    entries: &[Entry],
    named: Option<&Identities>,
) -> (ArrayRef, ArrayRef) {
    let mut producers = StringViewBuilder::with_capacity(entries.len());
    let mut numbers = Int64Builder::with_capacity(entries.len());
    let mut blocks: HashMap<&str, u32> = HashMap::new();
    for entry in entries {
        let own = match entry.values {
            RowValues::Good { row } => named.and_then(|named| named.of_row(row)),
            RowValues::Bad { .. } => None,
        };
        match own.or_else(|| messages[entry.message].identity(entry.row)) {
            Some((producer, number)) => {
                append_shared(&mut producers, &mut blocks, producer);
                numbers.append_value(number);
            }
            None => {
                producers.append_null();
                numbers.append_null();
            }
        }
    }
    (Arc::new(producers.finish()), Arc::new(numbers.finish()))
}

fn append_shared<'a>(
    builder: &mut StringViewBuilder,
    blocks: &mut HashMap<&'a str, u32>,
    text: &'a str,
) {
    if text.len() <= 12 {
        builder.append_value(text);
        return;
    }
    let block = *blocks
        .entry(text)
        .or_insert_with(|| builder.append_block(text.as_bytes().into()));
    let length = u32::try_from(text.len()).unwrap_or(0);
    if builder.try_append_view(block, 0, length).is_err() {
        builder.append_value(text);
    }
}

fn rejections(entries: &[Entry]) -> (ArrayRef, ArrayRef) {
    let mut reasons = StringViewBuilder::new();
    let mut payloads = BinaryViewBuilder::new();
    for entry in entries {
        match &entry.values {
            RowValues::Bad { reason, payload } => {
                reasons.append_value(reason);
                payloads.append_value(payload);
            }
            RowValues::Good { .. } => {
                reasons.append_null();
                payloads.append_null();
            }
        }
    }
    (Arc::new(reasons.finish()), Arc::new(payloads.finish()))
}
