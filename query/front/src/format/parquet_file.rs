//! `parquet`: a Parquet file, sent a row group at a time; an error breaks the connection before the
//! footer.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::error::QueryError;
use crate::format::memory::AnswerReservation;
use crate::format::{Encoder, Format, Head, encoding, plain, to_plain};

/// Rows in one row group.
const ROW_GROUP_ROWS: usize = 256 * 1024;

/// The format `parquet`.
pub struct Parquet;

impl Format for Parquet {
    fn name(&self) -> &'static str {
        "parquet"
    }
    fn media_types(&self) -> &'static [&'static str] {
        &["application/vnd.apache.parquet"]
    }
    fn encoder(&self, head: &Head) -> Result<Box<dyn Encoder>, QueryError> {
        let schema = plain(&head.schema);
        let level = ZstdLevel::try_new(1).map_err(encoding)?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .set_created_by(concat!("headframe ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let writer =
            ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties)).map_err(encoding)?;
        let memory = head.memory.reservation();
        Ok(Box::new(ParquetEncoder {
            schema,
            writer,
            memory,
        }))
    }
}

struct ParquetEncoder {
    schema: SchemaRef,
    writer: ArrowWriter<Vec<u8>>,
    memory: AnswerReservation,
}

impl Encoder for ParquetEncoder {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        self.writer
            .write(&to_plain(&self.schema, batch)?)
            .map_err(encoding)?;
        self.memory.try_resize(self.writer.memory_size())?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    fn finish(&mut self) -> Result<Vec<u8>, QueryError> {
        self.writer.finish().map_err(encoding)?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }
}
