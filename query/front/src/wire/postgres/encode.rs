//! Values of Arrow columns as PostgreSQL writes them, in text and in binary.
//!
//! The crate `arrow-pg` does this too, but its decimals end at 7.9e28 where ours have 38 digits, it
//! makes a Rust value of every cell before it writes it, and it switches on features of DataFusion.
//! Here a cell goes from its Arrow array into the buffer of the row.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BinaryArray, BooleanArray, ListArray,
    PrimitiveArray, StringArray, StringViewArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float32Type, Float64Type, Int16Type, Int32Type,
    Int64Type, IntervalMonthDayNanoType, IntervalUnit, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::wire::postgres::column_types;

mod list;
pub(super) mod number;
pub(super) mod time;

/// How the values of a column are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// As text.
    Text,
    /// As the type's own bytes.
    Binary,
}

/// A column whose values can be written one by one.
pub(super) struct Column {
    values: Values,
    format: Format,
    /// The rows that are NULL.
    array: ArrayRef,
}

/// The arrays that there are writers for; every other is cast to one of them.
enum Values {
    Bool(BooleanArray),
    Int2(PrimitiveArray<Int16Type>),
    Int4(PrimitiveArray<Int32Type>),
    Int8(PrimitiveArray<Int64Type>),
    Float4(PrimitiveArray<Float32Type>),
    Float8(PrimitiveArray<Float64Type>),
    Numeric(PrimitiveArray<Decimal128Type>, u8),
    /// Decimals beyond 38 digits, as text.
    LongNumeric(StringArray),
    Text(StringArray),
    TextView(StringViewArray),
    Bytes(BinaryArray),
    Date(PrimitiveArray<Date32Type>),
    Time(PrimitiveArray<Time64MicrosecondType>),
    Timestamp(PrimitiveArray<TimestampMicrosecondType>),
    TimestampTz(PrimitiveArray<TimestampMicrosecondType>),
    Interval(PrimitiveArray<IntervalMonthDayNanoType>),
    List(Box<list::List>),
    /// What PostgreSQL has no type for, as text.
    Other(ArrayRef),
}

impl Column {
    /// Writes the values of this array. `field` is the column as it was described, to whose type an
    /// array of another is cast.
    pub(super) fn new(array: &ArrayRef, field: &Field, format: Format) -> Result<Self, ArrowError> {
        let array = match array.data_type() == field.data_type() {
            true => array.clone(),
            false => cast(array, field.data_type())?,
        };
        let values = values_of(&array)?;
        Ok(Self {
            values,
            format,
            array,
        })
    }

    /// Writes a value with its length, or the length that stands for NULL.
    pub(super) fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if self.is_null(row) {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(());
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match self.format {
            Format::Text => self.write_text(row, out)?,
            Format::Binary => self.write_binary(row, out)?,
        }
        // A frame of a worker is at most 64 MiB, and no value is longer than twice its frame.
        let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    /// Whether the value is NULL.
    pub(super) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row) || matches!(self.array.data_type(), DataType::Null)
    }

    /// Writes a value that is not NULL as text.
    pub(super) fn write_text(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match &self.values {
            Values::Bool(values) => out.push(if values.value(row) { b't' } else { b'f' }),
            Values::Int2(values) => number::write_int(values.value(row).into(), out),
            Values::Int4(values) => number::write_int(values.value(row).into(), out),
            Values::Int8(values) => number::write_int(values.value(row), out),
            Values::Float4(values) => number::write_float4(values.value(row), out),
            Values::Float8(values) => number::write_float8(values.value(row), out),
            Values::Numeric(values, scale) => {
                number::write_decimal(values.value(row), *scale, out);
            }
            Values::LongNumeric(values) => out.extend_from_slice(values.value(row).as_bytes()),
            Values::Text(values) => out.extend_from_slice(values.value(row).as_bytes()),
            Values::TextView(values) => out.extend_from_slice(values.value(row).as_bytes()),
            Values::Bytes(values) => write_hex(values.value(row), out),
            Values::Date(values) => time::write_date(values.value(row), out),
            Values::Time(values) => time::write_time(values.value(row), out),
            Values::Timestamp(values) => time::write_timestamp(values.value(row), out),
            Values::TimestampTz(values) => {
                time::write_timestamp(values.value(row), out);
                out.extend_from_slice(b"+00");
            }
            Values::Interval(values) => time::write_interval(values.value(row), out),
            Values::List(list) => list.write_text(row, out)?,
            Values::Other(array) => {
                let options = FormatOptions::default();
                let formatter = ArrayFormatter::try_new(array, &options)?;
                out.extend_from_slice(formatter.value(row).to_string().as_bytes());
            }
        }
        Ok(())
    }

    fn write_binary(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match &self.values {
            Values::Bool(values) => out.push(values.value(row).into()),
            Values::Int2(values) => out.extend_from_slice(&values.value(row).to_be_bytes()),
            Values::Int4(values) => out.extend_from_slice(&values.value(row).to_be_bytes()),
            Values::Int8(values) => out.extend_from_slice(&values.value(row).to_be_bytes()),
            Values::Float4(values) => out.extend_from_slice(&values.value(row).to_be_bytes()),
            Values::Float8(values) => out.extend_from_slice(&values.value(row).to_be_bytes()),
            Values::Numeric(values, scale) => {
                number::write_numeric(values.value(row), *scale, out);
            }
            Values::LongNumeric(values) => {
                number::write_numeric_of_text(values.value(row), out);
            }
            Values::Bytes(values) => out.extend_from_slice(values.value(row)),
            Values::Date(values) => {
                let days = values.value(row).saturating_sub(time::EPOCH_DAYS);
                out.extend_from_slice(&days.to_be_bytes());
            }
            Values::Time(values) => out.extend_from_slice(&values.value(row).to_be_bytes()),
            Values::Timestamp(values) | Values::TimestampTz(values) => {
                let micros = values.value(row).saturating_sub(time::EPOCH_MICROS);
                out.extend_from_slice(&micros.to_be_bytes());
            }
            Values::Interval(values) => time::write_interval_binary(values.value(row), out),
            Values::List(list) => list.write_binary(row, out)?,
            Values::Text(_) | Values::TextView(_) | Values::Other(_) => {
                self.write_text(row, out)?;
            }
        }
        Ok(())
    }
}

