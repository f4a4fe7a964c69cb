//! The tables a statement sees: raw tables, dead letters, rollup views and `information_schema`,
//! made anew for each query.
//!
//! Only what the statement names is set up, so that a query on shares never touches energy. Every
//! table of a stream comes from the same look at it, so that a join of `shares` with `hashrate_1m`
//! compares like with like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::TableReference;
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use futures::future::try_join_all;
use headframe_schemas::{Rollup, SqlView, Stream, UserTable, rollup, stream};

use crate::catalog::by_tables::ByTables;
use crate::catalog::user_tables::UserTables;
use crate::delta::StoredUserTable;
use crate::error::{EngineError, from_datafusion};
use crate::own_rows::condition;
use crate::source::Source;
use crate::stream_snapshot::StreamSnapshot;
use headframe_query_front::access::{OwnRows, ReadScope, RowAccess};
use headframe_query_front::{At, Coverage, ErrorCode, QueryError, SqlState};

pub mod access_table;
pub mod by_tables;
pub mod described;
pub mod dictionary;
pub mod good_rows;
pub mod money;
pub mod raw;
pub mod registry;
pub mod rollups;
pub mod user_tables;
pub mod views;
pub mod visible;

/// The name of the catalog.
pub const CATALOG: &str = "headframe";
/// The name of the schema all tables lie in.
pub const SCHEMA: &str = "public";

/// The name of the schema that describes the others.
pub const INFORMATION_SCHEMA: &str = "information_schema";

