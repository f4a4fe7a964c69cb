//! `json_extract_path_text(json, field)`: one field of a JSON object as text, as PostgreSQL has it.
//!
//! The engine has no functions on JSON. The views of the registry take their columns out of the
//! JSON of a change with it. What is no object, and a field that is not there or null, is NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewArray, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarUDF, Volatility, create_udf};
use serde_json::{Map, Value};

/// The function.
pub fn udf() -> ScalarUDF {
    create_udf(
        "json_extract_path_text",
        vec![DataType::Utf8View, DataType::Utf8View],
        DataType::Utf8View,
        Volatility::Immutable,
        Arc::new(evaluate),
    )
}

fn evaluate(arguments: &[ColumnarValue]) -> Result<ColumnarValue> {
    let arrays = ColumnarValue::values_to_arrays(arguments)?;
    let (texts, names) = (arrays[0].as_string_view(), arrays[1].as_string_view());
    Ok(ColumnarValue::Array(
        Arc::new(extract(texts, names)) as ArrayRef
    ))
}

fn extract(texts: &StringViewArray, names: &StringViewArray) -> StringViewArray {
    let mut found = StringViewBuilder::with_capacity(texts.len());
    for (text, name) in texts.iter().zip(names) {
        found.append_option(text.zip(name).and_then(|(text, name)| field(text, name)));
    }
    found.finish()
}

fn field(text: &str, name: &str) -> Option<String> {
    let mut object: Map<String, Value> = serde_json::from_str(text).ok()?;
    match object.remove(name)? {
        Value::Null => None,
        Value::String(text) => Some(text),
        value => Some(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn a_field_is_taken_out_as_text() {
        let json = r#"{"a": "x y", "b": 5.5, "c": true, "d": null, "e": {"f": 1}}"#;
        let found = |name| field(json, name);
        assert_eq!(found("a").as_deref(), Some("x y"));
        assert_eq!(found("b").as_deref(), Some("5.5"));
        assert_eq!(found("c").as_deref(), Some("true"));
        assert_eq!((found("d"), found("z")), (None, None));
        assert_eq!(found("e").as_deref(), Some(r#"{"f":1}"#));
        assert_eq!((field("[1]", "a"), field("{", "a")), (None, None));
    }
}
