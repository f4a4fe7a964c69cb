//! Between bytes and batches: NDJSON lines and Arrow IPC streams, in and out.
//!
//! Decoding never fails as a whole because of one row: a line nobody can read becomes a [`Reject`]
//! with a reason, and the rows beside it are kept.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::json::ReaderBuilder;
use bytes::Bytes;

use crate::arrow_stream;
use crate::column::{Column, Kind};
use crate::stream::Stream;
use crate::validate;

/// Optional columns every message may carry beside its stream's own.
pub const PRODUCER_COLUMNS: &[Column] = &[
    Column::new(
        "producer",
        Kind::Text,
        "Who published the row: a name unique to one run of one process.",
    ),
    Column::new(
        "producer_seq",
        Kind::Int,
        "The producer's own number of the row, rising by one.",
    ),
];

/// How deep a line may nest. The JSON reader shows values it cannot use by recursion, and a stack
/// that overflows ends the process.
pub const MAX_DEPTH: usize = 64;

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Index among the lines given.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// What a number of lines became.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The good rows, with the columns of [`wire_schema`].
    pub batch: RecordBatch,
    /// For each row of the batch, the index of the line it came from; rising.
    pub lines: Vec<usize>,
    /// The bad lines, rising.
    pub rejects: Vec<Reject>,
}

/// The stream's columns followed by [`PRODUCER_COLUMNS`].
pub fn wire_schema(stream: &dyn Stream) -> SchemaRef {
    let fields: Vec<Field> = stream
        .columns()
        .iter()
        .chain(PRODUCER_COLUMNS)
        .map(Column::field)
        .collect();
    Arc::new(Schema::new(fields))
}

/// Splits a body into its non-blank lines, each with its 0-based line number.
pub fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    body.split(|&byte| byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
}

/// Reads NDJSON lines, each of which must be exactly one JSON object.
pub fn decode_ndjson(stream: &dyn Stream, input: &[&[u8]]) -> Decoded {
    let schema = wire_schema(stream);
    let mut parts = Vec::new();
    let mut kept = Vec::with_capacity(input.len());
    let mut rejects = Vec::new();
    decode_range(&schema, input, 0, &mut parts, &mut kept, &mut rejects);
    let batch = match parts.len() {
        1 => parts.remove(0),
        // The parts share one schema, so that joining them cannot fail; an empty batch stands in if
        // it ever does.
        _ => concat_batches(&schema, &parts)
            .unwrap_or_else(|_| RecordBatch::new_empty(schema.clone())),
    };
    checked(stream, batch, kept, rejects)
}

/// Reads an Arrow IPC stream. Columns are matched by name and cast to their types; others are
/// ignored.
///
/// The error says why the bytes as a whole cannot be read. Rows that break a limit come back as
/// rejects.
pub fn decode_arrow(stream: &dyn Stream, body: &[u8]) -> Result<Decoded, String> {
    let (_, batches) = arrow_stream::read(body)?;
    let schema = wire_schema(stream);
    let parts = batches
        .iter()
        .map(|batch| conform(&schema, batch))
        .collect::<Result<Vec<_>, _>>()?;
    let batch = concat_batches(&schema, &parts)
        .map_err(|error| format!("cannot join the stream's batches: {error}"))?;
    let kept = (0..batch.num_rows()).collect();
    Ok(checked(stream, batch, kept, Vec::new()))
}

/// Matches a batch's columns by name and casts them to the schema's types; absent columns become
/// null.
pub fn conform(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, String> {
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let column = |field: &Arc<Field>| -> Result<ArrayRef, String> {
        match batch.column_by_name(field.name()) {
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(array) if array.data_type() == field.data_type() => Ok(array.clone()),
            Some(array) => cast_with_options(array, field.data_type(), &options).map_err(|error| {
                format!(
                    "column {}: {} is not {}: {error}",
                    field.name(),
                    array.data_type(),
                    field.data_type()
                )
            }),
        }
    };
    let columns = schema
        .fields()
        .iter()
        .map(column)
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(|error| error.to_string())
}

/// Writes a batch as an Arrow IPC stream. Text goes as dictionaries, which makes a share a few
/// bytes instead of hundreds.
pub fn encode_arrow(batch: &RecordBatch) -> Result<Bytes, String> {
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if matches!(field.data_type(), DataType::Utf8View | DataType::Utf8) {
            let packed = cast(column, &dictionary).map_err(|error| error.to_string())?;
            fields.push(Field::new(field.name(), dictionary.clone(), true));
            columns.push(packed);
        } else {
            fields.push(field.as_ref().clone());
            columns.push(column.clone());
        }
    }
    let packed = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|error| error.to_string())?;
    let mut writer = StreamWriter::try_new_with_options(
        Vec::new(),
        &packed.schema(),
        IpcWriteOptions::default(),
    )
    .map_err(|error| error.to_string())?;
    writer.write(&packed).map_err(|error| error.to_string())?;
    writer
        .into_inner()
        .map(Bytes::from)
        .map_err(|error| error.to_string())
}

