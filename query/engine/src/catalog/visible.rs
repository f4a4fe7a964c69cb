//! Which tables and views exist for a reader, from what the streams they are made of say.

use headframe_query_front::access::{ReadScope, RowAccess};
use headframe_schemas::rollup::View;
use headframe_schemas::{Rollup, UserTable, rollup, stream};

use crate::catalog::{raw, views};

/// Whether a table or view of this name exists for whoever has this scope, where pipelines of the
/// configuration fill `user_tables`.
pub fn exists(reads: &ReadScope, user_tables: &[UserTable], name: &str) -> bool {
    if let Some(table) = user_tables.iter().find(|table| table.name == name) {
        return reads.of_user_table(table);
    }
    if name == raw::DEAD_LETTERS {
        return *reads == ReadScope::Everything;
    }
    if let Some(view) = views::find(name) {
        return view.reads.iter().all(|name| has_rows(reads, name));
    }
    has_rows(reads, name)
}

/// Whether a raw table or a view of a rollup has rows for whoever has this scope.
fn has_rows(reads: &ReadScope, name: &str) -> bool {
    if let Some(stream) = stream::find(name) {
        return reads.of_stream(stream).is_some();
    }
    rollup::ALL.iter().any(|rollup| {
        let views = rollup.views();
        let view = views.iter().find(|view| view.name == name);
        view.is_some_and(|view| shows(reads, *rollup, view))
    })
}

/// A view exists for a miner when it says whose windows it shows.
fn shows(reads: &ReadScope, rollup: &dyn Rollup, view: &View) -> bool {
    match reads.of_stream(rollup.stream()) {
        RowAccess::Nothing => false,
        RowAccess::All => true,
        RowAccess::Own(_) => rollup
            .miner_column()
            .is_some_and(|miner| view.columns.iter().any(|column| column.name == miner)),
    }
}
