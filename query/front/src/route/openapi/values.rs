//! The schemas of values and fields.

use serde_json::{Value, json};

use crate::route::schema::{Param, ValueType};

/// The schema of a value.
pub(super) fn value_schema(value: ValueType) -> Value {
    match value {
        ValueType::Text => json!({"type": "string"}),
        ValueType::Integer { least, most } => {
            json!({"type": "integer", "format": "int64", "minimum": least, "maximum": most})
        }
        ValueType::Number => json!({"type": "number", "format": "double"}),
        ValueType::OneOf(texts) => json!({"type": "string", "enum": texts}),
        ValueType::Boolean => json!({"type": "boolean"}),
        ValueType::Texts => json!({"type": "array", "items": {"type": "string"}}),
        ValueType::Any => json!({}),
    }
}

/// The schema of a field, with what it means.
pub(super) fn field_schema(field: &Param) -> Value {
    let mut schema = value_schema(field.value);
    schema["description"] = json!(field.doc);
    schema
}
