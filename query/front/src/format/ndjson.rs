//! `ndjson`: one JSON object a row and line; an error after the first row is a last line `{"error":
//! …}`.

use arrow::array::RecordBatch;
use arrow::json::WriterBuilder;
use arrow::json::writer::LineDelimited;

use crate::error::QueryError;
use crate::format::{Encoder, Format, Head, encoding};

/// The format `ndjson`.
pub struct Ndjson;

impl Format for Ndjson {
    fn name(&self) -> &'static str {
        "ndjson"
    }
    fn media_types(&self) -> &'static [&'static str] {
        &[
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
        ]
    }
    fn encoder(&self, _head: &Head) -> Result<Box<dyn Encoder>, QueryError> {
        Ok(Box::new(NdjsonEncoder))
    }
}

struct NdjsonEncoder;

impl Encoder for NdjsonEncoder {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        lines(batch)
    }

    fn fail(&mut self, error: &QueryError) -> Option<Vec<u8>> {
        Some(format!("{}\n", error.to_json()).into_bytes())
    }
}

/// The rows as lines, every column named in each, also where it is null.
pub fn lines(batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
    let mut writer = WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, LineDelimited>(Vec::new());
    writer.write(batch).map_err(encoding)?;
    writer.finish().map_err(encoding)?;
    Ok(writer.into_inner())
}
