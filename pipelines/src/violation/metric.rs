//! What a rule can watch: a series of values for each of its subjects, read from the tables.

use std::sync::Arc;

use futures::future::BoxFuture;
use headframe_schemas::Stream;

use crate::fault::PipelineFault;
use crate::violation::evaluation::Sample;

mod allocation;
mod anomaly;
mod curtailment;
mod declared;
mod efficiency;
mod energy;
mod registered;
mod rows;
mod sensor;
pub mod tables;

pub use tables::MetricTables;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selection {
    /// Which kind of subjects.
    pub subject_kind: String,
    /// Which quantity, detector or field.
    pub quantity: Option<String>,
}

/// A value of a subject.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// An id.
    pub subject: String,
    /// What of it: an allocation, a sensor, a signal.
    pub object: Option<String>,
    /// The value.
    pub sample: Sample,
}

/// From one moment to another, microseconds since 1970; the first excluded, the second included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Excluded.
    pub after_us: i64,
    /// Included.
    pub through_us: i64,
}

/// What a rule can watch.
///
/// Futures are boxed by hand for the reason given at [`Pipeline`](crate::pipeline::Pipeline).
pub trait Metric: Send + Sync {
    /// Its name in the registry.
    fn name(&self) -> &'static str;
    /// One sentence for the users, with the unit.
    fn doc(&self) -> &'static str;
    /// The kinds of subjects that have it.
    fn subject_kinds(&self) -> &'static [&'static str];
    /// The table that its samples are in.
    fn source(&self) -> &'static dyn Stream;
    /// Whether a value holds until there is another, so that silence means nothing.
    fn holds_value(&self) -> bool {
        false
    }
    /// How late samples may come, microseconds. One that comes after a newer one of its series is
    /// never taken.
    fn lateness_us(&self) -> i64 {
        900_000_000
    }
    /// The values of every subject in a span of time, by time within each.
    fn readings<'a>(
        &'a self,
        tables: &'a MetricTables,
        selection: &'a Selection,
        span: Span,
    ) -> BoxFuture<'a, Result<Vec<Reading>, PipelineFault>>;
}

/// Every metric.
pub const ALL: &[&dyn Metric] = &[
    &allocation::ENERGY_PCT,
    &allocation::POWER_PCT,
    &allocation::DEMAND_W,
    &allocation::COMPLETENESS_PCT,
    &energy::POWER_W,
    &energy::ENERGY_WH,
    &efficiency::Efficiency,
    &sensor::SensorValue,
    &anomaly::OpenAnomaly,
    &registered::DaysLeft,
    &registered::Unregistered,
    &registered::Unaccredited,
    &declared::Capacity,
    &declared::CounterDrift,
    &curtailment::CurtailmentCompliance,
];

/// The metric of this name.
pub fn find(name: &str) -> Option<&'static dyn Metric> {
    ALL.iter().copied().find(|metric| metric.name() == name)
}

/// The table of the metrics in the documents.
pub fn markdown_table() -> String {
    let mut text = "| metric | of | what |\n|---|---|---|\n".to_owned();
    for metric in ALL {
        let (name, kinds) = (metric.name(), metric.subject_kinds().join(", "));
        text.push_str(&format!("| `{name}` | {kinds} | {} |\n", metric.doc()));
    }
    text
}

/// Readings that several rules ask for, read once.
#[derive(Default)]
pub struct ReadingCache {
    found: std::collections::BTreeMap<(&'static str, Selection), Arc<Vec<Reading>>>,
}

impl ReadingCache {
    /// The readings of a metric in the span that this is of.
    pub async fn readings(
        &mut self,
        metric: &'static dyn Metric,
        tables: &MetricTables,
        selection: &Selection,
        span: Span,
    ) -> Result<Arc<Vec<Reading>>, PipelineFault> {
        let key = (metric.name(), selection.clone());
        if let Some(found) = self.found.get(&key) {
            return Ok(found.clone());
        }
        let read = Arc::new(metric.readings(tables, selection, span).await?);
        self.found.insert(key, read.clone());
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use headframe_schemas::resource::rules::{METRIC_SUBJECTS, METRICS};
    use headframe_schemas::violation::SUBJECT_KINDS;

    use super::*;

    #[test]
    fn every_metric_of_the_registry_is_there_and_documented() {
        let names: Vec<&str> = ALL.iter().map(|metric| metric.name()).collect();
        assert_eq!(names, METRICS);
        for metric in ALL {
            assert!(metric.doc().ends_with('.'), "{}", metric.name());
            let kinds = metric.subject_kinds();
            assert!(!kinds.is_empty() && kinds.iter().all(|kind| SUBJECT_KINDS.contains(kind)));
        }
        // What the registry takes is what there is.
        let subjects = ALL
            .iter()
            .map(|metric| (metric.name(), metric.subject_kinds()));
        assert_eq!(subjects.collect::<Vec<_>>(), METRIC_SUBJECTS);
    }
}