fn values_of(array: &ArrayRef) -> Result<Values, ArrowError> {
    use TimeUnit::Microsecond;
    Ok(match array.data_type() {
        DataType::Boolean => Values::Bool(array.as_boolean().clone()),
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => {
            Values::Int2(primitive(array, &DataType::Int16)?)
        }
        DataType::Int32 | DataType::UInt16 => Values::Int4(primitive(array, &DataType::Int32)?),
        DataType::Int64 | DataType::UInt32 => Values::Int8(primitive(array, &DataType::Int64)?),
        DataType::Float16 | DataType::Float32 => {
            Values::Float4(primitive(array, &DataType::Float32)?)
        }
        DataType::Float64 => Values::Float8(primitive(array, &DataType::Float64)?),
        decimal if decimal.is_decimal() || *decimal == DataType::UInt64 => decimals_of(array)?,
        DataType::Utf8 => Values::Text(array.as_string().clone()),
        DataType::LargeUtf8 => {
            Values::TextView(cast(array, &DataType::Utf8View)?.as_string_view().clone())
        }
        DataType::Utf8View => Values::TextView(array.as_string_view().clone()),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => {
            Values::Bytes(cast(array, &DataType::Binary)?.as_binary().clone())
        }
        DataType::Date32 => Values::Date(primitive(array, &DataType::Date32)?),
        DataType::Time32(_) | DataType::Time64(_) => {
            Values::Time(primitive(array, &DataType::Time64(Microsecond))?)
        }
        DataType::Date64 | DataType::Timestamp(_, None) => {
            Values::Timestamp(primitive(array, &DataType::Timestamp(Microsecond, None))?)
        }
        DataType::Timestamp(_, zone) => {
            let to = DataType::Timestamp(Microsecond, zone.clone());
            Values::TimestampTz(primitive(array, &to)?)
        }
        DataType::Interval(_) | DataType::Duration(_) => {
            let to = DataType::Interval(IntervalUnit::MonthDayNano);
            Values::Interval(primitive(array, &to)?)
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let lists = cast(array, &DataType::List(item.clone()))?;
            list_values(lists.as_list().clone(), item)?
        }
        DataType::Dictionary(_, values) => values_of(&cast(array, values)?)?,
        _ => Values::Other(array.clone()),
    })
}

fn primitive<T: ArrowPrimitiveType>(
    array: &ArrayRef,
    to: &DataType,
) -> Result<PrimitiveArray<T>, ArrowError> {
    Ok(cast(array, to)?.as_primitive::<T>().clone())
}

/// Decimals of up to 38 digits as numbers, longer ones as text.
fn decimals_of(array: &ArrayRef) -> Result<Values, ArrowError> {
    Ok(match array.data_type() {
        DataType::UInt64 => Values::Numeric(primitive(array, &DataType::Decimal128(20, 0))?, 0),
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
            if *scale >= 0 =>
        {
            let to = DataType::Decimal128(38, *scale);
            let to = match array.data_type() {
                same @ DataType::Decimal128(..) => same.clone(),
                _ => to,
            };
            Values::Numeric(primitive(array, &to)?, scale.unsigned_abs())
        }
        _ => Values::LongNumeric(cast(array, &DataType::Utf8)?.as_string().clone()),
    })
}

/// A list of lists is text, as [`column_types::type_of`] says.
fn list_values(lists: ListArray, item: &Field) -> Result<Values, ArrowError> {
    let binary = column_types::type_of(item)
        != column_types::type_of(&Field::new_list("", item.clone(), true));
    Ok(Values::List(Box::new(list::List::new(
        lists, item, binary,
    )?)))
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}
