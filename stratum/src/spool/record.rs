//! Records: numbered rows as they lie in the spool, and the messages they are sent as.
//!
//! A record is a line of JSON that says whose rows follow, then the rows. Nobody needs this program
//! to read one.

use bytes::{Bytes, BytesMut};
use headframe_ingest::SequencedBatch;
use headframe_schemas::stream;
use serde::{Deserialize, Serialize};

/// SequencedBatch rows, and whether JetStream may have them already.
#[derive(Debug, Clone)]
pub struct SpoolRecord {
    /// The rows and their numbers.
    pub message: SequencedBatch,
    /// They were offered to JetStream under this very message id, so they are offered under it
    /// again.
    pub offered: bool,
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    stream: &'a str,
    key: String,
    producer: String,
    first: i64,
    rows: usize,
    offered: bool,
}

impl SpoolRecord {
    /// The bytes to be framed.
    pub fn encode(&self) -> Vec<u8> {
        let SequencedBatch {
            stream,
            key,
            producer,
            first,
            rows,
            text,
        } = &self.message;
        let (key, producer) = (key.clone(), producer.to_string());
        let head = Head {
            stream: stream.name(),
            key,
            producer,
            first: *first,
            rows: *rows,
            offered: self.offered,
        };
        // Names and numbers always serialise; without them the record would be set aside as
        // unreadable, not lost.
        let mut body = serde_json::to_vec(&head).unwrap_or_default();
        body.push(b'\n');
        body.extend_from_slice(text);
        body
    }

    /// Reads what [`SpoolRecord::encode`] wrote. The error says what is wrong with it.
    pub fn decode(body: &[u8]) -> Result<Self, String> {
        let split = body
            .iter()
            .position(|byte| *byte == b'\n')
            .ok_or("there is no line that says whose rows follow")?;
        let head: Head = serde_json::from_slice(&body[..split])
            .map_err(|error| format!("its first line cannot be read: {error}"))?;
        let stream = stream::find(head.stream)
            .ok_or_else(|| format!("there is no stream {:?}", head.stream))?;
        let text = Bytes::copy_from_slice(&body[split + 1..]);
        let lines = text.iter().filter(|byte| **byte == b'\n').count();
        if lines != head.rows || lines == 0 || text.last() != Some(&b'\n') || head.first < 1 {
            return Err(format!(
                "it says {} rows from number {}, and has {lines} lines",
                head.rows, head.first
            ));
        }
        let message = SequencedBatch {
            stream,
            key: head.key,
            producer: head.producer.into(),
            first: head.first,
            rows: head.rows,
            text,
        };
        Ok(Self {
            message,
            offered: head.offered,
        })
    }
}

/// The messages that a segment's records are sent as: many small records become few large messages,
/// or the way back would be slower than the way in. What was offered before keeps its composition.
/// The same records give the same messages, whenever they are read, so the message ids are the same
/// after a crash.
pub fn messages(
    records: Vec<SpoolRecord>,
    max_rows: usize,
    max_bytes: usize,
) -> Vec<SequencedBatch> {
    let mut messages: Vec<SequencedBatch> = Vec::new();
    let mut joined: Vec<SpoolRecord> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    for record in records {
        let (more_rows, more_bytes) = (record.message.rows, record.message.text.len());
        let fits = rows + more_rows <= max_rows && bytes + more_bytes <= max_bytes;
        if !fits || joined.last().is_none_or(|last| !follows(last, &record)) {
            messages.extend(join(std::mem::take(&mut joined)));
            (rows, bytes) = (0, 0);
        }
        rows += more_rows;
        bytes += more_bytes;
        joined.push(record);
    }
    messages.extend(join(joined));
    messages
}

/// Whether the rows of `next` come right after those of `last` and may share a message with them.
fn follows(last: &SpoolRecord, next: &SpoolRecord) -> bool {
    let (a, b) = (&last.message, &next.message);
    let number = i64::try_from(a.rows)
        .ok()
        .and_then(|rows| a.first.checked_add(rows));
    !last.offered
        && !next.offered
        && a.stream.name() == b.stream.name()
        && a.key == b.key
        && a.producer == b.producer
        && number == Some(b.first)
}

