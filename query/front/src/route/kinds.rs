//! `GET /api/v1/registry/kinds`: the kinds of resources and their fields, as forms need them.

use axum::Json;
use axum::http::Method;
use axum::routing::get;
use headframe_schemas::column::{Kind, Limits};
use headframe_schemas::resource::{self, Field, Format, Resource};
use serde_json::{Map, Value, json};

use crate::access::Permission;
use crate::route::schema::Schema;
use crate::route::{Handler, Route};

pub(crate) static ROUTE: Route = Route {
    method: Method::GET,
    path: "/api/v1/registry/kinds",
    permission: Permission::Read,
    doc: "The kinds of resources of the registry, with the type, unit, limits and meaning of each \
          field: what forms are made from.",
    schema: Schema::JSON,
    handler: Handler::MemoryPage(|| get(kinds)),
};

async fn kinds() -> Json<Value> {
    let kinds: Vec<Value> = resource::ALL.iter().map(|kind| kind_json(kind)).collect();
    Json(json!({"kinds": kinds}))
}

fn kind_json(kind: &Resource) -> Value {
    let fields: Vec<Value> = kind.fields.iter().map(field_json).collect();
    json!({
        "kind": kind.name,
        "singular": kind.singular,
        "path": kind.path,
        "doc": kind.doc,
        "fields": fields,
    })
}

fn field_json(field: &Field) -> Value {
    let column = &field.column;
    let mut json = Map::new();
    let mut put = |name: &str, value: Value| json.insert(name.to_owned(), value);
    put("field", json!(column.name));
    put("type", json!(type_name(field)));
    put("needed", json!(column.required));
    put("unique", json!(field.is_unique));
    put("meaning", json!(column.doc));
    // A time is written as text, whatever the unit of its column.
    if !matches!(column.kind, Kind::Timestamp | Kind::Date) && !column.unit.symbol().is_empty() {
        put("unit", json!(column.unit.symbol()));
    }
    if let Format::Reference(kind) = field.format {
        put("of", json!(kind));
    }
    match (column.kind, column.limits) {
        (_, Limits::OneOf(words)) => {
            put("words", json!(words));
        }
        (_, Limits::TextBytes(most)) => {
            put("most_bytes", json!(most));
        }
        (_, Limits::Float(least, most)) => {
            put("least", json!(least));
            put("most", json!(most));
        }
        (Kind::Int | Kind::SmallInt, Limits::Int(least, most)) => {
            put("least", json!(least));
            put("most", json!(most));
        }
        _ => {}
    }
    Value::Object(json)
}

fn type_name(field: &Field) -> &'static str {
    match (field.format, field.column.kind) {
        (Format::Reference(_), _) => "id",
        (Format::TimeZone, _) => "time_zone",
        (Format::Country, _) => "country",
        (Format::HttpUrl, _) => "url",
        (Format::Photos, _) => "photos",
        (_, Kind::Timestamp | Kind::Date) => "time",
        (_, Kind::Int | Kind::SmallInt) => "whole_number",
        (_, Kind::Float | Kind::Decimal) => "number",
        (_, Kind::Bool) => "boolean",
        (_, Kind::Text | Kind::Bytes) => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_says_what_a_form_needs() {
        let Json(found) = futures::executor::block_on(kinds());
        let kinds = found["kinds"].as_array().cloned().unwrap_or_default();
        assert_eq!(kinds.len(), resource::ALL.len());
        let field = |kind: &str, name: &str| {
            let kind = kinds.iter().find(|one| one["kind"] == kind);
            let fields = kind.and_then(|kind| kind["fields"].as_array().cloned());
            let found = fields.and_then(|all| all.into_iter().find(|one| one["field"] == name));
            found.unwrap_or_default()
        };
        let zone = field("sites", "time_zone");
        assert_eq!(
            (&zone["type"], &zone["needed"]),
            (&json!("time_zone"), &json!(true))
        );
        let site = field("machines", "site");
        assert_eq!(
            (&site["type"], &site["of"]),
            (&json!("id"), &json!("sites"))
        );
        let power = field("machines", "rated_power_w");
        assert_eq!((&power["unit"], &power["most"]), (&json!("W"), &json!(1e6)));
        assert_eq!(field("sites", "controller")["type"], "url");
        let status = field("sites", "status");
        assert_eq!(status["words"][0], "planned");
        let time = field("meters", "installed_at");
        assert_eq!((&time["type"], time.get("unit")), (&json!("time"), None));
    }
}
