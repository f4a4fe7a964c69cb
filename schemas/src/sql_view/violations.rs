//! Violations and orders as they are now: the newest row of each.

use crate::column::Column;
use crate::sql_view::SqlView;
use crate::stream::Stream;
use crate::stream::orders::OrderRows;
use crate::stream::violations::Violations;

/// The views `violations_now` and `orders_now`.
pub fn views() -> impl Iterator<Item = SqlView> {
    let violations = newest(
        &Violations,
        &["violations"],
        "Each violation as it is now, with the times until which somebody must take notice and \
         it must be resolved.",
    );
    let orders = newest(&OrderRows, &["orders"], "Each order as it is now.");
    [violations, orders].into_iter()
}

fn newest(stream: &dyn Stream, reads: &'static [&'static str], doc: &str) -> SqlView {
    let name = stream.name();
    let key = stream.key();
    // The time of the newest row is when it changed last.
    let rest = stream.columns()[1..].iter().copied();
    let names: Vec<String> = rest.clone().map(|column| quoted(column.name)).collect();
    let mut columns = vec![Column::time("changed_at", "When it changed last.")];
    columns.extend(rest);
    SqlView {
        name: format!("{name}_now"),
        doc: doc.to_owned(),
        reads,
        sql: format!(
            "SELECT event_time AS changed_at, {} FROM (SELECT *, row_number() OVER (PARTITION BY \
             {key} ORDER BY version DESC) AS place FROM {name}) WHERE place = 1",
            names.join(", "),
            key = quoted(key),
        ),
        columns,
    }
}

/// Some names are words of SQL, too.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}
