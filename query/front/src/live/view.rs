//! What subscribers of a stream are shown of it: which columns, and of which rows.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{and, filter_record_batch, is_null};
use headframe_schemas::Stream;
use headframe_schemas::table::{REJECT_REASON, ROW, SEQ};

use crate::access::{OwnRows, Principal, ReadScope, RowAccess};
use crate::error::{ErrorCode, QueryError};
use crate::live::event::Place;
use crate::live::place_ids::PlaceIds;
use crate::live::position::Position;

/// The longest condition, in bytes.
const MAX_CONDITION_BYTES: usize = 16 * 1024;
/// The names that a row's place has in the answers of workers: no column of a stream has them.
pub(super) const PLACE: (&str, &str) = ("@seq", "@row");

/// Columns and rows of a stream.
#[derive(Clone)]
pub(crate) struct View {
    pub(super) stream: &'static dyn Stream,
    columns: Arc<[String]>,
    /// SQL that is true for a row that is shown.
    condition: Option<Arc<str>>,
    /// Whose rows are shown, where not everybody's are.
    own: Option<OwnRows>,
    ids: PlaceIds,
}

impl View {
    /// The view that a subscriber asks for, of rows that he may read. The condition is for an
    /// engine to understand.
    pub(super) fn new(
        stream: &'static dyn Stream,
        access: RowAccess,
        ids: PlaceIds,
        columns: Option<&str>,
        condition: Option<&str>,
    ) -> Result<Self, QueryError> {
        let all = access.columns(stream);
        let known = |name: &str| all.iter().any(|column| column.name == name);
        let columns: Vec<String> = match columns {
            None => all.iter().map(|column| column.name.to_owned()).collect(),
            Some(names) => names
                .split(',')
                .map(|name| name.trim().to_owned())
                .collect(),
        };
        let mut seen = std::collections::HashSet::new();
        if let Some(name) = columns
            .iter()
            .find(|name| !known(name) || !seen.insert(name.as_str()))
        {
            let names: Vec<&str> = all.iter().map(|column| column.name).collect();
            return Err(QueryError::bad_request(
                format!(
                    "columns names {name:?}, which is not a column of {} or is named twice",
                    stream.name()
                ),
                format!("columns are {}", names.join(", ")),
            ));
        }
        let condition = condition.map(str::trim);
        if condition.is_some_and(|text| text.is_empty() || text.len() > MAX_CONDITION_BYTES) {
            return Err(QueryError::bad_request(
                format!("where is empty or has more than {MAX_CONDITION_BYTES} bytes"),
                "where=outcome = 'accepted', or leave it out",
            ));
        }
        let own = match access {
            RowAccess::Own(own) => Some(own),
            RowAccess::All | RowAccess::Nothing => None,
        };
        Ok(Self {
            stream,
            columns: columns.into(),
            condition: condition.map(Into::into),
            own,
            ids,
        })
    }

    /// Whether an engine has to say which rows are shown.
    pub(crate) fn has_condition(&self) -> bool {
        self.condition.is_some()
    }

    /// What makes two views the same.
    pub(super) fn key(&self) -> String {
        let condition = self.condition.as_deref().unwrap_or_default();
        let own = self.own.as_ref().map(|own| own.address.as_str());
        format!(
            "{}\n{own:?}\n{}\n{condition}",
            self.stream.name(),
            self.columns.join(",")
        )
    }

    /// Whether the rows are those of one miner, who is told no sequence.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The miner whose rows are all that is shown.
    pub(super) fn miner(&self) -> Option<&str> {
        self.own.as_ref().map(|own| own.address.as_str())
    }

    /// What its statements read for a subscriber.
    pub(super) fn read_scope(&self, principal: &Principal) -> ReadScope {
        match &self.own {
            Some(own) => ReadScope::MinerPlaces {
                address: own.address.clone(),
                condition: self.condition.as_deref().map(str::to_owned),
            },
            None => principal.read_scope(),
        }
    }

    /// How its places are written.
    pub(crate) fn ids(&self) -> &PlaceIds {
        &self.ids
    }

    /// A place as its subscribers are told it.
    pub(super) fn place(&self, position: Position) -> Result<Place, QueryError> {
        Place::new(&self.ids, position)
    }

