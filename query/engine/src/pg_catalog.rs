//! What is particular to statements that come by the PostgreSQL wire: their parameters have types,
//! their dialect is PostgreSQL's, and they see `pg_catalog`, its functions and an
//! `information_schema` with PostgreSQL's names of types.
//!
//! The tables are those of `datafusion-pg-catalog`, made once for the process: object identifiers
//! come from a counter of its provider, and clients ask for them in one statement and use them in
//! the next. There is one for each set of tables that somebody may see, and nothing of it is made
//! before the first such statement.

use std::sync::Arc;

use datafusion::catalog::{MemoryCatalogProvider, MemoryCatalogProviderList};
use datafusion::common::TableReference;
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::functions::datetime::now::NowFunc;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::setup_pg_catalog;
use headframe_query_front::sql::PostgresStatement;

use crate::catalog::described::Described;
use crate::catalog::{CATALOG, DescribingSchemas, INFORMATION_SCHEMA};

mod functions;
mod information_schema;
mod names;
pub mod output;
mod own_tables;
pub mod parameters;
pub mod rewrite;
mod session_functions;
mod set_functions;
mod tables;
mod time_bucket;

/// The name of the schema.
pub const PG_CATALOG: &str = "pg_catalog";

/// What all PostgreSQL sessions share.
pub struct PgCatalog {
    base: SessionState,
    schemas: DescribingSchemas,
    rewriter: rewrite::Rewriter,
}

impl PgCatalog {
    /// Over the functions and settings of this session, of the tables that exist for its readers.
    pub async fn new(base: &SessionState, described: &[Described]) -> Result<Self> {
        // The crate registers its functions with a session that has its catalog.
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        let state = SessionStateBuilder::new_from_existing(base.clone())
            .with_catalog_list(catalogs)
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_catalog(CATALOG, Arc::new(MemoryCatalogProvider::new()));
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let tables = tables::schema(&context, described).await?;
        let mut base = context.state();
        let more = names::functions(&tables.names).into_iter();
        let more = more.chain(set_functions::all());
        for function in functions::all(&tables.relations).into_iter().chain(more) {
            base.register_udf(Arc::new(function))?;
        }
        Ok(Self {
            base,
            schemas: [
                (PG_CATALOG, tables.schema),
                (INFORMATION_SCHEMA, information_schema::schema(described)?),
            ],
            rewriter: rewrite::Rewriter::default(),
        })
    }

    /// A session with the functions that know whose it is.
    pub fn session(&self, statement: &PostgresStatement) -> Result<SessionState> {
        let mut state = SessionStateBuilder::new_from_existing(self.base.clone()).build();
        // `timestamptz` has a zone.
        let options = state.config_mut().options_mut();
        options.execution.time_zone = Some("UTC".to_owned());
        state.register_udf(Arc::new(now()))?;
        for function in session_functions::all(statement) {
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(function)))?;
        }
        Ok(state)
    }

    /// The statement as the engine understands it.
    pub fn rewritten(
        &self,
        statement: Statement,
        references: &[TableReference],
    ) -> rewrite::Rewritten {
        self.rewriter.rewrite(statement, references)
    }

    /// The schemas that describe tables.
    pub fn schemas(&self) -> &DescribingSchemas {
        &self.schemas
    }
}

/// The moment of the statement, with a time zone, by all its names.
fn now() -> ScalarUDF {
    let mut options = ConfigOptions::default();
    options.execution.time_zone = Some("UTC".to_owned());
    ScalarUDF::new_from_impl(NowFunc::new_with_config(&options)).with_aliases([
        "transaction_timestamp",
        "statement_timestamp",
        "clock_timestamp",
    ])
}
