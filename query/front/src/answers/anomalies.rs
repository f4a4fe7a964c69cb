//! What is answered about anomalies.

use headframe_schemas::Column;
use headframe_schemas::sql_view::anomalies;

use crate::answers::described::answer_type;
use crate::answers::table_row::{RowShape, TableRow};

/// An anomaly, as the view `anomaly_periods` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct AnomalyRow;

impl RowShape for AnomalyRow {
    const NAME: &'static str = "Anomaly";
    const DOC: &'static str = "An anomaly, from its beginning to its end.";

    fn columns() -> Vec<Column> {
        anomalies::columns()
    }
}

answer_type! {
    /// A page of anomalies, the newest first.
    AnomaliesAnswer {
        /// The anomalies.
        rows: Vec<TableRow<AnomalyRow>>,
        /// The `after` of the next page; null on the last.
        next: Option<String>,
    }
}

answer_type! {
    /// The readings around an anomaly.
    ReadingsAnswer {
        /// The anomaly.
        anomaly: TableRow<AnomalyRow>,
        /// The unit of the readings; empty where they have none.
        unit: String,
        /// Where the readings begin, seconds since 1970.
        from_s: i64,
        /// Where they end, seconds since 1970.
        to_s: i64,
        /// Seconds from reading to reading; what is further apart is a gap.
        step_s: i64,
        /// The readings, the oldest first.
        points: Vec<Reading>,
    }
}

answer_type! {
    /// A reading.
    Reading {
        /// When, seconds since 1970.
        at_s: i64,
        /// What was read.
        value: f64,
    }
}
