//! A format: how an answer becomes bytes, a piece at a time.
//!
//! An error after the first piece was sent must not look like the end of the rows: formats with
//! space for it say so in their last line, the others let the connection break.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde_json::{Value, json};

use crate::error::{ErrorCode, QueryError};
use crate::format::memory::AnswerMemory;
use crate::service::Answer;
use crate::sql::Coverage;

mod arrow_stream;
mod csv;
mod json_object;
pub mod memory;
pub mod ndjson;
mod parquet_file;
mod svg;
mod text;

/// How answers are written.
pub trait Format: Sync {
    /// Its name in `?format=`.
    fn name(&self) -> &'static str;
    /// The content type of the answer, first, and others it is asked for by.
    fn media_types(&self) -> &'static [&'static str];
    /// Whether `query.max_rows` holds: such answers are made for people or kept whole by their
    /// readers.
    fn is_for_people(&self) -> bool {
        false
    }
    /// An encoder for one answer.
    fn encoder(&self, head: &Head) -> Result<Box<dyn Encoder>, QueryError>;
}

/// Writes one answer. What each call returns is sent at once.
pub trait Encoder: Send {
    /// Before the first row.
    fn start(&mut self) -> Result<Vec<u8>, QueryError> {
        Ok(Vec::new())
    }
    /// More rows.
    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, QueryError>;
    /// After the last row.
    fn finish(&mut self) -> Result<Vec<u8>, QueryError> {
        Ok(Vec::new())
    }
    /// Last words after an error; `None` breaks the connection instead.
    fn fail(&mut self, _error: &QueryError) -> Option<Vec<u8>> {
        None
    }
}

/// Pixels of a drawing from left to right unless asked otherwise.
pub(crate) const DEFAULT_WIDTH: u32 = 720;

/// What is known of an answer before its rows.
#[derive(Clone)]
pub struct Head {
    /// The query's id.
    pub query_id: String,
    /// The columns.
    pub schema: SchemaRef,
    /// What was read.
    pub coverage: Vec<Coverage>,
    /// Where memory for the answer is counted.
    pub memory: AnswerMemory,
    /// Pixels of a drawing from left to right.
    pub width: u32,
}

/// Every format; the first is what a client gets that does not say.
pub const ALL: &[&dyn Format] = &[
    &json_object::Json,
    &ndjson::Ndjson,
    &csv::Csv,
    &arrow_stream::ArrowStream,
    &parquet_file::Parquet,
    &text::Text,
    &svg::Svg,
];

