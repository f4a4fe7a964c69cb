//! Plans one statement and runs it within the memory it may use.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::physical_plan::{FileGroup, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::future::BoxFuture;
use futures::{StreamExt, TryStreamExt};
use headframe_query_front::access::ReadScope;
use headframe_query_front::sql::{Parameter, ParameterKind};
use headframe_query_front::{
    Coverage, Description, ErrorCode, Execution, QueryConfig, QueryError, SqlEngine, SqlRequest,
    StartTimes,
};
use object_store::ObjectStore;
use tokio::sync::OnceCell;

use crate::catalog::by_tables::ByTables;
use crate::catalog::{self, CATALOG, Catalog, DescribingSchemas, Moment, SCHEMA, described};
use crate::datafusion::statement_limits::StatementLimits;
use crate::datafusion::{
    output_limits, plan_limits, session as engine_session, text_grouping, window_memory,
};
use crate::delta::StoredUserTable;
use crate::error::{EngineError, from_datafusion};
use crate::json_text;
use crate::memory::QueryPool;
use crate::params;
use crate::pg_catalog::{PgCatalog, output, parameters};
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
    /// Made when the first statement of a PostgreSQL session comes.
    pg_catalog: ByTables<OnceCell<PgCatalog>>,
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
        let all = std::thread::available_parallelism().map_or(2, usize::from);
        let cores = match config.worker_cores {
            0 => all,
            cores => cores.min(all),
        };
        let session = SessionConfig::new()
            .with_target_partitions(cores)
            .with_information_schema(false)
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, SCHEMA);
        let session = SessionStateBuilder::new()
            .with_config(session)
            .with_runtime_env(runtime.clone());
        let mut base = engine_session(session)?;
        base.register_udf(Arc::new(json_text::udf()))?;
        let catalog = Catalog::new(sources)?;
        Ok(Self {
            config,
            base,
            runtime,
            pool,
            catalog,
            pg_catalog: ByTables::default(),
        })
    }

    /// The same engine with the tables that pipelines of the configuration fill.
    pub fn with_user_tables(self, tables: Vec<StoredUserTable>) -> Result<Self, EngineError> {
        Ok(Self {
            catalog: self.catalog.with_user_tables(tables)?,
            ..self
        })
    }

    /// Plans and optimises a statement, by the first way of writing it that the engine can run.
    async fn planned(
        &self,
        request: &SqlRequest,
        begun: Instant,
    ) -> Result<(Planned, LogicalPlan), EngineError> {
        let statement = statement::parse(&self.base, request)?;
        statement::check_reader(&statement, &request.reads)?;
        let Some(postgres) = &request.postgres else {
            let planned = self
                .plan(request, statement, &self.base, None, begun)
                .await?;
            let plan = planned.optimized(request)?;
            return Ok((planned, plan));
        };
        let pg_catalog = self.pg_catalog(&request.reads).await?;
        let session = pg_catalog.session(postgres)?;
        let references = self.base.resolve_table_references(&statement)?;
        let rewritten = pg_catalog.rewritten(statement, &references);
        let has_choice = rewritten.statements.len() > 1;
        let mut failed = None;
        for statement in rewritten.statements {
            let attempt = async {
                let describing = Some(pg_catalog.schemas());
                let mut planned = self
                    .plan(request, statement, &session, describing, begun)
                    .await?;
                planned.of_catalogue = rewritten.of_catalogue;
                planned.oid_parameters.clone_from(&rewritten.oid_parameters);
                let plan = planned.optimized(request)?;
                if has_choice {
                    // Some subqueries turn out to be more than the engine can do only here.
                    physical_of(&plan, &planned.state).await?;
                }
                Ok((planned, plan))
            };
            match attempt.await {
                Ok(planned) => return Ok(planned),
                Err(error) => failed = Some(error),
            }
        }
        let none = || QueryError::internal("a statement was rewritten to nothing").into();
        Err(failed.unwrap_or_else(none))
    }

    /// Plans a statement over its tables, its placeholders not filled in yet.
    async fn plan(
        &self,
        request: &SqlRequest,
        statement: Statement,
        session: &SessionState,
        describing: Option<&DescribingSchemas>,
        begun: Instant,
    ) -> Result<Planned, EngineError> {
        let references = self.base.resolve_table_references(&statement)?;
        let (base, limits) = self.session_of(session, request, begun)?;
        let moment = Moment {
            at: request.at,
            now_us: now_us(),
            wait: self.config.freshness_wait(),
        };
        let prepared = self
            .catalog
            .prepare(&base, &references, moment, &request.reads, describing)
            .await?;
        limits.check_deadline()?;
        let state = prepared.state;
        let planned = state.statement_to_plan(statement).await;
        let plan = planned.map_err(|error| catalog::planning_error(error, &state, &references))?;
        plan_limits::check(&plan)?;
        limits.check_deadline()?;
        let read_only = SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false);
        read_only
            .verify_plan(&plan)
            .map_err(|error| statement::read_only(error.strip_backtrace()))?;
        Ok(Planned {
            plan,
            state,
            pool: base.runtime_env().memory_pool.clone(),
            limits,
            coverage: prepared.coverage,
            waits: (prepared.tail_wait, prepared.opening),
            of_catalogue: false,
            oid_parameters: Vec::new(),
        })
    }

    async fn start(&self, request: &SqlRequest) -> Result<Execution, EngineError> {
        let begun = Instant::now();
        let (planned, plan) = self.planned(request, begun).await?;
        let mut state = planned.state.clone();
        if let Some(rows) = output_limits::batch_rows(&plan, state.config().batch_size())? {
            state = SessionStateBuilder::new_from_existing(state.clone())
                .with_config(state.config().clone().with_batch_size(rows))
                .build();
        }
        planned.limits.check_deadline()?;
        let physical = physical_of(&plan, &state).await?;
        let (tail, tables) = planned.waits;
        let physical = text_grouping::by_number(physical, &planned.pool)?;
        let files = files_of(&physical)?;
        let stream = execute_stream(window_memory::account(physical)?, state.task_ctx())?;
        metrics::histogram!("headframe_query_start_seconds").record(begun.elapsed());
        let schema = match request.postgres {
            Some(_) => output::schema(&stream.schema(), planned.of_catalogue),
            None => stream.schema(),
        };
        let is_other = schema != stream.schema();
        let renamed = schema.clone();
        let batches = stream.map(move |batch| match (batch, is_other) {
            (Ok(batch), true) => output::batch(&batch, &renamed),
            (batch, _) => batch,
        });
        Ok(Execution {
            schema,
            coverage: planned.coverage,
            times: StartTimes {
                tail,
                tables,
                plan: begun.elapsed().saturating_sub(tail + tables),
                files,
                ..StartTimes::default()
            },
            batches: Box::pin(batches.map_err(from_datafusion)),
        })
    }

    /// What a statement takes and gives. The values of its parameters are not looked at, only their
    /// types.
    async fn describe_statement(&self, request: &SqlRequest) -> Result<Description, EngineError> {
        let (planned, plan) = self.planned(request, Instant::now()).await?;
        let given = typed_parameters(request).unwrap_or_default();
        Ok(Description {
            schema: output::schema(plan.schema().as_arrow(), planned.of_catalogue),
            parameters: parameters::kinds(&planned.plan, given, &planned.oid_parameters)?,
        })
    }

    async fn pg_catalog(&self, reads: &ReadScope) -> Result<&PgCatalog, EngineError> {
        let made = self.pg_catalog.for_scope(reads).get_or_try_init(|| async {
            let tables = described::visible_to(reads, self.catalog.user_tables());
            PgCatalog::new(&self.base, &tables).await
        });
        Ok(made.await?)
    }

    /// A session whose memory and time are those of one statement.
    fn session_of(
        &self,
        session: &SessionState,
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
        let mut config = session.config().clone();
        config.options_mut().extensions.insert(limits.clone());
        let session = SessionStateBuilder::new_from_existing(session.clone())
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

/// A statement that was planned.
struct Planned {
    plan: LogicalPlan,
    state: SessionState,
    pool: Arc<dyn MemoryPool>,
    limits: StatementLimits,
    coverage: Vec<Coverage>,
    /// How long it waited for the newest rows, and for the tables.
    waits: (Duration, Duration),
    /// Whether it is about the catalogue of a PostgreSQL session.
    of_catalogue: bool,
    /// Parameters that the statement calls numbers of the catalogue.
    oid_parameters: Vec<(usize, ParameterKind)>,
}

impl Planned {
    /// Its plan with the values of its parameters, made as good as it gets.
    fn optimized(&self, request: &SqlRequest) -> Result<LogicalPlan, EngineError> {
        let plan = filled(self.plan.clone(), request)?;
        let plan = self.state.optimize(&plan)?;
        self.limits.check_deadline()?;
        Ok(plan)
    }
}

async fn physical_of(
    plan: &LogicalPlan,
    state: &SessionState,
) -> Result<Arc<dyn ExecutionPlan>, EngineError> {
    let planner = state.query_planner();
    Ok(planner.create_physical_plan(plan, state).await?)
}

/// The plan with its placeholders filled in.
fn filled(plan: LogicalPlan, request: &SqlRequest) -> Result<LogicalPlan, EngineError> {
    match typed_parameters(request) {
        Some(given) => parameters::fill(plan, given),
        None => with_parameters(plan, &request.params),
    }
}

/// The parameters whose types the client gave, where it gave any.
fn typed_parameters(request: &SqlRequest) -> Option<&[Parameter]> {
    let of_session = request.postgres.as_ref();
    let of_session = of_session.map(|postgres| &postgres.parameters);
    of_session
        .or(request.parameters.as_ref())
        .map(Vec::as_slice)
}

/// The same with parameters as JSON.
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

impl SqlEngine for Engine {
    fn execute<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Execution, QueryError>> {
        Box::pin(async move { Ok(self.start(request).await?) })
    }

    fn describe<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Description, QueryError>> {
        Box::pin(async move { Ok(self.describe_statement(request).await?) })
    }
}

fn now_us() -> i64 {
    // A clock before 1970 or after the year 292,000 would be wrong anyway.
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