fn join(records: Vec<SpoolRecord>) -> Option<SequencedBatch> {
    let mut records = records.into_iter().map(|record| record.message);
    let mut message = records.next()?;
    let mut text: Option<BytesMut> = None;
    for next in records {
        message.rows += next.rows;
        text.get_or_insert_with(|| BytesMut::from(&message.text[..]))
            .extend_from_slice(&next.text);
    }
    if let Some(text) = text {
        message.text = text.freeze();
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use headframe_schemas::stream::{blocks::Blocks, shares::Shares};
    use proptest::prelude::*;

    fn record(
        stream: &'static dyn headframe_schemas::Stream,
        producer: &str,
        first: i64,
        rows: usize,
        offered: bool,
    ) -> SpoolRecord {
        let lines: String = (0..rows)
            .map(|row| format!("{{\"n\":{}}}\n", first + i64::try_from(row).unwrap()))
            .collect();
        let message = SequencedBatch {
            stream,
            key: "main".into(),
            producer: producer.into(),
            first,
            rows,
            text: lines.into(),
        };
        SpoolRecord { message, offered }
    }

    fn rows(messages: &[SequencedBatch]) -> Vec<(String, String, i64, String)> {
        let each = |message: &SequencedBatch| {
            let text = String::from_utf8(message.text.to_vec()).unwrap();
            assert_eq!(text.lines().count(), message.rows);
            let (name, producer, first) = (
                message.stream.name(),
                message.producer.clone(),
                message.first,
            );
            let row = |(line, number): (&str, i64)| {
                (
                    name.to_owned(),
                    producer.to_string(),
                    number,
                    line.to_owned(),
                )
            };
            text.lines().zip(first..).map(row).collect::<Vec<_>>()
        };
        messages.iter().flat_map(each).collect()
    }

    proptest! {
        #[test]
        fn joining_changes_no_row_no_number_and_no_order(
            steps in prop::collection::vec((0..2_usize, 1..9_usize, any::<bool>(), 0..3_i64),
                0..40), max_rows in 1..30_usize, max_bytes in 1..200_usize,
        ) {
            let streams: [&'static dyn headframe_schemas::Stream; 2] = [&Shares, &Blocks];
            let mut next = [1_i64; 2];
            let records: Vec<SpoolRecord> = steps.into_iter().map(|(stream, rows, offered, gap)| {
                let first = next[stream] + gap;
                next[stream] = first + i64::try_from(rows).unwrap();
                record(streams[stream], "p", first, rows, offered)
            }).collect();
            let plain: Vec<SequencedBatch> =
                records.iter().map(|record| record.message.clone()).collect();
            let joined = messages(records.clone(), max_rows, max_bytes);
            prop_assert_eq!(rows(&joined), rows(&plain));
            for message in &joined {
                let whole = plain.iter().any(|one| one.id() == message.id());
                let is_small = message.rows <= max_rows && message.text.len() <= max_bytes;
                prop_assert!(whole || is_small);
            }
            for record in records.iter().filter(|record| record.offered) {
                prop_assert!(joined.iter().any(|message| message.id() == record.message.id()),
                    "what was offered keeps its id");
            }
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written_or_refused_with_a_reason() {
        let wanted = record(&Shares, "p.1", 7, 3, true);
        let read = SpoolRecord::decode(&wanted.encode()).unwrap();
        assert_eq!(
            (format!("{:?}", read.message), read.offered),
            ("SequencedBatch(shares main p.1/7+3)".to_owned(), true)
        );
        assert_eq!(read.message.text, wanted.message.text);
        for (bad, reason) in [
            (b"".to_vec(), "no line"),
            (b"{}\n".to_vec(), "first line"),
            (
                wanted.encode()[..wanted.encode().len() - 1].to_vec(),
                "has 2 lines",
            ),
            (
                String::from_utf8(wanted.encode())
                    .unwrap()
                    .replace("shares", "sharks")
                    .into_bytes(),
                "sharks",
            ),
        ] {
            let said = SpoolRecord::decode(&bad).unwrap_err();
            assert!(said.contains(reason), "{said}");
        }
    }

    #[test]
    fn a_gap_another_producer_and_another_stream_part_messages() {
        let records = vec![
            record(&Shares, "a", 1, 2, false),
            record(&Shares, "a", 3, 1, false),
            record(&Shares, "a", 5, 1, false),
            record(&Shares, "b", 6, 1, false),
            record(&Blocks, "b", 7, 1, false),
        ];
        let ids: Vec<String> = messages(records, 100, 10_000)
            .iter()
            .map(SequencedBatch::id)
            .collect();
        assert_eq!(ids, ["a/1+3", "a/5+1", "b/6+1", "b/7+1"]);
    }
}
