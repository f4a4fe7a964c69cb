//! Which role reads which table, as a table for the documents.

use headframe_query_front::access::{Principal, ReadScope, Role};
use headframe_schemas::stream;

use crate::catalog::described;
use crate::catalog::visible::exists;

/// The table, in Markdown.
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
