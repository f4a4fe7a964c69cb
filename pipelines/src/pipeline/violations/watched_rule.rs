//! A rule with the state of every series that it watches.

use std::collections::BTreeMap;

use headframe_schemas::resource::Values;
use headframe_schemas::stream::violations::Violation;

use crate::violation::evaluation::{Episode, Evaluation, Finding};
use crate::violation::metric::Reading;
use crate::violation::rule::Rule;
use crate::violation::state::{Series, ViolationState};

/// A rule at work.
pub(super) struct WatchedRule {
    pub(super) rule: Rule,
    /// What it was made of.
    values: Values,
    since_us: i64,
    /// Its samples up to this time are taken, microseconds since 1970.
    pub(super) through_us: i64,
    series: BTreeMap<Series, Evaluation>,
}

/// What was found in a series.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SeriesFinding {
    pub(super) series: Series,
    pub(super) finding: Finding,
}

impl WatchedRule {
    /// The rule, going on where its violations are. Samples up to `read_from_us` are not read
    /// again.
    pub(super) fn new(
        rule: Rule,
        (values, since_us): (Values, i64),
        state: &ViolationState,
        read_from_us: i64,
    ) -> Self {
        // Also of those that are silent by now.
        let open = state
            .series_of(&rule.id)
            .filter(|(_, row)| row.condition.as_deref() != Some("ended"));
        let series = open.map(|(series, row)| (series.clone(), resumed(row, read_from_us)));
        Self {
            series: series.collect(),
            rule,
            values,
            since_us,
            through_us: read_from_us,
        }
    }

    /// Whether it is made of these fields since that time.
    pub(super) fn is_made_of(&self, values: &Values, since_us: i64) -> bool {
        self.values == *values && self.since_us == since_us
    }

    /// Takes readings in, and looks at the clock.
    pub(super) fn take(
        &mut self,
        readings: &[Reading],
        now_us: i64,
        state: &ViolationState,
        read_from_us: i64,
    ) -> Vec<SeriesFinding> {
        let mut found = Vec::new();
        let rule = &self.rule;
        let wanted = readings.iter().filter(|reading| {
            rule.is_about(&rule.subject_kind, &reading.subject)
                && rule.holds_at(reading.sample.at_us)
        });
        for reading in wanted {
            let series = (
                rule.id.clone(),
                rule.subject_kind.clone(),
                reading.subject.clone(),
                reading.object.clone(),
            );
            let evaluation = self.series.entry(series.clone()).or_insert_with(|| {
                let newest = state.newest(&series);
                newest.map_or_else(Evaluation::default, |row| resumed(row, read_from_us))
            });
            let sample = rule.sample(reading.sample);
            let findings = evaluation.take(&rule.condition, sample);
            found.extend(findings.into_iter().map(|finding| SeriesFinding {
                series: series.clone(),
                finding,
            }));
        }
        for (series, evaluation) in &mut self.series {
            let findings = evaluation.tick(&rule.condition, now_us);
            found.extend(findings.into_iter().map(|finding| SeriesFinding {
                series: series.clone(),
                finding,
            }));
        }
        found
    }

    /// How many series there are: whose data are missing, that are beyond the limit, and others.
    pub(super) fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for evaluation in self.series.values() {
            let place = match (evaluation.is_missing(), evaluation.holds()) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => 2,
            };
            counts[place] += 1;
        }
        counts
    }
}

/// The state of a series from the newest row of its violation.
fn resumed(row: &Violation, read_from_us: i64) -> Evaluation {
    let observed_us = row.observed_at.unwrap_or(row.since);
    if row.condition.as_deref() == Some("ended") {
        return Evaluation::cleared(observed_us);
    }
    let is_held = row.status != "detected";
    if !is_held && row.since > read_from_us {
        // How much of its time counts is found out again from its samples.
        return Evaluation::cleared(row.since - 1);
    }
    let episode = Episode {
        since_us: row.since,
        window_us: row.window_start,
        peak: row.peak.unwrap_or_default(),
        from_seq: row.evidence_from_seq.unwrap_or_default(),
    };
    let is_missing = row.condition.as_deref() == Some("missing");
    Evaluation::resumed(episode, observed_us.max(read_from_us), is_held, is_missing)
}
