//! A call as the request of REST that does the same, and its answer as a message.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{MatchedPath, Request};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Uri, header};
use axum::response::Response;
use headframe_schemas::resource::proto::{Call, Verb};
use headframe_schemas::resource::values::check_id;
use serde_json::Value;
use url::form_urlencoded;

use crate::error::{ErrorCode, QueryError};
use crate::route::registry::{id_is_missing, wrong_fields};
use crate::route::registry_proto;
use crate::wire::registry_grpc::HINT;
use crate::wire::registry_grpc::message::{Object, encode};

/// The request of REST that does what a call asks, by whoever made the call.
pub(super) fn request(
    call: &Call,
    mut given: Object,
    mut head: Parts,
) -> Result<Request, QueryError> {
    if let Some(unknown) = given.keys().find(|name| !call.request.has(name)) {
        let message = format!("{}: unknown field `{unknown}`", call.request.name);
        return Err(QueryError::bad_request(message, HINT));
    }
    let resource = match given.remove(call.resource.singular) {
        Some(Value::Object(resource)) => resource,
        _ => Object::new(),
    };
    let (method, path) = match call.verb {
        Verb::Get => (Method::GET, item_path(call, &given)?),
        Verb::List => (Method::GET, call.resource.path.to_owned()),
        Verb::Create => (Method::POST, call.resource.path.to_owned()),
        Verb::Update => (Method::PUT, item_path(call, &resource)?),
        Verb::Delete => (Method::DELETE, item_path(call, &given)?),
    };
    head.method = method;
    head.uri = uri(&head.uri, &path, &query(&mut given))?;
    keep_who_asks(&mut head);
    let seen = given.get("expected_version").and_then(Value::as_i64);
    if let Some(seen) = seen.filter(|seen| *seen != 0) {
        let tag = HeaderValue::try_from(format!("\"{seen}\""));
        let tag = tag.map_err(|error| QueryError::internal(error.to_string()))?;
        head.headers.insert(header::IF_MATCH, tag);
    }
    let body = match call.verb {
        Verb::Create | Verb::Update => Body::from(Value::Object(resource).to_string()),
        Verb::Get | Verb::List | Verb::Delete => Body::empty(),
    };
    Ok(Request::from_parts(head, body))
}

/// The request of the file that has the messages, by whoever asks for what it says.
pub(super) fn request_of_file(mut head: Parts) -> Result<Request, QueryError> {
    head.method = Method::GET;
    head.uri = uri(&head.uri, registry_proto::ROUTE.path, "")?;
    keep_who_asks(&mut head);
    Ok(Request::from_parts(head, Body::empty()))
}

/// The path of the resource whose id an object has.
fn item_path(call: &Call, given: &Object) -> Result<String, QueryError> {
    let id = given.get("id").and_then(Value::as_str).unwrap_or_default();
    let fault = match id {
        "" => Some(id_is_missing()),
        id => check_id(id).err(),
    };
    match fault {
        Some(fault) => Err(wrong_fields(call.resource, [fault])),
        // An id is nothing that a path would have to encode.
        None => Ok(format!("{}/{id}", call.resource.path)),
    }
}

/// The keys of the query string: what a page is, and each value that is filtered by.
fn query(given: &mut Object) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for name in ["limit", "after", "as_of"] {
        match given.get(name) {
            Some(Value::Number(number)) if number.as_i64() != Some(0) => {
                query.append_pair(name, &number.to_string());
            }
            Some(Value::String(text)) if !text.is_empty() => {
                query.append_pair(name, text);
            }
            _ => {}
        }
    }
    if let Some(Value::Object(filter)) = given.remove("filter") {
        for (name, value) in &filter {
            match value {
                Value::String(text) => query.append_pair(name, text),
                value => query.append_pair(name, &value.to_string()),
            };
        }
    }
    query.finish()
}

/// The address of the call with another path. Host and scheme say whether a browser's page asks.
fn uri(called: &Uri, path: &str, query: &str) -> Result<Uri, QueryError> {
    let mut parts = called.clone().into_parts();
    let path_and_query = match query {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    };
    let unusable = |error: &dyn std::fmt::Display| {
        QueryError::bad_request(format!("the filter cannot be used: {error}"), HINT)
    };
    parts.path_and_query = Some(path_and_query.parse().map_err(|error| unusable(&error))?);
    Uri::from_parts(parts).map_err(|error| unusable(&error))
}

/// Leaves the headers that say who asks, from where, and nothing about the body of the call or what
/// the client knows; and what the connection says.
fn keep_who_asks(head: &mut Parts) {
    for name in [
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
        header::RANGE,
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_ENCODING,
        header::TE,
        header::UPGRADE,
    ] {
        head.headers.remove(name);
    }
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    // The router would put the path that it matches behind that of the call.
    head.extensions.remove::<MatchedPath>();
}

/// What REST answered, as the message of the call.
pub(super) async fn message(call: &Call, response: Response) -> Result<Bytes, QueryError> {
    if let Some(error) = refusal(&response) {
        return Err(error);
    }
    let (parts, body) = response.into_parts();
    // It is in memory already, and was bounded when it was made.
    let bytes = to_bytes(body, usize::MAX).await;
    let bytes = bytes.map_err(|error| QueryError::internal(error.to_string()))?;
    let read = serde_json::from_slice::<Object>(&bytes).ok();
    let mut object = read
        .filter(|_| parts.status.is_success())
        .ok_or_else(|| QueryError::internal(format!("the registry answered {}", parts.status)))?;
    if call.verb == Verb::Delete
        && let Some(Value::Object(deleted)) = object.remove("deleted")
    {
        object = deleted;
    }
    let message = encode(&call.response, &object);
    message
        .map(Bytes::from)
        .map_err(|error| QueryError::internal(error.to_string()))
}

/// The error that REST answered, with a hint that a client of gRPC can follow.
pub(super) fn refusal(response: &Response) -> Option<QueryError> {
    let mut error = QueryError::clone(response.extensions().get::<Arc<QueryError>>()?);
    if error.code == ErrorCode::VersionRequired {
        error.hint = "set expected_version to the version that Get answered".to_owned();
    }
    Some(error)
}
