//! Values of parameters, from the Arrow rows that clients bind and to the types that they are told.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, DurationMicrosecondType, Field, Float64Type, Int64Type,
    IntervalMonthDayNanoType, Schema, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use arrow::util::display::array_value_to_string;

use crate::error::{ErrorCode, QueryError};
use crate::sql::{Parameter, ParameterKind, ParameterValue};

/// The values of the one row of a batch, in the order of its columns.
pub(super) fn of_row(batch: &RecordBatch) -> Result<Vec<Parameter>, QueryError> {
    if batch.num_rows() != 1 {
        let message = format!(
            "{} rows of parameters were bound; a statement runs once, with one row",
            batch.num_rows()
        );
        let hint = "bind one row at a time, or join with a table of values";
        return Err(QueryError::new(ErrorCode::Parameters, message, hint));
    }
    let columns = batch.columns().iter().enumerate();
    let values = columns.map(|(index, column)| {
        of_value(column).map_err(|why| {
            let message = format!("parameter ${} cannot be used: {why}", index + 1);
            QueryError::new(
                ErrorCode::Parameters,
                message,
                "pass a value of another type",
            )
        })
    });
    values.collect()
}

fn of_value(column: &ArrayRef) -> Result<Parameter, String> {
    let kind = kind_of(column.data_type())?;
    let value = match kind {
        Some(_) if column.is_null(0) => ParameterValue::Null,
        None => ParameterValue::Null,
        Some(ref kind) => value_at(column, kind, 0)?,
    };
    // Text is read as what stands beside it, as a literal is.
    let kind = kind.filter(|kind| *kind != ParameterKind::Text);
    Ok(Parameter { kind, value })
}

/// The kind of a type; `None` for the type of NULL.
fn kind_of(data_type: &DataType) -> Result<Option<ParameterKind>, String> {
    Ok(Some(match data_type {
        DataType::Null => return Ok(None),
        DataType::Dictionary(_, values) => return kind_of(values),
        DataType::Boolean => ParameterKind::Bool,
        // Its upper half is beyond a BIGINT.
        DataType::UInt64 => ParameterKind::Numeric,
        integer if integer.is_integer() => ParameterKind::Int,
        float if float.is_floating() => ParameterKind::Float,
        decimal if decimal.is_decimal() => ParameterKind::Numeric,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ParameterKind::Text,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => ParameterKind::Bytes,
        DataType::Date32 | DataType::Date64 => ParameterKind::Date,
        DataType::Time32(_) | DataType::Time64(_) => ParameterKind::Time,
        DataType::Timestamp(_, None) => ParameterKind::Timestamp,
        DataType::Timestamp(_, Some(_)) => ParameterKind::TimestampTz,
        DataType::Interval(_) | DataType::Duration(_) => ParameterKind::Interval,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            let item = kind_of(item.data_type())?.unwrap_or(ParameterKind::Text);
            ParameterKind::List(Box::new(item))
        }
        other => return Err(format!("{other} is no type of a parameter")),
    }))
}

fn value_at(column: &ArrayRef, kind: &ParameterKind, row: usize) -> Result<ParameterValue, String> {
    if let ParameterKind::List(item) = kind {
        return list_at(column, item, row);
    }
    if matches!(column.data_type(), DataType::Duration(_)) {
        let column = cast_row(column, row, &DataType::Duration(TimeUnit::Microsecond))?;
        let micros = column.as_primitive::<DurationMicrosecondType>().value(0);
        return Ok(ParameterValue::Interval(0, 0, micros));
    }
    if matches!(kind, ParameterKind::Numeric) {
        let text = array_value_to_string(column, row).map_err(|error| error.to_string())?;
        return Ok(ParameterValue::Text(text));
    }
    let column = cast_row(column, row, &kind.arrow_type())?;
    Ok(match kind {
        ParameterKind::Bool => ParameterValue::Bool(column.as_boolean().value(0)),
        ParameterKind::Int | ParameterKind::Oid => {
            ParameterValue::Int(column.as_primitive::<Int64Type>().value(0))
        }
        ParameterKind::Float => {
            ParameterValue::Float(column.as_primitive::<Float64Type>().value(0).to_bits())
        }
        ParameterKind::Bytes => ParameterValue::Bytes(column.as_binary::<i32>().value(0).to_vec()),
        ParameterKind::Date => ParameterValue::Days(column.as_primitive::<Date32Type>().value(0)),
        ParameterKind::Time => {
            ParameterValue::Micros(column.as_primitive::<Time64MicrosecondType>().value(0))
        }
        ParameterKind::Timestamp | ParameterKind::TimestampTz => {
            ParameterValue::Micros(column.as_primitive::<TimestampMicrosecondType>().value(0))
        }
        ParameterKind::Interval => {
            let value = column.as_primitive::<IntervalMonthDayNanoType>().value(0);
            ParameterValue::Interval(value.months, value.days, value.nanoseconds / 1_000)
        }
        _ => ParameterValue::Text(column.as_string::<i32>().value(0).to_owned()),
    })
}

