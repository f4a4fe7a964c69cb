//! The `[[pipeline]]` entries: pipelines of the user's own.

use std::collections::BTreeSet;
use std::sync::Arc;

use headframe_pipelines::UserPipeline;
use headframe_query_engine::catalog::described;
use headframe_schemas::table;

use super::Config;
use super::section::ConfigFault;

impl Config {
    /// The pipelines of the user's own, planned; or all that is wrong with them.
    pub fn user_pipelines(&self) -> Result<Vec<Arc<UserPipeline>>, Vec<ConfigFault>> {
        let tables = table::all().into_iter().map(|table| table.name);
        let views = described::all().into_iter().map(|view| view.name);
        let taken: BTreeSet<String> = tables.chain(views).collect();
        UserPipeline::plan_all(&self.pipeline, &taken)
            .map_err(|faults| faults.into_iter().map(ConfigFault).collect())
    }
}
