//! The rows about blocks that the stream holds, so that a restart knows what was written before it.

use headframe_ingest::inspect_stream;
use headframe_ingest::{DuplicateFilter, Message, Nats, ReadFrom, Reader, last_message};
use headframe_schemas::codec;
use headframe_schemas::message::Format;
use headframe_schemas::stream::blocks::{Block, Blocks};
use headframe_schemas::stream::shares::{Share, Shares};
use std::time::Duration;

use super::FactError;

/// How long the stream may take between two answers.
const PATIENCE: Duration = Duration::from_secs(20);

/// The pool's rows, oldest first, each once.
pub(super) async fn block_rows(nats: &Nats, pool: &str) -> Result<Vec<Block>, FactError> {
    let failed = |reason: String| FactError {
        stream: "blocks",
        reason,
    };
    let identity = tokio::time::timeout(PATIENCE, inspect_stream(&nats.js, &Blocks)).await;
    let identity = identity
        .map_err(|_| failed("JetStream does not answer".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    let Some(identity) = identity else {
        return Err(failed("the stream does not exist".to_owned()));
    };
    let from = ReadFrom {
        next: identity.first_seq,
        ..ReadFrom::default()
    };
    let mut rows = Vec::new();
    let mut seen = DuplicateFilter::default();
    if identity.first_seq > identity.last_seq {
        return Ok(rows);
    }
    let mut reader = Reader::open(nats.clone(), &Blocks, from)
        .await
        .map_err(|fault| failed(fault.to_string()))?;
    while reader.position() <= identity.last_seq {
        let messages = tokio::time::timeout(PATIENCE, reader.next()).await;
        let messages = messages
            .map_err(|_| failed("the stream delivers nothing".to_owned()))?
            .map_err(|fault| failed(fault.to_string()))?;
        for message in &messages {
            take(message, pool, &mut seen, &mut rows);
        }
    }
    Ok(rows)
}

/// The height in the newest message of the pool's shares.
pub(super) async fn newest_height(nats: &Nats, pool: &str) -> Result<Option<u64>, FactError> {
    let failed = |reason: String| FactError {
        stream: "shares",
        reason,
    };
    let newest = tokio::time::timeout(PATIENCE, last_message(nats, &Shares, pool)).await;
    let newest = newest
        .map_err(|_| failed("JetStream does not answer".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    let heights = |payload: &[u8]| {
        let rows = codec::lines(payload)
            .filter_map(|(_, line)| serde_json::from_slice::<Share>(line).ok());
        rows.filter(|row| row.pool == pool)
            .filter_map(|row| u64::try_from(row.height).ok())
            .max()
    };
    Ok(newest.and_then(|payload| heights(&payload)))
}

/// Adds the rows of one message. What a repeated publish stored twice is one row, as it is in the
/// table.
fn take(message: &Message, pool: &str, seen: &mut DuplicateFilter, rows: &mut Vec<Block>) {
    if Format::from_content_type(message.content_type.as_deref()) != Ok(Format::Ndjson) {
        // This pool writes lines; whatever else there is was not written by it.
        return;
    }
    for (place, (_, line)) in codec::lines(&message.payload).enumerate() {
        let fresh = message
            .identity(place)
            .is_none_or(|(producer, number)| seen.insert(producer, number, message.time_ns));
        match serde_json::from_slice::<Block>(line) {
            Ok(row) if row.pool == pool && fresh => rows.push(row),
            // Somebody else's rows may have fields that only the decoder forgives.
            _ => {}
        }
    }
}