/// Schemas that describe the others, with their names.
pub type DescribingSchemas = [(&'static str, Arc<dyn SchemaProvider>); 2];

/// Makes the tables of a statement.
pub struct Catalog {
    sources: Vec<Arc<dyn Source>>,
    user_tables: UserTables,
    dictionary: ByTables<Arc<dyn SchemaProvider>>,
}

/// A session in which one statement can be planned, and what it will have read.
pub struct Prepared {
    /// The session.
    pub state: SessionState,
    /// One entry a stream the statement reads, in the order of [`stream::ALL`].
    pub coverage: Vec<Coverage>,
    /// How long the newest rows were waited for.
    pub tail_wait: Duration,
    /// How long opening the tables took after that.
    pub opening: Duration,
}

/// When and how long: everything about a query's tables that is not in its SQL.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Which state is asked for.
    pub at: At,
    /// The server's time, microseconds since 1970.
    pub now_us: i64,
    /// How long to wait for acknowledged rows.
    pub wait: Duration,
}

/// What a statement needs of one stream.
#[derive(Default)]
struct Need {
    rows: bool,
    rejects: bool,
    views: BTreeSet<String>,
}

impl Catalog {
    /// Over these streams; a stream that is absent has no tables.
    pub fn new(sources: Vec<Arc<dyn Source>>) -> EngineResult<Self> {
        Ok(Self {
            sources,
            user_tables: UserTables::default(),
            dictionary: ByTables::make(&[], dictionary::schema)?,
        })
    }

    /// The same with the tables that pipelines of the configuration fill.
    pub fn with_user_tables(self, tables: Vec<StoredUserTable>) -> EngineResult<Self> {
        let user_tables = UserTables::new(tables);
        Ok(Self {
            dictionary: ByTables::make(user_tables.described(), dictionary::schema)?,
            user_tables,
            ..self
        })
    }

    /// The tables that pipelines of the configuration fill.
    pub fn user_tables(&self) -> &[UserTable] {
        self.user_tables.described()
    }

    /// Sets up the tables that `references` name and that exist for whoever reads, with the rows
    /// that he may read. Other names are left for the planner to complain about. `describing`
    /// stands in place of our own `information_schema`.
    pub async fn prepare(
        &self,
        base: &SessionState,
        references: &[TableReference],
        moment: Moment,
        reads: &ReadScope,
        describing: Option<&DescribingSchemas>,
    ) -> Result<Prepared, EngineError> {
        let references: Vec<&TableReference> = references
            .iter()
            .filter(|reference| {
                ours(reference) && visible::exists(reads, self.user_tables(), reference.table())
            })
            .collect();
        check_version(moment.at, reads)?;
        let needs = needs(&references);
        let used: Vec<&Arc<dyn Source>> = self
            .sources
            .iter()
            .filter(|source| needs.contains_key(source.stream().name()))
            .collect();
        let of_users = self.user_tables.named(&references);
        check_one_version(moment.at, &used, &of_users)?;
        let begun = Instant::now();
        let takes = used.iter().map(|source| {
            let required = &needs[source.stream().name()];
            take(source.as_ref(), required, moment, reads)
        });
        let taken = try_join_all(takes).await?;
        // They are read at the same time, so that the longest wait is everybody's.
        let tail_wait = taken.iter().map(|taken| taken.tail_wait).max();
        let tail_wait = tail_wait.unwrap_or_default();
        let opening = begun.elapsed().saturating_sub(tail_wait);
        let schema = Arc::new(MemorySchemaProvider::new());
        for (source, taken) in used.iter().zip(&taken) {
            let required = &needs[source.stream().name()];
            if required.rows {
                let table = good_rows(base, source.stream(), taken, reads)?;
                schema.register_table(source.stream().name().to_owned(), table)?;
            }
            for (name, view) in rollups::views(base, taken, &required.views, moment.now_us).await? {
                schema.register_table(name, view)?;
            }
        }
        for stored in of_users {
            let rows = user_tables::good_rows(stored, moment.at).await?;
            schema.register_table(stored.table().name.clone(), rows)?;
        }
        register_views(base, &schema, &references).await?;
        if let Some(mut rejects) = tables_with_rejects(&used, &taken, &needs) {
            rejects.extend(self.user_tables.rejects(moment.at).await?);
            schema.register_table(raw::DEAD_LETTERS.to_owned(), raw::dead_letters(&rejects)?)?;
        }
        let own = [(INFORMATION_SCHEMA, self.dictionary.for_scope(reads).clone())];
        let state = session_with(base, schema, describing.map_or(&own[..], |all| &all[..]))?;
        Ok(Prepared {
            state,
            coverage: taken
                .into_iter()
                .map(|taken| shown(taken.coverage, reads))
                .collect(),
            tail_wait,
            opening,
        })
    }
}

/// The tables with refused rows, stored and in memory, of the streams whose refused rows are
/// needed; `None` where a statement does not ask for any.
fn tables_with_rejects(
    used: &[&Arc<dyn Source>],
    taken: &[StreamSnapshot],
    needs: &BTreeMap<&'static str, Need>,
) -> Option<Vec<(String, Arc<dyn TableProvider>)>> {
    let looks = used.iter().zip(taken);
    let mut looks = looks
        .filter(|(source, _)| needs[source.stream().name()].rejects)
        .peekable();
    looks.peek()?;
    // What is good as a whole is neither opened nor asked for its rows in memory.
    let with_rejects = looks.filter(|(_, taken)| !taken.all_good());
    let tables = with_rejects
        .map(|(source, taken)| (source.stream().name().to_owned(), taken.rows_after(None)));
    Some(tables.collect())
}

/// Adds the views written in SQL that these name. They are planned over the very tables of the
/// statement, so that all of it is one moment.
async fn register_views(
    base: &SessionState,
    schema: &Arc<MemorySchemaProvider>,
    references: &[&TableReference],
) -> EngineResult<()> {
    for view in sql_views(references) {
        let plan = session(base, schema.clone())?
            .create_logical_plan(&view.sql)
            .await?;
        schema.register_table(view.name.clone(), Arc::new(ViewTable::new(plan, None)))?;
    }
    Ok(())
}

/// Takes one look at a stream, from which only the rows leave that may be read.
async fn take(
    source: &dyn Source,
    required: &Need,
    moment: Moment,
    reads: &ReadScope,
) -> Result<StreamSnapshot, EngineError> {
    let own = own_rows(reads, source.stream())?;
    let rollups = rollups_of(required, source.stream().name());
    let read = StreamSnapshot::read(source, &rollups, moment.at, moment.wait);
    Ok(read.await?.restricted_to(own))
}

/// The table of a stream's good rows, and of them those that the reader's condition is true for.
fn good_rows(
    base: &SessionState,
    stream: &dyn Stream,
    taken: &StreamSnapshot,
    reads: &ReadScope,
) -> Result<Arc<dyn TableProvider>, EngineError> {
    let (access, rows) = (reads.of_stream(stream), taken.rows_after(None));
    let condition = match (reads.miner(), reads.condition()) {
        (Some(address), Some(text)) => {
            // The statement shows places, and the condition does not see them.
            let visible = ReadScope::Miner(address.to_owned()).of_stream(stream);
            let columns = visible.columns(stream);
            let planned = condition::plan(base, stream, &columns, &rows.schema(), text)?;
            Some(planned)
        }
        _ => None,
    };
    let good = (taken.all_good(), taken.good_rows());
    let table = raw::good_rows(stream, &access, rows, good, condition)?;
    Ok(table)
}

/// The rows of a stream that somebody may read where he may not read all; an error where he may
/// read none, which no statement gets to.
fn own_rows(reads: &ReadScope, stream: &dyn Stream) -> Result<Option<OwnRows>, QueryError> {
    match reads.of_stream(stream) {
        RowAccess::All => Ok(None),
        RowAccess::Own(own) => Ok(Some(own)),
        RowAccess::Nothing => Err(QueryError::internal(format!(
            "{} was opened for somebody for whom it does not exist",
            stream.name()
        ))),
    }
}

/// What is told of a stream that was read: versions and sequences count everybody's rows.
fn shown(coverage: Coverage, reads: &ReadScope) -> Coverage {
    match reads {
        ReadScope::Everything | ReadScope::Readers | ReadScope::MinerPlaces { .. } => coverage,
        ReadScope::Miner(_) | ReadScope::Nothing => Coverage {
            version: None,
            through: None,
            acknowledged: None,
            reason: None,
            ..coverage
        },
    }
}

/// Refuses to tell a miner which versions a table of everybody's has.
fn check_version(at: At, reads: &ReadScope) -> Result<(), QueryError> {
    match (at, reads) {
        (At::Version(_), ReadScope::Miner(_) | ReadScope::MinerPlaces { .. }) => {
            Err(QueryError::bad_request(
                "as_of names a version, which only who reads whole tables may do",
                "name a time instead, such as 2026-01-31T12:00:00Z",
            ))
        }
        _ => Ok(()),
    }
}

/// Refuses one version for several streams and tables.
fn check_one_version(
    at: At,
    used: &[&Arc<dyn Source>],
    of_users: &[&StoredUserTable],
) -> Result<(), QueryError> {
    let streams = used.iter().map(|source| source.stream().name());
    let of_users = of_users.iter().map(|stored| stored.table().name.as_str());
    let names: Vec<&str> = streams.chain(of_users).collect();
    let (At::Version(_), [first, second, ..]) = (at, names.as_slice()) else {
        return Ok(());
    };
    let message = format!(
        "as_of names a version, but the statement reads {first} and {second}, whose versions are \
         not the same"
    );
    let hint = "name a time instead, such as 2026-01-31T12:00:00Z";
    Err(QueryError::bad_request(message, hint))
}

/// The error of a statement that cannot be planned: it says when one of its tables is not there.
pub fn planning_error(
    error: DataFusionError,
    state: &SessionState,
    references: &[TableReference],
) -> QueryError {
    let absent = |reference: &&TableReference| {
        let schema = state.schema_for_ref((*reference).clone());
        !schema.is_ok_and(|schema| schema.table_exist(reference.table()))
    };
    let absent = references.iter().any(|reference| absent(&reference));
    let error = from_datafusion(error);
    match absent && error.code == ErrorCode::SqlPlan && error.sqlstate.is_none() {
        true => error.with_sqlstate(SqlState::UndefinedTable),
        false => error,
    }
}

/// A session with the functions and settings of `base` and these tables alone.
fn session(base: &SessionState, tables: Arc<dyn SchemaProvider>) -> EngineResult<SessionState> {
    session_with(base, tables, &[])
}

/// The same with further schemas.
fn session_with(
    base: &SessionState,
    tables: Arc<dyn SchemaProvider>,
    more: &[(&str, Arc<dyn SchemaProvider>)],
) -> EngineResult<SessionState> {
    let catalog = Arc::new(MemoryCatalogProvider::new());
    catalog.register_schema(SCHEMA, tables)?;
    for (name, schema) in more {
        catalog.register_schema(name, schema.clone())?;
    }
    let list = Arc::new(MemoryCatalogProviderList::new());
    list.register_catalog(CATALOG.to_owned(), catalog);
    let mut state = SessionStateBuilder::new_from_existing(base.clone())
        .with_catalog_list(list)
        .build();
    // `now()` and its kin are one moment for the whole statement; unmarked, they stay functions
    // that nobody can evaluate.
    state.mark_start_execution();
    Ok(state)
}

/// Plans `sql` over these relations and nothing else.
async fn plan(
    base: &SessionState,
    relations: Vec<(&str, Arc<dyn TableProvider>)>,
    sql: &str,
) -> EngineResult<LogicalPlan> {
    let schema = Arc::new(MemorySchemaProvider::new());
    for (name, table) in relations {
        schema.register_table(name.to_owned(), table)?;
    }
    session(base, schema)?.create_logical_plan(sql).await
}

/// The views written in SQL that these name.
fn sql_views(references: &[&TableReference]) -> impl Iterator<Item = &'static SqlView> {
    views::all().iter().filter(|view| {
        references
            .iter()
            .any(|reference| reference.table() == view.name)
    })
}

