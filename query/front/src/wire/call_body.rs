//! The body of a call of gRPC that has one message.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use tokio::time::timeout;

use crate::error::{ErrorCode, QueryError};

/// The body of a call once all of it is here: at most so many bytes, within so long.
pub(super) async fn whole(
    body: Body,
    most: usize,
    patience: Duration,
    hint: &str,
) -> Result<Body, QueryError> {
    match timeout(patience, to_bytes(body, most)).await {
        Ok(Ok(bytes)) => Ok(Body::from(bytes)),
        Ok(Err(error)) => Err(QueryError::new(
            ErrorCode::BodyTooLarge,
            format!("the message cannot be read: {error}"),
            hint,
        )),
        Err(_) => Err(QueryError::new(
            ErrorCode::RequestTimeout,
            format!(
                "the message took longer than {} ms, which is the limit",
                patience.as_millis()
            ),
            "send it at once, or raise query.body_timeout_ms",
        )),
    }
}
