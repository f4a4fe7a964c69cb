//! The session in which a user's SELECT is planned and run: one relation, `input`, and bounds of
//! memory and time.
//!
//! The statements that strangers type run in processes of their own, behind limits of how deep and
//! large their plans are. A pipeline's SELECT stands in the configuration, whose author may stop
//! the whole system anyway, so that it runs here; its bounds guard against mistakes.
//!
//! There is one partition: rows keep their order, sums of floats come out the same each time, and
//! the built-in pipelines keep the other processors.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::GreedyMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::TryStreamExt;
use headframe_sinks::Lake;

use crate::fault::PipelineFault;
use crate::user_pipeline::UserPipeline;
use crate::user_pipeline::row_places;

/// The relation that a SELECT reads.
pub(super) const INPUT: &str = "input";

const CATALOG: &str = "headframe";
const SCHEMA: &str = "public";

/// A session without tables whose statements may use so much memory.
pub(super) fn base(memory_bytes: usize) -> Result<SessionState> {
    let disk = DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled);
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(GreedyMemoryPool::new(memory_bytes)))
        .with_disk_manager_builder(disk)
        .build_arc()?;
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA);
    let builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime);
    Ok(builder.with_default_features().build())
}

/// The same session with this relation and no other.
pub(super) fn with_relation(
    base: &SessionState,
    name: &str,
    rows: Arc<dyn TableProvider>,
) -> Result<SessionState> {
    let schema = Arc::new(MemorySchemaProvider::new());
    schema.register_table(name.to_owned(), rows)?;
    let catalog = Arc::new(MemoryCatalogProvider::new());
    catalog.register_schema(SCHEMA, schema)?;
    let list = Arc::new(MemoryCatalogProviderList::new());
    list.register_catalog(CATALOG.to_owned(), catalog);
    let mut state = SessionStateBuilder::new_from_existing(base.clone())
        .with_catalog_list(list)
        .build();
    state.mark_start_execution();
    Ok(state)
}

/// Why an evaluation gave nothing.
#[derive(Debug)]
pub(super) enum EvaluationError {
    /// The SELECT fails on these rows; on others it may not.
    Rows(String),
    /// Something else, whatever the rows are.
    Fault(PipelineFault),
}

/// Evaluates one pipeline's SELECT over rows that it is given.
pub(super) struct Evaluator {
    base: SessionState,
    statement: Statement,
    has_windows: bool,
    pipeline: &'static str,
    memory_bytes: usize,
    timeout: Duration,
}

impl Evaluator {
    /// For a pipeline that was planned, over tables of this lake.
    pub(super) fn new(pipeline: &UserPipeline, lake: &Lake) -> Result<Self> {
        let base = base(pipeline.memory_bytes)?;
        lake.register(base.runtime_env().as_ref());
        let dialect = base.config().options().sql_parser.dialect;
        let statement = base.sql_to_statement(&pipeline.sql, &dialect)?;
        Ok(Self {
            base,
            statement,
            has_windows: pipeline.windows.is_some(),
            pipeline: pipeline.name,
            memory_bytes: pipeline.memory_bytes,
            timeout: pipeline.timeout,
        })
    }

    /// The session without tables, for questions of our own.
    pub(super) fn session(&self) -> &SessionState {
        &self.base
    }

    /// The answer of the SELECT over these rows. Row by row, three more columns say of which row
    /// each is ([`row_places`]).
    pub(super) async fn evaluate(
        &self,
        input: Arc<dyn TableProvider>,
    ) -> std::result::Result<Vec<RecordBatch>, EvaluationError> {
        let running = async {
            let state = with_relation(&self.base, INPUT, input)?;
            let plan = state.statement_to_plan(self.statement.clone()).await?;
            let plan = match self.has_windows {
                true => plan,
                false => row_places::carry(&plan)?,
            };
            run(&state, &plan, self.memory_bytes).await
        };
        match tokio::time::timeout(self.timeout, running).await {
            Ok(answer) => answer.map_err(|error| self.sorted(error)),
            Err(_) => Err(self.fault(format!(
                "one evaluation took longer than timeout_s = {}; give it more, or narrower windows",
                self.timeout.as_secs()
            ))),
        }
    }

