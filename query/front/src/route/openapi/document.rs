//! The OpenAPI 3.1 document of the HTTP port, made from the list of routes.

use axum::http::Method;
use serde_json::{Map, Value, json};

use super::items;
use super::values::{field_schema, value_schema};
use crate::access::Permission;
use crate::answers::described::Components;
use crate::format;
use crate::route::schema::{Param, RequestBody, ResponseBody, has_body};
use crate::route::{self, Route};

/// The document.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for route in route::ALL {
        let path = paths
            .entry(route.path.to_owned())
            .or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    let mut schemas = items::schemas();
    schemas.insert("Error".to_owned(), error_schema());
    schemas.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Headframe",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "SQL over mining's streams and tables, the pool's pages, payments and \
                            bans. docs/http.md says more.",
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"Error": error_response()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of `headframe users token`, or of a token file.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-headframe_session",
                    "description": "The cookie that POST /api/v1/login sets over HTTPS.",
                },
            },
        },
    })
}

/// A name for the functions of generated clients, such as `get_miners_by_address_workers`.
pub fn operation_id(route: &Route) -> String {
    let mut id = route.method.as_str().to_ascii_lowercase();
    let segments = route.path.split('/').filter(|part| !part.is_empty());
    for segment in segments.filter(|part| !matches!(*part, "api" | "v1")) {
        let (by, name) = match segment.strip_prefix('{') {
            Some(variable) => ("_by_", variable.trim_end_matches('}')),
            None => ("_", segment),
        };
        id.push_str(by);
        id.push_str(&name.replace(['-', '.'], "_"));
    }
    id
}

