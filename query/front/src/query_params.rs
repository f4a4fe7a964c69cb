//! What the REST routes are asked: a query string of known keys, a page size, a miner's name.
//! Anything else is a 400 that says why.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use chrono::{DateTime, Utc};
use headframe_schemas::resource::values::parse_time;
use serde::de::DeserializeOwned;

use crate::error::QueryError;

/// Rows of a page.
pub(crate) const MAX_LIMIT: usize = 1_000;
/// The longest name of a miner that any table has.
const MAX_NAME: usize = 256;

/// A query string, refused in our own words.
pub(crate) struct QueryParams<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryParams<T> {
    type Rejection = QueryError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryError> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(params)) => Ok(Self(params)),
            Err(error) => {
                let message = format!(
                    "the query string of {} cannot be used: {}",
                    parts.uri.path(),
                    error.body_text()
                );
                Err(QueryError::bad_request(
                    message,
                    "docs/pool-operator.md lists the keys of each route",
                ))
            }
        }
    }
}

/// The size of a page.
pub(crate) fn page_limit(requested: Option<usize>, default: usize) -> Result<usize, QueryError> {
    match requested.unwrap_or(default) {
        limit @ 1..=MAX_LIMIT => Ok(limit),
        other => Err(QueryError::bad_request(
            format!("limit is {other}"),
            format!("a page has from 1 to {MAX_LIMIT} rows"),
        )),
    }
}

/// The time that a key of this name has.
pub(crate) fn time(name: &str, text: Option<String>) -> Result<Option<DateTime<Utc>>, QueryError> {
    let Some(text) = text else { return Ok(None) };
    let time = parse_time(&text).ok_or_else(|| {
        QueryError::bad_request(
            format!("{name} is no time"),
            "write it as 2026-01-31T12:00:00Z",
        )
    })?;
    Ok(Some(time))
}

/// A miner's name as a path has it.
pub(crate) fn miner_name(name: &str) -> Result<&str, QueryError> {
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic())
    {
        let message = "that is not the name of a miner";
        return Err(QueryError::bad_request(
            message,
            format!("a miner is the wallet address it logs in with, at most {MAX_NAME} characters"),
        ));
    }
    Ok(name)
}
