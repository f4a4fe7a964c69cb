//! The registry in SQL: of each kind of resource the newest versions, and every version with the
//! time that it held.
//!
//! Both are views over the table `registry`, whose rows are the changes, so that there is no second
//! truth. Their columns are the fields of the kind.

use headframe_schemas::resource::{self, Field, Resource};
use headframe_schemas::{Column, Kind, SqlView, Unit};

const READS: &[&str] = &["registry"];

/// Two views a kind: `machines` and `machines_history`.
pub fn views() -> impl Iterator<Item = SqlView> {
    resource::ALL
        .iter()
        .flat_map(|resource| [newest(resource), history(resource)])
}

fn newest(resource: &Resource) -> SqlView {
    SqlView {
        name: resource.name.to_owned(),
        doc: format!("{} As they are now.", resource.doc),
        reads: READS,
        columns: columns(
            resource,
            &[
                VERSION,
                Column::time("updated_at", "When it was changed to this."),
                UPDATED_BY,
            ],
        ),
        sql: format!(
            "SELECT id, {} version, event_time AS updated_at, actor AS updated_by FROM (SELECT \
             *, row_number() OVER (PARTITION BY id ORDER BY version DESC) AS place FROM registry \
             WHERE kind = '{}') WHERE place = 1 AND after IS NOT NULL",
            fields(resource),
            resource.name
        ),
    }
}

fn history(resource: &Resource) -> SqlView {
    SqlView {
        name: format!("{}_history", resource.name),
        doc: format!(
            "Every version of {}: those of a time are the rows with recorded_from <= it and \
             recorded_to after it or null.",
            resource.name
        ),
        reads: READS,
        columns: columns(
            resource,
            &[
                VERSION,
                Column::time("recorded_from", "Since when it was so."),
                Column::time("recorded_to", "Until when; null for what is so now."),
                UPDATED_BY,
            ],
        ),
        sql: format!(
            "SELECT id, {} version, event_time AS recorded_from, recorded_to, actor AS updated_by \
             FROM (SELECT *, lead(event_time) OVER (PARTITION BY id ORDER BY version) AS \
             recorded_to FROM registry WHERE kind = '{}') WHERE after IS NOT NULL",
            fields(resource),
            resource.name
        ),
    }
}

const VERSION: Column =
    Column::new("version", Kind::Int, "From 1, one more with each change.").unit(Unit::Count);
const UPDATED_BY: Column = Column::new("updated_by", Kind::Text, "Who changed it to this.");

fn columns(resource: &Resource, more: &[Column]) -> Vec<Column> {
    let fields = resource.fields.iter().map(|field| field.column);
    let own = std::iter::once(resource::ID).chain(fields);
    own.chain(more.iter().copied()).collect()
}

/// The fields out of the JSON of the change, each of its type.
fn fields(resource: &Resource) -> String {
    resource.fields.iter().map(field_sql).collect()
}

fn field_sql(field: &Field) -> String {
    let name = field.name();
    let text = format!("json_extract_path_text(after, '{name}')");
    let value = match field.column.kind {
        Kind::Timestamp => {
            format!("arrow_cast({text}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
        }
        Kind::Int | Kind::SmallInt => format!("CAST({text} AS BIGINT)"),
        Kind::Float => format!("CAST({text} AS DOUBLE)"),
        Kind::Bool => format!("CAST({text} AS BOOLEAN)"),
        _ => text,
    };
    format!("{value} AS \"{name}\", ")
}
