//! How many bytes a call can make, told from its arguments.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit};
use datafusion::logical_expr::ColumnarValue;
use datafusion::scalar::ScalarValue;

/// What a list's item takes beside its text.
const ITEM: u128 = 16;
/// A letter of padding takes up to so many bytes.
const LETTER: u128 = 4;
const DAY_NS: i128 = 86_400_000_000_000;

/// A rule from arguments to bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bound {
    /// All arguments side by side.
    Sum,
    /// The first as often as the second says.
    Times,
    /// As many letters as the second says.
    Letters,
    /// As many items as the second says, beside the first.
    Items,
    /// As many items as lie between the first and the second, or between zero and the first.
    Between,
    /// The third for every letter of the first.
    Replaced,
    /// One item a byte.
    Split,
    /// Every item of the first, with the second beside it or in its place.
    ItemsBeside,
    /// All arguments, with the first between any two.
    Separated,
    /// As many steps as the lengths of the first two multiplied.
    Pairs,
}

/// The functions with their rules.
pub const ALL: &[(&[&str], Bound)] = &[
    (&["repeat"], Bound::Times),
    (&["lpad", "rpad"], Bound::Letters),
    (&["array_repeat", "array_resize"], Bound::Items),
    (&["range", "generate_series"], Bound::Between),
    (&["replace", "regexp_replace"], Bound::Replaced),
    (&["string_to_array"], Bound::Split),
    (&["concat_ws"], Bound::Separated),
    (&["levenshtein"], Bound::Pairs),
    (
        &[
            "array_to_string",
            "array_replace",
            "array_replace_n",
            "array_replace_all",
        ],
        Bound::ItemsBeside,
    ),
    (
        &[
            "concat",
            "overlay",
            "make_array",
            "array_append",
            "array_prepend",
            "array_concat",
            "upper",
            "lower",
            "initcap",
            "reverse",
            "translate",
            "encode",
            "decode",
        ],
        Bound::Sum,
    ),
];

impl Bound {
    /// Bytes that a call with these arguments makes for so many rows, at most.
    pub fn bytes(self, args: &[ColumnarValue], rows: usize) -> u128 {
        let size = |place: usize, row: usize| args.get(place).map_or(0, |arg| length(arg, row));
        let each = |of: &dyn Fn(usize) -> u128| (0..rows).map(of).fold(0, u128::saturating_add);
        match self {
            Bound::Sum => args
                .iter()
                .map(|arg| whole(arg, rows))
                .fold(0, u128::saturating_add),
            Bound::Times => {
                let times = numbers(args.get(1), rows);
                each(&|row| size(0, row).saturating_mul(times(row)))
            }
            Bound::Letters => {
                let letters = numbers(args.get(1), rows);
                each(&|row| letters(row).saturating_mul(LETTER))
            }
            Bound::Items => {
                let items = numbers(args.get(1), rows);
                let item = |row| size(0, row).max(size(2, row)).saturating_add(ITEM);
                each(&|row| items(row).saturating_mul(item(row)))
                    .saturating_add(args.first().map_or(0, |arg| whole(arg, rows)))
            }
            Bound::Between => each(&|row| between(args, row).saturating_mul(ITEM)),
            Bound::Replaced => each(&|row| {
                let (text, by) = (size(0, row), size(2, row));
                text.saturating_add(1)
                    .saturating_mul(by.saturating_add(1))
                    .saturating_mul(2)
            }),
            Bound::ItemsBeside => {
                let items = |row| args.first().map_or(0, |list| items(list, row));
                let beside = |row| size(1, row).max(size(2, row)).saturating_add(ITEM);
                each(&|row| items(row).saturating_mul(beside(row)))
                    .saturating_add(args.first().map_or(0, |arg| whole(arg, rows)))
            }
            Bound::Separated => {
                let parts = args.len() as u128;
                let separators = each(&|row| size(0, row).saturating_mul(parts));
                let values = args.iter().skip(1).map(|arg| whole(arg, rows));
                values.fold(separators, u128::saturating_add)
            }
            Bound::Pairs => each(&|row| size(0, row).saturating_mul(size(1, row))),
            Bound::Split => args
                .first()
                .map_or(0, |arg| whole(arg, rows))
                .saturating_mul(ITEM),
        }
    }
}

/// Bytes of an argument in all rows; a constant is copied into each.
fn whole(arg: &ColumnarValue, rows: usize) -> u128 {
    match arg {
        ColumnarValue::Scalar(value) => value.size() as u128 * rows as u128,
        ColumnarValue::Array(array) if is_text(array.data_type()) => (0..array.len())
            .map(|row| length(arg, row))
            .fold(0, u128::saturating_add),
        ColumnarValue::Array(array) => array.get_array_memory_size() as u128,
    }
}

