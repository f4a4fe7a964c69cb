//! What decoding remembers between messages: which rows were seen, and the last message as proof of
//! place.
//!
//! The bytes are versioned. Their checksum is the business of whoever stores them.

use serde::{Deserialize, Serialize};

use crate::read::duplicate_filter::DuplicateFilter;
use crate::read::message::Message;

const VERSION: u32 = 1;

/// Identifies the last message that was taken: if the stream holds another one there, it lost its
/// tail and grew again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageFingerprint {
    /// Stream sequence.
    pub seq: i64,
    /// JetStream's time of the message, nanoseconds since 1970.
    pub time_ns: i64,
    /// Its `Nats-Msg-Id`.
    pub msg_id: Option<String>,
    /// The first 128 bits of the BLAKE3 hash of its payload.
    pub hash: [u8; 16],
}

impl MessageFingerprint {
    /// The fingerprint of a message.
    pub fn from_message(message: &Message) -> Self {
        let mut hash = [0_u8; 16];
        hash.copy_from_slice(&blake3::hash(&message.payload).as_bytes()[..16]);
        // JetStream counts from 1 and would need centuries to pass i64.
        let seq = i64::try_from(message.seq).unwrap_or(i64::MAX);
        Self {
            seq,
            time_ns: message.time_ns,
            msg_id: message.msg_id.clone(),
            hash,
        }
    }
}

/// The decoder's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DecoderState {
    /// Which rows of which producers were taken.
    pub seen: DuplicateFilter,
    /// The last message taken; `None` before the first.
    pub last_message: Option<MessageFingerprint>,
}

/// Bytes that are no state.
#[derive(Debug, thiserror::Error)]
pub enum DecoderStateError {
    /// They cannot be parsed.
    #[error("cannot read a decoder state: {0}; use an older state file and replay from there")]
    Broken(String),
    /// Another version of the program wrote them.
    #[error(
        "decoder state has version {0}, this program reads {VERSION}; use an older state file or \
         the program that wrote it"
    )]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct Envelope<S> {
    version: u32,
    #[serde(rename = "guard")]
    last_message: Option<MessageFingerprint>,
    seen: S,
}

impl DecoderState {
    /// The state as bytes; equal states give equal bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let envelope = Envelope {
            version: VERSION,
            last_message: self.last_message.clone(),
            seen: &self.seen,
        };
        // Plain numbers, strings and lists always serialise; an empty answer would be refused by
        // `from_bytes`.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }

    /// Reads what [`DecoderState::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecoderStateError> {
        let envelope: Envelope<serde_json::Value> = serde_json::from_slice(bytes)
            .map_err(|error| DecoderStateError::Broken(error.to_string()))?;
        if envelope.version != VERSION {
            return Err(DecoderStateError::Version(envelope.version));
        }
        let seen = DuplicateFilter::deserialize(envelope.seen)
            .map_err(|error| DecoderStateError::Broken(error.to_string()))?;
        Ok(Self {
            seen,
            last_message: envelope.last_message,
        })
    }
}
