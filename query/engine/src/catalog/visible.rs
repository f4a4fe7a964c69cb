//! Which tables and views exist for a reader, from what the streams they are made of say.

use headframe_query_front::access::{Principal, ReadScope, Role, RowAccess};
use headframe_schemas::rollup::View;
use headframe_schemas::{Rollup, rollup, stream};

use crate::catalog::described::{self, Described};
use crate::catalog::{money, raw};

/// Whether a table or view of this name exists for whoever has this scope.
pub fn exists(reads: &ReadScope, name: &str) -> bool {
    if name == raw::DEAD_LETTERS {
        return *reads == ReadScope::Everything;
    }
    if let Some(view) = money::find(name) {
        return view.streams.iter().all(|name| {
            stream::find(name).is_some_and(|stream| reads.of_stream(stream).is_some())
        });
    }
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

/// Which role reads which table, for the documents.
pub fn access_table() -> String {
    let roles: Vec<(&str, ReadScope)> = Role::NAMES
        .iter()
        .filter_map(|name| {
            let role = Role::parse(name, (*name == "miner").then_some("own")).ok()?;
            let principal = Principal {
                role: Some(role),
                ..Principal::reader()
            };
            Some((*name, principal.read_scope()))
        })
        .collect();
    let names: Vec<&str> = roles.iter().map(|(name, _)| *name).collect();
    let mut text = format!("| table or view | {} |\n", names.join(" | "));
    text.push_str(&format!("|{}\n", "---|".repeat(names.len() + 1)));
    for table in described::all() {
        let cells: Vec<String> = roles
            .iter()
            .map(|(_, reads)| cell(reads, &table.name))
            .collect();
        text.push_str(&format!("| `{}` | {} |\n", table.name, cells.join(" | ")));
    }
    text
}

fn cell(reads: &ReadScope, name: &str) -> String {
    if !exists(reads, name) {
        return "no".to_owned();
    }
    if reads.miner().is_none() {
        return "yes".to_owned();
    }
    let hidden = stream::find(name).and_then(|stream| stream.miner_rows());
    let hidden = hidden.map(|rows| rows.hidden).unwrap_or_default();
    let hidden: Vec<String> = hidden.iter().map(|column| format!("`{column}`")).collect();
    match hidden.is_empty() {
        true => "its own rows".to_owned(),
        false => format!("its own rows, without {}", hidden.join(", ")),
    }
}

/// One value for each set of tables that exists for somebody.
#[derive(Debug, Default)]
pub struct ByTables<T> {
    nothing: T,
    miner: T,
    readers: T,
    everything: T,
}

impl<T> ByTables<T> {
    /// Made of the tables of each set.
    pub fn make<E>(make: impl Fn(&[Described]) -> Result<T, E>) -> Result<Self, E> {
        // The tables of all miners are the same.
        let miner = ReadScope::Miner(String::new());
        let of = |reads: &ReadScope| make(&described::visible_to(reads));
        Ok(Self {
            nothing: of(&ReadScope::Nothing)?,
            miner: of(&miner)?,
            readers: of(&ReadScope::Readers)?,
            everything: of(&ReadScope::Everything)?,
        })
    }

    /// That of the tables that exist for whoever has this scope.
    pub fn of(&self, reads: &ReadScope) -> &T {
        match reads {
            ReadScope::Nothing => &self.nothing,
            ReadScope::Miner(_) => &self.miner,
            ReadScope::Readers => &self.readers,
            ReadScope::Everything => &self.everything,
        }
    }
}
