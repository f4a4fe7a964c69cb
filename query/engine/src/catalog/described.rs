//! What every table and view means, in one list: `information_schema`, the docs and the conformance
//! tests read it.

use headframe_query_front::access::ReadScope;
use headframe_schemas::{Column, UserTable, rollup, stream};

use crate::catalog::{raw, views, visible};

/// A table as users see it.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name.
    pub name: String,
    /// `BASE TABLE` or `VIEW`.
    pub kind: &'static str,
    /// One sentence.
    pub doc: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// Every table and view that the program itself has: raw tables, dead letters, views written in
/// SQL, rollup views.
pub fn all() -> Vec<Described> {
    visible_to(&ReadScope::Everything, &[])
}

/// The tables and views that exist for whoever has this scope, with the columns that they have for
/// him. `user_tables` are those that pipelines of the configuration fill.
pub fn visible_to(reads: &ReadScope, user_tables: &[UserTable]) -> Vec<Described> {
    let raw = stream::ALL.iter().map(|stream| Described {
        name: stream.name().to_owned(),
        kind: "BASE TABLE",
        doc: stream.doc().to_owned(),
        columns: reads.of_stream(*stream).columns(*stream),
    });
    let dead_letters = Described {
        name: raw::DEAD_LETTERS.to_owned(),
        kind: "VIEW",
        doc: "Every row that was refused, of every stream, with the reason and the row as it came."
            .to_owned(),
        columns: raw::dead_letter_columns(),
    };
    let rollups = rollup::ALL.iter().flat_map(|rollup| rollup.views());
    let rollups = rollups.map(|view| Described {
        name: view.name,
        kind: "VIEW",
        doc: view.doc,
        columns: view.columns,
    });
    let written = views::all().iter().map(|view| Described {
        name: view.name.clone(),
        kind: "VIEW",
        doc: view.doc.clone(),
        columns: view.columns.clone(),
    });
    let of_users = user_tables.iter().map(|table| Described {
        name: table.name.clone(),
        kind: "BASE TABLE",
        doc: table.doc(),
        columns: table.visible_columns(),
    });
    raw.chain([dead_letters])
        .chain(written)
        .chain(rollups)
        .chain(of_users)
        .filter(|table| visible::exists(reads, user_tables, &table.name))
        .collect()
}
