//! One JetStream message as the reader hands it over: its place in the stream, our headers, its
//! body.
//!
//! Only the headers that [`headframe_schemas::message`] names are kept, so that decoding cannot
//! depend on anything else.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use bytes::Bytes;
use headframe_schemas::message as header;

/// The longest producer name that is taken from a header, in bytes; a longer one counts as absent.
pub const MAX_PRODUCER_BYTES: usize = 256;

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Sequence in the stream, from 1.
    pub seq: u64,
    /// When JetStream stored it: nanoseconds since 1970.
    pub time_ns: i64,
    /// `Nats-Msg-Id`.
    pub msg_id: Option<String>,
    /// `Headframe-Producer`, at most [`MAX_PRODUCER_BYTES`].
    pub producer: Option<String>,
    /// `Headframe-Seq`: the producer's number of the first row.
    pub producer_seq: Option<i64>,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// `Headframe-Reason` of a row refused at HTTP ingest.
    pub reason: Option<String>,
    /// The body.
    pub payload: Bytes,
}

impl Message {
    /// A message from its stored parts.
    pub fn new(seq: u64, time_ns: i64, headers: Option<&HeaderMap>, payload: Bytes) -> Self {
        let Some(headers) = headers.filter(|headers| !headers.is_empty()) else {
            return Self {
                seq,
                time_ns,
                payload,
                ..Self::default()
            };
        };
        let text = |name: &'static str| headers.get(name).map(|value| value.as_str().to_owned());
        Self {
            seq,
            time_ns,
            msg_id: headers
                .get(NATS_MESSAGE_ID)
                .map(|value| value.as_str().to_owned()),
            producer: text(header::PRODUCER)
                .filter(|name| !name.is_empty() && name.len() <= MAX_PRODUCER_BYTES),
            producer_seq: headers
                .get(header::PRODUCER_SEQ)
                .and_then(|value| value.as_str().trim().parse().ok()),
            content_type: text(header::CONTENT_TYPE),
            reason: text(header::REASON),
            payload,
        }
    }

    /// A message delivered by a consumer; `None` when it carries no JetStream metadata, which a
    /// status message never does.
    pub fn from_delivery(delivery: async_nats::Message) -> Option<Self> {
        let (seq, time_ns) = delivery_place(delivery.reply.as_deref()?)?;
        Some(Self::new(
            seq,
            time_ns,
            delivery.headers.as_ref(),
            delivery.payload,
        ))
    }

    /// The producer and its number of row `row` as the headers tell them, when both are there and
    /// the number fits.
    pub fn identity(&self, row: usize) -> Option<(&str, i64)> {
        let first = self.producer_seq?;
        let number = first.checked_add(i64::try_from(row).ok()?)?;
        Some((self.producer.as_deref()?, number))
    }

    /// Bytes it holds in memory, roughly.
    pub fn size(&self) -> usize {
        self.payload.len() + 128
    }
}

/// Stream sequence and time out of
/// `$JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer
/// seq>.<time>.<pending>[.<token>]`.
fn delivery_place(reply: &str) -> Option<(u64, i64)> {
    let rest = reply.strip_prefix("$JS.ACK.")?;
    let tokens = rest.split('.').count();
    let skip = if tokens >= 9 { 5 } else { 3 };
    let mut tokens = rest.split('.').skip(skip);
    let seq = tokens.next()?.parse().ok()?;
    let time_ns = tokens.nth(1)?.parse().ok()?;
    Some((seq, time_ns))
}

#[cfg(test)]
mod tests {
    use super::delivery_place;

    #[test]
    fn both_forms_of_the_ack_subject_are_read() {
        assert_eq!(
            delivery_place("$JS.ACK.shares.c1.1.42.7.1700000000000000001.9"),
            Some((42, 1_700_000_000_000_000_001))
        );
        assert_eq!(
            delivery_place("$JS.ACK.hub.acc.shares.c1.1.42.7.1700000000000000001.9"),
            Some((42, 1_700_000_000_000_000_001))
        );
        assert_eq!(
            delivery_place("$JS.ACK.hub.acc.shares.c1.1.42.7.1700000000000000001.9.tok"),
            Some((42, 1_700_000_000_000_000_001))
        );
        assert_eq!(delivery_place("_INBOX.x"), None);
        assert_eq!(delivery_place("$JS.ACK.a.b.c"), None);
    }
}
