//! Functions over lists that PostgreSQL has as sets: the rewriter takes what they give apart.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StructArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, is_not_null};
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// All of them.
pub fn all() -> Vec<ScalarUDF> {
    [
        ("generate_subscripts", Gives::Subscripts),
        ("_pg_expandarray", Gives::Pairs),
        ("empty_if_null", Gives::Lists),
    ]
    .into_iter()
    .map(|(name, gives)| {
        ScalarUDF::new_from_impl(ListFunction {
            name,
            gives,
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    })
    .collect()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Gives {
    /// The numbers of the values of a list.
    Subscripts,
    /// Each value `x` of a list with its number `n`.
    Pairs,
    /// The list, which is empty where it is NULL.
    Lists,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ListFunction {
    name: &'static str,
    gives: Gives,
    signature: Signature,
}

fn item_of(list: &DataType) -> Result<DataType> {
    match list {
        DataType::List(item) => Ok(item.data_type().clone()),
        DataType::Null => Ok(DataType::Int32),
        other => plan_err!("{other} is no list"),
    }
}

fn pair(item: DataType) -> Fields {
    Fields::from(vec![
        Field::new("x", item, true),
        Field::new("n", DataType::Int32, true),
    ])
}

impl ScalarUDFImpl for ListFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let Some(list) = types.first() else {
            return plan_err!("{} needs a list", self.name);
        };
        let item = match self.gives {
            Gives::Subscripts => DataType::Int32,
            Gives::Pairs => DataType::Struct(pair(item_of(list)?)),
            Gives::Lists => item_of(list)?,
        };
        Ok(DataType::new_list(item, true))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let Some(list) = arrays.first() else {
            return exec_err!("{} needs a list", self.name);
        };
        let list = cast(list, &DataType::new_list(item_of(list.data_type())?, true))?;
        let lists: &ListArray = list.as_list();
        Ok(ColumnarValue::Array(match self.gives {
            Gives::Subscripts => numbered(lists, |_, numbers| (Arc::new(numbers), None))?,
            Gives::Pairs => numbered(lists, |values, numbers| {
                let numbers: ArrayRef = Arc::new(numbers);
                (numbers, Some(values))
            })?,
            Gives::Lists => {
                let empty = ListArray::new(
                    Field::new_list_field(lists.value_type(), true).into(),
                    OffsetBuffer::new_zeroed(1),
                    new_empty_array(&lists.value_type()),
                    None,
                );
                zip(
                    &is_not_null(lists)?,
                    lists,
                    &arrow::array::Scalar::new(empty),
                )?
            }
        }))
    }
}

/// Lists of the numbers of their values, with the values where they are wanted.
fn numbered(
    lists: &ListArray,
    items: impl Fn(ArrayRef, Int32Array) -> (ArrayRef, Option<ArrayRef>),
) -> Result<ArrayRef> {
    let offsets = lists.value_offsets();
    let (first, last) = (offsets[0], offsets[lists.len()]);
    // Offsets of a list are never negative, and grow.
    let values = lists
        .values()
        .slice(first as usize, (last - first) as usize);
    let counts = offsets.windows(2).flat_map(|pair| 1..=pair[1] - pair[0]);
    let (numbers, values) = items(values, counts.collect());
    let items: ArrayRef = match values {
        Some(values) => {
            let fields = pair(values.data_type().clone());
            Arc::new(StructArray::new(fields, vec![values, numbers], None))
        }
        None => numbers,
    };
    let lengths = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
    Ok(Arc::new(ListArray::new(
        Field::new_list_field(items.data_type().clone(), true).into(),
        OffsetBuffer::from_lengths(lengths),
        items,
        lists.nulls().cloned(),
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use arrow::datatypes::Int16Type;

    use super::*;

    fn invoke(name: &str, lists: ListArray) -> String {
        let function = all().into_iter().find(|function| function.name() == name);
        let function = function.unwrap();
        let returns = function
            .inner()
            .return_type(&[lists.data_type().clone()])
            .unwrap();
        let rows = lists.len();
        let array = function
            .invoke_with_args(ScalarFunctionArgs {
                arg_fields: vec![Field::new("a", lists.data_type().clone(), true).into()],
                args: vec![ColumnarValue::Array(Arc::new(lists))],
                number_rows: rows,
                return_field: Field::new("r", returns.clone(), true).into(),
                config_options: Arc::default(),
            })
            .unwrap()
            .into_array(rows)
            .unwrap();
        assert_eq!(array.data_type(), &returns);
        let options = arrow::util::display::FormatOptions::default().with_null("NULL");
        let format = arrow::util::display::ArrayFormatter::try_new(&array, &options).unwrap();
        let rows = (0..rows).map(|row| format.value(row).to_string());
        rows.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn lists_are_numbered_from_one() {
        let lists = || {
            let rows = [
                Some(vec![Some(7), Some(9)]),
                None,
                Some(vec![]),
                Some(vec![Some(3)]),
            ];
            ListArray::from_iter_primitive::<Int16Type, _, _>(rows).slice(0, 4)
        };
        assert_eq!(invoke("generate_subscripts", lists()), "[1, 2] NULL [] [1]");
        assert_eq!(
            invoke("_pg_expandarray", lists().slice(1, 3)),
            "NULL [] [{x: 3, n: 1}]"
        );
        assert_eq!(invoke("empty_if_null", lists()), "[7, 9] [] [] [3]");
    }
}