fn ours(reference: &TableReference) -> bool {
    reference.catalog().is_none_or(|catalog| catalog == CATALOG)
        && reference.schema().is_none_or(|schema| schema == SCHEMA)
}

/// What the tables that are ours need of each stream.
fn needs(references: &[&TableReference]) -> BTreeMap<&'static str, Need> {
    let mut needs: BTreeMap<&'static str, Need> = BTreeMap::new();
    for reference in references {
        let name = reference.table();
        if name == raw::DEAD_LETTERS {
            for stream in stream::ALL {
                needs.entry(stream.name()).or_default().rejects = true;
            }
        } else if let Some(view) = views::find(name) {
            view.reads
                .iter()
                .for_each(|name| add_read(&mut needs, name));
        } else {
            add_read(&mut needs, name);
        }
    }
    needs
}

/// What a raw table or a view of a rollup needs of its stream.
fn add_read(needs: &mut BTreeMap<&'static str, Need>, name: &str) {
    if let Some(stream) = stream::find(name) {
        needs.entry(stream.name()).or_default().rows = true;
    } else if let Some(rollup) = rollup::ALL
        .iter()
        .find(|rollup| rollup.views().iter().any(|view| view.name == name))
    {
        let required = needs.entry(rollup.stream().name()).or_default();
        required.views.insert(name.to_owned());
    }
}

fn rollups_of(required: &Need, stream: &str) -> Vec<&'static dyn Rollup> {
    rollup::for_stream(stream)
        .filter(|rollup| {
            rollup
                .views()
                .iter()
                .any(|view| required.views.contains(&view.name))
        })
        .collect()
}
