//! Plans one statement and runs it within the memory it may use.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use futures::TryStreamExt;
use headframe_query_front::{
    ErrorCode, Execution, QueryConfig, QueryError, SqlEngine, SqlRequest, StartTimes,
};
use object_store::ObjectStore;

use crate::catalog::{CATALOG, Catalog, Moment, SCHEMA};
use crate::datafusion::statement_limits::StatementLimits;
use crate::datafusion::{
    output_limits, plan_limits, session as engine_session, text_grouping, window_memory,
};
use crate::error::{EngineError, from_datafusion};
use crate::memory::QueryPool;
use crate::params;
use crate::source::Source;
use crate::statement;

const MIB: usize = 1 << 20;

/// Plans and runs statements in this process.
pub struct Engine {
    config: QueryConfig,
    base: SessionState,
    runtime: Arc<RuntimeEnv>,
    pool: Arc<dyn MemoryPool>,
    catalog: Catalog,
}

impl Engine {
    /// An engine over these streams whose files lie in these stores.
    pub fn new(
        config: QueryConfig,
        sources: Vec<Arc<dyn Source>>,
        stores: Vec<(ObjectStoreUrl, Arc<dyn ObjectStore>)>,
    ) -> Result<Self, EngineError> {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(config.memory_mib * MIB));
        let disk =
            DiskManagerBuilder::default().with_max_temp_directory_size(config.spill_mib << 20);
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(pool.clone())
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(config.metadata_cache_mib * MIB)
            .build_arc()?;
        for (url, store) in stores {
            runtime.register_object_store(url.as_ref(), store);
        }
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let session = SessionConfig::new()
            .with_target_partitions(cores)
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA);
        let session = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(runtime.clone());
        let base = engine_session(session)?;
        let catalog = Catalog::new(sources)?;
        Ok(Self {
            config,
            base,
            runtime,
            pool,
            catalog,
        })
    }

    async fn start(&self, request: &SqlRequest) -> Result<Execution, EngineError> {
        let begun = Instant::now();
        let statement = statement::parse(&self.base, &request.sql)?;
        let references = self.base.resolve_table_references(&statement)?;
        let (base, limits) = self.session_of(request, begun)?;
        let moment = Moment {
            at: request.at,
            now_us: now_us(),
            wait: self.config.freshness_wait(),
        };
        let prepared = self.catalog.prepare(&base, &references, moment).await?;
        limits.check_deadline()?;
        let plan = prepared.state.statement_to_plan(statement).await?;
        plan_limits::check(&plan)?;
        limits.check_deadline()?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only
            .verify_plan(&plan)
            .map_err(|error| statement::read_only(error.strip_backtrace()))?;
        let plan = with_parameters(plan, &request.params)?;
        let mut state = prepared.state;
        let plan = state.optimize(&plan)?;
        if let Some(rows) = output_limits::batch_rows(&plan, state.config().batch_size())? {
            state = SessionStateBuilder::new_from_existing(state.clone())
                .with_config(state.config().clone().with_batch_size(rows))
                .build();
        }
        limits.check_deadline()?;
        let physical = state
            .query_planner()
            .create_physical_plan(&plan, &state)
            .await?;
        let physical = text_grouping::by_number(physical, &base.runtime_env().memory_pool)?;
        let files = files_of(&physical)?;
        let stream = execute_stream(window_memory::account(physical)?, state.task_ctx())?;
        metrics::histogram!("headframe_query_start_seconds").record(begun.elapsed());
        let (tail, tables) = (prepared.tail_wait, prepared.opening);
        Ok(Execution {
            schema: stream.schema(),
            coverage: prepared.coverage,
            times: StartTimes {
                tail,
                tables,
                plan: begun.elapsed().saturating_sub(tail + tables),
                files,
                ..StartTimes::default()
            },
            batches: Box::pin(stream.map_err(from_datafusion)),
        })
    }

    /// A session whose memory and time are those of one statement.
    fn session_of(
        &self,
        request: &SqlRequest,
        begun: Instant,
    ) -> Result<(SessionState, StatementLimits), EngineError> {
        let bytes = self.config.query_memory_mib * MIB;
        let pool: Arc<dyn MemoryPool> = Arc::new(QueryPool::new(self.pool.clone(), bytes));
        let runtime = RuntimeEnvBuilder::from_runtime_env(&self.runtime)
            .with_memory_pool(pool.clone())
            .build_arc()?;
        let timeout = self.config.timeout();
        let timeout = request.timeout.unwrap_or(timeout).min(timeout);
        let limits = StatementLimits::new(&pool, begun.checked_add(timeout));
        let mut config = self.base.config().clone();
        config.options_mut().extensions.insert(limits.clone());
        let session = SessionStateBuilder::new_from_existing(self.base.clone())
            .with_config(config)
            .with_runtime_env(runtime)
            .build();
        Ok((session, limits))
    }
}

/// How many files a plan reads.
fn files_of(plan: &Arc<dyn ExecutionPlan>) -> Result<usize, EngineError> {
    let mut files = 0;
    plan.apply(|node| {
        let scan = node.downcast_ref::<DataSourceExec>();
        let scan = scan.and_then(|scan| scan.downcast_to_file_source::<ParquetSource>());
        if let Some((scan, _)) = scan {
            let groups = scan.file_groups.iter();
            files += groups.map(FileGroup::len).sum::<usize>();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(files)
}

/// The plan with its placeholders filled in.
fn with_parameters(
    plan: LogicalPlan,
    given: &serde_json::Value,
) -> Result<LogicalPlan, EngineError> {
    let refused = |error: String| {
        let hint = "give every placeholder a value in params";
        QueryError::new(ErrorCode::Parameters, error, hint)
    };
    match params::from_json(given)? {
        Some(values) => Ok(plan
            .with_param_values(values)
            .map_err(|error| refused(error.strip_backtrace()))?),
        None => match plan.get_parameter_names()?.iter().min() {
            Some(name) => Err(refused(format!("placeholder {name} has no value")).into()),
            None => Ok(plan),
        },
    }
}

#[async_trait]
impl SqlEngine for Engine {
    async fn execute(&self, request: &SqlRequest) -> Result<Execution, QueryError> {
        Ok(self.start(request).await?)
    }
}

fn now_us() -> i64 {
    // A clock before 1970 or after the year 292,000 would be wrong anyway.
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
