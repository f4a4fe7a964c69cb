//! How much of an allocation is used, and how much of its time is measured.

use datafusion::prelude::{col, lit};
use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::stream::allocation_usage::AllocationUsages;

use super::rows::rows;
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::energy::usage::DEMAND_S;
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

/// A column of `allocation_usage`.
pub(super) struct AllocationMetric {
    name: &'static str,
    doc: &'static str,
    column: &'static str,
    factor: f64,
    /// Whether it is of the period of the allocation, and not of the moment.
    is_of_period: bool,
}

pub(super) const ENERGY_PCT: AllocationMetric = AllocationMetric {
    name: "energy_pct",
    doc: "Energy of the period, in hundredths of what is allocated; a violation a period.",
    column: "energy_pct",
    factor: 1.0,
    is_of_period: true,
};

pub(super) const POWER_PCT: AllocationMetric = AllocationMetric {
    name: "power_pct",
    doc: "Mean power of 15 minutes, in hundredths of what is allocated.",
    column: "power_pct",
    factor: 1.0,
    is_of_period: false,
};

pub(super) const DEMAND_W: AllocationMetric = AllocationMetric {
    name: "demand_w",
    doc: "Mean power of 15 minutes of who has an allocation, W.",
    column: "demand_w",
    factor: 1.0,
    is_of_period: false,
};

pub(super) const COMPLETENESS_PCT: AllocationMetric = AllocationMetric {
    name: "completeness_pct",
    doc: "How much of the last 15 minutes was measured of who has an allocation, in hundredths.",
    column: "demand_covered_s",
    factor: 100.0 / DEMAND_S,
    is_of_period: false,
};

impl Metric for AllocationMetric {
    fn name(&self) -> &'static str {
        self.name
    }
    fn doc(&self) -> &'static str {
        self.doc
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["pool", "site", "operator"]
    }
    fn source(&self) -> &'static dyn Stream {
        &AllocationUsages
    }
    fn lateness_us(&self) -> i64 {
        // After a stop the quarters of an hour of a day are made up for.
        86_400_000_000
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        selection: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let limits = ["power_limit_w", "energy_limit_wh"];
            let mut columns = vec!["subject", "allocation", "period_start", self.column];
            columns.extend(limits.iter().filter(|limit| **limit != self.column));
            let kind = col("subject_kind").eq(lit(selection.subject_kind.as_str()));
            let found = tables.raw_rows(&AllocationUsages, &columns, span, Some(kind));
            let found = found.await?;
            let reading = |row: super::rows::BatchRow<'_>| {
                // A pool that has no limit has no allocation either.
                let has_limit = limits.iter().any(|limit| row.float(limit).is_some());
                Some(Reading {
                    subject: row.text("subject")?.to_owned(),
                    object: Some(row.text("allocation")?.to_owned()),
                    sample: Sample {
                        at_us: row.time("event_time")?,
                        value: row.float(self.column).map(|value| value * self.factor),
                        window_us: row.time("period_start").filter(|_| self.is_of_period),
                        seq: row.whole("seq")?,
                        is_exempt: !has_limit,
                    },
                })
            };
            Ok(rows(&found).filter_map(reading).collect())
        })
    }
}
