//! A snapshot as a DataFusion table, optionally only the rows of a range of sequences.

use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result, ScalarValue, Statistics, stats::Precision};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType, col, lit,
};
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, expressions::Column as ColumnExpr};

use headframe_schemas::Kind;

use crate::delta::data_file::{DataFile, file_schema};
use crate::delta::snapshot::Snapshot;

/// One version of a table, as plans read it. Its schema is the table's, partition columns last.
#[derive(Debug)]
pub struct SnapshotTable {
    snapshot: Arc<Snapshot>,
    schema: SchemaRef,
    after: Option<i64>,
    through: Option<i64>,
}

impl SnapshotTable {
    /// Every row of the snapshot.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let schema = snapshot.table.schema();
        Self {
            snapshot,
            schema,
            after: None,
            through: None,
        }
    }

    /// Only rows with `after < seq <= through`, exactly; a bound that is `None` does not bind.
    pub fn with_range(mut self, after: Option<i64>, through: Option<i64>) -> Self {
        self.after = after;
        self.through = through;
        self
    }

    /// The files that can hold rows of the range, and whether any holds others too.
    fn files(&self) -> (Vec<&Arc<DataFile>>, bool) {
        let mut straddles = false;
        let mut chosen = Vec::new();
        for file in &self.snapshot.files {
            let Some((low, high)) = file.seq_range() else {
                straddles |= self.after.is_some() || self.through.is_some();
                chosen.push(file);
                continue;
            };
            if self.after.is_some_and(|after| high <= after)
                || self.through.is_some_and(|through| low > through)
            {
                continue;
            }
            straddles |= self.after.is_some_and(|after| low <= after)
                || self.through.is_some_and(|through| high > through);
            chosen.push(file);
        }
        (chosen, straddles)
    }

    /// Whether what the log says of a file leaves space for a filter: for one of the form
    /// `column = 'text'` its partition, for `column IS NULL` and `column IS NOT NULL` its count of
    /// nulls. The reader looks at everything else.
    fn may_hold(&self, file: &DataFile, filter: &Expr) -> bool {
        match filter {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) => self.may_equal(file, left, right),
            Expr::IsNull(of) => nulls(file, of) != Some(0),
            Expr::IsNotNull(of) => nulls(file, of) != Some(file.rows),
            _ => true,
        }
    }

    fn may_equal(&self, file: &DataFile, left: &Expr, right: &Expr) -> bool {
        let (Expr::Column(column), Expr::Literal(value, _)) = (left, right) else {
            return true;
        };
        let partition = self
            .snapshot
            .table
            .partition_columns()
            .iter()
            .any(|known| known.name == column.name && known.kind == Kind::Text);
        let Some(Some(text)) = value.try_as_str().filter(|_| partition) else {
            return true;
        };
        file.partition(&column.name) == Some(text)
    }

    fn range_filter(&self) -> Option<Expr> {
        let after = self.after.map(|after| col("seq").gt(lit(after)));
        let through = self.through.map(|through| col("seq").lt_eq(lit(through)));
        conjunction(after.into_iter().chain(through))
    }

    fn partitioned_file(&self, file: &DataFile) -> PartitionedFile {
        let path = format!("{}/{}", self.snapshot.table.name, file.add.path);
        let value = |column: &headframe_schemas::Column| {
            let text = file.partition(column.name).map(str::to_owned);
            match column.kind.arrow() {
                DataType::Utf8View => ScalarValue::Utf8View(text),
                other => ScalarValue::try_from_string(text.unwrap_or_default(), &other)
                    .unwrap_or(ScalarValue::Null),
            }
        };
        let values = self
            .snapshot
            .table
            .partition_columns()
            .iter()
            .map(value)
            .collect();
        let mut entry =
            PartitionedFile::new(path, file.add.size as u64).with_partition_values(values);
        entry.object_meta.last_modified = chrono_time(file.add.modification_time);
        entry.with_statistics(Arc::new(self.statistics(file)))
    }

    /// Row count, and the bounds the log knows, so that whole files are passed over without opening
    /// them.
    fn statistics(&self, file: &DataFile) -> Statistics {
        let mut statistics = Statistics::new_unknown(&file_schema(&self.snapshot.table));
        statistics.num_rows = Precision::Exact(file.rows as usize);
        for (column, known) in self
            .snapshot
            .table
            .file_columns()
            .iter()
            .zip(&mut statistics.column_statistics)
        {
            if let Some(nulls) = file.nulls.get(column.name) {
                known.null_count = Precision::Exact(*nulls as usize);
            }
            let Some(&(low, high)) = file.ranges.get(column.name) else {
                continue;
            };
            let scalar = |value: i64| {
                ScalarValue::Int64(Some(value))
                    .cast_to(&column.kind.arrow())
                    .ok()
            };
            if let (Some(low), Some(high)) = (scalar(low), scalar(high)) {
                known.min_value = Precision::Exact(low);
                known.max_value = Precision::Exact(high);
            }
        }
        statistics
    }

    fn source(&self, state: &dyn Session, filters: &[Expr]) -> Result<ParquetSource> {
        let partitions: Vec<_> = self
            .snapshot
            .table
            .partition_columns()
            .iter()
            .map(|column| Arc::new(column.field()))
            .collect();
        let schema = TableSchema::builder(file_schema(&self.snapshot.table))
            .with_table_partition_cols(partitions)
            .build();
        let options = state.config_options().execution.parquet.clone();
        let table_options = datafusion::common::config::TableParquetOptions {
            global: options,
            ..Default::default()
        };
        let runtime = state.runtime_env();
        let store = runtime.object_store(self.snapshot.location.lake.object_store_url())?;
        // Footers are parsed once a file, not once a query.
        let reader = CachedParquetFileReaderFactory::new(
            store,
            runtime.cache_manager.get_file_metadata_cache(),
        );
        let source = ParquetSource::new(schema)
            .with_table_parquet_options(table_options)
            .with_parquet_file_reader_factory(Arc::new(reader));
        let df_schema = DFSchema::try_from(self.schema.clone())?;
        match conjunction(filters.iter().cloned().chain(self.range_filter())) {
            Some(predicate) => {
                Ok(source.with_predicate(state.create_physical_expr(predicate, &df_schema)?))
            }
            None => Ok(source),
        }
    }
}

