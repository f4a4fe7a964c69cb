//! How well somebody complies: a number from 0 to 100 with the terms that it is made of.
//!
//! ```text
//! score = 100 - sum(weight * min(1, lasted / 24 h) * 0.5^(age / 90 d) * factor)
//!             - 20 * (1 - completeness) - 10 * late reports
//! ```
//!
//! Terms are whole millionths of a point, and ages whole days, whose decay is a product of one
//! constant: so the sum does not depend on the order, and another machine computes the same bits.
//! Every term is at least 0, so that another violation never raises the score.

use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::{Severity, Status};

const DAY_US: i64 = 86_400_000_000;
/// A violation that lasted this long counts in full.
const REFERENCE_US: i64 = DAY_US;
/// The 90th root of a half: what a day leaves.
const DAILY_DECAY: f64 = 0.992_327_946_262_943_5;
/// After 60 half-lives nothing is left of any weight.
const MAX_AGE_DAYS: i64 = 5_400;
const MICRO: f64 = 1e6;
const FULL_MICRO: i64 = 100_000_000;
/// What is missing of data costs at most this.
const COMPLETENESS_POINTS: f64 = 20.0;
const LATE_REPORT_MICRO: i64 = 10_000_000;
/// The type whose violations are counted as late reports.
const LATE_REPORT: &str = "REPORT_LATE";

/// What one violation costs.
#[derive(Debug, Clone, PartialEq)]
pub struct Term {
    /// Its id.
    pub violation: String,
    /// Its type.
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// 2, 6, 15 or 30 by severity.
    pub weight: f64,
    /// How long it lasted, of a day, at most 1.
    pub duration_share: f64,
    /// Whole days since it ended; 0 while it lasts.
    pub age_days: i64,
    /// What of it is left after those.
    pub decay: f64,
    /// 0.5 where it was resolved in time, 0 where it is waived or was none, otherwise 1.
    pub factor: f64,
    /// What it costs, millionths of a point.
    pub points_micro: i64,
}

/// A score with its terms.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Millionths of a point.
    pub micro: i64,
    /// A, B, C, D or F.
    pub grade: char,
    /// By id.
    pub terms: Vec<Term>,
    /// How much of the data there is, from 0 to 1; `None` where none is expected.
    pub completeness: Option<f64>,
    /// What the rest costs, millionths of a point.
    pub completeness_micro: i64,
    /// Reports that were late.
    pub late_reports: i64,
    /// What they cost, millionths of a point.
    pub late_micro: i64,
}

/// The score at a time, microseconds since 1970, from the newest row of each violation and from how
/// complete the data are.
pub fn score<'a>(
    violations: impl IntoIterator<Item = &'a Violation>,
    completeness: Option<f64>,
    now_us: i64,
) -> Score {
    let mut terms = Vec::new();
    let mut late_reports = 0;
    for violation in violations.into_iter().filter(|one| one.opened_at.is_some()) {
        match violation.kind == LATE_REPORT {
            true => late_reports += i64::from(factor(violation) > 0.0),
            false => terms.extend(term(violation, now_us)),
        }
    }
    terms.sort_by(|one, other| one.violation.cmp(&other.violation));
    let completeness = completeness.map(|part| part.clamp(0.0, 1.0));
    let missing = completeness.map_or(0.0, |part| 1.0 - part);
    let completeness_micro = (COMPLETENESS_POINTS * missing * MICRO).round() as i64;
    let late_micro = LATE_REPORT_MICRO.saturating_mul(late_reports);
    let costs = terms.iter().map(|term| term.points_micro);
    let cost = costs.fold(
        completeness_micro.saturating_add(late_micro),
        i64::saturating_add,
    );
    let micro = FULL_MICRO.saturating_sub(cost).clamp(0, FULL_MICRO);
    Score {
        micro,
        grade: grade(micro),
        terms,
        completeness,
        completeness_micro,
        late_reports,
        late_micro,
    }
}

fn grade(micro: i64) -> char {
    let bounds = [(90, 'A'), (75, 'B'), (60, 'C'), (40, 'D')];
    let found = bounds.iter().find(|(least, _)| micro >= least * 1_000_000);
    found.map_or('F', |(_, grade)| *grade)
}

fn term(violation: &Violation, now_us: i64) -> Option<Term> {
    let severity = Severity::parse(&violation.severity)?;
    let weight = match severity {
        Severity::Low => 2.0,
        Severity::Medium => 6.0,
        Severity::High => 15.0,
        Severity::Critical => 30.0,
    };
    let is_over = Status::parse(&violation.status).is_some_and(|status| !status.is_open());
    let ended = violation
        .until
        .or(violation.resolved_at.filter(|_| is_over));
    let lasted_us = (ended.unwrap_or(now_us) - violation.since).max(0);
    let duration_share = (lasted_us as f64 / REFERENCE_US as f64).min(1.0);
    let age_days = ended.map_or(0, |ended| (now_us - ended).max(0) / DAY_US);
    let (decay, factor) = (decay(age_days), factor(violation));
    Some(Term {
        violation: violation.violation.clone(),
        kind: violation.kind.clone(),
        severity,
        weight,
        duration_share,
        age_days,
        decay,
        factor,
        points_micro: (weight * duration_share * decay * factor * MICRO).round() as i64,
    })
}

