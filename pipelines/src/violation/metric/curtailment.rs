//! How well a site kept to what it was told to draw, event by event.

use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::stream::curtailment_events::CurtailmentEvents;

use super::rows::{BatchRow, rows};
use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

/// The last level of the arbiter that somebody else can ask for: 3 is mandatory, 4 contracted; a
/// person of the site and its economy come behind.
const LAST_OWED: i64 = 4;

pub(super) struct CurtailmentCompliance;

impl Metric for CurtailmentCompliance {
    fn name(&self) -> &'static str {
        "curtailment_pct"
    }
    fn doc(&self) -> &'static str {
        "Of a curtailment that was mandatory or contracted, the time after its deadline in which \
         the site was under its target, in hundredths; a violation an event."
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        &["site"]
    }
    fn source(&self) -> &'static dyn Stream {
        &CurtailmentEvents
    }
    fn holds_value(&self) -> bool {
        true
    }
    fn lateness_us(&self) -> i64 {
        // A site without an uplink sends its events later.
        86_400_000_000
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        _: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let columns = ["site", "signal", "level", "compliance_pct"];
            let found = tables.raw_rows(&CurtailmentEvents, &columns, span, None);
            let found = found.await?;
            let owed = rows(&found).filter(|row| {
                let level = row.whole("level");
                level.is_some_and(|level| level <= LAST_OWED)
            });
            Ok(owed.filter_map(of_event).flatten().collect())
        })
    }
}

/// What the event was worth, and that it is over.
fn of_event(row: BatchRow<'_>) -> Option<[Reading; 2]> {
    let (site, signal) = (row.text("site")?, row.text("signal")?);
    let (at_us, value) = (row.time("event_time")?, row.float("compliance_pct")?);
    let seq = row.whole("seq")?;
    let reading = |at_us: i64, is_exempt: bool| Reading {
        subject: site.to_owned(),
        object: Some(signal.to_owned()),
        sample: Sample {
            at_us,
            value: Some(value),
            window_us: row.time("event_time"),
            seq,
            is_exempt,
        },
    };
    Some([reading(at_us, false), reading(at_us + 1, true)])
}