#[async_trait]
impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> = projection
            .cloned()
            .unwrap_or_else(|| (0..self.schema.fields().len()).collect());
        let (mut files, straddles) = self.files();
        files.retain(|file| filters.iter().all(|filter| self.may_hold(file, filter)));
        if files.is_empty() {
            return Ok(Arc::new(EmptyExec::new(Arc::new(
                self.schema.project(&wanted)?,
            ))));
        }
        let range = self.range_filter().filter(|_| straddles);
        let mut read = wanted.clone();
        if range.is_some() {
            let seq = self.schema.index_of("seq")?;
            if !read.contains(&seq) {
                read.push(seq);
            }
        }
        // Exact when nothing is filtered, which lets a bare count(*) be answered from the log.
        let mut total = Statistics::new_unknown(&self.schema);
        total.num_rows = Precision::Exact(files.iter().map(|file| file.rows as usize).sum());
        let mut groups: Vec<Vec<PartitionedFile>> =
            vec![Vec::new(); state.config().target_partitions().clamp(1, files.len())];
        let count = groups.len();
        for (index, file) in files.into_iter().enumerate() {
            groups[index % count].push(self.partitioned_file(file));
        }
        let limit = limit.filter(|_| filters.is_empty() && range.is_none());
        let config = FileScanConfigBuilder::new(
            self.snapshot.location.lake.object_store_url(),
            Arc::new(self.source(state, filters)?),
        )
        .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
        .with_statistics(total)
        .with_projection_indices(Some(read.clone()))?
        .with_limit(limit)
        .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        let Some(range) = range else { return Ok(scan) };
        let df_schema = DFSchema::try_from(scan.schema())?;
        let filtered = Arc::new(FilterExec::try_new(
            state.create_physical_expr(range, &df_schema)?,
            scan,
        )?);
        if read.len() == wanted.len() {
            return Ok(filtered);
        }
        let schema = filtered.schema();
        let columns = (0..wanted.len()).map(|index| {
            let name = schema.field(index).name().clone();
            (
                Arc::new(ColumnExpr::new(&name, index))
                    as Arc<dyn datafusion::physical_plan::PhysicalExpr>,
                name,
            )
        });
        Ok(Arc::new(ProjectionExec::try_new(
            columns.collect::<Vec<_>>(),
            filtered,
        )?))
    }
}

/// How many rows of a file have no value for a column, where the log says so.
fn nulls(file: &DataFile, of: &Expr) -> Option<i64> {
    match of {
        Expr::Column(column) => file.nulls.get(&column.name).copied(),
        _ => None,
    }
}

fn chrono_time(millis: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_millis(millis).unwrap_or_default()
}
