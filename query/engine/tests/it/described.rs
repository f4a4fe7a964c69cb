//! Answers are what the OpenAPI document says: every answer in JSON of these tests is compared with
//! the schema of its route.

use std::sync::LazyLock;

use axum::http::{Method, StatusCode};
use headframe_query_front::route::openapi;
use serde_json::{Value, json};

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::document);

/// Panics where what answers in JSON has a key or a type that the document does not describe, or
/// lacks a key that is to be there. What the document leaves open may be anything.
pub fn check(method: &Method, path: &str, status: StatusCode, body: &[u8]) {
    let Some(schema) = schema_of(method, path, status.as_u16()) else {
        return;
    };
    let is_described = ["$ref", "properties", "oneOf"].map(|key| schema.get(key).is_some());
    if !is_described.contains(&true) {
        return;
    }
    let text = String::from_utf8_lossy(body);
    let answer = serde_json::from_str(&text).unwrap();
    assert_eq!(
        fits(schema, &answer, path),
        Ok(()),
        "{method} {path}: {text}"
    );
}

/// The schema of what answers in JSON with this status.
fn schema_of(method: &Method, path: &str, status: u16) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object()?.iter();
    let matching = paths.filter(|(template, _)| is_of(template, path));
    // One with fewer variables is meant before one with more.
    let (_, operations) = matching.min_by_key(|(template, _)| template.matches('{').count())?;
    let operation = operations.get(method.as_str().to_ascii_lowercase())?;
    let content = &operation["responses"][status.to_string()]["content"];
    content["application/json"].get("schema")
}

fn is_of(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template
            .zip(path)
            .all(|(wanted, found)| wanted.starts_with('{') || wanted == found)
}

/// Whether a value is what a schema says, and if not, where it differs.
fn fits(schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let found = DOCUMENT.pointer(name.trim_start_matches('#'));
        return fits(found.ok_or_else(|| name.to_owned())?, value, place);
    }
    for all in schemas(schema, "allOf") {
        fits(all, value, place)?;
    }
    let choices = schemas(schema, "oneOf");
    let refused: Vec<String> = choices
        .iter()
        .filter_map(|one| fits(one, value, place).err())
        .collect();
    if !choices.is_empty() && refused.len() + 1 != choices.len() {
        return Err(refused.join(", and "));
    }
    has_type(schema, value, place)?;
    let words = schemas(schema, "enum");
    if !words.is_empty() && !words.contains(value) {
        return Err(format!("{place} is {value}"));
    }
    match value {
        Value::Object(fields) => {
            for name in schemas(schema, "required").iter().filter_map(Value::as_str) {
                let missing = format!("{place}.{name} is missing");
                fields.get(name).ok_or(missing)?;
            }
            for (name, field) in fields {
                let place = format!("{place}.{name}");
                match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Null, Value::Bool(true)) => {}
                    (Value::Null, _) if schema.get("properties").is_none() => {}
                    (Value::Null, _) => return Err(format!("{place} is not described")),
                    (described, _) => fits(described, field, &place)?,
                }
            }
            Ok(())
        }
        Value::Array(items) => {
            let of_item = |(at, item)| fits(&schema["items"], item, &format!("{place}[{at}]"));
            items.iter().enumerate().try_for_each(of_item)
        }
        _ => Ok(()),
    }
}

fn schemas<'a>(schema: &'a Value, key: &str) -> &'a [Value] {
    schema[key].as_array().map_or(&[], Vec::as_slice)
}

fn has_type(schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let is_named = |wanted: &Value| wanted == name || (wanted == "number" && name == "integer");
    let is_fitting = match &schema["type"] {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is_named),
        wanted => is_named(wanted),
    };
    match is_fitting {
        true => Ok(()),
        false => Err(format!("{place} is {value}, not {}", schema["type"])),
    }
}

#[test]
fn what_is_not_described_is_found() {
    let schema = schema_of(&Method::GET, "/api/v1/miners/4Ann/workers", 200).unwrap();
    let worker = json!({
        "worker": "a", "online": true, "last_share_at": null, "last_hour": null,
        "hashrate_hs": 1, "hashrate_24h_hs": 1.5, "solo_hashrate_24h_hs": 0,
        "shares_24h": {"accepted": 1, "stale": 0, "rejected": 0}, "work_24h_hashes": "12",
    });
    let answer = |worker: &Value| {
        let answer = json!({"at": "now", "miner": "4Ann", "workers": [worker], "next": null});
        fits(schema, &answer, "it")
    };
    assert_eq!(answer(&worker), Ok(()));
    for (key, value, said) in [
        ("online", json!(1), "it.workers[0].online is 1"),
        ("work_24h_hashes", json!(12), "work_24h_hashes is 12"),
        ("more", json!(1), "it.workers[0].more is not described"),
        ("shares_24h", json!({}), "shares_24h.accepted is missing"),
    ] {
        let mut wrong = worker.clone();
        wrong[key] = value;
        let found = answer(&wrong).unwrap_err();
        assert!(found.contains(said), "{found}");
    }
}
