//! `json`: one object with the columns, what was read, and the rows as objects.

use arrow::array::RecordBatch;
use serde_json::{Value, json};

use crate::error::QueryError;
use crate::format::{Encoder, Format, Head, ndjson, sql_type};

/// The format `json`.
pub struct Json;

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }
    fn media_types(&self) -> &'static [&'static str] {
        &["application/json"]
    }
    fn is_for_people(&self) -> bool {
        true
    }
    fn encoder(&self, head: &Head) -> Result<Box<dyn Encoder>, QueryError> {
        Ok(Box::new(JsonEncoder {
            head: head.clone(),
            rows: 0,
        }))
    }
}

struct JsonEncoder {
    head: Head,
    rows: usize,
}

impl Encoder for JsonEncoder {
    fn start(&mut self) -> Result<Vec<u8>, QueryError> {
        let fields = self.head.schema.fields().iter();
        let columns: Vec<Value> = fields
            .map(|field| json!({"name": field.name(), "type": sql_type(field.data_type())}))
            .collect();
        let id = json!(self.head.query_id);
        Ok(format!(
            "{{\"query_id\":{id},\"columns\":{},\"meta\":{},\"rows\":[",
            json!(columns),
            self.head.meta()
        )
        .into_bytes())
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError> {
        if batch.num_rows() == 0 {
            return Ok(Vec::new());
        }
        let lines = ndjson::lines(batch)?;
        let lines = lines.strip_suffix(b"\n").unwrap_or(&lines);
        let mut bytes = Vec::with_capacity(lines.len() + batch.num_rows() + 2);
        bytes.extend_from_slice(if self.rows == 0 { b"\n" } else { b",\n" });
        self.rows += batch.num_rows();
        // Inside JSON strings a line feed is written as \n, so that each one here stands between
        // two rows.
        for byte in lines {
            if *byte == b'\n' {
                bytes.push(b',');
            }
            bytes.push(*byte);
        }
        Ok(bytes)
    }

    fn finish(&mut self) -> Result<Vec<u8>, QueryError> {
        Ok(format!("\n],\"row_count\":{}}}\n", self.rows).into_bytes())
    }

    fn fail(&mut self, error: &QueryError) -> Option<Vec<u8>> {
        Some(
            format!(
                "\n],\"row_count\":{},\"error\":{}}}\n",
                self.rows,
                error.to_json()["error"]
            )
            .into_bytes(),
        )
    }
}
