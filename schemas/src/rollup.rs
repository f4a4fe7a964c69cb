//! A rollup: what a family of time windows holds, as SQL that both the pipeline and a live query
//! run.
//!
//! A rollup table holds partial rows that add up: a late row is one more partial row for an old
//! window, an append and never a rewrite. Sums are integers, so the order in which partial rows are
//! added cannot change an answer.

use crate::column::{Column, Kind, Unit};
use crate::stream::Stream;

pub mod energy;
pub mod hashrate;
pub mod sensors;

/// How long after a window's end rows are still expected; a window is marked complete when this has
/// passed.
pub const LATENESS_SECONDS: i64 = 10;

/// A width of windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tier {
    /// As users write it: `10s`, `1m`, `1h`, `1d`.
    pub name: &'static str,
    /// Width in seconds.
    pub seconds: i64,
}

/// Every tier, the finest first; each divides the next.
pub const TIERS: &[Tier] = &[
    Tier {
        name: "10s",
        seconds: 10,
    },
    Tier {
        name: "1m",
        seconds: 60,
    },
    Tier {
        name: "1h",
        seconds: 3_600,
    },
    Tier {
        name: "1d",
        seconds: 86_400,
    },
];

/// How two partial values of one measure become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Added.
    Sum,
    /// The smaller one.
    Min,
    /// The larger one.
    Max,
}

/// A value of a partial row.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// Its column.
    pub column: Column,
    /// How partial values are merged.
    pub merge: Merge,
}

impl Measure {
    /// A measure that is added.
    pub const fn sum(name: &'static str, kind: Kind, unit: Unit, doc: &'static str) -> Self {
        Self {
            column: Column::new(name, kind, doc).unit(unit).few_values(),
            merge: Merge::Sum,
        }
    }

    /// A measure of which the smallest or largest is kept.
    pub const fn extreme(name: &'static str, unit: Unit, merge: Merge, doc: &'static str) -> Self {
        Self {
            column: Column::new(name, Kind::Float, doc).unit(unit),
            merge,
        }
    }

    /// The SQL aggregate that merges this measure over partial rows, with the measure's own type
    /// and name.
    pub fn merge_sql(&self) -> String {
        let name = self.column.name;
        match (self.merge, self.column.kind) {
            (Merge::Sum, Kind::Decimal) => format!("CAST(sum({name}) AS DECIMAL(38,0)) AS {name}"),
            (Merge::Sum, _) => format!("sum({name}) AS {name}"),
            (Merge::Min, _) => format!("min({name}) AS {name}"),
            (Merge::Max, _) => format!("max({name}) AS {name}"),
        }
    }
}

/// A view for the users over a rollup's partial rows.
#[derive(Debug, Clone)]
pub struct View {
    /// Its name.
    pub name: String,
    /// One sentence for the users.
    pub doc: String,
    /// SQL over the relation `partials`; `{complete_to}` stands for the time up to which windows
    /// are complete, a SQL timestamp.
    pub sql: String,
    /// Meaning and units of its columns.
    pub columns: Vec<Column>,
    /// How many of the rollup's keys, from the first on, it groups by.
    pub keys: usize,
}

