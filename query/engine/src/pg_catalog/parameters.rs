//! Parameters of a PostgreSQL session, from the types that its client gave them to those that the
//! plan needs.
//!
//! A number stays what it is: the plan compares it with a column as it would compare a literal, so
//! that a whole number fits a numeric. Text without a type is read as what stands beside it.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, IntervalMonthDayNano};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use headframe_query_front::sql::{Parameter, ParameterKind, ParameterValue};
use headframe_query_front::wire::postgres::parameter::list_of_untyped_text;
use headframe_query_front::{ErrorCode, QueryError, SqlState};

use crate::error::EngineError;

/// Digits of a numeric that stand behind its point when nobody says how many.
const SCALE: i8 = 10;

/// What a client is told its parameters are: its own types, else what the statement calls them,
/// else what the plan needs, else text.
pub fn kinds(
    plan: &LogicalPlan,
    given: &[Parameter],
    called: &[(usize, ParameterKind)],
) -> Result<Vec<ParameterKind>> {
    let wanted = types_of(plan)?;
    let kind = |(index, parameter): (usize, &Parameter)| {
        let called = || {
            let mut called = called.iter();
            called
                .find(|(place, _)| *place == index)
                .map(|(_, kind)| kind.clone())
        };
        let wanted = || wanted_by(&wanted, index).and_then(kind_of);
        let kind = parameter.kind.clone().or_else(called);
        kind.or_else(wanted).unwrap_or(ParameterKind::Text)
    };
    Ok(given.iter().enumerate().map(kind).collect())
}

/// The plan with its placeholders filled in.
pub fn fill(plan: LogicalPlan, given: &[Parameter]) -> Result<LogicalPlan, EngineError> {
    let wanted = types_of(&plan)?;
    if wanted.is_empty() {
        return Ok(plan);
    }
    let values = given.iter().enumerate();
    let values = values.map(|(index, parameter)| {
        scalar(parameter, wanted_by(&wanted, index)).map_err(|why| unfit(index, &why))
    });
    let values: Vec<ScalarValue> = values.collect::<Result<_, _>>()?;
    plan.with_param_values(values).map_err(|error| {
        let hint = "give each of $1, $2, … a value of a type that fits";
        let error = QueryError::new(ErrorCode::Parameters, error.strip_backtrace(), hint);
        error.with_sqlstate(SqlState::UndefinedParameter).into()
    })
}

