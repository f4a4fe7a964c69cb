//! `a || b`, which is an operator without a bound, as a function with one.

use std::sync::Arc;

use arrow::array::{Array, AsArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::bounded::check;
use super::bounds::Bound;
use crate::datafusion::paid_values::paid;

/// Puts the function in the operator's place. Lists have been taken by their own planner before.
#[derive(Debug)]
pub struct Planner {
    function: Arc<ScalarUDF>,
}

impl Planner {
    pub fn new() -> Self {
        let signature = Signature::user_defined(Volatility::Immutable);
        Self {
            function: Arc::new(ScalarUDF::new_from_impl(Joined { signature })),
        }
    }
}

impl ExprPlanner for Planner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if !matches!(expr.op, BinaryOperator::StringConcat) {
            return Ok(PlannerResult::Original(expr));
        }
        let binary = |side: &Expr| side.get_type(schema).is_ok_and(|kind| kind.is_binary());
        if binary(&expr.left) || binary(&expr.right) {
            return plan_err!("|| joins text: write encode(column, 'hex') first");
        }
        // A chain is one call, so that it does not nest as deep as it is long.
        let call = match expr.left {
            Expr::ScalarFunction(mut call) if call.func == self.function => {
                call.args.push(expr.right);
                call
            }
            left => ScalarFunction::new_udf(self.function.clone(), vec![left, expr.right]),
        };
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        "||"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let names: Vec<String> = args
            .iter()
            .map(|arg| arg.schema_name().to_string())
            .collect();
        Ok(names.join(" || "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        Ok(vec![DataType::Utf8View; types.len()])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), Bound::Sum, &args.args, args.number_rows)?;
        let constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let parts = ColumnarValue::values_to_arrays(&args.args)?;
        let parts: Vec<_> = parts.iter().map(|part| part.as_string_view()).collect();
        let rows = parts.first().map_or(0, |part| part.len());
        let mut joined = StringViewBuilder::with_capacity(rows);
        let mut text = String::new();
        for row in 0..rows {
            if parts.iter().any(|part| part.is_null(row)) {
                joined.append_null();
                continue;
            }
            text.clear();
            parts.iter().for_each(|part| text.push_str(part.value(row)));
            joined.append_value(&text);
        }
        let joined = joined.finish();
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?)
        } else {
            paid(ColumnarValue::Array(Arc::new(joined)), &args.config_options)?
        })
    }
}
