//! The row groups of a table's data files, for a reader that goes through a long table backwards
//! and wants few columns of it.
//!
//! A query plan reads what it is told to and sorts what it read. Who looks for where a sum is
//! reached wants the newest row group first, the statistics of each before its bytes, and texts as
//! the dictionaries they are stored as.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use futures::{Stream, StreamExt};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use crate::delta::data_file::{BY_PLACE, DataFile, ORDER};
use crate::delta::lake::TableLocation;
use crate::delta::snapshot::Snapshot;
use crate::error::SinkError;

mod file_reader;

use file_reader::FileReader;

/// Rows of one batch.
pub const BATCH_ROWS: usize = 65_536;

/// A row group of a data file, with what the file's footer says of it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RowGroup {
    location: TableLocation,
    file: Arc<DataFile>,
    metadata: ArrowReaderMetadata,
    index: usize,
}

/// What a footer says of the texts in a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextBounds {
    /// There is none.
    Empty,
    /// None is before the first of these or behind the second, by their bytes.
    Within(Vec<u8>, Vec<u8>),
    /// It says nothing.
    Unknown,
}

impl TextBounds {
    /// Whether a text of the column can be this one. Only what rules it out is believed.
    pub fn may_hold(&self, text: &str) -> bool {
        match self {
            TextBounds::Empty => false,
            TextBounds::Within(low, high) => {
                low.as_slice() <= text.as_bytes() && text.as_bytes() <= high.as_slice()
            }
            TextBounds::Unknown => true,
        }
    }

    /// The bounds of both together.
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (TextBounds::Unknown, _) | (_, TextBounds::Unknown) => TextBounds::Unknown,
            (TextBounds::Empty, bounds) | (bounds, TextBounds::Empty) => bounds,
            (TextBounds::Within(low, high), TextBounds::Within(lower, higher)) => {
                TextBounds::Within(low.min(lower), high.max(higher))
            }
        }
    }
}

/// The row groups of one file of a snapshot, in the order they stand in it.
pub async fn row_groups(
    snapshot: &Snapshot,
    file: &Arc<DataFile>,
) -> Result<Vec<RowGroup>, SinkError> {
    let failed = |source| {
        fault(
            "reading the footer of a data file",
            &snapshot.table.name,
            &file.add.path,
            source,
        )
    };
    let footer = FileReader::new(&snapshot.location, file)
        .get_metadata(None)
        .await
        .and_then(|footer| check_places(&footer, file.add.size).map(|()| footer))
        .map_err(failed)?;
    let plain =
        ArrowReaderMetadata::try_new(footer.clone(), ArrowReaderOptions::new()).map_err(failed)?;
    let options =
        ArrowReaderOptions::new().with_schema(Arc::new(with_dictionaries(plain.schema())));
    let metadata = ArrowReaderMetadata::try_new(footer, options).map_err(failed)?;
    let group = |index| RowGroup {
        location: snapshot.location.clone(),
        file: file.clone(),
        metadata: metadata.clone(),
        index,
    };
    Ok((0..metadata.metadata().num_row_groups())
        .map(group)
        .collect())
}

impl RowGroup {
    /// The file it is in, as the log names it.
    pub fn file(&self) -> &DataFile {
        &self.file
    }

    /// Its place in the file, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its rows.
    pub fn rows(&self) -> usize {
        usize::try_from(self.footer().num_rows()).unwrap_or(0)
    }

    /// The smallest and largest sequence in it; `None` when the footer does not say.
    pub fn seq_range(&self) -> Option<(i64, i64)> {
        match self.statistics("seq")? {
            Statistics::Int64(seq) => Some((*seq.min_opt()?, *seq.max_opt()?)),
            _ => None,
        }
    }

    /// Whether the file has this column.
    pub fn has(&self, column: &str) -> bool {
        self.metadata.schema().column_with_name(column).is_some()
    }

    /// Whether its rows are in the order of their places, sequence and row, as far as the file's
    /// writer has seen.
    pub fn is_ordered(&self) -> bool {
        let pairs = self
            .metadata
            .metadata()
            .file_metadata()
            .key_value_metadata();
        pairs.is_some_and(|pairs| {
            pairs
                .iter()
                .any(|pair| pair.key == ORDER && pair.value.as_deref() == Some(BY_PLACE))
        })
    }

    /// Between which the values of this text column lie.
    pub fn text_bounds(&self, column: &str) -> TextBounds {
        if self.is_void(column) {
            return TextBounds::Empty;
        }
        let Some(Statistics::ByteArray(range)) = self.statistics(column) else {
            return TextBounds::Unknown;
        };
        match (range.min_opt(), range.max_opt()) {
            (Some(low), Some(high)) => {
                TextBounds::Within(low.data().to_vec(), high.data().to_vec())
            }
            _ => TextBounds::Unknown,
        }
    }

