//! The schemas of what answers hold, made from the definitions of the registry's kinds and of
//! streams, and from the types of answers.

use headframe_schemas::resource;
use headframe_schemas::{Resource, stream};
use serde_json::{Map, Value, json};

use super::values::field_schema;
use crate::answers::described;
use crate::answers::table_row::row_schema;
use crate::route;
use crate::route::registry;
use crate::route::schema::{ItemShape, Param};

/// What every resource has beside its own fields.
const COMMON: [Param; 4] = [
    Param::text("id", "What it is called."),
    Param::integer(
        "version",
        1,
        i64::MAX,
        "1 for the first; later ones have greater numbers.",
    ),
    Param::text(
        "updated_at",
        "When it was changed to this, as 2026-01-31T12:00:00Z.",
    ),
    Param::text("updated_by", "Who changed it."),
];

/// The schemas of everything that a route answers, by name.
pub(super) fn schemas() -> Map<String, Value> {
    let shapes = route::ALL.iter().filter_map(|route| route.schema.item);
    let mut schemas: Map<String, Value> = shapes
        .map(|shape| (component(shape), schema(shape)))
        .collect();
    for answer in route::ALL.iter().filter_map(|route| route.schema.answer) {
        answer.schema(&mut schemas);
    }
    schemas
}

/// The reference to a schema.
pub(super) fn reference(shape: ItemShape) -> Value {
    described::reference(&component(shape))
}

/// Where lists have their items.
pub(super) fn list_key(shape: ItemShape) -> &'static str {
    match shape {
        ItemShape::Resource(kind) => kind,
        ItemShape::Row(_) => "rows",
    }
}

/// The name of a schema: `Pool`.
fn component(shape: ItemShape) -> String {
    let (ItemShape::Resource(plural) | ItemShape::Row(plural)) = shape;
    let mut letters = plural.strip_suffix('s').unwrap_or(plural).chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

fn schema(shape: ItemShape) -> Value {
    match shape {
        ItemShape::Resource(name) => {
            let found = resource::ALL.iter().find(|kind| kind.name == name);
            found.map(|kind| resource_schema(kind))
        }
        ItemShape::Row(name) => {
            let found = stream::find(name);
            found.map(|stream| row_schema(stream.doc(), stream.columns()))
        }
    }
    .unwrap_or_default()
}

/// Fields that it has no value for are left out.
fn resource_schema(kind: &'static Resource) -> Value {
    let all = COMMON
        .into_iter()
        .chain(kind.fields.iter().map(registry::param));
    let properties = all.map(|field| (field.name.to_owned(), field_schema(&field)));
    json!({
        "type": "object",
        "description": kind.doc,
        "required": COMMON.map(|field| field.name),
        "properties": properties.collect::<Map<_, _>>(),
    })
}
