//! What a request holds: good rows as a batch, bad rows with line, reason and bytes.

use arrow::array::{AsArray, RecordBatch};
use bytes::Bytes;
use futures::future::try_join_all;
use headframe_schemas::Stream;
use headframe_schemas::codec::{self, Decoded};
use headframe_schemas::message::Format;

use super::json_array;
use super::producer::{Numbering, is_named, namespaced_rows};
use crate::publish::{PublishError, Publisher, Receipt};
use crate::read::decode::rows::{as_json, whole};

/// Up to this many rows are put into one message with the rows of other requests; more make a
/// message of their own.
const FEW_ROWS: usize = 16;

/// A parsed request.
#[derive(Debug)]
pub struct ParsedBody {
    /// The good rows, with the columns of [`codec::wire_schema`].
    batch: RecordBatch,
    /// The lines of the good rows as they came, when they are few and carry no identity.
    lines: Option<Vec<Bytes>>,
    /// The bad rows.
    pub bad: Vec<RejectedInput>,
    /// Whether the bytes of the bad rows are the very input, so that reading them again finds the
    /// same fault.
    verbatim: bool,
}

/// A bad row.
#[derive(Debug)]
pub struct RejectedInput {
    /// From 1.
    pub line: usize,
    /// What is wrong.
    pub reason: String,
    raw: Bytes,
    identity: Option<(String, i64)>,
}

/// Reads a body. The error says why it cannot be read as a whole.
pub fn parse(
    stream: &dyn Stream,
    format: Format,
    body: &Bytes,
    numbering: Option<&Numbering>,
) -> Result<ParsedBody, String> {
    if format == Format::Arrow {
        let decoded = codec::decode_arrow(stream, body)?;
        let original = if decoded.rejects.is_empty() {
            None
        } else {
            whole(body)
        };
        let raw = |row: usize| {
            original
                .as_ref()
                .map(|batch| as_json(&batch.slice(row, 1)))
                .unwrap_or_default()
        };
        return finish(decoded, numbering, None, false, |row| row + 1, raw);
    }
    let (numbers, inputs): (Vec<usize>, Vec<&[u8]>) =
        if body.trim_ascii_start().first() == Some(&b'[') {
            json_array::elements(body)?.into_iter().enumerate().unzip()
        } else {
            codec::lines(body).unzip()
        };
    if inputs.is_empty() {
        return Err("the body has no rows".to_owned());
    }
    let decoded = codec::decode_ndjson(stream, &inputs);
    let few = decoded.lines.len() <= FEW_ROWS && numbering.is_none();
    let lines = few.then(|| {
        decoded
            .lines
            .iter()
            .map(|&line| body.slice_ref(inputs[line]))
            .collect()
    });
    finish(
        decoded,
        numbering,
        lines,
        true,
        |row| numbers[row] + 1,
        |row| body.slice_ref(inputs[row]),
    )
}

fn finish(
    decoded: Decoded,
    numbering: Option<&Numbering>,
    lines: Option<Vec<Bytes>>,
    verbatim: bool,
    number: impl Fn(usize) -> usize,
    raw: impl Fn(usize) -> Bytes,
) -> Result<ParsedBody, String> {
    let bad = decoded.rejects.into_iter().map(|reject| RejectedInput {
        line: number(reject.line),
        raw: raw(reject.line),
        identity: numbering.and_then(|numbering| {
            Some((numbering.producer.clone(), numbering.of_row(reject.line)?))
        }),
        reason: reject.reason,
    });
    let bad: Vec<RejectedInput> = bad.collect();
    let batch = match numbering {
        Some(numbering) => numbering.apply(&decoded.batch, &decoded.lines)?,
        None => namespaced_rows(decoded.batch)?,
    };
    // Lines that go on as they came would go with the names that they carry.
    let lines = lines.filter(|_| !is_named(&batch));
    Ok(ParsedBody {
        batch,
        lines,
        bad,
        verbatim,
    })
}

impl ParsedBody {
    /// How many rows are good.
    pub fn good_rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// Publishes the good rows.
    pub async fn publish_good(
        &self,
        publisher: &Publisher,
        stream: &'static dyn Stream,
    ) -> Result<Vec<Receipt>, PublishError> {
        if self.batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let keys = self
            .batch
            .column_by_name(stream.key())
            .and_then(|column| column.as_string_view_opt());
        if let (Some(lines), Some(keys)) = (&self.lines, keys) {
            let sends = lines
                .iter()
                .zip(keys.iter())
                .map(|(line, key)| publisher.line(stream, key.unwrap_or_default(), line.clone()));
            return try_join_all(sends).await;
        }
        publisher
            .messages(stream, &without_empty_identity(&self.batch, stream))
            .await
    }

    /// Publishes the bad rows as dead letters.
    pub async fn publish_bad(
        &self,
        publisher: &Publisher,
        stream: &'static dyn Stream,
    ) -> Result<Vec<Receipt>, PublishError> {
        // Many bad lines travel together; the decoder will find the same fault in them again.
        let many = self.verbatim && self.bad.len() > FEW_ROWS;
        let together = |bad: &&RejectedInput| {
            many && bad.identity.is_none() && bad.raw.len() < publisher.config().max_bytes
        };
        let (many, few): (Vec<&RejectedInput>, Vec<&RejectedInput>) =
            self.bad.iter().partition(together);
        let lines: Vec<Bytes> = many.into_iter().map(|bad| bad.raw.clone()).collect();
        let alone = few.into_iter().map(|bad| {
            publisher.refused(stream, bad.raw.clone(), &bad.reason, bad.identity.clone())
        });
        let (mut receipts, more) =
            tokio::try_join!(publisher.bad_lines(stream, lines), try_join_all(alone))?;
        receipts.extend(more);
        Ok(receipts)
    }
}

/// Columns that are null throughout need not travel.
fn without_empty_identity(batch: &RecordBatch, stream: &dyn Stream) -> RecordBatch {
    let empty = |name: &str| {
        batch
            .column_by_name(name)
            .is_none_or(|column| column.null_count() == batch.num_rows())
    };
    if codec::PRODUCER_COLUMNS
        .iter()
        .all(|column| empty(column.name))
    {
        let own: Vec<usize> = (0..stream.columns().len()).collect();
        return batch.project(&own).unwrap_or_else(|_| batch.clone());
    }
    batch.clone()
}
