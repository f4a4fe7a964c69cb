//! A table that a pipeline of the configuration fills, as every process is told of it.
//!
//! On disk it has the shape of a raw table: where each row came from, the columns of the pipeline's
//! SELECT, and the rows on which that SELECT failed.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Unit};
use crate::stream::{self, ReadPermission};
use crate::table::{INGEST_DATE, INGEST_TIME, PAYLOAD, REJECT_REASON, ROW, SEQ, Table};

/// Names that a SELECT gives to no column: the table has columns of these names by itself.
pub const RESERVED: [&str; 6] = [
    SEQ.name,
    ROW.name,
    INGEST_TIME.name,
    REJECT_REASON.name,
    PAYLOAD.name,
    INGEST_DATE.name,
];

/// Where a row of windows came from; a row without windows has the place of its input row.
const WINDOW_PLACE: [(Column, &str); 3] = [
    (INGEST_TIME, "When JetStream stored the input's message."),
    (
        SEQ,
        "Sequence of the input's message that the row was made of, or that closed its window.",
    ),
    (
        ROW,
        "Index of the row among those of its message; with seq, the row's identity.",
    ),
];

/// A column of a SELECT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserColumn {
    /// snake_case.
    pub name: String,
    /// Its type.
    pub kind: Kind,
}

/// The output table of a pipeline of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserTable {
    /// Its name.
    pub name: String,
    /// The pipeline that fills it.
    pub pipeline: String,
    /// The stream that it is computed from.
    pub input: String,
    /// The columns of the SELECT, in order.
    pub columns: Vec<UserColumn>,
    /// Who may read it. Miners never do.
    pub read: ReadPermission,
    /// Days after which rows are dropped.
    pub retention_days: u32,
}

impl UserTable {
    /// One sentence for the users.
    pub fn doc(&self) -> String {
        format!(
            "What the pipeline {} of the configuration makes of {}.",
            self.pipeline, self.input
        )
    }

    /// The table as it lies on disk.
    pub fn table(&self) -> Table {
        let mut columns = vec![SEQ, ROW, INGEST_TIME];
        columns.extend(self.own_columns());
        columns.extend([REJECT_REASON, PAYLOAD, INGEST_DATE]);
        Table {
            name: self.name.clone(),
            config_name: self.name.clone(),
            doc: self.doc(),
            columns,
            partitions: 1,
            stream: stream::find(&self.input).map_or("", |stream| stream.name()),
            retention_days: Some(self.retention_days),
        }
    }

    /// The columns as users see them: those of the SELECT, then where a row came from.
    pub fn visible_columns(&self) -> Vec<Column> {
        let mut columns = self.own_columns();
        columns.extend(WINDOW_PLACE.map(|(column, doc)| Column { doc, ..column }));
        columns
    }

    fn own_columns(&self) -> Vec<Column> {
        let doc = interned(&format!("As the pipeline {} computes it.", self.pipeline));
        let column = |own: &UserColumn| {
            let column = Column::new(interned(&own.name), own.kind, doc);
            match own.kind {
                Kind::Timestamp => column.unit(Unit::Microseconds),
                _ => column,
            }
        };
        self.columns.iter().map(column).collect()
    }
}

/// The same text for as long as the process runs. Each text is kept once, and texts come from the
/// configuration alone, so that they are few.
pub fn interned(text: &str) -> &'static str {
    static TEXTS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    match texts.get(text) {
        Some(known) => known,
        None => {
            let text: &'static str = Box::leak(text.to_owned().into_boxed_str());
            texts.insert(text);
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_columns_of_the_select_between_its_own() {
        let table = UserTable {
            name: "hot_sites".to_owned(),
            pipeline: "hot_sites".to_owned(),
            input: "sensors".to_owned(),
            columns: vec![UserColumn {
                name: "site".to_owned(),
                kind: Kind::Text,
            }],
            read: ReadPermission::Reader,
            retention_days: 30,
        };
        let names = |columns: &[Column]| -> Vec<&str> {
            columns.iter().map(|column| column.name).collect()
        };
        let physical = table.table();
        assert_eq!(
            names(&physical.columns),
            [
                "seq",
                "row",
                "ingest_time",
                "site",
                "reject_reason",
                "payload",
                "ingest_date"
            ]
        );
        assert_eq!(
            (physical.stream, physical.retention_days),
            ("sensors", Some(30))
        );
        assert_eq!(
            names(&table.visible_columns()),
            ["site", "ingest_time", "seq", "row"]
        );
        assert!(std::ptr::eq(interned("site"), interned("site")));
    }
}