/// One row of a column as this type. A value that does not fit it is an error.
fn cast_row(column: &ArrayRef, row: usize, to: &DataType) -> Result<ArrayRef, String> {
    let cast = cast(&column.slice(row, 1), to).map_err(|error| error.to_string())?;
    match cast.is_null(0) {
        true => Err(format!("it is out of the range of {to}")),
        false => Ok(cast),
    }
}

fn list_at(column: &ArrayRef, item: &ParameterKind, row: usize) -> Result<ParameterValue, String> {
    let items = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        _ => column.as_fixed_size_list().value(row),
    };
    let values = (0..items.len()).map(|index| match items.is_null(index) {
        true => Ok(ParameterValue::Null),
        false => value_at(&items, item, index),
    });
    values.collect::<Result<_, _>>().map(ParameterValue::List)
}

/// The columns of a row that a client binds.
pub(super) fn schema_of(kinds: &[ParameterKind]) -> Schema {
    let fields = kinds.iter().enumerate();
    let fields =
        fields.map(|(index, kind)| Field::new(format!("${}", index + 1), kind.arrow_type(), true));
    Schema::new(fields.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use arrow::array::{
        Decimal128Array, DurationSecondArray, Int8Array, ListArray, NullArray, StringViewArray,
        TimestampNanosecondArray, UInt64Array,
    };
    use arrow::datatypes::Int32Type;

    use super::*;

    fn value(array: impl Array + 'static) -> Parameter {
        let batch = RecordBatch::try_from_iter([("0", Arc::new(array) as ArrayRef)]).unwrap();
        of_row(&batch).unwrap().remove(0)
    }

    fn given(kind: ParameterKind, value: ParameterValue) -> Parameter {
        Parameter {
            kind: Some(kind),
            value,
        }
    }

    #[test]
    fn values_keep_their_types_and_text_takes_that_of_its_place() {
        let int = given(ParameterKind::Int, ParameterValue::Int(-7));
        assert_eq!(value(Int8Array::from(vec![-7])), int);
        let largest = ParameterValue::Text(u64::MAX.to_string());
        let largest = given(ParameterKind::Numeric, largest);
        assert_eq!(value(UInt64Array::from(vec![u64::MAX])), largest);
        let amount = Decimal128Array::from(vec![-150]);
        let amount = amount.with_precision_and_scale(10, 2).unwrap();
        let expected = ParameterValue::Text("-1.50".to_owned());
        assert_eq!(value(amount), given(ParameterKind::Numeric, expected));
        let time = TimestampNanosecondArray::from(vec![1_000_000_001]).with_timezone("+02:00");
        let expected = ParameterValue::Micros(1_000_000);
        assert_eq!(value(time), given(ParameterKind::TimestampTz, expected));
        let pause = ParameterValue::Interval(0, 0, 5_000_000);
        let pause = given(ParameterKind::Interval, pause);
        assert_eq!(value(DurationSecondArray::from(vec![5])), pause);
        let text = Parameter {
            kind: None,
            value: ParameterValue::Text(" a ".to_owned()),
        };
        assert_eq!(value(StringViewArray::from(vec![" a "])), text);
        let none = Parameter {
            kind: None,
            value: ParameterValue::Null,
        };
        assert_eq!(value(NullArray::new(1)), none);
        let items = [Some(vec![Some(1), None])];
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>(items);
        let expected = ParameterValue::List(vec![ParameterValue::Int(1), ParameterValue::Null]);
        let kind = ParameterKind::List(Box::new(ParameterKind::Int));
        assert_eq!(value(list), given(kind, expected));
    }

    #[test]
    fn one_row_is_bound_at_a_time() {
        let rows: ArrayRef = Arc::new(Int8Array::from(vec![1, 2]));
        let batch = RecordBatch::try_from_iter([("0", rows)]).unwrap();
        assert!(of_row(&batch).unwrap_err().message.contains("2 rows"));
    }
}
