//! A Parquet file of a table: how it is written, and what the log knows of it.
//!
//! Encodings are chosen per column: sequences and times as deltas, floats split by byte, text and other columns of few values
//! as dictionaries. For shares that is a third of what the usual defaults take.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, max, min, partition, take_record_batch};
use arrow::datatypes::{DataType, Date32Type, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use bytes::Bytes;
use headframe_schemas::{Column, Kind, Table};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use crate::action::Add;
use crate::error::SinkError;

/// Rows in one row group at most.
const ROW_GROUP_ROWS: usize = 1_000_000;

/// The partition values of a file, in the order of the partition columns.
type Key = Vec<Option<String>>;

/// What the log knows of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataFile {
    /// The log's own entry.
    pub add: Add,
    /// Rows in the file.
    pub rows: i64,
    /// Smallest and largest value of the integer and time columns, times in microseconds.
    pub ranges: BTreeMap<String, (i64, i64)>,
    /// Null counts of columns that have statistics.
    pub nulls: BTreeMap<String, i64>,
}

impl DataFile {
    /// Reads the statistics of a log entry. Entries without statistics have unknown ranges and zero rows.
    pub fn from_add(add: Add) -> Self {
        let stats: Value = add.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
        let rows = stats.get("numRecords").and_then(Value::as_i64).unwrap_or(0);
        let empty = Map::new();
        let object = |key: &str| stats.get(key).and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone());
        let (low, high) = (object("minValues"), object("maxValues"));
        let range = |(name, value): (&String, &Value)| Some((name.clone(), (micros(value)?, micros(high.get(name)?)?)));
        let ranges = low.iter().filter_map(range).collect();
        let nulls = object("nullCount").iter().filter_map(|(name, value)| Some((name.clone(), value.as_i64()?))).collect();
        Self { add, rows, ranges, nulls }
    }

    /// The smallest and largest sequence in the file, when it has that column.
    pub fn seq_range(&self) -> Option<(i64, i64)> {
        self.ranges.get("seq").copied()
    }

    /// A partition value of the file.
    pub fn partition(&self, column: &str) -> Option<&str> {
        self.add.partition_values.get(column)?.as_deref()
    }
}

/// A file ready to be put and committed.
#[derive(Debug, Clone)]
pub struct EncodedFile {
    /// The log entry, with the path the bytes must be put at.
    pub add: Add,
    /// The Parquet bytes.
    pub bytes: Bytes,
}

/// How hard to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For rows just arrived.
    Fresh,
    /// For rows that will be read seldom and kept long.
    Cold,
}

impl Effort {
    /// How the paths of such files begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Effort::Fresh => "part",
            Effort::Cold => "cold",
        }
    }

    fn compression(self) -> Compression {
        let level = if self == Effort::Cold { 12 } else { 3 };
        ZstdLevel::try_new(level).map_or(Compression::SNAPPY, Compression::ZSTD)
    }
}

/// Splits batches by partition and encodes one file a partition. `tag` becomes part of the path; `data_change` goes into the entry.
pub fn encode(
    table: &Table,
    batches: &[RecordBatch],
    tag: &str,
    effort: Effort,
    now_ms: i64,
    data_change: bool,
) -> Result<Vec<EncodedFile>, SinkError> {
    let mut parts: BTreeMap<Key, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        for (key, part) in split(table, batch)? {
            parts.entry(key).or_default().push(part);
        }
    }
    let names = || table.partition_columns().iter().map(|column| column.name.to_owned());
    let file =
        |(key, part): (Key, Vec<RecordBatch>)| encode_part(table, names().zip(key).collect(), &part, tag, effort, now_ms, data_change);
    parts.into_iter().map(file).collect()
}

/// Encodes the rows of one partition, given without the partition columns, as one file.
pub fn encode_part(
    table: &Table,
    partition_values: BTreeMap<String, Option<String>>,
    rows: &[RecordBatch],
    tag: &str,
    effort: Effort,
    now_ms: i64,
    data_change: bool,
) -> Result<EncodedFile, SinkError> {
    let bytes = write(table, rows, effort)?;
    let value = |name: &str| partition_values.get(name).cloned().flatten().unwrap_or_else(|| "__HIVE_DEFAULT_PARTITION__".to_owned());
    let folder: String = table.partition_columns().iter().map(|column| format!("{}={}/", column.name, value(column.name))).collect();
    let path = format!("{folder}{}-{tag}-{}.parquet", effort.prefix(), uuid::Uuid::new_v4().simple());
    let stats = stats(table, rows).to_string();
    let size = bytes.len() as i64;
    Ok(EncodedFile { add: Add { path, partition_values, size, modification_time: now_ms, data_change, stats: Some(stats) }, bytes })
}

