//! Reads a request's body under two limits: its own size, unpacked, and the memory of all requests together.

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::SemaphorePermit;

use super::{Door, Refusal};

/// The whole body, and the share of memory it takes, held as long as the permit.
pub async fn body<'a>(door: &'a Door, body: Body) -> Result<(Bytes, Option<SemaphorePermit<'a>>), Refusal> {
    let limit = door.config.max_body_bytes;
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    let mut room: Option<SemaphorePermit<'a>> = None;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, format!("cannot read or unpack the body: {error}")))?;
        if bytes.len() + chunk.len() > limit {
            let message = format!("the body, unpacked, is larger than {limit} bytes; send it in parts");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        let Ok(more) = door.bytes.try_acquire_many(u32::try_from(chunk.len()).unwrap_or(u32::MAX)) else {
            return Err(Refusal::busy("the bodies being worked on fill the memory set aside for them"));
        };
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((bytes.freeze(), room))
}
