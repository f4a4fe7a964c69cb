//! `csv`: a header line, then a line a row; an error after the first row breaks the connection.

use arrow::array::RecordBatch;
use arrow::csv::WriterBuilder;
use arrow::datatypes::SchemaRef;

use crate::error::QueryError;
use crate::format::{Encoder, Format, Head, encoding};

/// The format `csv`.
pub struct Csv;

impl Format for Csv {
    fn name(&self) -> &'static str {
        "csv"
    }
    fn media_types(&self) -> &'static [&'static str] {
        &["text/csv"]
    }
    fn encoder(&self, head: &Head) -> Result<Box<dyn Encoder>, QueryError> {
        Ok(Box::new(CsvEncoder {
            schema: head.schema.clone(),
        }))
    }
}

struct CsvEncoder {
    schema: SchemaRef,
}

impl CsvEncoder {
    fn write(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, QueryError> {
        let mut bytes = Vec::new();
        WriterBuilder::new()
            .with_header(header)
            .build(&mut bytes)
            .write(batch)
            .map_err(encoding)?;
        Ok(bytes)
    }
}

impl Encoder for CsvEncoder {
    fn start(&mut self) -> Result<Vec<u8>, QueryError> {
        Self::write(&RecordBatch::new_empty(self.schema.clone()), true)
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        Self::write(batch, false)
    }
}