/// The Arrow schema inside a table's files. Text is plain UTF-8 there, which every reader knows.
pub fn file_schema(table: &Table) -> SchemaRef {
    Arc::new(Schema::new(table.file_columns().iter().map(Column::field).collect::<Vec<_>>()))
}

fn split(table: &Table, batch: &RecordBatch) -> Result<Vec<(Key, RecordBatch)>, SinkError> {
    let error = || SinkError::encode("splitting a batch by partition", &table.name);
    let width = table.columns.len() - table.partitions;
    let keys: Vec<ArrayRef> = (width..table.columns.len()).map(|index| batch.column(index).clone()).collect();
    let files = batch.project(&(0..width).collect::<Vec<_>>()).map_err(error())?;
    let mut parts = Vec::new();
    let mut rows: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
    for range in partition(&keys).map_err(error())?.ranges() {
        let key: Key = keys.iter().map(|column| partition_text(column, range.start)).collect();
        if range.len() == batch.num_rows() {
            return Ok(vec![(key, files)]);
        }
        rows.entry(key).or_default().extend(range.start as u32..range.end as u32);
    }
    for (key, rows) in rows {
        parts.push((key, take_record_batch(&files, &UInt32Array::from(rows)).map_err(error())?));
    }
    Ok(parts)
}

fn partition_text(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Date32 => {
            let date = date32_to_datetime(column.as_primitive::<Date32Type>().value(row))?;
            Some(date.format("%Y-%m-%d").to_string())
        }
        _ => Some(column.as_string_view().value(row).to_owned()),
    }
}

fn properties(table: &Table, effort: Effort) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(effort.compression())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(false)
        .set_created_by(concat!("headframe ", env!("CARGO_PKG_VERSION")).to_owned());
    for column in table.file_columns() {
        let path = ColumnPath::from(column.name);
        builder = builder.set_column_dictionary_enabled(path.clone(), column.few_values);
        if column.few_values {
            continue;
        }
        builder = match column.kind {
            Kind::Timestamp | Kind::Date | Kind::Int | Kind::SmallInt => builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED),
            Kind::Float => builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
            _ => builder,
        };
    }
    builder.build()
}

fn write(table: &Table, batches: &[RecordBatch], effort: Effort) -> Result<Bytes, SinkError> {
    let error = || SinkError::encode("encoding a file", &table.name);
    // Without the Arrow schema in the footer every reader sees plain Parquet types, not string views.
    let options = ArrowWriterOptions::new().with_properties(properties(table, effort)).with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), file_schema(table), options).map_err(error())?;
    for batch in batches {
        writer.write(batch).map_err(error())?;
    }
    writer.into_inner().map(Bytes::from).map_err(error())
}

fn stats(table: &Table, batches: &[RecordBatch]) -> Value {
    let (mut low, mut high, mut nulls) = (Map::new(), Map::new(), Map::new());
    for column in table.file_columns() {
        let arrays: Vec<&ArrayRef> = batches.iter().filter_map(|batch| batch.column_by_name(column.name)).collect();
        let null_count: usize = arrays.iter().map(|array| array.null_count()).sum();
        nulls.insert(column.name.to_owned(), json!(null_count));
        let values: Vec<ArrayRef> = arrays.iter().filter_map(|array| integers(column.kind, array)).collect();
        let ints = || values.iter().map(|array| array.as_primitive::<Int64Type>());
        if let (Some(least), Some(most)) = (ints().filter_map(min).min(), ints().filter_map(max).max()) {
            low.insert(column.name.to_owned(), stat(column.kind, least));
            high.insert(column.name.to_owned(), stat(column.kind, most));
        }
    }
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    json!({"numRecords": rows, "minValues": low, "maxValues": high, "nullCount": nulls})
}

fn integers(kind: Kind, array: &ArrayRef) -> Option<ArrayRef> {
    match kind {
        Kind::Int | Kind::SmallInt => cast(array, &DataType::Int64).ok(),
        Kind::Timestamp => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?;
            debug_assert!(micros.as_primitive_opt::<TimestampMicrosecondType>().is_some());
            cast(&micros, &DataType::Int64).ok()
        }
        _ => None,
    }
}

fn stat(kind: Kind, value: i64) -> Value {
    match (kind, timestamp_us_to_datetime(value)) {
        (Kind::Timestamp, Some(time)) => json!(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()),
        _ => json!(value),
    }
}

/// A statistic as an integer; times as microseconds since 1970.
fn micros(value: &Value) -> Option<i64> {
    if let Some(number) = value.as_i64() {
        return Some(number);
    }
    let text = value.as_str()?;
    arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text).ok().map(|nanos| nanos.div_euclid(1_000))
}
