//! A Parquet file of a table: how it is written, and what the log knows of it.
//!
//! Encodings are chosen per column: sequences and times as deltas, floats split by byte, text and
//! other columns of few values as dictionaries. For shares that is a third of what the usual
//! defaults take.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, max, min, partition, take_record_batch};
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, Schema, SchemaRef, TimeUnit,
    TimestampMicrosecondType,
};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use bytes::Bytes;
use headframe_schemas::{Column, Kind, Table};
use object_store::ObjectStoreExt;
use object_store::path::Path;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use crate::delta::action::Add;
use crate::delta::checksum;
use crate::delta::lake::TableLocation;
use crate::error::SinkError;

/// Rows in one row group at most.
const ROW_GROUP_ROWS: usize = 1_000_000;

/// Bytes of the distinct values of a column in a row group, beyond which they are written plainly:
/// space for the addresses of some 40,000 miners, which as plain text would take ninety bytes a
/// share.
const DICTIONARY_BYTES: usize = 4 << 20;

/// The footer's note about the order of a file's rows, and what it says when they stand in the
/// order of sequence and row. Who wants the newest rows of a large file need not read the others
/// then.
pub const ORDER: &str = "headframe.order";
pub const BY_PLACE: &str = "seq,row";

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
    /// Reads the statistics of a log entry. Entries without statistics have unknown ranges and zero
    /// rows.
    pub fn from_add(add: Add) -> Self {
        let stats: Value = add
            .stats
            .as_deref()
            .and_then(|stats| serde_json::from_str(stats).ok())
            .unwrap_or_default();
        let rows = stats.get("numRecords").and_then(Value::as_i64).unwrap_or(0);
        let empty = Map::new();
        let object = |key: &str| {
            stats
                .get(key)
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_else(|| empty.clone())
        };
        let (low, high) = (object("minValues"), object("maxValues"));
        let range = |(name, value): (&String, &Value)| {
            Some((name.clone(), (micros(value)?, micros(high.get(name)?)?)))
        };
        let ranges = low.iter().filter_map(range).collect();
        let nulls = object("nullCount")
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.as_i64()?)))
            .collect();
        Self {
            add,
            rows,
            ranges,
            nulls,
        }
    }

    /// The smallest and largest sequence in the file, when it has that column.
    pub fn seq_range(&self) -> Option<(i64, i64)> {
        self.ranges.get("seq").copied()
    }

    /// Whether the file still has the bytes it was written with; `None` when its name carries no
    /// checksum.
    pub async fn is_intact(&self, location: &TableLocation) -> Result<Option<bool>, SinkError> {
        let Some(expected) = checksum::of_path(&self.add.path) else {
            return Ok(None);
        };
        let path = Path::from(self.add.path.as_str());
        let bytes = async { location.store.get(&path).await?.bytes().await };
        let bytes = bytes
            .await
            .map_err(SinkError::store("reading a data file", &location.name))?;
        Ok(Some(checksum::of_bytes(&bytes) == expected))
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
pub enum CompressionEffort {
    /// For rows just arrived.
    Fresh,
    /// For rows that will be read seldom and kept long.
    Cold,
}

impl CompressionEffort {
    /// How the paths of such files begin.
    pub fn prefix(self) -> &'static str {
        match self {
            CompressionEffort::Fresh => "part",
            CompressionEffort::Cold => "cold",
        }
    }

    fn compression(self) -> Compression {
        let level = if self == CompressionEffort::Cold {
            12
        } else {
            3
        };
        ZstdLevel::try_new(level).map_or(Compression::SNAPPY, Compression::ZSTD)
    }
}

/// Splits batches by partition and encodes one file a partition. `tag` becomes part of the path;
/// `data_change` goes into the entry.
pub fn encode(
    table: &Table,
    batches: &[RecordBatch],
    tag: &str,
    effort: CompressionEffort,
    now_ms: i64,
    data_change: bool,
) -> Result<Vec<EncodedFile>, SinkError> {
    let mut parts: BTreeMap<Key, Vec<RecordBatch>> = BTreeMap::new();
    for batch in batches.iter().filter(|batch| batch.num_rows() > 0) {
        for (key, part) in split(table, batch)? {
            parts.entry(key).or_default().push(part);
        }
    }
    let names = || {
        table
            .partition_columns()
            .iter()
            .map(|column| column.name.to_owned())
    };
    let file = |(key, part): (Key, Vec<RecordBatch>)| {
        encode_part(
            table,
            names().zip(key).collect(),
            &part,
            tag,
            effort,
            now_ms,
            data_change,
        )
    };
    parts.into_iter().map(file).collect()
}