fn operation(route: &Route) -> Value {
    let schema = &route.schema;
    let parameters: Vec<Value> = schema
        .params()
        .map(|(place, param)| {
            json!({
                "name": param.name,
                "in": place,
                "required": param.is_required,
                "description": param.doc,
                "schema": value_schema(param.value),
            })
        })
        .collect();
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": summary(route.doc),
        "description": format!("{} For {}.", route.doc, route.permission.as_str()),
        "security": security(route.permission),
        "responses": responses(route),
    });
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(content) = request_content(schema.body) {
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

/// What answers each status, and every other as an error.
fn responses(route: &Route) -> Value {
    let mut responses = Map::new();
    for status in route.schema.statuses {
        let response = match has_body(*status) {
            true => json!({
                "description": route.doc,
                "content": response_content(route),
            }),
            false => json!({"description": route.doc}),
        };
        responses.insert(status.to_string(), response);
    }
    if route.answers_etag() {
        let unchanged = "What the ETag of If-None-Match names is still the answer.";
        responses.insert("304".to_owned(), json!({"description": unchanged}));
    }
    let error = json!({"$ref": "#/components/responses/Error"});
    responses.insert("default".to_owned(), error);
    Value::Object(responses)
}

/// The first sentence.
fn summary(doc: &str) -> &str {
    let end = doc.find([':', ';', '.']).unwrap_or(doc.len());
    &doc[..end]
}

/// Which proofs a route takes; the empty one stands for none at all.
fn security(permission: Permission) -> Value {
    match permission {
        Permission::Probe | Permission::Anybody | Permission::Callback => json!([{}]),
        // A program of the server's own machine may need none.
        _ => json!([{"bearer": []}, {"session": []}, {}]),
    }
}

fn object_schema(fields: &[Param]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        properties.insert(field.name.to_owned(), field_schema(field));
    }
    let required = fields.iter().filter(|field| field.is_required);
    let required: Vec<&str> = required.map(|field| field.name).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

fn request_content(body: RequestBody) -> Option<Value> {
    let text = || json!({"schema": {"type": "string"}});
    match body {
        RequestBody::None => None,
        RequestBody::Json(fields) => {
            Some(json!({"application/json": {"schema": object_schema(fields)}}))
        }
        RequestBody::Bytes(media_types) => Some(bytes_content(media_types)),
        RequestBody::Statement(fields) => Some(json!({
            "application/json": {"schema": object_schema(fields)},
            "text/plain": text(),
        })),
    }
}

/// Bytes of one of these media types.
fn bytes_content(media_types: &[&str]) -> Value {
    let text = || json!({"schema": {"type": "string"}});
    let content = media_types.iter().map(|name| ((*name).to_owned(), text()));
    Value::Object(content.collect())
}

/// What answers in JSON where no list is asked for.
fn answer_schema(route: &Route, object: Value) -> Value {
    match route.schema.item.map(items::reference) {
        None => object,
        Some(of_one) if route.method == Method::DELETE => json!({
            "type": "object",
            "required": ["deleted"],
            "properties": {"deleted": of_one},
        }),
        Some(of_one) => of_one,
    }
}

fn response_content(route: &Route) -> Value {
    if let Some(answer) = route.schema.answer {
        let schema = answer.schema(&mut Components::new());
        return json!({"application/json": {"schema": schema}});
    }
    let object = json!({"type": "object", "additionalProperties": true});
    match route.schema.response {
        ResponseBody::Json => {
            json!({"application/json": {"schema": answer_schema(route, object)}})
        }
        ResponseBody::List => {
            json!({"application/json": {"schema": {"type": "array", "items": {}}}})
        }
        ResponseBody::Page { cursor } => {
            let next = format!("The `{cursor}` of the next page; null on the last.");
            let mut page = object;
            page["properties"] = json!({"next": {"description": next}});
            if let Some(shape) = route.schema.item {
                let key = items::list_key(shape);
                let list = json!({"type": "array", "items": items::reference(shape)});
                page["properties"][key] = list;
                page["required"] = json!([key, "next"]);
            }
            json!({"application/json": {"schema": page}})
        }
        ResponseBody::Events => json!({"text/event-stream": {"schema": {"type": "string"}}}),
        ResponseBody::Drawing => json!({"image/svg+xml": {"schema": {"type": "string"}}}),
        ResponseBody::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
        ResponseBody::Bytes(media_types) => bytes_content(media_types),
        ResponseBody::Rows => {
            let mut content = Map::new();
            for media_type in format::ALL
                .iter()
                .filter_map(|one| one.media_types().first())
            {
                let schema = match *media_type {
                    "application/json" => object.clone(),
                    _ => json!({"type": "string"}),
                };
                content.insert((*media_type).to_owned(), json!({"schema": schema}));
            }
            Value::Object(content)
        }
    }
}

fn error_response() -> Value {
    json!({
        "description": "The request was refused or failed; 429 and 503 carry Retry-After. With \
                        Accept: application/problem+json it is that of RFC 9457.",
        "content": {
            "application/json": {"schema": {"$ref": "#/components/schemas/Error"}},
            "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}},
        },
    })
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {"error": {
            "type": "object",
            "required": ["code", "message", "hint"],
            "properties": {
                "code": {"type": "string", "description": "For programs; it does not change."},
                "message": {"type": "string", "description": "What is wrong."},
                "hint": {"type": "string", "description": "What to do."},
            },
        }},
    })
}

fn problem_schema() -> Value {
    let text = |doc: &str| json!({"type": "string", "description": doc});
    json!({
        "type": "object",
        "required": ["type", "title", "status", "detail", "instance", "code", "hint"],
        "properties": {
            "type": text("A name for this kind of error."),
            "title": text("The kind in words."),
            "status": {"type": "integer", "description": "The status of the answer."},
            "detail": text("What is wrong."),
            "instance": text("The path that was asked."),
            "code": text("The same as in Error."),
            "hint": text("What to do."),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let mut names = HashSet::new();
        for route in route::ALL {
            assert!(names.insert(operation_id(route)), "{}", route.path);
        }
        assert!(names.contains("get_miners_by_address_workers"), "{names:?}");
    }
}
