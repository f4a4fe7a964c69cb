//! `arrow`: an Arrow IPC stream; an error after the first batch breaks the connection before the
//! end mark.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::StreamWriter;

use crate::error::QueryError;
use crate::format::{Encoder, Format, Head, encoding, plain, to_plain};

/// The format `arrow`.
pub struct ArrowStream;

impl Format for ArrowStream {
    fn name(&self) -> &'static str {
        "arrow"
    }
    fn media_types(&self) -> &'static [&'static str] {
        &["application/vnd.apache.arrow.stream"]
    }
    fn encoder(&self, head: &Head) -> Result<Box<dyn Encoder>, QueryError> {
        let schema = plain(&head.schema);
        let writer = StreamWriter::try_new(Vec::new(), &schema).map_err(encoding)?;
        Ok(Box::new(ArrowEncoder { schema, writer }))
    }
}

struct ArrowEncoder {
    schema: SchemaRef,
    writer: StreamWriter<Vec<u8>>,
}

impl Encoder for ArrowEncoder {
    fn start(&mut self) -> Result<Vec<u8>, QueryError> {
        Ok(std::mem::take(self.writer.get_mut()))
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        self.writer
            .write(&to_plain(&self.schema, batch)?)
            .map_err(encoding)?;
        Ok(std::mem::take(self.writer.get_mut()))
    }

    fn finish(&mut self) -> Result<Vec<u8>, QueryError> {
        self.writer.finish().map_err(encoding)?;
        Ok(std::mem::take(self.writer.get_mut()))
    }
}