    /// The one text that this column has wherever it is not null; `None` when there are several,
    /// none, or nothing is known.
    pub fn only_text(&self, column: &str) -> Option<&str> {
        let Some(Statistics::ByteArray(range)) = self.statistics(column) else {
            return None;
        };
        let exact =
            range.min_is_exact() && range.max_is_exact() && range.min_opt()? == range.max_opt()?;
        exact
            .then(|| std::str::from_utf8(range.min_opt()?.data()).ok())
            .flatten()
    }

    /// The one number that this decimal column has wherever it is not null, likewise.
    pub fn only_decimal(&self, column: &str) -> Option<i128> {
        let Some(Statistics::FixedLenByteArray(range)) = self.statistics(column) else {
            return None;
        };
        let exact =
            range.min_is_exact() && range.max_is_exact() && range.min_opt()? == range.max_opt()?;
        // Sixteen bytes, the highest first, as its 38 digits need.
        exact
            .then(|| {
                Some(i128::from_be_bytes(
                    range.min_opt()?.data().try_into().ok()?,
                ))
            })
            .flatten()
    }

    /// Whether every value of this column is null.
    pub fn is_void(&self, column: &str) -> bool {
        let nulls = self.statistics(column).and_then(Statistics::null_count_opt);
        !self.has(column) || nulls == Some(self.rows() as u64)
    }

    /// Its rows, in their order, with those of the columns that the file has. Texts are
    /// dictionaries.
    pub fn read(
        &self,
        columns: &[&str],
    ) -> Result<impl Stream<Item = Result<RecordBatch, SinkError>> + Send + use<>, SinkError> {
        self.read_rows(columns, 0..self.rows())
    }

    /// The same of some of its rows, counted from 0.
    pub fn read_rows(
        &self,
        columns: &[&str],
        rows: Range<usize>,
    ) -> Result<impl Stream<Item = Result<RecordBatch, SinkError>> + Send + use<>, SinkError> {
        let columns = columns.iter().filter(|column| self.has(column)).copied();
        let projection = ProjectionMask::columns(self.metadata.parquet_schema(), columns);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(
            FileReader::new(&self.location, &self.file),
            self.metadata.clone(),
        );
        let builder = builder
            .with_row_groups(vec![self.index])
            .with_projection(projection)
            .with_batch_size(BATCH_ROWS);
        let builder = if rows == (0..self.rows()) {
            builder
        } else {
            builder.with_offset(rows.start).with_limit(rows.len())
        };
        let (name, path) = (self.location.name.clone(), self.file.add.path.clone());
        let rows = builder
            .build()
            .map_err(|source| fault("reading a data file", &name, &path, source))?;
        // The decoder panics over some bytes that somebody or something changed. That is an error
        // of the file. Nothing reads on after it, so that no state of the decoder is seen again.
        let rows = AssertUnwindSafe(rows).catch_unwind();
        Ok(rows.map(move |read| match read {
            Ok(batch) => batch.map_err(|source| fault("reading a data file", &name, &path, source)),
            Err(_) => Err(SinkError::encode("reading a data file", &name)(format!(
                "{path}: its bytes cannot be decoded"
            ))),
        }))
    }

    fn footer(&self) -> &RowGroupMetaData {
        self.metadata.metadata().row_group(self.index)
    }

    fn statistics(&self, column: &str) -> Option<&Statistics> {
        let (index, _) = self.metadata.schema().column_with_name(column)?;
        // No column of a table is nested, so that fields and leaves are counted alike.
        self.footer().columns().get(index)?.statistics()
    }
}

/// Refuses a footer whose columns do not lie within the file's bytes: the decoder panics over a
/// place below 0 and believes any length.
fn check_places(footer: &ParquetMetaData, file_bytes: i64) -> Result<(), ParquetError> {
    for (index, group) in footer.row_groups().iter().enumerate() {
        let fits = |column: &ColumnChunkMetaData| {
            let start = column
                .dictionary_page_offset()
                .unwrap_or(column.data_page_offset());
            let bytes = column.compressed_size();
            let end = start.checked_add(bytes);
            start >= 0 && bytes >= 0 && end.is_some_and(|end| end <= file_bytes)
        };
        if group.num_rows() < 0 || !group.columns().iter().all(fits) {
            return Err(ParquetError::General(format!(
                "the footer says that row group {index} lies outside of the file's {file_bytes} \
                 bytes"
            )));
        }
    }
    Ok(())
}

/// A storage that is away passes by itself; bytes that cannot be read do not.
fn fault(action: &'static str, table: &str, path: &str, source: ParquetError) -> SinkError {
    let why = match source {
        ParquetError::External(source) => match source.downcast::<object_store::Error>() {
            Ok(source) => return SinkError::store(action, table)(*source),
            Err(source) => source.to_string(),
        },
        source => source.to_string(),
    };
    SinkError::encode(action, table)(format!("{path}: {why}"))
}

fn with_dictionaries(schema: &Schema) -> Schema {
    let dictionary = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let field = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 | DataType::Utf8View => {
            Arc::new(Field::new(field.name(), dictionary(), field.is_nullable()))
        }
        _ => field.clone(),
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}
