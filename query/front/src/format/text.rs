//! `text`: a table for the eye. It is made when all rows are there, because the widest value sets a
//! column's width.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::error::QueryError;
use crate::format::memory::AnswerReservation;
use crate::format::{Encoder, Format, Head, encoding};
use crate::text_table;

/// The format `text`.
pub struct Text;

impl Format for Text {
    fn name(&self) -> &'static str {
        "text"
    }
    fn media_types(&self) -> &'static [&'static str] {
        &["text/plain"]
    }
    fn is_for_people(&self) -> bool {
        true
    }
    fn encoder(&self, head: &Head) -> Result<Box<dyn Encoder>, QueryError> {
        let memory = head.memory.reservation();
        let notes = head.coverage.iter().filter_map(|stream| {
            let through = stream.through.unwrap_or(0);
            stream.reason.as_ref().map(|reason| {
                format!(
                    "{} is complete through {through} only: {reason}",
                    stream.stream
                )
            })
        });
        Ok(Box::new(TextEncoder {
            schema: head.schema.clone(),
            widths: head
                .schema
                .fields()
                .iter()
                .map(|field| field.name().len() + 3)
                .collect(),
            rows: 0,
            held: 0,
            batches: Vec::new(),
            memory,
            notes: notes.collect(),
        }))
    }
}

struct TextEncoder {
    schema: SchemaRef,
    /// The widest cell of each column so far, in bytes.
    widths: Vec<usize>,
    rows: usize,
    /// Bytes of the rows as they came, twice.
    held: usize,
    batches: Vec<RecordBatch>,
    memory: AnswerReservation,
    notes: Vec<String>,
}

impl Encoder for TextEncoder {
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        // A row is held twice: as it came and as text, where each cell is as wide as the widest
        // of its column.
        self.rows += batch.num_rows();
        self.held += 2 * batch.get_array_memory_size();
        for (index, width) in self.widths.iter_mut().enumerate() {
            let widest = text_table::widest(batch.column(index)).map_err(encoding)?;
            *width = (*width).max(widest);
        }
        let row = self
            .widths
            .iter()
            .fold(0, |sum: usize, width| sum.saturating_add(*width));
        let table = row.saturating_mul(self.rows + 3);
        self.memory.try_resize(self.held.saturating_add(table))?;
        self.batches.push(batch.clone());
        Ok(Vec::new())
    }

    fn finish(&mut self) -> Result<Vec<u8>, QueryError> {
        let mut table = text_table::render(&self.schema, &self.batches).map_err(encoding)?;
        for note in &self.notes {
            table.push_str(note);
            table.push('\n');
        }
        Ok(table.into_bytes())
    }

    fn fail(&mut self, error: &QueryError) -> Option<Vec<u8>> {
        Some(format!("error: {error}\n").into_bytes())
    }
}