/// A family of windows over one stream.
pub trait Rollup: Sync {
    /// The family: `hashrate`, `energy`, `sensors`.
    fn family(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// The stream it is computed from.
    fn stream(&self) -> &'static dyn Stream;
    /// The column that names the miner whose window it is; `None` where the rollup and its views do
    /// not exist for miners. A window is shown to whoever may read the rows it is computed from.
    fn miner_column(&self) -> Option<&'static str> {
        let own = self.stream().miner_rows()?.column;
        let is_key = self.keys().iter().any(|key| key.name == own);
        is_key.then_some(own)
    }
    /// The columns that say whose window it is.
    fn keys(&self) -> &'static [Column];
    /// What a window holds.
    fn measures(&self) -> &'static [Measure];
    /// SQL for the finest partial rows (`bin`, keys, measures) over the relations `rows`, good raw
    /// rows that are new, and `context`, good raw rows already counted that lie within
    /// [`Rollup::reach_us`] of a new one.
    fn finest_sql(&self) -> String;
    /// The measures as SQL aggregates over `rows`, where each row stands alone; `None` where its
    /// neighbours count.
    fn sums_sql(&self) -> Option<&'static str> {
        None
    }
    /// SQL for partial rows of this tier straight from `rows`, one a window and value of the first
    /// `grouped` keys, the other keys null. `sums` is what [`Rollup::sums_sql`] says.
    fn grouped_sql(&self, tier: Tier, grouped: usize, sums: &str) -> String {
        let (grouped, left_out) = self.keys().split_at(grouped);
        let names: Vec<&str> = grouped.iter().map(|key| key.name).collect();
        let names = names.join(", ");
        let null = |key: &Column| format!(", CAST(NULL AS VARCHAR) AS {}", key.name);
        let nulls: String = left_out.iter().map(null).collect();
        format!(
            "SELECT {} AS bin, {names}{nulls},\n{sums}\nFROM rows GROUP BY 1, {names}",
            bin_sql("event_time", tier)
        )
    }
    /// How far, in event time, a row can change what its neighbours contribute; `None` when each
    /// row stands alone.
    fn reach_us(&self) -> Option<i64> {
        None
    }
    /// The views for the users.
    fn views(&self) -> Vec<View>;
    /// The version of what its partial rows mean. Raise it with every change to the SQL or the
    /// columns: partial rows of two meanings must not be added up, so each version has a table of
    /// its own, filled from the raw table from the beginning.
    fn version(&self) -> u32 {
        1
    }

    /// The table's name.
    fn table(&self) -> String {
        match self.version() {
            1 => format!("{}_rollups", self.family()),
            version => format!("{}_rollups_v{version}", self.family()),
        }
    }

    /// The table's physical columns: `bin`, keys, measures, then the partitions `tier` and `month`.
    fn columns(&self) -> Vec<Column> {
        let mut columns = vec![Column::time("bin", "Start of the window.")];
        columns.extend_from_slice(self.keys());
        columns.extend(self.measures().iter().map(|measure| measure.column));
        columns.push(Column::new(
            "tier",
            Kind::Text,
            "Width of the window: 10s, 1m, 1h or 1d; a partition.",
        ));
        columns.push(Column::new(
            "month",
            Kind::Text,
            "UTC month of the window, as 2026-01; a partition.",
        ));
        columns
    }

    /// SQL that merges finer partial rows, the relation `finer`, into windows of this tier.
    fn coarser_sql(&self, tier: Tier) -> String {
        let keys = self.key_list();
        let measures: Vec<String> = self.measures().iter().map(Measure::merge_sql).collect();
        format!(
            "SELECT {} AS bin, {keys}, {} FROM finer GROUP BY 1, {keys}",
            bin_sql("bin", tier),
            measures.join(", ")
        )
    }

    /// SQL that folds partial rows, the relation `partials`, to one a window and key, as compaction
    /// does.
    fn fold_sql(&self) -> String {
        let keys = self.key_list();
        let measures: Vec<String> = self.measures().iter().map(Measure::merge_sql).collect();
        format!(
            "SELECT bin, {keys}, {} FROM partials GROUP BY bin, {keys}",
            measures.join(", ")
        )
    }

    /// The key columns, comma-separated.
    fn key_list(&self) -> String {
        self.keys()
            .iter()
            .map(|column| column.name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// Every rollup.
pub const ALL: &[&dyn Rollup] = &[
    &hashrate::HashrateRollup,
    &energy::EnergyRollup,
    &sensors::SensorsRollup,
];

/// The rollups computed from this stream.
pub fn for_stream(stream: &str) -> impl Iterator<Item = &'static dyn Rollup> {
    ALL.iter()
        .copied()
        .filter(move |rollup| rollup.stream().name() == stream)
}

/// SQL for the start of the window of this tier that a timestamp lies in; windows are aligned to
/// 1970 UTC.
pub fn bin_sql(time: &str, tier: Tier) -> String {
    format!(
        "date_bin(INTERVAL '{} seconds', {time}, TIMESTAMP '1970-01-01T00:00:00Z')",
        tier.seconds
    )
}

/// The head of a view's SQL: window, and whether it is complete.
fn window_sql(tier: Tier) -> String {
    format!(
        "bin AS window_start, bin + INTERVAL '{s} seconds' AS window_end, \
         bin + INTERVAL '{s} seconds' <= {{complete_to}} AS complete",
        s = tier.seconds
    )
}

/// The columns every view begins with.
fn window_columns() -> Vec<Column> {
    vec![
        Column::time("window_start", "Start of the window, included."),
        Column::time("window_end", "End of the window, excluded."),
        Column::new(
            "complete",
            Kind::Bool,
            "False while rows of the window are still expected.",
        ),
    ]
}
