//! Parameters of a statement as JSON: an array for `$1, $2, …`, an object for `$name`.

use datafusion::common::ParamValues;
use datafusion::common::ScalarValue;
use serde_json::Value;

use headframe_query_front::{ErrorCode, QueryError};

/// Turns JSON into parameter values; `None` when there are none.
///
/// Whole numbers become BIGINT (or DECIMAL(38,0) when they are larger), other numbers DOUBLE,
/// strings VARCHAR; a string that is compared with a time is read as one.
pub fn from_json(value: &Value) -> Result<Option<ParamValues>, QueryError> {
    match value {
        Value::Null => Ok(None),
        Value::Array(values) => {
            let values = values
                .iter()
                .enumerate()
                .map(|(index, value)| scalar(&format!("${}", index + 1), value));
            Ok(Some(ParamValues::from(
                values.collect::<Result<Vec<_>, _>>()?,
            )))
        }
        Value::Object(values) => {
            let values = values
                .iter()
                .map(|(name, value)| Ok((name.clone(), scalar(&format!("${name}"), value)?)));
            Ok(Some(ParamValues::from(
                values.collect::<Result<std::collections::HashMap<_, _>, QueryError>>()?,
            )))
        }
        _ => Err(QueryError::new(
            ErrorCode::Parameters,
            "params must be an array or an object",
            "params: [1, \"rig-7\"] or {\"worker\": \"rig-7\"}",
        )),
    }
}

fn scalar(name: &str, value: &Value) -> Result<ScalarValue, QueryError> {
    match value {
        Value::Null => Ok(ScalarValue::Null),
        Value::Bool(value) => Ok(ScalarValue::Boolean(Some(*value))),
        Value::String(value) => Ok(ScalarValue::Utf8(Some(value.clone()))),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(value), ..) => Ok(ScalarValue::Int64(Some(value))),
            (None, Some(value), _) => Ok(ScalarValue::Decimal128(Some(i128::from(value)), 38, 0)),
            (None, None, Some(value)) => Ok(ScalarValue::Float64(Some(value))),
            _ => Err(unfit(name)),
        },
        Value::Array(_) | Value::Object(_) => Err(unfit(name)),
    }
}

fn unfit(name: &str) -> QueryError {
    let message = format!("parameter {name} is not null, a truth value, a number or a string");
    QueryError::new(ErrorCode::Parameters, message, "pass one value a parameter")
}
