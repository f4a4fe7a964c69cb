//! The bytes of one data file, fetched as a reader asks for them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use crate::delta::data_file::DataFile;
use crate::delta::lake::TableLocation;

/// A data file where it is stored. Its size is the one the log names: a file of another size has no
/// footer there.
pub struct FileReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl FileReader {
    /// The file that a log entry names.
    pub fn new(location: &TableLocation, file: &DataFile) -> Self {
        let size = u64::try_from(file.add.size).unwrap_or(0);
        Self {
            store: location.store.clone(),
            path: Path::from(file.add.path.as_str()),
            size,
        }
    }
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.store
            .get_range(&self.path, range)
            .map_err(ParquetError::from)
            .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { Ok(self.store.get_ranges(&self.path, &ranges).await?) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        let size = self.size;
        let footer = ParquetMetaDataReader::new().with_arrow_reader_options(options);
        async move { Ok(Arc::new(footer.load_and_finish(self, size).await?)) }.boxed()
    }
}
