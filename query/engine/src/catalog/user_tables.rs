//! The tables that pipelines of the configuration fill, as a statement sees them.
//!
//! They hold what is committed and nothing newer: what a pipeline makes of rows that no table holds
//! yet is not known before it has run.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::TableReference;
use datafusion::prelude::{Expr, ident};
use headframe_query_front::At;
use headframe_schemas::UserTable;

use crate::catalog::raw;
use crate::delta::StoredUserTable;
use crate::error::EngineError;
use crate::source::SourceError;

/// Every one of them.
#[derive(Default)]
pub struct UserTables {
    stored: Vec<StoredUserTable>,
    described: Vec<UserTable>,
}

impl UserTables {
    /// These.
    pub fn new(stored: Vec<StoredUserTable>) -> Self {
        let described = stored.iter().map(|stored| stored.table().clone());
        Self {
            described: described.collect(),
            stored,
        }
    }

    /// What they look like, and who may read them.
    pub fn described(&self) -> &[UserTable] {
        &self.described
    }

    /// Those that a statement names.
    pub fn named(&self, references: &[&TableReference]) -> Vec<&StoredUserTable> {
        let is_named = |stored: &&StoredUserTable| {
            let name = stored.table().name.as_str();
            references.iter().any(|reference| reference.table() == name)
        };
        self.stored.iter().filter(is_named).collect()
    }

    /// The rows of each that has some on which its pipeline's SELECT failed.
    pub async fn rejects(
        &self,
        at: At,
    ) -> Result<Vec<(String, Arc<dyn TableProvider>)>, EngineError> {
        let mut rejects = Vec::new();
        for stored in &self.stored {
            match stored.stored(at).await {
                Ok(version) if version.all_good => {}
                Ok(version) => {
                    rejects.push((
                        stored.table().name.clone(),
                        version.rows.between(None, None),
                    ));
                }
                // It is younger than the time asked for.
                Err(SourceError::NoSuchVersion { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(rejects)
    }
}

/// The rows that a pipeline's SELECT gave, in a version of its table.
pub async fn good_rows(
    stored: &StoredUserTable,
    at: At,
) -> Result<Arc<dyn TableProvider>, EngineError> {
    let table = stored.table();
    let version = stored.stored(at).await?;
    let physical = version.rows.between(None, None);
    let columns: Vec<Expr> = table
        .visible_columns()
        .iter()
        .map(|column| ident(column.name))
        .collect();
    let plan = raw::good(&table.name, physical, version.all_good)?;
    let plan = plan.project(columns)?.build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