/// Decodes a range of lines at once and, when that fails, halves it until the bad line stands
/// alone.
fn decode_range(
    schema: &SchemaRef,
    input: &[&[u8]],
    offset: usize,
    parts: &mut Vec<RecordBatch>,
    kept: &mut Vec<usize>,
    rejects: &mut Vec<Reject>,
) {
    match try_decode(schema, input) {
        Ok(batch) => {
            kept.extend(offset..offset + batch.num_rows());
            parts.push(batch);
        }
        // There is no line to blame, and halving nothing would never end.
        Err(_) if input.is_empty() => {}
        Err(reason) if input.len() == 1 => rejects.push(Reject {
            line: offset,
            reason,
        }),
        Err(_) => {
            let middle = input.len() / 2;
            decode_range(schema, &input[..middle], offset, parts, kept, rejects);
            decode_range(
                schema,
                &input[middle..],
                offset + middle,
                parts,
                kept,
                rejects,
            );
        }
    }
}

/// Every line must end exactly one record: a row that spanned lines would be filed under another
/// row's identity.
fn try_decode(schema: &SchemaRef, input: &[&[u8]]) -> Result<RecordBatch, String> {
    let mut decoder = ReaderBuilder::new(schema.clone())
        .with_batch_size(input.len().max(1))
        .build_decoder()
        .map_err(|error| error.to_string())?;
    for (index, line) in input.iter().enumerate() {
        if is_too_deep(line) {
            return Err(format!("the line nests deeper than {MAX_DEPTH}"));
        }
        let used = decoder
            .decode(line)
            .map_err(|error| format!("not a JSON object: {error}"))?;
        if used < line.len() || decoder.len() != index + 1 || decoder.has_partial_record() {
            return Err("a line must be exactly one JSON object".to_owned());
        }
    }
    let batch = decoder.flush().map_err(|error| error.to_string())?;
    Ok(batch.unwrap_or_else(|| RecordBatch::new_empty(schema.clone())))
}

/// Brackets within text count too, in the first look, which is cheap enough for every line and
/// decides nearly all.
fn is_too_deep(line: &[u8]) -> bool {
    let opens = |byte: u8| matches!(byte, b'{' | b'[');
    if line.iter().filter(|&&byte| opens(byte)).count() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for &byte in line {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            byte if opens(byte) => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

fn checked(
    stream: &dyn Stream,
    batch: RecordBatch,
    kept: Vec<usize>,
    mut rejects: Vec<Reject>,
) -> Decoded {
    let mut faults = validate::faults(stream.columns(), &batch);
    faults.extend(validate::faults(PRODUCER_COLUMNS, &batch));
    if faults.is_empty() {
        return Decoded {
            batch,
            lines: kept,
            rejects,
        };
    }
    faults.sort_by_key(|fault| fault.row);
    faults.dedup_by_key(|fault| fault.row);
    let mask = validate::keep_mask(batch.num_rows(), &faults);
    // The mask has the batch's length, which is all that filtering asks for.
    let good = filter_record_batch(&batch, &mask)
        .unwrap_or_else(|_| RecordBatch::new_empty(batch.schema()));
    let lines = kept
        .iter()
        .enumerate()
        .filter(|(row, _)| mask.value(*row))
        .map(|(_, &line)| line)
        .collect();
    rejects.extend(faults.into_iter().map(|fault| Reject {
        line: kept[fault.row],
        reason: fault.reason,
    }));
    rejects.sort_by_key(|reject| reject.line);
    Decoded {
        batch: good,
        lines,
        rejects,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lines_give_no_rows_and_an_end() {
        let decoded = decode_ndjson(&crate::stream::shares::Shares, &[]);
        assert_eq!(
            (
                decoded.batch.num_rows(),
                decoded.lines.len(),
                decoded.rejects.len()
            ),
            (0, 0, 0)
        );
    }

    /// Each of these ends the process by a stack overflow when the JSON reader gets to see it.
    #[test]
    fn a_line_that_nests_too_deep_is_rejected_alone() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let good =
            r#"{"event_time":"2026-03-01T12:00:00Z","site":"north","meter":"m","power_w":1}"#;
        let value = good.replace(":1}", &format!(":{deep}}}"));
        let open = "{\"power_w\":".repeat(100_000);
        let other = good.replace('}', &format!(",\"x\":{deep}}}"));
        let text = good.replace("north", &"[{".repeat(100));
        let input = [good, &deep, &value, &open, &other, &text].map(str::as_bytes);
        let decoded = decode_ndjson(
            <crate::stream::energy::Energy as crate::stream::Record>::STREAM,
            &input,
        );
        assert_eq!(decoded.lines, [0, 5], "{:?}", decoded.rejects);
        assert!(
            decoded
                .rejects
                .iter()
                .all(|reject| reject.reason == "the line nests deeper than 64"),
            "{:?}",
            decoded.rejects
        );
    }
}
