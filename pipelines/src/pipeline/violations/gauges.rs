//! What Prometheus is shown of violations and rules.

use headframe_schemas::violation::{SEVERITIES, Status, TYPES};

use super::watched_rule::WatchedRule;
use crate::violation::state::ViolationState;

/// Open violations by type and severity, and series by what is known of them.
pub(super) fn show<'a>(state: &ViolationState, rules: impl Iterator<Item = &'a WatchedRule>) {
    let mut open = vec![[0_u32; SEVERITIES.len()]; TYPES.len()];
    for row in state.rows() {
        let is_open = Status::parse(&row.status).is_some_and(Status::is_open);
        let kind = TYPES.iter().position(|kind| *kind == row.kind);
        let severity = SEVERITIES.iter().position(|name| *name == row.severity);
        if let (true, Some(kind), Some(severity)) = (is_open, kind, severity) {
            open[kind][severity] += 1;
        }
    }
    for (kind, counts) in TYPES.iter().zip(&open) {
        for (severity, count) in SEVERITIES.iter().zip(counts) {
            metrics::gauge!("headframe_violations", "type" => *kind, "severity" => *severity)
                .set(f64::from(*count));
        }
    }
    let mut totals = [0; 3];
    let mut count = 0_u32;
    for rule in rules {
        count += 1;
        for (total, part) in totals.iter_mut().zip(rule.counts()) {
            *total += part;
        }
    }
    metrics::gauge!("headframe_rules").set(f64::from(count));
    for (name, total) in ["missing", "beyond", "within"].iter().zip(totals) {
        metrics::gauge!("headframe_rule_series", "state" => *name).set(total as f64);
    }
}
