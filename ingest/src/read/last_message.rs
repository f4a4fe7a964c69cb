//! The newest message of one key of a stream, without reading the stream.

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use bytes::Bytes;
use headframe_schemas::Stream;
use headframe_schemas::stream::subject;

use crate::nats::Nats;
use crate::nats::provision::ProvisionError;

/// The body of the newest message with this key; `None` when the stream holds none.
pub async fn last_message(
    nats: &Nats,
    stream: &dyn Stream,
    key: &str,
) -> Result<Option<Bytes>, ProvisionError> {
    let found = last_numbered(nats, stream, key).await?;
    Ok(found.map(|(_, body)| body))
}

/// The same with its sequence.
pub async fn last_numbered(
    nats: &Nats,
    stream: &dyn Stream,
    key: &str,
) -> Result<Option<(u64, Bytes)>, ProvisionError> {
    let failed = |reason: String| ProvisionError::Nats {
        attempt: "read",
        stream: stream.name().to_owned(),
        reason,
    };
    let handle = nats
        .js
        .get_stream(stream.name())
        .await
        .map_err(|error| failed(error.to_string()))?;
    match handle
        .get_last_raw_message_by_subject(&subject(stream, key))
        .await
    {
        Ok(message) => Ok(Some((message.sequence, message.payload))),
        Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(failed(error.to_string())),
    }
}
