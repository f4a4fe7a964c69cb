//! The answer of a statement as subscribers compare it: its rows as JSON, bounded.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use futures::StreamExt;
use serde_json::{Map, Value, json};

use crate::access::Principal;
use crate::error::{ErrorCode, QueryError};
use crate::format::ndjson;
use crate::live::statements::Statements;
use crate::sql::Coverage;

/// Rows that an answer which is pushed may have.
pub(super) const MAX_ROWS: usize = 10_000;
/// Bytes that its rows may have as JSON.
const MAX_BYTES: usize = 4 << 20;

/// A whole answer.
pub(super) struct LiveAnswer {
    columns: Vec<String>,
    /// Each row as JSON.
    rows: Vec<String>,
    pub(super) coverage: Vec<Coverage>,
}

/// What a further answer is compared with.
pub(super) enum Baseline {
    /// The hash of its rows.
    Whole(Vec<u8>),
    /// Each row by its key.
    ByKey(BTreeMap<String, String>),
}

/// A row that is other than it was.
pub(super) type Change = (&'static str, String);

impl LiveAnswer {
    /// Runs a statement to its end.
    pub(super) async fn from_statement(
        statements: &Statements,
        principal: &Principal,
        sql: &str,
    ) -> Result<Self, QueryError> {
        let reads = principal.read_scope();
        let running = statements.ask(principal, reads, sql.to_owned(), Some(MAX_ROWS));
        let (mut answer, _slot) = running.await?;
        let fields = answer.schema.fields().iter();
        let columns = fields.map(|field| field.name().clone()).collect();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = answer.rows.next().await {
            let lines = ndjson::lines(&batch?)?;
            bytes += lines.len();
            if bytes > MAX_BYTES {
                return Err(too_large());
            }
            let lines = lines.split(|byte| *byte == b'\n');
            let lines = lines.filter(|line| !line.is_empty());
            rows.extend(lines.map(|line| String::from_utf8_lossy(line).into_owned()));
        }
        Ok(Self {
            columns,
            rows,
            coverage: answer.coverage,
        })
    }

    /// How far it is complete in each stream that it reads.
    pub(super) fn complete_through(&self) -> Value {
        let streams = self.coverage.iter();
        let streams = streams.map(|read| (read.stream.to_owned(), json!(read.through)));
        Value::Object(streams.collect())
    }

    /// All of it, as the data of an event, with how far it is complete where that is told.
    pub(super) fn snapshot(&self, complete_through: Option<&str>) -> String {
        let through = complete_through.map(|through| format!(",\"complete_through\":{through}"));
        format!(
            "{{\"columns\":{},\"rows\":[{}]{}}}",
            json!(self.columns),
            self.rows.join(","),
            through.unwrap_or_default()
        )
    }

    /// What has to be remembered of it; `key` names the columns that tell its rows apart.
    pub(super) fn baseline(&self, key: &[String]) -> Result<Baseline, QueryError> {
        if key.is_empty() {
            let rows = self.rows.join("\n");
            return Ok(Baseline::Whole(
                digest(&SHA256, rows.as_bytes()).as_ref().to_vec(),
            ));
        }
        if let Some(absent) = key.iter().find(|name| !self.columns.contains(name)) {
            return Err(QueryError::bad_request(
                format!("key names {absent:?}, which is not a column of the answer"),
                format!("its columns are {}", self.columns.join(", ")),
            ));
        }
        let mut by_key = BTreeMap::new();
        for row in &self.rows {
            let values: Map<String, Value> = serde_json::from_str(row)
                .map_err(|error| QueryError::internal(error.to_string()))?;
            let of_key = key.iter().filter_map(|name| values.get_key_value(name));
            let of_key: Map<String, Value> = of_key
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let of_key = Value::Object(of_key).to_string();
            if by_key.insert(of_key.clone(), row.clone()).is_some() {
                return Err(QueryError::bad_request(
                    format!("two rows of the answer have the key {of_key}"),
                    "name columns that tell rows apart, as those after GROUP BY do",
                ));
            }
        }
        Ok(Baseline::ByKey(by_key))
    }
}

impl Baseline {
    /// What became of an answer; `None` where it is to be told as a whole.
    pub(super) fn changes_to(&self, next: &Baseline) -> Option<Vec<Change>> {
        match (self, next) {
            (Baseline::Whole(before), Baseline::Whole(after)) => (before == after).then(Vec::new),
            (Baseline::ByKey(before), Baseline::ByKey(after)) => {
                let gone = before.keys().filter(|key| !after.contains_key(*key));
                let gone = gone.map(|key| ("retract", key.clone()));
                let other = after
                    .iter()
                    .filter(|(key, row)| before.get(*key) != Some(row));
                let other = other.map(|(_, row)| ("upsert", row.clone()));
                Some(gone.chain(other).collect())
            }
            _ => None,
        }
    }
}

fn too_large() -> QueryError {
    QueryError::new(
        ErrorCode::MemoryLimit,
        format!(
            "the answer has more than {MAX_BYTES} bytes, which is the limit of one that is pushed"
        ),
        "select fewer columns or rows, or ask /api/v1/sql",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn answer(rows: &[&str]) -> LiveAnswer {
        LiveAnswer {
            columns: vec!["pool".to_owned(), "n".to_owned()],
            rows: rows.iter().map(|row| (*row).to_owned()).collect(),
            coverage: Vec::new(),
        }
    }

    #[test]
    fn changed_rows_are_told_by_key_and_unchanged_answers_not_at_all() {
        let before = answer(&[r#"{"pool":"a","n":1}"#, r#"{"pool":"b","n":2}"#]);
        let after = answer(&[r#"{"pool":"b","n":3}"#, r#"{"pool":"c","n":2}"#]);
        let key = ["pool".to_owned()];
        let changes = |from: &LiveAnswer, to: &LiveAnswer, key: &[String]| {
            from.baseline(key)
                .unwrap()
                .changes_to(&to.baseline(key).unwrap())
        };
        assert_eq!(
            changes(&before, &after, &key).unwrap(),
            [
                ("retract", r#"{"pool":"a"}"#.to_owned()),
                ("upsert", r#"{"pool":"b","n":3}"#.to_owned()),
                ("upsert", r#"{"pool":"c","n":2}"#.to_owned()),
            ]
        );
        assert_eq!(changes(&before, &before, &key), Some(vec![]));
        assert_eq!(changes(&before, &before, &[]), Some(vec![]));
        assert_eq!(changes(&before, &after, &[]), None);
        assert_eq!(
            after.snapshot(Some("{}")),
            r#"{"columns":["pool","n"],"rows":[{"pool":"b","n":3},{"pool":"c","n":2}],"complete_through":{}}"#
        );
    }

    #[test]
    fn a_key_tells_rows_apart_or_is_refused() {
        let twice = answer(&[r#"{"pool":"a","n":1}"#, r#"{"pool":"a","n":2}"#]);
        let code = |key: &[&str]| {
            let key: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
            twice.baseline(&key).err().map(|error| error.code)
        };
        assert_eq!(code(&["pool"]), Some(ErrorCode::BadRequest));
        assert_eq!(code(&["nothing"]), Some(ErrorCode::BadRequest));
        assert_eq!(code(&["pool", "n"]), None);
    }
}
