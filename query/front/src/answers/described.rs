//! Types whose JSON has a schema.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::error::QueryError;

/// Schemas by name, to which others refer.
pub type Components = Map<String, Value>;

/// A type whose JSON has a schema.
pub trait Described {
    /// The schema of its values. Those of the objects in them are added to `components`.
    fn schema(components: &mut Components) -> Value;
}

/// The type of an answer, as a route names it.
#[derive(Debug, Clone, Copy)]
pub struct AnswerType(fn(&mut Components) -> Value);

impl AnswerType {
    /// This type.
    pub const fn new<T: Described>() -> Self {
        Self(T::schema)
    }

    /// Its schema, as [`Described::schema`] gives it.
    pub fn schema(self, components: &mut Components) -> Value {
        self.0(components)
    }
}

/// An answer as JSON.
pub fn to_json(answer: &impl Serialize) -> Result<Value, QueryError> {
    let value = serde_json::to_value(answer);
    value.map_err(|error| QueryError::internal(format!("as JSON: {error}")))
}

/// Adds the schema of an object with these fields, of which each has a name, what it means and a
/// schema, and is always there; the reference to it.
pub fn object(
    components: &mut Components,
    name: &str,
    doc: &str,
    fields: Vec<(&str, &str, Value)>,
) -> Value {
    let required: Vec<&str> = fields.iter().map(|field| field.0).collect();
    let required = json!(required);
    let properties: Components = fields
        .into_iter()
        .map(|(name, doc, schema)| (name.to_owned(), with_doc(schema, doc)))
        .collect();
    let schema = json!({
        "type": "object",
        "description": doc.trim(),
        "required": required,
        "properties": properties,
    });
    components.insert(name.to_owned(), schema);
    reference(name)
}

/// The reference to a schema.
pub fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// A schema with what its values mean; not all readers see what stands beside a reference.
fn with_doc(schema: Value, doc: &str) -> Value {
    let mut schema = match schema.get("$ref") {
        Some(_) => json!({"allOf": [schema]}),
        None => schema,
    };
    schema["description"] = json!(doc.trim());
    schema
}

impl Described for String {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "string"})
    }
}

impl Described for i64 {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "integer", "format": "int64"})
    }
}

impl Described for u64 {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "integer", "format": "int64", "minimum": 0})
    }
}

impl Described for u32 {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "integer", "minimum": 0})
    }
}

impl Described for u16 {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "integer", "minimum": 0, "maximum": u16::MAX})
    }
}

impl Described for f64 {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "number", "format": "double"})
    }
}

impl Described for bool {
    fn schema(_: &mut Components) -> Value {
        json!({"type": "boolean"})
    }
}

impl<T: Described> Described for Vec<T> {
    fn schema(components: &mut Components) -> Value {
        json!({"type": "array", "items": T::schema(components)})
    }
}

/// Null where there is none.
impl<T: Described> Described for Option<T> {
    fn schema(components: &mut Components) -> Value {
        let mut schema = T::schema(components);
        match schema.get("type").cloned() {
            Some(name) => {
                schema["type"] = json!([name, "null"]);
                schema
            }
            None => json!({"oneOf": [schema, {"type": "null"}]}),
        }
    }
}

/// A struct whose fields are the keys of a JSON object, with the object's schema: comments are what
/// they mean.
macro_rules! answer_type {
    (
        $(#[doc = $doc:literal])+
        $name:ident { $($(#[doc = $about:literal])+ $field:ident: $kind:ty,)+ }
    ) => {
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize)]
        pub struct $name {
            $($(#[doc = $about])+ pub $field: $kind,)+
        }

        impl $crate::answers::described::Described for $name {
            fn schema(
                components: &mut $crate::answers::described::Components,
            ) -> serde_json::Value {
                let fields = vec![$((
                    stringify!($field),
                    concat!($($about),+),
                    <$kind as $crate::answers::described::Described>::schema(components),
                )),+];
                let doc = concat!($($doc),+);
                $crate::answers::described::object(components, stringify!($name), doc, fields)
            }
        }
    };
}

pub(crate) use answer_type;
