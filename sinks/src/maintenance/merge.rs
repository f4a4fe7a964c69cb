//! The rewriting of many small files as one: decoding, folding and encoding.
//!
//! It computes for seconds without ever waiting, so it runs on a thread for blocking work. On a
//! thread of the runtime it would hold up whatever else runs there: with two tables at once on two
//! cores nothing else in the process moves, neither the freezing of a window nor a probe.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use datafusion::datasource::MemTable;
use datafusion::prelude::{SessionConfig, SessionContext};
use headframe_schemas::{Rollup, Table, codec};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::rows_differ;
use crate::delta::data_file::{CompressionEffort, EncodedFile, FileEncoder, file_schema};
use crate::error::SinkError;

/// What is to be made of some files of a table.
pub(super) struct Merge {
    pub(super) table: Table,
    /// The rollup that the table is of: its partial rows become one a window and key.
    pub(super) rollup: Option<&'static dyn Rollup>,
    pub(super) effort: CompressionEffort,
    pub(super) partition: BTreeMap<String, Option<String>>,
    /// Milliseconds since 1970.
    pub(super) now: i64,
}

/// What came of it.
pub(super) struct Merged {
    pub(super) file: EncodedFile,
    /// Rows in the old files.
    pub(super) read: usize,
    /// Rows in the new one.
    pub(super) written: usize,
}

impl Merge {
    /// Takes the bytes of the old files in their order until there are no more. Called on a thread
    /// for blocking work of a runtime.
    pub(super) fn run(self, mut files: mpsc::Receiver<Bytes>) -> Result<Merged, SinkError> {
        let mut encoder = FileEncoder::new(&self.table, self.effort)?;
        let (mut read, mut partials) = (0, Vec::new());
        while let Some(bytes) = files.blocking_recv() {
            for batch in self.decode(bytes)? {
                let batch = batch?;
                read += batch.num_rows();
                match self.rollup {
                    Some(_) => partials.push(batch),
                    None => encoder.write(&batch)?,
                }
            }
        }
        if let Some(rollup) = self.rollup {
            for batch in Handle::current().block_on(self.fold(rollup, partials))? {
                encoder.write(&batch)?;
            }
        }
        let written = encoder.rows();
        let file = encoder.finish(self.partition.clone(), "merged", self.now, false)?;
        Ok(Merged {
            file,
            read,
            written,
        })
    }

    /// The rows of a file, decoded as they are asked for.
    fn decode(
        &self,
        bytes: Bytes,
    ) -> Result<impl Iterator<Item = Result<RecordBatch, SinkError>>, SinkError> {
        let name = self.table.name.clone();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|builder| builder.with_batch_size(65_536).build())
            .map_err(SinkError::encode("reading a data file", &name))?;
        let schema = file_schema(&self.table);
        Ok(reader.map(move |batch| {
            let batch = batch.map_err(SinkError::encode("reading a data file", &name))?;
            codec::conform(&schema, &batch).map_err(SinkError::encode("reading a data file", &name))
        }))
    }

    /// Partial rows of a rollup become one a window and key. Sums must not change.
    async fn fold(
        &self,
        rollup: &dyn Rollup,
        batches: Vec<RecordBatch>,
    ) -> Result<Vec<RecordBatch>, SinkError> {
        let error = || SinkError::encode("folding partial rows", &self.table.name);
        let schema = file_schema(&self.table);
        let sql = format!("{} ORDER BY bin, {}", rollup.fold_sql(), rollup.key_list());
        let folded = query("partials", batches.clone(), schema.clone(), &sql)
            .await
            .map_err(error())?;
        let folded = folded
            .iter()
            .map(|batch| codec::conform(&schema, batch))
            .collect::<Result<Vec<_>, _>>()
            .map_err(SinkError::encode("folding partial rows", &self.table.name))?;
        let sums: Vec<String> = rollup
            .measures()
            .iter()
            .filter(|measure| measure.merge == headframe_schemas::Merge::Sum)
            .map(|measure| format!("sum({})", measure.column.name))
            .collect();
        let sql = format!("SELECT {} FROM rows", sums.join(", "));
        let total = async |rows: Vec<RecordBatch>| -> datafusion::common::Result<String> {
            let answer = query("rows", rows, schema.clone(), &sql).await?;
            Ok(arrow::util::pretty::pretty_format_batches(&answer)?.to_string())
        };
        let before = total(batches).await.map_err(error())?;
        let after = total(folded.clone()).await.map_err(error())?;
        if before != after {
            return Err(rows_differ(&self.table.name, before, after));
        }
        Ok(folded)
    }
}

/// The answer to a statement over some rows. One partition, so that nothing of it is given to the
/// runtime's own threads.
async fn query(
    name: &str,
    rows: Vec<RecordBatch>,
    schema: arrow::datatypes::SchemaRef,
    sql: &str,
) -> datafusion::common::Result<Vec<RecordBatch>> {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    context.register_table(name, Arc::new(MemTable::try_new(schema, vec![rows])?))?;
    context.sql(sql).await?.collect().await
}