/// Multiplied one by one: a power is another number in another library.
fn decay(age_days: i64) -> f64 {
    match age_days > MAX_AGE_DAYS {
        true => 0.0,
        false => (0..age_days).fold(1.0, |left, _| left * DAILY_DECAY),
    }
}

fn factor(violation: &Violation) -> f64 {
    let in_time = violation
        .resolved_at
        .zip(violation.resolve_due_at)
        .is_some_and(|(resolved, due)| resolved <= due);
    match Status::parse(&violation.status) {
        Some(Status::Waived | Status::FalsePositive) => 0.0,
        Some(status) if status.is_over() && in_time => 0.5,
        _ => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use headframe_schemas::violation::{SEVERITIES, STATUSES};
    use proptest::prelude::*;

    use super::*;

    const NOW: i64 = 1_800_000_000_000_000;

    fn violation(id: &str, severity: &str, status: &str, since_days: i64) -> Violation {
        let since = NOW - since_days * DAY_US;
        Violation {
            violation: id.to_owned(),
            kind: "OTHER".to_owned(),
            severity: severity.to_owned(),
            status: status.to_owned(),
            since,
            opened_at: Some(since),
            ..Violation::default()
        }
    }

    #[test]
    fn a_score_is_the_sum_of_its_terms() {
        let open = violation("a", "high", "open", 2);
        let mut closed = violation("b", "critical", "closed", 91);
        closed.until = Some(closed.since + DAY_US);
        (closed.resolved_at, closed.resolve_due_at) = (closed.until, closed.until);
        let waived = violation("c", "critical", "waived", 9);
        let mut late = violation("d", "low", "open", 9);
        late.kind = LATE_REPORT.to_owned();
        let score = score([&open, &closed, &waived, &late], Some(0.75), NOW);
        // 15 for the open one; 30 * 0.5 (90 days) * 0.5 (in time); 20 * 0.25; 10 for the report.
        assert_eq!(
            score.micro,
            100_000_000 - 15_000_000 - 7_500_000 - 5_000_000 - 10_000_000
        );
        assert_eq!((score.grade, score.late_reports), ('C', 1));
        let costs: Vec<i64> = score.terms.iter().map(|term| term.points_micro).collect();
        assert_eq!(costs, [15_000_000, 7_500_000, 0]);
    }

    #[test]
    fn an_alert_that_was_never_opened_costs_nothing_and_unknown_data_neither() {
        let mut alert = violation("a", "critical", "detected", 5);
        alert.opened_at = None;
        let score = score([&alert], None, NOW);
        assert_eq!(
            (score.micro, score.grade, score.completeness),
            (FULL_MICRO, 'A', None)
        );
    }

    #[test]
    fn ninety_days_leave_a_half() {
        assert_eq!((decay(90) * 1e9).round(), 5e8);
        assert_eq!((decay(0), decay(MAX_AGE_DAYS + 1)), (1.0, 0.0));
    }

    fn violations() -> impl Strategy<Value = Vec<Violation>> {
        let one = (
            0..4_usize,
            0..9_usize,
            0..500_i64,
            proptest::option::of(0..100_i64),
            0..3_u8,
        );
        proptest::collection::vec(one, 0..30).prop_map(|many| {
            let row = |(at, (severity, status, since, lasted, resolved)): (
                usize,
                (usize, usize, i64, Option<i64>, u8),
            )| {
                let mut row = violation(
                    &format!("v{at:03}"),
                    SEVERITIES[severity],
                    STATUSES[status],
                    since,
                );
                row.until = lasted.map(|days| row.since + days * DAY_US);
                row.resolve_due_at = Some(row.since + 3 * DAY_US);
                row.resolved_at =
                    (resolved > 0).then(|| row.since + i64::from(resolved) * 2 * DAY_US);
                if resolved == 2 && at % 5 == 0 {
                    row.kind = LATE_REPORT.to_owned();
                }
                row
            };
            many.into_iter().enumerate().map(row).collect()
        })
    }

    proptest! {
        #[test]
        fn another_violation_never_raises_the_score(
            violations in violations(), part in proptest::option::of(-0.5..1.5_f64),
        ) {
            let mut before = score(&violations[..0], part, NOW).micro;
            for count in 1..=violations.len() {
                let now = score(&violations[..count], part, NOW).micro;
                prop_assert!((0..=before).contains(&now), "{now} after {before}");
                before = now;
            }
        }

        #[test]
        fn a_score_is_the_same_bits_in_any_order(
            mut violations in violations(), part in proptest::option::of(0.0..1.0_f64),
            turn in 0..30_usize,
        ) {
            let bits = |score: &Score| {
                let terms = score.terms.iter();
                let terms = terms.map(|term| (term.points_micro, term.decay.to_bits()));
                (score.micro, score.completeness_micro, terms.collect::<Vec<_>>())
            };
            let one = score(&violations, part, NOW);
            violations.reverse();
            let turn = turn.min(violations.len());
            violations.rotate_left(turn);
            prop_assert_eq!(bits(&one), bits(&score(&violations, part, NOW)));
            let costs: i64 = one.terms.iter().map(|term| term.points_micro).sum();
            let sum = FULL_MICRO - costs - one.completeness_micro - one.late_micro;
            prop_assert_eq!(one.micro, sum.clamp(0, FULL_MICRO));
        }
    }
}
