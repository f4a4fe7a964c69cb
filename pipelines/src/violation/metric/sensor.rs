//! What sensors read.

use datafusion::prelude::{col, lit};
use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::stream::sensors::Sensors;

use super::rows::{BatchRow, rows};
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

pub(super) struct SensorValue;

impl Metric for SensorValue {
    fn name(&self) -> &'static str {
        "sensor"
    }
    fn doc(&self) -> &'static str {
        "Readings of each sensor of the quantity, such as temperature_c, in its unit."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["site"]
    }
    fn source(&self) -> &'static dyn Stream {
        &Sensors
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        selection: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let quantity = selection.quantity.as_deref().unwrap_or_default();
            let wanted = col("quantity").eq(lit(quantity));
            let columns = ["site", "sensor", "value"];
            let found = tables
                .raw_rows(&Sensors, &columns, span, Some(wanted))
                .await?;
            let reading = |row: BatchRow<'_>| {
                Some(Reading {
                    subject: row.text("site")?.to_owned(),
                    object: Some(row.text("sensor")?.to_owned()),
                    sample: Sample {
                        at_us: row.time("event_time")?,
                        value: row.float("value"),
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
