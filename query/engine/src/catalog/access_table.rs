//! Who gets what, as one table for the documents: each route and each table by each role.

use headframe_query_front::access::{Principal, ReadScope};
use headframe_query_front::route::{self, CALLERS, Caller};
use headframe_schemas::stream;

use crate::catalog::described;
use crate::catalog::visible::exists;

/// The table, in Markdown: the routes, then the tables and views.
pub fn access_table() -> String {
    let mut text = route::access_table();
    for table in described::all() {
        let cells = CALLERS.iter().map(|caller| cell(caller, &table.name));
        let cells: Vec<String> = cells.collect();
        text.push_str(&format!("| `{}` | {} |\n", table.name, cells.join(" | ")));
    }
    text
}

/// What of a table a caller reads.
fn cell(caller: &Caller, name: &str) -> String {
    let principal = Principal {
        role: caller.role(),
        ..Principal::reader()
    };
    let reads = principal.read_scope();
    let is_of_others = matches!(reads, ReadScope::Miner(_)) && !caller.is_own;
    if is_of_others || !exists(&reads, &[], name) {
        return "no".to_owned();
    }
    if reads.miner().is_none() {
        return "yes".to_owned();
    }
    let hidden = stream::find(name).and_then(|stream| stream.miner_rows());
    let hidden = hidden.map(|rows| rows.hidden).unwrap_or_default();
    let hidden: Vec<String> = hidden.iter().map(|column| format!("`{column}`")).collect();
    match hidden.is_empty() {
        true => "yes".to_owned(),
        false => format!("without {}", hidden.join(", ")),
    }
}