/// The media type of errors as RFC 9457 has them. Rows do not come in it.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// The format that `format` names, or else the first that `accept` allows.
pub fn choose(
    format: Option<&str>,
    accept: Option<&str>,
) -> Result<&'static dyn Format, QueryError> {
    let names = || {
        ALL.iter()
            .map(|format| format.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(name) = format {
        let found = ALL
            .iter()
            .copied()
            .find(|format| format.name().eq_ignore_ascii_case(name));
        let error = || {
            QueryError::new(
                ErrorCode::NotAcceptable,
                format!("there is no format {name:?}"),
                format!("formats are {}", names()),
            )
        };
        return found.ok_or_else(error);
    }
    let is_of_rows = |accept: &&str| accept.trim() != PROBLEM;
    let Some(accept) = accept.filter(is_of_rows) else {
        return Ok(ALL[0]);
    };
    let mut wanted: Vec<(f32, &str)> = accept
        .split(',')
        .map(quality)
        .filter(|(quality, _)| *quality > 0.0)
        .collect();
    // The sort is stable, so that among equals the one named first is taken.
    wanted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let found = wanted.iter().find_map(|(_, media)| match *media {
        "*/*" | "application/*" => Some(ALL[0]),
        "text/*" => ALL.iter().copied().find(|format| format.name() == "text"),
        media => ALL
            .iter()
            .copied()
            .find(|format| format.media_types().contains(&media)),
    });
    found.ok_or_else(|| {
        let message = format!("none of {accept:?} is spoken here");
        QueryError::new(
            ErrorCode::NotAcceptable,
            message,
            format!("pass format= one of {}", names()),
        )
    })
}

fn quality(entry: &str) -> (f32, &str) {
    let mut parts = entry.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let quality = parts
        .find_map(|part| part.strip_prefix("q=")?.parse().ok())
        .unwrap_or(1.0);
    (quality, media)
}

impl Head {
    /// The head of an answer.
    pub fn from_answer(answer: &Answer, memory: &AnswerMemory) -> Self {
        Self {
            query_id: answer.id.clone(),
            schema: answer.schema.clone(),
            coverage: answer.coverage.clone(),
            memory: memory.clone(),
            width: DEFAULT_WIDTH,
        }
    }

    /// Whether everything acknowledged is in the answer; `None` for an answer of the past or of no
    /// stream.
    pub fn complete(&self) -> Option<bool> {
        let all: Option<Vec<bool>> = self.coverage.iter().map(|stream| stream.complete).collect();
        all.filter(|all| !all.is_empty())
            .map(|all| all.iter().all(|complete| *complete))
    }

    /// What was read, as JSON.
    pub fn meta(&self) -> Value {
        let stream = |stream: &Coverage| {
            json!({
                "stream": stream.stream, "version": stream.version,
                "complete_through": stream.through,
                "acknowledged": stream.acknowledged, "complete": stream.complete,
                "reason": stream.reason,
            })
        };
        json!({"complete": self.complete(),
            "streams": self.coverage.iter().map(stream).collect::<Vec<_>>()})
    }
}

/// The name of a type in SQL, or Arrow's where SQL has none.
pub fn sql_type(kind: &DataType) -> String {
    match kind {
        DataType::Boolean => "BOOLEAN".to_owned(),
        DataType::Int32 => "INTEGER".to_owned(),
        DataType::Int64 => "BIGINT".to_owned(),
        DataType::UInt64 => "BIGINT UNSIGNED".to_owned(),
        DataType::Float64 => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => "VARCHAR".to_owned(),
        DataType::Binary | DataType::BinaryView | DataType::LargeBinary => "BYTEA".to_owned(),
        DataType::Date32 => "DATE".to_owned(),
        DataType::Timestamp(
            TimeUnit::Second | TimeUnit::Millisecond | TimeUnit::Microsecond | TimeUnit::Nanosecond,
            zone,
        ) => if zone.is_some() {
            "TIMESTAMP WITH TIME ZONE"
        } else {
            "TIMESTAMP"
        }
        .to_owned(),
        DataType::Decimal128(precision, scale) => format!("DECIMAL({precision},{scale})"),
        other => other.to_string(),
    }
}

/// The same columns with text and bytes in the layouts that every Arrow reader knows.
fn plain(schema: &SchemaRef) -> SchemaRef {
    let field = |field: &Arc<Field>| {
        let kind = match field.data_type() {
            DataType::Utf8View => DataType::Utf8,
            DataType::BinaryView => DataType::Binary,
            other => other.clone(),
        };
        field.as_ref().clone().with_data_type(kind)
    };
    Arc::new(Schema::new(
        schema.fields().iter().map(field).collect::<Vec<_>>(),
    ))
}

/// A batch in the layout of [`plain`].
fn to_plain(schema: &SchemaRef, batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| arrow::compute::cast(column, field.data_type()));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(encoding)?;
    RecordBatch::try_new(schema.clone(), columns).map_err(encoding)
}

/// An answer that a format cannot carry.
fn encoding(error: impl std::fmt::Display) -> QueryError {
    let message = format!("the answer cannot be written in this format: {error}");
    QueryError::new(
        ErrorCode::SqlExecution,
        message,
        "cast the column to VARCHAR or ask for another format",
    )
}