/// Encodes the rows of one partition, given without the partition columns, as one file.
pub fn encode_part(
    table: &Table,
    partition_values: BTreeMap<String, Option<String>>,
    rows: &[RecordBatch],
    tag: &str,
    effort: CompressionEffort,
    now_ms: i64,
    data_change: bool,
) -> Result<EncodedFile, SinkError> {
    let mut encoder = FileEncoder::new(table, effort)?;
    for batch in rows {
        encoder.write(batch)?;
    }
    encoder.finish(partition_values, tag, now_ms, data_change)
}

/// Encodes a file batch by batch, so that a large one needs no more memory than its compressed
/// bytes and a row group.
pub struct FileEncoder<'a> {
    table: &'a Table,
    effort: CompressionEffort,
    writer: ArrowWriter<Vec<u8>>,
    rows: usize,
    /// Smallest value, largest value and nulls of each file column.
    columns: Vec<(Option<i64>, Option<i64>, usize)>,
    /// The place of the last row, while every row came behind the one before it.
    last: Option<(i64, i64)>,
}

impl<'a> FileEncoder<'a> {
    /// A file without rows.
    pub fn new(table: &'a Table, effort: CompressionEffort) -> Result<Self, SinkError> {
        // Without the Arrow schema in the footer every reader sees plain Parquet types, not string
        // views.
        let options = ArrowWriterOptions::new()
            .with_properties(properties(table, effort))
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), file_schema(table), options)
            .map_err(SinkError::encode("encoding a file", &table.name))?;
        Ok(Self {
            table,
            effort,
            writer,
            rows: 0,
            columns: vec![(None, None, 0); table.file_columns().len()],
            last: Some((i64::MIN, 0)),
        })
    }

    /// Adds rows, given without the partition columns.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        self.writer
            .write(batch)
            .map_err(SinkError::encode("encoding a file", &self.table.name))?;
        self.rows += batch.num_rows();
        for (column, (low, high, nulls)) in self.table.file_columns().iter().zip(&mut self.columns)
        {
            let Some(array) = batch.column_by_name(column.name) else {
                continue;
            };
            *nulls += array.null_count();
            let Some(values) = integers(column.kind, array) else {
                continue;
            };
            let values = values.as_primitive::<Int64Type>();
            *low = [*low, min(values)].into_iter().flatten().min();
            *high = [*high, max(values)].into_iter().flatten().max();
        }
        self.last = self.last.and_then(|last| last_in_order(batch, last));
        Ok(())
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The file, with its entry for the log.
    pub fn finish(
        self,
        partition_values: BTreeMap<String, Option<String>>,
        tag: &str,
        now_ms: i64,
        data_change: bool,
    ) -> Result<EncodedFile, SinkError> {
        let Self {
            table,
            effort,
            mut writer,
            rows,
            columns,
            last,
        } = self;
        if last.is_some() {
            writer.append_key_value_metadata(KeyValue::new(ORDER.to_owned(), BY_PLACE.to_owned()));
        }
        let bytes = writer
            .into_inner()
            .map(Bytes::from)
            .map_err(SinkError::encode("encoding a file", &table.name))?;
        let value = |name: &str| {
            partition_values
                .get(name)
                .cloned()
                .flatten()
                .unwrap_or_else(|| "__HIVE_DEFAULT_PARTITION__".to_owned())
        };
        let folder: String = table
            .partition_columns()
            .iter()
            .map(|column| format!("{}={}/", column.name, value(column.name)))
            .collect();
        let path = format!(
            "{folder}{}-{tag}-{}-b3{}.parquet",
            effort.prefix(),
            uuid::Uuid::new_v4().simple(),
            checksum::of_bytes(&bytes)
        );
        let (mut lows, mut highs, mut null_counts) = (Map::new(), Map::new(), Map::new());
        for (column, (low, high, nulls)) in table.file_columns().iter().zip(columns) {
            null_counts.insert(column.name.to_owned(), json!(nulls));
            if let (Some(low), Some(high)) = (low, high) {
                lows.insert(column.name.to_owned(), stat(column.kind, low));
                highs.insert(column.name.to_owned(), stat(column.kind, high));
            }
        }
        let stats = json!({"numRecords": rows, "minValues": lows, "maxValues": highs,
            "nullCount": null_counts})
        .to_string();
        let size = bytes.len() as i64;
        Ok(EncodedFile {
            add: Add {
                path,
                partition_values,
                size,
                modification_time: now_ms,
                data_change,
                stats: Some(stats),
            },
            bytes,
        })
    }
}

