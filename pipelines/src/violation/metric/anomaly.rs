//! Whether an anomaly is open: 1 from when it was found, 0 from when it ended.

use datafusion::prelude::{col, lit};
use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::stream::anomalies::Anomalies;

use super::rows::{BatchRow, rows};
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

pub(super) struct OpenAnomaly;

impl Metric for OpenAnomaly {
    fn name(&self) -> &'static str {
        "anomaly"
    }
    fn doc(&self) -> &'static str {
        "1 while an anomaly of the detector named by quantity, or of any, is open, otherwise 0."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["site", "pool"]
    }
    fn source(&self) -> &'static dyn Stream {
        &Anomalies
    }
    fn holds_value(&self) -> bool {
        true
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        selection: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            // Of hashrate the column site has the pool.
            let is_of_pool = col("source").eq(lit("hashrate"));
            let mut wanted = match selection.subject_kind == "pool" {
                true => is_of_pool,
                false => !is_of_pool,
            };
            if let Some(detector) = &selection.quantity {
                wanted = wanted.and(col("detector").eq(lit(detector.as_str())));
            }
            let columns = ["site", "signal", "detector", "transition"];
            let found = tables
                .raw_rows(&Anomalies, &columns, span, Some(wanted))
                .await?;
            let reading = |row: BatchRow<'_>| {
                let is_open = row.text("transition")? == "opened";
                let (signal, detector) = (row.text("signal")?, row.text("detector")?);
                Some(Reading {
                    subject: row.text("site")?.to_owned(),
                    object: Some(object(detector, signal)),
                    sample: Sample {
                        at_us: row.time("event_time")?,
                        value: Some(if is_open { 1.0 } else { 0.0 }),
                        window_us: None,
                        seq: row.whole("seq")?,
                        is_exempt: false,
                    },
                })
            };
            Ok(rows(&found).filter_map(reading).collect())
        })
    }
}

/// Detector and signal, as long as a column takes.
fn object(detector: &str, signal: &str) -> String {
    let mut end = signal.len().min(240);
    while !signal.is_char_boundary(end) {
        end -= 1;
    }
    format!("{detector}:{}", &signal[..end])
}
