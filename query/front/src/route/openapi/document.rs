//! The OpenAPI 3.1 document of the HTTP port, made from the list of routes.

use axum::http::Method;
use serde_json::{Map, Value, json};

use crate::access::Permission;
use crate::format;
use crate::route::schema::{Param, RequestBody, ResponseBody, ValueType};
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
            "schemas": {"Error": error_schema(), "Problem": problem_schema()},
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
        "responses": {
            "200": {"description": route.doc, "content": response_content(schema.response)},
            "default": {"$ref": "#/components/responses/Error"},
        },
    });
    if !parameters.is_empty() {
        operation["parameters"] = Value::Array(parameters);
    }
    if let Some(content) = request_content(schema.body) {
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    if route.method == Method::GET && route.answers_etag() {
        let unchanged = "What the ETag of If-None-Match names is still the answer.";
        operation["responses"]["304"] = json!({"description": unchanged});
    }
    operation
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

fn value_schema(value: ValueType) -> Value {
    match value {
        ValueType::Text => json!({"type": "string"}),
        ValueType::Integer { least, most } => {
            json!({"type": "integer", "format": "int64", "minimum": least, "maximum": most})
        }
        ValueType::Number => json!({"type": "number", "format": "double"}),
        ValueType::OneOf(texts) => json!({"type": "string", "enum": texts}),
        ValueType::Boolean => json!({"type": "boolean"}),
        ValueType::Any => json!({}),
    }
}

fn object_schema(fields: &[Param]) -> Value {
    let mut properties = Map::new();
    for field in fields {
        let mut schema = value_schema(field.value);
        schema["description"] = json!(field.doc);
        properties.insert(field.name.to_owned(), schema);
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
        RequestBody::Bytes(media_types) => {
            let content = media_types.iter().map(|name| ((*name).to_owned(), text()));
            Some(Value::Object(content.collect()))
        }
        RequestBody::Statement(fields) => Some(json!({
            "application/json": {"schema": object_schema(fields)},
            "text/plain": text(),
        })),
    }
}

fn response_content(body: ResponseBody) -> Value {
    let object = json!({"type": "object", "additionalProperties": true});
    match body {
        ResponseBody::Json => json!({"application/json": {"schema": object}}),
        ResponseBody::List => {
            json!({"application/json": {"schema": {"type": "array", "items": {}}}})
        }
        ResponseBody::Page { cursor } => {
            let next = format!("The `{cursor}` of the next page; null on the last.");
            let mut page = object;
            page["properties"] = json!({"next": {"description": next}});
            json!({"application/json": {"schema": page}})
        }
        ResponseBody::Events => json!({"text/event-stream": {"schema": {"type": "string"}}}),
        ResponseBody::Drawing => json!({"image/svg+xml": {"schema": {"type": "string"}}}),
        ResponseBody::Text => json!({"text/plain": {"schema": {"type": "string"}}}),
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
