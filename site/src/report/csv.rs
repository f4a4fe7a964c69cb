//! A report as CSV (RFC 4180): a row for each quarter hour between deadline and release.
//!
//! The columns are described in docs/site-controller.md; new ones are added at the end.

use super::Report;
use super::utc::utc;
use crate::request::SignalClass;

/// The head.
const COLUMNS: [&str; 25] = [
    "event",
    "site",
    "signal",
    "class",
    "level",
    "asked_at",
    "deadline_at",
    "released_at",
    "interval_start",
    "interval_end",
    "metered_s",
    "samples",
    "under_target_samples",
    "mean_kw",
    "highest_kw",
    "target_kw",
    "baseline_kw",
    "obligation_kw",
    "reduction_kw",
    "performance_factor",
    "is_estimated",
    "policy",
    "first_seq",
    "last_seq",
    "sha256",
];

pub(super) fn write(report: &Report) -> String {
    let scored = &report.event.scored;
    let target = &scored.event;
    let class = report.class.map_or("", |class| match class {
        SignalClass::Mandatory => "mandatory",
        SignalClass::Contract => "contract",
        SignalClass::Economic => "economic",
    });
    let mut csv = row(&COLUMNS.map(str::to_owned));
    for one in &report.quarters {
        let number = |value: f64| format!("{value:.3}");
        csv.push_str(&row(&[
            cell(&report.event.id),
            cell(&report.site),
            cell(&scored.signal),
            cell(class),
            scored.level.to_string(),
            utc(target.asked_at.utc_us),
            utc(target.deadline.utc_us),
            utc(target.released_at.utc_us),
            utc(one.begins_us),
            utc(one.ends_us),
            number(one.metered_s),
            one.samples.to_string(),
            one.under_target.to_string(),
            number(one.mean_kw),
            number(one.highest_kw),
            number(target.target_kw),
            number(target.baseline_kw),
            number(target.baseline_kw - target.target_kw),
            number(target.baseline_kw - one.mean_kw),
            one.factor
                .map_or(String::new(), |factor| format!("{factor:.6}")),
            scored.is_estimated.to_string(),
            cell(&report.evidence.policies.join(" ")),
            report.evidence.first_seq.to_string(),
            report.evidence.last_seq.to_string(),
            report.evidence.sha256.clone(),
        ]));
    }
    csv
}

fn row(cells: &[String]) -> String {
    let mut line = cells.join(",");
    line.push_str("\r\n");
    line
}

/// A text that no program takes for a formula, quoted where it must be.
fn cell(text: &str) -> String {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']);
    let text = match is_formula {
        true => format!("'{text}"),
        false => text.to_owned(),
    };
    match text.contains(['"', ',', '\r', '\n']) || text.starts_with(' ') || text.ends_with(' ') {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_never_formulas() {
        for (text, written) in [
            ("utility", "utility"),
            ("a, b", "\"a, b\""),
            ("the \"grid\"", "\"the \"\"grid\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("-2,5", "\"'-2,5\""),
            ("\t=1", "'\t=1"),
        ] {
            assert_eq!(cell(text), written);
        }
    }
}
