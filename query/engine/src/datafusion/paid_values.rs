//! Arrays that pay for themselves: what they take counts in the query's memory until the last piece
//! of them is dropped.
//!
//! Forty columns that each stay below the limit of one function are forty times as much together,
//! and aggregates and windows that keep them count only what they point with. The buffers of such
//! an array carry its reservation along, wherever they go.
//!
//! Upstream: apache/datafusion#5415 and #12919 (memory of functions counts nowhere), #16517
//! (`array_agg` counts shared buffers wrongly). It goes when DataFusion's evaluation of expressions
//! holds a `MemoryReservation`.

use std::sync::Arc;

use arrow::array::{Array, ArrayData, ArrayRef, make_array};
use arrow::buffer::Buffer;
use bytes::Bytes;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::logical_expr::ColumnarValue;

use super::statement_limits::StatementLimits;

/// Arrays below this are not worth the work.
const SMALL_BYTES: usize = 1 << 20;
/// Buffers below this do not carry the reservation; others of the same array do.
const SMALL_BUFFER_BYTES: usize = 16 << 10;

/// The same value, paid for by the statement that these options belong to.
pub fn paid(value: ColumnarValue, options: &ConfigOptions) -> Result<ColumnarValue> {
    let ColumnarValue::Array(array) = value else {
        return Ok(value);
    };
    let limits = StatementLimits::find(options);
    match limits.filter(|_| array.get_buffer_memory_size() >= SMALL_BYTES) {
        Some(limits) => Ok(ColumnarValue::Array(pay(&array, limits)?)),
        None => Ok(ColumnarValue::Array(array)),
    }
}

fn pay(array: &ArrayRef, limits: &StatementLimits) -> Result<ArrayRef> {
    let reservation = limits.reserve(array.get_buffer_memory_size())?;
    Ok(make_array(carrying(
        array.to_data(),
        &Arc::new(reservation),
    )?))
}

fn carrying(data: ArrayData, reservation: &Arc<MemoryReservation>) -> Result<ArrayData> {
    let buffers = data.buffers().iter().map(|buffer| match buffer.len() {
        small if small < SMALL_BUFFER_BYTES => buffer.clone(),
        _ => Buffer::from(Bytes::from_owner(PaidBuffer {
            buffer: buffer.clone(),
            _reservation: reservation.clone(),
        })),
    });
    let buffers = buffers.collect();
    let children = data.child_data().iter();
    let children = children.map(|child| carrying(child.clone(), reservation));
    let children = children.collect::<Result<Vec<_>>>()?;
    let builder = data.into_builder().buffers(buffers).child_data(children);
    Ok(builder.build()?)
}

/// The bytes of a buffer, and what has been paid for them.
struct PaidBuffer {
    buffer: Buffer,
    _reservation: Arc<MemoryReservation>,
}

impl AsRef<[u8]> for PaidBuffer {
    fn as_ref(&self) -> &[u8] {
        self.buffer.as_slice()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::array::{ListArray, StringArray, StringViewArray};
    use arrow::datatypes::Int32Type;
    use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};

    use super::*;

    fn options(pool: &Arc<dyn MemoryPool>) -> ConfigOptions {
        let mut options = ConfigOptions::new();
        options.extensions.insert(StatementLimits::new(pool, None));
        options
    }

    #[test]
    fn an_array_pays_until_its_last_piece_is_dropped() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(64 << 20));
        let options = options(&pool);
        let texts = (0..1_000).map(|row| format!("{row}{}", "x".repeat(5_000)));
        let texts: Vec<String> = texts.collect();
        let lists = (0..1_000).map(|row| Some(vec![Some(row); 1_000]));
        let arrays: [ArrayRef; 3] = [
            Arc::new(StringArray::from(texts.clone())),
            Arc::new(StringViewArray::from(texts.clone())),
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ];
        for array in arrays {
            let bytes = array.get_buffer_memory_size();
            let value = paid(ColumnarValue::Array(array.clone()), &options).unwrap();
            let same = value.into_array(1_000).unwrap();
            assert_eq!((&same, pool.reserved()), (&array, bytes));
            let piece = same.slice(900, 100);
            drop(same);
            assert_eq!(pool.reserved(), bytes, "a piece holds all of it");
            drop(piece);
            assert_eq!(pool.reserved(), 0);
        }
    }

    #[test]
    fn small_arrays_are_free_and_too_large_ones_refused() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(8 << 20));
        let options = options(&pool);
        let array = |bytes: usize| -> ColumnarValue {
            ColumnarValue::Array(Arc::new(StringArray::from(vec!["x".repeat(bytes)])))
        };
        let _small = paid(array(1_000), &options).unwrap();
        assert_eq!(pool.reserved(), 0);
        let first = paid(array(5 << 20), &options).unwrap();
        let error = paid(array(5 << 20), &options).unwrap_err().to_string();
        assert!(error.contains("values of functions"), "{error}");
        drop(first);
        assert!(paid(array(5 << 20), &options).is_ok());
    }
}