    /// The answer of a plan of our own, within the same memory.
    pub(super) async fn run_own(
        &self,
        state: &SessionState,
        plan: &LogicalPlan,
    ) -> std::result::Result<Vec<RecordBatch>, PipelineFault> {
        let answer = run(state, plan, self.memory_bytes).await;
        answer.map_err(|error| match self.sorted(error) {
            EvaluationError::Fault(fault) => fault,
            EvaluationError::Rows(why) => {
                PipelineFault::plan("reading the input", self.pipeline)(why)
            }
        })
    }

    fn sorted(&self, error: DataFusionError) -> EvaluationError {
        if let DataFusionError::ResourcesExhausted(why) = error.find_root() {
            let mib = self.memory_bytes >> 20;
            return self.fault(format!(
                "one evaluation needs more than memory_mib = {mib}: {why}"
            ));
        }
        match is_about_rows(error.find_root()) {
            true => EvaluationError::Rows(error.strip_backtrace()),
            false => EvaluationError::Fault(PipelineFault::query(
                "running the SELECT",
                self.pipeline,
            )(error)),
        }
    }

    fn fault(&self, why: String) -> EvaluationError {
        EvaluationError::Fault(PipelineFault::plan("running the SELECT", self.pipeline)(
            why,
        ))
    }
}

/// Whether other values in the rows could have made the error go away.
fn is_about_rows(root: &DataFusionError) -> bool {
    match root {
        DataFusionError::Execution(_) => true,
        DataFusionError::ArrowError(error, _) => matches!(
            error.as_ref(),
            ArrowError::CastError(_)
                | ArrowError::ParseError(_)
                | ArrowError::ComputeError(_)
                | ArrowError::DivideByZero
                | ArrowError::ArithmeticOverflow(_)
                | ArrowError::InvalidArgumentError(_)
                | ArrowError::JsonError(_)
        ),
        _ => false,
    }
}

/// Bytes of the values in a column, however many columns share their memory.
fn bytes_of(column: &ArrayRef) -> usize {
    match column.data_type() {
        DataType::Utf8View => {
            let texts = column.as_string_view();
            16 * texts.len() + texts.total_buffer_bytes_used()
        }
        DataType::BinaryView => {
            let values = column.as_binary_view();
            16 * values.len() + values.total_buffer_bytes_used()
        }
        _ => {
            let data = column.to_data();
            let size = data.get_slice_memory_size();
            size.unwrap_or_else(|_| column.get_array_memory_size())
        }
    }
}

/// The plan with every node giving way to the runtime now and then. Of itself DataFusion does so
/// where rows are read, so that a join of rows in memory would not hear of its deadline.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let wrapped = plan.transform_up(|node| {
        let node: Arc<dyn ExecutionPlan> = Arc::new(CooperativeExec::new(node));
        Ok(Transformed::yes(node))
    });
    wrapped.map(|wrapped| wrapped.data)
}

/// What a plan gives, as long as it fits into so many bytes.
async fn run(state: &SessionState, plan: &LogicalPlan, bytes: usize) -> Result<Vec<RecordBatch>> {
    let plan = state.optimize(plan)?;
    let physical = state
        .query_planner()
        .create_physical_plan(&plan, state)
        .await?;
    let physical = yielding(physical)?;
    let mut batches = execute_stream(physical, state.task_ctx())?;
    let (mut answer, mut held) = (Vec::new(), 0);
    while let Some(batch) = batches.try_next().await? {
        held += batch.columns().iter().map(bytes_of).sum::<usize>();
        if held > bytes {
            let text = format!("its rows alone take more than {bytes} bytes");
            return Err(DataFusionError::ResourcesExhausted(text));
        }
        if batch.num_rows() > 0 {
            answer.push(batch);
        }
    }
    Ok(answer)
}