    /// The rows after `after` up to the message `last` with their places, in order; at most
    /// `limit`.
    ///
    /// The rows are cut before the condition sees them, so that whatever it says it cannot bring
    /// back others. A miner's condition stands in its scope instead, since places are shown here.
    pub(super) fn sql(&self, after: Position, last: i64, limit: usize) -> String {
        let name = self.stream.name();
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|name| format!("\"{name}\""))
            .collect();
        let Position { seq, row } = after;
        let mut sql = format!(
            "SELECT {}, \"seq\" AS \"{}\", \"row\" AS \"{}\" FROM (SELECT * FROM \"{name}\" WHERE ",
            columns.join(", "),
            PLACE.0,
            PLACE.1
        );
        sql.push_str(&match row {
            i64::MAX => format!("\"seq\" > {seq} AND \"seq\" <= {last}"),
            row => format!(
                "\"seq\" >= {seq} AND \"seq\" <= {last} AND (\"seq\" > {seq} OR \"row\" > {row})"
            ),
        });
        sql.push_str(&format!(") AS \"{name}\""));
        if let Some(condition) = self.condition.as_ref().filter(|_| !self.is_own()) {
            sql.push_str(&format!(" WHERE (\n{condition}\n)"));
        }
        sql.push_str(&format!(
            " ORDER BY \"{}\", \"{}\" LIMIT {limit}",
            PLACE.0, PLACE.1
        ));
        sql
    }

    /// The columns of the view, and those of the rows' places, of physical rows of the stream.
    /// Refused rows are left out, and those of others where the view is of one miner.
    pub(super) fn of_physical(&self, batch: &RecordBatch) -> Result<RecordBatch, QueryError> {
        let schema = batch.schema();
        let index = |name: &str| schema.index_of(name).map_err(unreadable);
        let mut wanted = Vec::with_capacity(self.columns.len() + 2);
        for name in self.columns.iter() {
            wanted.push(index(name)?);
        }
        wanted.extend([index(SEQ.name)?, index(ROW.name)?]);
        let reasons = batch.column(index(REJECT_REASON.name)?);
        let mut meant: BooleanArray = is_null(reasons).map_err(unreadable)?;
        if let Some(own) = &self.own {
            let own = own.mask(batch).map_err(unreadable)?;
            meant = and(&meant, &own).map_err(unreadable)?;
        }
        let shown = batch.project(&wanted).map_err(unreadable)?;
        if meant.true_count() == batch.num_rows() {
            return Ok(shown);
        }
        filter_record_batch(&shown, &meant).map_err(unreadable)
    }

    /// How many columns are shown.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The error of rows that are not what the condition was given.
    pub(super) fn broken_condition() -> QueryError {
        QueryError::new(
            ErrorCode::SqlPlan,
            "where is not one condition: it gave rows that it was not given",
            "write one condition, such as outcome = 'accepted' AND difficulty > 1000",
        )
    }
}

fn unreadable(error: arrow::error::ArrowError) -> QueryError {
    QueryError::internal(format!("rows of a stream cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use headframe_schemas::stream::sensors::Sensors;
    use headframe_schemas::stream::shares::Shares;
    use headframe_schemas::table;

    use super::*;

    fn view(columns: Option<&str>, condition: Option<&str>) -> Result<View, QueryError> {
        let ids = PlaceIds::Sequences;
        View::new(&Sensors, RowAccess::All, ids, columns, condition)
    }

    #[test]
    fn a_view_names_columns_of_its_stream_and_each_once() {
        let columns = |text| view(Some(text), None).map(|view| view.width());
        assert_eq!(columns("event_time, site").ok(), Some(2));
        for wrong in [
            "",
            "event_time,",
            "nothing",
            "site,site",
            "payload",
            "Site",
            "site\"",
        ] {
            assert!(columns(wrong).is_err(), "{wrong:?}");
        }
        assert!(view(None, Some(" ")).is_err());
        let view = view(None, None).unwrap();
        assert_eq!(view.width(), table::visible_columns(&Sensors).len());
    }

    #[test]
    fn a_miner_chooses_among_its_columns_and_its_condition_is_no_part_of_the_statement() {
        let view = |columns, condition| {
            let access = ReadScope::Miner("4A".to_owned()).of_stream(&Shares);
            View::new(&Shares, access, PlaceIds::Sequences, columns, condition)
        };
        let principal = Principal::anonymous();
        let own = view(Some("worker,difficulty"), None).unwrap();
        let scope = |condition: Option<&str>| ReadScope::MinerPlaces {
            address: "4A".to_owned(),
            condition: condition.map(str::to_owned),
        };
        assert_eq!(own.read_scope(&principal), scope(None));
        assert!(own.is_own());
        let chosen = view(Some("worker"), Some("seq > 7")).unwrap();
        assert_eq!(chosen.read_scope(&principal), scope(Some("seq > 7")));
        let sql = chosen.sql(Position::after_message(3), 20, 5);
        assert!(!sql.contains("> 7"), "{sql}");
        assert_ne!(chosen.key(), view(Some("worker"), None).unwrap().key());
        for hidden in ["seq", "row", "producer", "worker,seq"] {
            assert!(view(Some(hidden), None).is_err(), "{hidden}");
        }
        let all = table::visible_columns(&Shares).len();
        assert!(view(None, None).unwrap().width() < all);
    }

    #[test]
    fn rows_are_cut_before_the_condition_sees_them() {
        let view = view(Some("site"), Some("true -- all")).unwrap();
        let sql = view.sql(Position::after_row(7, 2), 20, 5);
        assert_eq!(
            sql,
            "SELECT \"site\", \"seq\" AS \"@seq\", \"row\" AS \"@row\" FROM (SELECT * FROM \
             \"sensors\" WHERE \"seq\" >= 7 AND \"seq\" <= 20 AND (\"seq\" > 7 OR \"row\" > 2)) AS \
             \"sensors\" WHERE (\ntrue -- all\n) ORDER BY \"@seq\", \"@row\" LIMIT 5"
        );
    }
}