/// The Arrow schema inside a table's files. Text is plain UTF-8 there, which every reader knows.
pub fn file_schema(table: &Table) -> SchemaRef {
    Arc::new(Schema::new(
        table
            .file_columns()
            .iter()
            .map(Column::field)
            .collect::<Vec<_>>(),
    ))
}

/// The place of a batch's last row, if its rows follow each other and `last`.
fn last_in_order(batch: &RecordBatch, last: (i64, i64)) -> Option<(i64, i64)> {
    let seqs = batch
        .column_by_name("seq")?
        .as_primitive_opt::<Int64Type>()?;
    let rows = batch
        .column_by_name("row")?
        .as_primitive_opt::<Int32Type>()?;
    let mut places = seqs
        .values()
        .iter()
        .zip(rows.values())
        .map(|(seq, row)| (*seq, i64::from(*row)));
    places.try_fold(last, |before, place| (before < place).then_some(place))
}

fn split(table: &Table, batch: &RecordBatch) -> Result<Vec<(Key, RecordBatch)>, SinkError> {
    let error = || SinkError::encode("splitting a batch by partition", &table.name);
    let width = table.columns.len() - table.partitions;
    let keys: Vec<ArrayRef> = (width..table.columns.len())
        .map(|index| batch.column(index).clone())
        .collect();
    let files = batch
        .project(&(0..width).collect::<Vec<_>>())
        .map_err(error())?;
    let mut parts = Vec::new();
    let mut rows: BTreeMap<Key, Vec<u32>> = BTreeMap::new();
    for range in partition(&keys).map_err(error())?.ranges() {
        let key: Key = keys
            .iter()
            .map(|column| partition_text(column, range.start))
            .collect();
        if range.len() == batch.num_rows() {
            return Ok(vec![(key, files)]);
        }
        rows.entry(key)
            .or_default()
            .extend(range.start as u32..range.end as u32);
    }
    for (key, rows) in rows {
        parts.push((
            key,
            take_record_batch(&files, &UInt32Array::from(rows)).map_err(error())?,
        ));
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

fn properties(table: &Table, effort: CompressionEffort) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(effort.compression())
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(false)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_created_by(concat!("headframe ", env!("CARGO_PKG_VERSION")).to_owned());
    for column in table.file_columns() {
        let path = ColumnPath::from(column.name);
        builder = builder.set_column_dictionary_enabled(path.clone(), column.few_values);
        if column.few_values {
            continue;
        }
        builder = match column.kind {
            Kind::Timestamp | Kind::Date | Kind::Int | Kind::SmallInt => {
                builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            Kind::Float => builder.set_column_encoding(path, Encoding::BYTE_STREAM_SPLIT),
            _ => builder,
        };
    }
    builder.build()
}

fn integers(kind: Kind, array: &ArrayRef) -> Option<ArrayRef> {
    match kind {
        Kind::Int | Kind::SmallInt => cast(array, &DataType::Int64).ok(),
        Kind::Timestamp => {
            let micros = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None)).ok()?;
            debug_assert!(
                micros
                    .as_primitive_opt::<TimestampMicrosecondType>()
                    .is_some()
            );
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
    arrow::compute::kernels::cast_utils::string_to_timestamp_nanos(text)
        .ok()
        .map(|nanos| nanos.div_euclid(1_000))
}
