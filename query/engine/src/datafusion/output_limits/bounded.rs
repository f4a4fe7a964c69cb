//! A function that is asked for its size before it is called.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use super::bounds::Bound;
use super::{MAX_BATCH_BYTES, MAX_BATCH_STEPS, MAX_CONSTANT_BYTES};
use crate::datafusion::paid_values::paid;

/// The engine's function with a bound. Its simplifications are left out: they would put the
/// unbounded function back.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Bounded {
    inner: Arc<ScalarUDF>,
    bound: Bound,
}

impl Bounded {
    pub fn new(inner: Arc<ScalarUDF>, bound: Bound) -> Self {
        Self { inner, bound }
    }
}

/// Refuses what would be too large.
pub fn check(name: &str, bound: Bound, args: &[ColumnarValue], rows: usize) -> Result<()> {
    let constant = args
        .iter()
        .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { rows };
    let bytes = bound.bytes(args, rows);
    let limit = if bound == Bound::Pairs {
        MAX_BATCH_STEPS
    } else if constant {
        MAX_CONSTANT_BYTES
    } else {
        MAX_BATCH_BYTES
    };
    if bytes <= limit {
        return Ok(());
    }
    if bound == Bound::Pairs {
        return Err(resources_datafusion_err!(
            "{name} may take {bytes} steps, more than {limit}: give it shorter text"
        ));
    }
    let what = if constant {
        "a constant"
    } else {
        "a batch of rows"
    };
    Err(resources_datafusion_err!(
        "{name} may make {bytes} bytes of {what}, more than {limit}: give it smaller numbers or \
         shorter text"
    ))
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.name(), self.bound, &args.args, args.number_rows)?;
        let options = args.config_options.clone();
        paid(self.inner.invoke_with_args(args)?, &options)
    }
}
