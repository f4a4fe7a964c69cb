//! JSON that is kept as it is sent: a tenth of the memory of the values that it is made of, and
//! nothing to copy for the next visitor.

use axum::body::Bytes;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::error::QueryError;

/// An encoded value.
#[derive(Debug, Clone)]
pub(crate) struct EncodedJson(Bytes);

impl EncodedJson {
    /// Encodes a value.
    pub(crate) fn new(value: &Value) -> Result<Self, QueryError> {
        let bytes = serde_json::to_vec(value);
        let bytes = bytes.map_err(|error| QueryError::internal(format!("as JSON: {error}")))?;
        Ok(Self(bytes.into()))
    }

    /// The value again.
    pub(crate) fn value(&self) -> Result<Value, QueryError> {
        let value = serde_json::from_slice(&self.0);
        value.map_err(|error| QueryError::internal(format!("from JSON: {error}")))
    }
}

impl IntoResponse for EncodedJson {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}
