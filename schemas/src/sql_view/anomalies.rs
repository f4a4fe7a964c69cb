//! Anomalies with their beginning and end in one row.

use crate::column::{Column, Kind, Unit};
use crate::sql_view::SqlView;

/// The view `anomaly_periods`.
pub fn views() -> impl Iterator<Item = SqlView> {
    std::iter::once(SqlView {
        name: "anomaly_periods".to_owned(),
        doc: "Each anomaly in one row: what was found when it began, and when and why it ended."
            .to_owned(),
        reads: &["anomalies"],
        columns: columns(),
        sql: "SELECT o.site, o.source, o.signal, o.detector, o.since, o.event_time AS found_at, \
              c.event_time AS ended_at, c.reason, o.value, o.expected, o.deviation, o.lower, \
              o.upper, o.score FROM (SELECT * FROM anomalies WHERE transition = 'opened') AS o \
              LEFT JOIN (SELECT * FROM anomalies WHERE transition = 'closed') AS c ON c.site = \
              o.site AND c.source = o.source AND c.signal = o.signal AND c.detector = o.detector \
              AND c.since = o.since"
            .to_owned(),
    })
}

/// The columns of `anomaly_periods`.
pub fn columns() -> Vec<Column> {
    let value = |name, doc| Column::new(name, Kind::Float, doc).unit(Unit::ByQuantity);
    vec![
        Column::new(
            "site",
            Kind::Text,
            "The site of the signal; of a hashrate, the pool.",
        ),
        Column::new("source", Kind::Text, "The stream that the signal is in."),
        Column::new(
            "signal",
            Kind::Text,
            "What is read, and the column or quantity.",
        ),
        Column::new("detector", Kind::Text, "The detector that saw it first."),
        Column::time("since", "When it began, as far as that can be found out."),
        Column::time("found_at", "When it was found."),
        Column::time("ended_at", "When it ended; null while it is open."),
        Column::new("reason", Kind::Text, "Why it ended."),
        value("value", "What was read when it was found."),
        value("expected", "What was expected."),
        value("deviation", "value less expected."),
        value("lower", "The lower end of what is normal."),
        value("upper", "The upper end of what is normal."),
        Column::new(
            "score",
            Kind::Float,
            "In parts of the detector's threshold.",
        ),
    ]
}
