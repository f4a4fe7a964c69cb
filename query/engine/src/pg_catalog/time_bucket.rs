//! `time_bucket(width, time)` of TimescaleDB, which Grafana writes when its switch for that is on:
//! where the span begins that a time is in.

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{ScalarValue, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Where a span of every width begins: Monday, 2000-01-03 00:00 UTC, microseconds since 1970.
const ORIGIN_US: i64 = 946_857_600_000_000;
/// Units of a width, and their microseconds.
const UNITS: &[(&[&str], f64)] = &[
    (&["ms", "millisecond", "milliseconds"], 1e3),
    (&["s", "sec", "secs", "second", "seconds"], 1e6),
    (&["m", "min", "mins", "minute", "minutes"], 60e6),
    (&["h", "hour", "hours"], 3_600e6),
    (&["d", "day", "days"], 86_400e6),
    (&["w", "week", "weeks"], 604_800e6),
];

/// The function.
pub fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(TimeBucket {
        signature: Signature::any(2, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    signature: Signature,
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [_, DataType::Timestamp(_, zone)] => {
                Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
            }
            _ => plan_err!("time_bucket takes a width, such as '5 minutes', and a time"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(width), time] = args.args.as_slice() else {
            return plan_err!("the width of time_bucket is the same for all rows");
        };
        let Some(width_us) = width_us(width).filter(|width| *width > 0) else {
            return plan_err!(
                "time_bucket has the width {width}; write '60s', '5 minutes' or '1d'"
            );
        };
        let returns = args.return_field.data_type();
        let times = cast(&time.to_array(args.number_rows)?, returns)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let begins = times.unary::<_, TimestampMicrosecondType>(|time| begin_of(time, width_us));
        let begins: ArrayRef = std::sync::Arc::new(begins.with_data_type(returns.clone()));
        Ok(ColumnarValue::Array(begins))
    }
}

fn begin_of(time_us: i64, width_us: i64) -> i64 {
    let into = time_us.saturating_sub(ORIGIN_US).rem_euclid(width_us);
    time_us.saturating_sub(into)
}

/// The microseconds of a width, where it has any: months differ.
fn width_us(width: &ScalarValue) -> Option<i64> {
    if let ScalarValue::IntervalMonthDayNano(Some(interval)) = width {
        let days = i64::from(interval.days).checked_mul(86_400_000_000)?;
        return (interval.months == 0)
            .then(|| days.checked_add(interval.nanoseconds / 1_000))
            .flatten();
    }
    let text = width.try_as_str()??.trim();
    let unit_at = text.find(|char: char| char.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let unit = unit.to_ascii_lowercase();
    let (_, unit_us) = UNITS.iter().find(|(names, _)| names.contains(&&*unit))?;
    let micros = number.trim().parse::<f64>().ok()? * unit_us;
    // A width of more than a thousand years is a mistake.
    (1.0..4e16)
        .contains(&micros)
        .then_some(micros.round() as i64)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::IntervalMonthDayNano;

    use super::*;

    #[test]
    fn a_width_is_text_or_an_interval() {
        let text = |text: &str| width_us(&ScalarValue::from(text));
        assert_eq!(text("60.000s"), Some(60_000_000));
        assert_eq!(text("0.500s"), Some(500_000));
        assert_eq!(text("5 minutes"), Some(300_000_000));
        assert_eq!(text(" 1 Day "), Some(86_400_000_000));
        for wrong in [
            "", "5", "s", "1 month", "0s", "-5s", "1e300s", "NaNs", "5 5s",
        ] {
            assert_eq!(text(wrong), None, "{wrong}");
        }
        let interval = |months, days, nanoseconds| {
            let interval = IntervalMonthDayNano::new(months, days, nanoseconds);
            width_us(&ScalarValue::IntervalMonthDayNano(Some(interval)))
        };
        assert_eq!(interval(0, 1, 1_000), Some(86_400_000_001));
        assert_eq!(interval(1, 0, 0), None);
    }

    #[test]
    fn spans_of_weeks_begin_on_mondays() {
        let (day, week) = (86_400_000_000, 604_800_000_000);
        // 1970-01-01 was a Thursday.
        assert_eq!(begin_of(0, week), -3 * day);
        assert_eq!(begin_of(-1, day), -day);
        assert_eq!(
            begin_of(ORIGIN_US + 61_000_000, 60_000_000),
            ORIGIN_US + 60_000_000
        );
        assert_eq!(begin_of(i64::MIN, week), i64::MIN);
    }
}
