//! Power and energy of machines, pools and sites.

use futures::future::BoxFuture;
use headframe_schemas::Stream;
use headframe_schemas::sql_view::energy::{SUBJECT_NAMES, SUBJECTS};
use headframe_schemas::stream::energy::Energies;

use super::{Metric, MetricTables, Reading, Selection, Span};
use crate::energy::measurement::EnergyWindow;
use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

/// A value of windows of energy.
pub(super) struct EnergyMetric {
    name: &'static str,
    doc: &'static str,
    seconds: i64,
    value: fn(&EnergyWindow) -> Option<f64>,
}

pub(super) const POWER_W: EnergyMetric = EnergyMetric {
    name: "power_w",
    doc: "Mean power of a minute, W.",
    seconds: 60,
    value: |window| window.power_w,
};

pub(super) const ENERGY_WH: EnergyMetric = EnergyMetric {
    name: "energy_wh",
    doc: "Energy of an hour, Wh.",
    seconds: 3_600,
    value: |window| window.energy_wh,
};

impl Metric for EnergyMetric {
    fn name(&self) -> &'static str {
        self.name
    }
    fn doc(&self) -> &'static str {
        self.doc
    }
    fn subject_kinds(&self) -> &'static [&'static str] {
        SUBJECT_NAMES
    }
    fn source(&self) -> &'static dyn Stream {
        &Energies
    }

    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        selection: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>> {
        Box::pin(async move {
            let subject = SUBJECTS
                .iter()
                .find(|subject| subject.name == selection.subject_kind);
            let Some((subject, moment)) = subject.zip(tables.moment()) else {
                return Ok(Vec::new());
            };
            let times = (span.after_us, span.through_us);
            let windows = moment.windows(subject, self.seconds, times).await?;
            let reading = |window: EnergyWindow| Reading {
                sample: Sample {
                    at_us: window.end_us,
                    value: (self.value)(&window),
                    window_us: None,
                    seq: moment.energy_seq,
                    is_exempt: false,
                },
                subject: window.name,
                object: None,
            };
            Ok(windows.into_iter().map(reading).collect())
        })
    }
}