/// The type of each placeholder, by its name: what the plan needs, else what it is cast to, else a
/// list of what it is searched for.
fn types_of(plan: &LogicalPlan) -> Result<HashMap<String, Option<DataType>>> {
    let mut types = plan.get_parameter_types()?;
    plan.apply_with_subqueries(|plan| {
        plan.apply_expressions(|expr| {
            expr.apply(|expr| {
                let known = match expr {
                    Expr::Cast(cast) => Some((&*cast.expr, cast.field.data_type().clone())),
                    Expr::TryCast(cast) => Some((&*cast.expr, cast.field.data_type().clone())),
                    _ => searched_list(expr, plan),
                };
                if let Some((Expr::Placeholder(placeholder), to)) = known
                    && let Some(unknown @ None) = types.get_mut(&placeholder.id)
                {
                    *unknown = Some(to);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// The list of `value = ANY(list)`, and its type.
fn searched_list<'a>(expr: &'a Expr, plan: &LogicalPlan) -> Option<(&'a Expr, DataType)> {
    let Expr::ScalarFunction(function) = expr else {
        return None;
    };
    let ("array_has", [list, value]) = (function.name(), function.args.as_slice()) else {
        return None;
    };
    let schemas = plan
        .inputs()
        .into_iter()
        .map(|input| input.schema().as_ref());
    let schema = schemas.fold(DFSchema::empty(), |mut all, schema| {
        all.merge(schema);
        all
    });
    let item = value.get_type(&schema).ok()?;
    Some((list, DataType::new_list(item, true)))
}

fn wanted_by(wanted: &HashMap<String, Option<DataType>>, index: usize) -> Option<&DataType> {
    wanted.get(&format!("${}", index + 1))?.as_ref()
}

fn unfit(index: usize, why: &str) -> QueryError {
    let message = format!("parameter ${} cannot be used: {why}", index + 1);
    let error = QueryError::new(ErrorCode::Parameters, message, "pass a value of its type");
    error.with_sqlstate(SqlState::InvalidText)
}

fn scalar(
    parameter: &Parameter,
    wanted: Option<&DataType>,
) -> std::result::Result<ScalarValue, String> {
    let to = match (&parameter.kind, wanted) {
        (Some(kind), _) => arrow_type(kind, &parameter.value),
        (None, Some(wanted)) => wanted.clone(),
        (None, None) => DataType::Utf8,
    };
    value_of(&parameter.value, &to)
}

fn value_of(value: &ParameterValue, to: &DataType) -> std::result::Result<ScalarValue, String> {
    let failed = |error: datafusion::error::DataFusionError| error.strip_backtrace();
    Ok(match (value, to) {
        (ParameterValue::Null, to) => ScalarValue::try_from(to).map_err(failed)?,
        (ParameterValue::Bool(value), _) => ScalarValue::Boolean(Some(*value)),
        (ParameterValue::Int(value), _) => ScalarValue::Int64(Some(*value)),
        (ParameterValue::Float(bits), _) => ScalarValue::Float64(Some(f64::from_bits(*bits))),
        (ParameterValue::Bytes(bytes), _) => ScalarValue::Binary(Some(bytes.clone())),
        (ParameterValue::Days(days), _) => ScalarValue::Date32(Some(*days)),
        (ParameterValue::Micros(micros), DataType::Timestamp(_, zone)) => {
            ScalarValue::TimestampMicrosecond(Some(*micros), zone.clone())
        }
        (ParameterValue::Micros(micros), _) => ScalarValue::Time64Microsecond(Some(*micros)),
        (ParameterValue::Interval(months, days, micros), _) => {
            let nanos = micros.saturating_mul(1_000);
            let interval = IntervalMonthDayNano::new(*months, *days, nanos);
            ScalarValue::IntervalMonthDayNano(Some(interval))
        }
        (ParameterValue::Text(text), DataType::Utf8) => ScalarValue::Utf8(Some(text.clone())),
        (ParameterValue::Text(text), DataType::Utf8View | DataType::LargeUtf8) => {
            let text = ScalarValue::Utf8(Some(text.clone()));
            text.cast_to(to).map_err(failed)?
        }
        (ParameterValue::Text(text), DataType::List(item)) => {
            let kind = kind_of(item.data_type()).unwrap_or(ParameterKind::Text);
            let list = list_of_untyped_text(&kind, text);
            let list = list.ok_or_else(|| format!("{text:?} is no list"))?;
            value_of(&list, to)?
        }
        (ParameterValue::Text(text), to) => {
            let text = ScalarValue::Utf8(Some(text.trim().to_owned()));
            text.cast_to(to).map_err(failed)?
        }
        (ParameterValue::List(items), DataType::List(item)) => {
            let to = item.data_type();
            let items = items
                .iter()
                .map(|value| value_of(value, to)?.cast_to(to).map_err(failed));
            let items = items.collect::<std::result::Result<Vec<_>, String>>()?;
            ScalarValue::List(ScalarValue::new_list(&items, to, true))
        }
        (ParameterValue::List(_), to) => return Err(format!("a list is no {to}")),
    })
}

/// The Arrow type of a parameter. A numeric has as many digits behind its point as were written.
fn arrow_type(kind: &ParameterKind, value: &ParameterValue) -> DataType {
    match kind {
        ParameterKind::Numeric => DataType::Decimal128(38, scale_of(value)),
        ParameterKind::List(item) => {
            let largest = match value {
                ParameterValue::List(items) => items.iter().max_by_key(|item| scale_of(item)),
                _ => None,
            };
            let item = arrow_type(item, largest.unwrap_or(&ParameterValue::Null));
            DataType::List(Field::new_list_field(item, true).into())
        }
        other => other.arrow_type(),
    }
}

fn scale_of(value: &ParameterValue) -> i8 {
    match value {
        ParameterValue::Text(text) => {
            let digits = text
                .trim()
                .split_once('.')
                .map_or(0, |(_, fraction)| fraction.len());
            i8::try_from(digits.min(38)).unwrap_or(SCALE)
        }
        ParameterValue::Null => SCALE,
        _ => 0,
    }
}

/// The kind of parameter that a type of the plan is.
fn kind_of(data_type: &DataType) -> Option<ParameterKind> {
    Some(match data_type {
        DataType::Boolean => ParameterKind::Bool,
        integer if integer.is_integer() => ParameterKind::Int,
        float if float.is_floating() => ParameterKind::Float,
        decimal if decimal.is_decimal() => ParameterKind::Numeric,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => ParameterKind::Text,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => ParameterKind::Bytes,
        DataType::Date32 | DataType::Date64 => ParameterKind::Date,
        DataType::Time32(_) | DataType::Time64(_) => ParameterKind::Time,
        DataType::Timestamp(_, None) => ParameterKind::Timestamp,
        DataType::Timestamp(_, Some(_)) => ParameterKind::TimestampTz,
        DataType::Interval(_) | DataType::Duration(_) => ParameterKind::Interval,
        DataType::List(item) => ParameterKind::List(Box::new(kind_of(item.data_type())?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn typed(kind: ParameterKind, text: &str) -> std::result::Result<ScalarValue, String> {
        let value = ParameterValue::Text(text.to_owned());
        let parameter = Parameter {
            kind: Some(kind),
            value,
        };
        scalar(&parameter, None)
    }

    #[test]
    fn text_becomes_a_value_of_the_declared_type() {
        let largest = "99999999999999999999999999999999999999";
        assert_eq!(
            typed(ParameterKind::Numeric, largest).unwrap(),
            ScalarValue::Decimal128(Some(largest.parse().unwrap()), 38, 0)
        );
        assert_eq!(
            typed(ParameterKind::Numeric, "-0.50").unwrap(),
            ScalarValue::Decimal128(Some(-50), 38, 2)
        );
        assert_eq!(
            typed(ParameterKind::TimestampTz, "2026-01-05 01:00:00+01").unwrap(),
            ScalarValue::TimestampMicrosecond(Some(1_767_571_200_000_000), Some("UTC".into()))
        );
        assert!(typed(ParameterKind::Numeric, &format!("{largest}0")).is_err());
        assert!(typed(ParameterKind::Date, "soon").is_err());
    }

    #[test]
    fn text_for_a_column_of_text_keeps_its_blanks() {
        let parameter = Parameter {
            kind: None,
            value: ParameterValue::Text(" a ".to_owned()),
        };
        let text = Some(" a ".to_owned());
        for (wanted, expected) in [
            (DataType::Utf8View, ScalarValue::Utf8View(text.clone())),
            (DataType::LargeUtf8, ScalarValue::LargeUtf8(text.clone())),
            (DataType::Utf8, ScalarValue::Utf8(text)),
        ] {
            assert_eq!(scalar(&parameter, Some(&wanted)).unwrap(), expected);
        }
    }

    #[test]
    fn lists_have_items_of_one_type() {
        let kind = ParameterKind::List(Box::new(ParameterKind::Int));
        let value = ParameterValue::List(vec![ParameterValue::Int(1), ParameterValue::Null]);
        let list = scalar(
            &Parameter {
                kind: Some(kind),
                value,
            },
            None,
        )
        .unwrap();
        assert_eq!(list.data_type(), DataType::new_list(DataType::Int64, true));
        assert!(!list.is_null());
    }
}