/// Items of one row's list, those of lists inside it included; of what is no list, none.
fn items(arg: &ColumnarValue, row: usize) -> u128 {
    let (array, row) = match arg {
        ColumnarValue::Scalar(value) => match value.to_array() {
            Ok(array) => (array, 0),
            Err(_) => return u128::MAX,
        },
        ColumnarValue::Array(array) => (array.clone(), row),
    };
    if row >= array.len() || array.is_null(row) {
        return 0;
    }
    let inner: ArrayRef = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => return 0,
    };
    let below: ColumnarValue = ColumnarValue::Array(inner.clone());
    let nested = (0..inner.len())
        .filter(|_| inner.data_type().is_nested())
        .map(|row| items(&below, row))
        .fold(0, u128::saturating_add);
    nested.saturating_add(inner.len() as u128)
}

fn is_text(kind: &DataType) -> bool {
    matches!(
        kind,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Bytes of one row's value; for what is not text, of the longest there can be.
fn length(arg: &ColumnarValue, row: usize) -> u128 {
    let array = match arg {
        ColumnarValue::Scalar(value) => {
            return value
                .try_as_str()
                .flatten()
                .map_or_else(|| value.size(), str::len) as u128;
        }
        ColumnarValue::Array(array) => array,
    };
    if row >= array.len() || array.is_null(row) {
        return 0;
    }
    let bytes = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value_length(row) as usize,
        DataType::LargeUtf8 => {
            usize::try_from(array.as_string::<i64>().value_length(row)).unwrap_or(usize::MAX)
        }
        // The lowest 32 bits of a view are its length.
        DataType::Utf8View => array.as_string_view().views()[row] as u32 as usize,
        kind if kind.is_primitive() || *kind == DataType::Boolean => 16,
        _ => array.get_array_memory_size(),
    };
    bytes as u128
}

/// The argument as whole numbers, row by row; negative ones and nulls count as none, and what is no
/// number as beyond all bounds.
fn numbers(arg: Option<&ColumnarValue>, rows: usize) -> Box<dyn Fn(usize) -> u128> {
    let array = arg.and_then(|arg| match arg {
        ColumnarValue::Scalar(value) => value.to_array().ok(),
        ColumnarValue::Array(array) => Some(array.clone()),
    });
    let one = matches!(arg, Some(ColumnarValue::Scalar(_))) || rows == 1;
    match array.and_then(|array| cast(&array, &DataType::Int64).ok()) {
        Some(array) => Box::new(move |row| {
            let (array, row) = (array.as_primitive::<Int64Type>(), if one { 0 } else { row });
            if row < array.len() && array.is_valid(row) {
                u128::try_from(array.value(row)).unwrap_or(0)
            } else {
                0
            }
        }),
        None => Box::new(|_| u128::MAX),
    }
}

/// How many steps lie between a row's bounds.
fn between(args: &[ColumnarValue], row: usize) -> u128 {
    let value = |place: usize| args.get(place).and_then(|arg| one(arg, row));
    let (Some(first), last) = (value(0), value(1)) else {
        return 0;
    };
    let (Some(from), Some(to)) = (match last {
        None => (Some(0), position(&first)),
        Some(last) => (position(&first), position(&last)),
    }) else {
        return 0;
    };
    let step = value(2)
        .map_or(Some(1), |step| pace(&step))
        .unwrap_or(0)
        .unsigned_abs()
        .max(1);
    to.abs_diff(from) / step + 1
}

fn one(arg: &ColumnarValue, row: usize) -> Option<ScalarValue> {
    let value = match arg {
        ColumnarValue::Scalar(value) => value.clone(),
        ColumnarValue::Array(array) => ScalarValue::try_from_array(array, row).ok()?,
    };
    (!value.is_null()).then_some(value)
}

/// Where a bound lies: a number itself, a time in nanoseconds.
fn position(value: &ScalarValue) -> Option<i128> {
    let number = |kind: &DataType| {
        value
            .cast_to(kind)
            .ok()
            .and_then(|value| i64::try_from(value.cast_to(&DataType::Int64).ok()?).ok())
    };
    if value.data_type().is_integer() {
        return number(&DataType::Int64).map(i128::from);
    }
    number(&DataType::Timestamp(TimeUnit::Microsecond, None)).map(|us| i128::from(us) * 1_000)
}

/// How far one step goes: a number itself, an interval in nanoseconds, with the shortest months
/// there are.
fn pace(value: &ScalarValue) -> Option<i128> {
    if value.data_type().is_integer() {
        return position(value);
    }
    let interval = value
        .cast_to(&DataType::Interval(IntervalUnit::MonthDayNano))
        .ok()?
        .to_array()
        .ok()?;
    let interval = interval
        .as_primitive_opt::<IntervalMonthDayNanoType>()?
        .value(0);
    Some(
        i128::from(interval.months) * 28 * DAY_NS
            + i128::from(interval.days) * DAY_NS
            + i128::from(interval.nanoseconds),
    )
}
