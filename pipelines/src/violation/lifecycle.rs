//! What may happen to a violation: the next row from the newest one, by what a rule found or by
//! what a person decided.
//!
//! Every function is of the newest row, of what happened, and of the time. A finding that the
//! newest row follows from already makes no row, so that samples may be looked at again.

use headframe_schemas::stream::violations::Violation;
use headframe_schemas::violation::{Action, Decision, Refusal, Report, Severity, Status};
use sha2::{Digest, Sha256};

use crate::violation::evaluation::{Finding, FindingKind};

/// Who writes what rules find.
pub const RULES: &str = "rules";
/// The longest waiver, microseconds.
const MAX_WAIVER_US: i64 = 366 * 86_400_000_000;
const SECOND_US: i64 = 1_000_000;

/// What a rule says of what it finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Finder<'a> {
    /// The rule's id.
    pub rule: &'a str,
    /// The type of its violations.
    pub kind: &'a str,
    /// The limit.
    pub threshold: f64,
    /// One of the kinds of subjects.
    pub subject_kind: &'a str,
    /// An id.
    pub subject: &'a str,
    /// What of it.
    pub object: Option<&'a str>,
    /// The table that samples are in.
    pub evidence_stream: &'a str,
    /// How bad it is by now.
    pub severity: Severity,
}

/// The id of a violation: equal for the same rule, subject, object and window.
pub fn violation_id(
    rule: &str,
    (subject_kind, subject): (&str, &str),
    object: Option<&str>,
    window_us: i64,
) -> String {
    let mut hash = Sha256::new();
    for part in [rule, subject_kind, subject, object.unwrap_or_default()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.update(window_us.to_be_bytes());
    format!("v{}", &hex::encode(hash.finalize())[..16])
}

/// The next row by a finding; `None` where it changes nothing.
pub fn observe(
    before: Option<&Violation>,
    finder: &Finder<'_>,
    found: &Finding,
) -> Option<Violation> {
    let Some(before) = before else {
        return first_row(finder, found);
    };
    if before.observed_at.is_some_and(|known| found.at_us <= known) {
        return None;
    }
    let status = Status::parse(&before.status)?;
    let is = |condition: &str| before.condition.as_deref() == Some(condition);
    let step = match found.kind {
        FindingKind::Began if is("ended") && is_alert(before) => {
            ("detected", Status::Detected, "holds", None)
        }
        FindingKind::Held | FindingKind::Continued if status == Status::Detected => {
            ("opened", Status::Open, "holds", None)
        }
        FindingKind::Held | FindingKind::Continued | FindingKind::Returned if is("ended") => {
            match status.is_over() {
                true if before.opened_at.is_none() => ("opened", Status::Open, "holds", None),
                true => ("reopened", Status::Open, "holds", Some("it began again")),
                false => ("condition_returned", status, "holds", None),
            }
        }
        FindingKind::Held | FindingKind::Continued | FindingKind::Returned if is("missing") => {
            ("data_returned", status, "holds", None)
        }
        FindingKind::Missing if is("holds") => ("data_missing", status, "missing", None),
        FindingKind::Ended if !is("ended") => match status {
            Status::Detected => ("closed", Status::Closed, "ended", Some("it ended in time")),
            open if open.is_open() => ("resolved", Status::Resolved, "ended", Some("it ended")),
            other => ("condition_ended", other, "ended", None),
        },
        FindingKind::Continued if status.is_open() && is_worse(before, finder.severity) => {
            ("escalated", status, "holds", None)
        }
        _ => return None,
    };
    let mut next = following(before, found.at_us, step.0, step.1);
    next.condition = Some(step.2.to_owned());
    (next.actor, next.role) = (RULES.to_owned(), None);
    next.reason = step.3.map(str::to_owned);
    take_finding(&mut next, finder, found);
    take_times(&mut next, step.0, found.at_us);
    put_off_due_times(before, &mut next);
    Some(next)
}

fn is_alert(violation: &Violation) -> bool {
    violation.opened_at.is_none() && violation.status == Status::Closed.name()
}

fn is_worse(violation: &Violation, severity: Severity) -> bool {
    Severity::parse(&violation.severity).is_some_and(|before| severity > before)
}

fn first_row(finder: &Finder<'_>, found: &Finding) -> Option<Violation> {
    let (transition, status) = match found.kind {
        FindingKind::Began => ("detected", Status::Detected),
        FindingKind::Held | FindingKind::Continued => ("opened", Status::Open),
        // What is over or not known by the time somebody looks first is not opened for that.
        FindingKind::Ended | FindingKind::Missing | FindingKind::Returned => return None,
    };
    let subject = (finder.subject_kind, finder.subject);
    let window_us = found.episode.window_us;
    let mut row = Violation {
        event_time: found.at_us,
        violation: violation_id(finder.rule, subject, finder.object, window_us),
        version: 1,
        rule: Some(finder.rule.to_owned()),
        kind: finder.kind.to_owned(),
        subject_kind: finder.subject_kind.to_owned(),
        subject: finder.subject.to_owned(),
        object: finder.object.map(str::to_owned),
        severity: finder.severity.name().to_owned(),
        transition: transition.to_owned(),
        status: status.name().to_owned(),
        condition: Some("holds".to_owned()),
        actor: RULES.to_owned(),
        since: found.episode.since_us,
        window_start: window_us,
        ..Violation::default()
    };
    take_finding(&mut row, finder, found);
    take_times(&mut row, transition, found.at_us);
    Some(row)
}

/// What was measured.
fn take_finding(row: &mut Violation, finder: &Finder<'_>, found: &Finding) {
    row.value = found.value.or(row.value);
    row.peak = Some(found.episode.peak);
    row.threshold = Some(finder.threshold);
    row.observed_at = Some(found.at_us);
    row.evidence_stream = Some(finder.evidence_stream.to_owned());
    row.evidence_from_seq.get_or_insert(found.episode.from_seq);
    row.evidence_through_seq = Some(found.seq);
    row.until = match found.kind {
        FindingKind::Ended => Some(found.at_us),
        _ => None,
    };
    if is_worse(row, finder.severity) {
        let paused_us = paused_us(row);
        row.severity = finder.severity.name().to_owned();
        take_due_times(row);
        put_off(row, paused_us);
    }
}

/// The clocks that run from a transition on.
fn take_times(row: &mut Violation, transition: &str, at_us: i64) {
    match transition {
        "opened" | "reopened" => {
            row.opened_at = Some(at_us);
            (row.acknowledged_at, row.resolved_at, row.waived_until) = (None, None, None);
            take_due_times(row);
        }
        "acknowledged" => row.acknowledged_at = Some(at_us),
        // Whoever works on it took notice.
        "remediation_begun" => row.acknowledged_at = row.acknowledged_at.or(Some(at_us)),
        "resolved" => row.resolved_at = Some(at_us),
        _ => {}
    }
}

fn take_due_times(row: &mut Violation) {
    let severity = Severity::parse(&row.severity);
    if let Some((severity, opened)) = severity.zip(row.opened_at) {
        row.acknowledge_due_at = Some(opened + severity.acknowledge_s() * SECOND_US);
        row.resolve_due_at = Some(opened + severity.resolve_s() * SECOND_US);
    }
}

/// The clocks stand still while the data are missing: nobody can see whether it was remedied. When
/// the data are back, or nobody has to do anything any more, they go on where they stood.
fn put_off_due_times(before: &Violation, next: &mut Violation) {
    let is_paused = |row: &Violation| {
        let is_open = Status::parse(&row.status).is_some_and(Status::is_open);
        is_open && row.condition.as_deref() == Some("missing")
    };
    if is_paused(before) && !is_paused(next) {
        // While it is missing no newer sample was observed.
        let since_us = before.observed_at.max(before.opened_at);
        put_off(
            next,
            since_us.map_or(0, |since| (next.event_time - since).max(0)),
        );
    }
}

fn put_off(row: &mut Violation, by_us: i64) {
    for due in [&mut row.acknowledge_due_at, &mut row.resolve_due_at] {
        *due = due.map(|due| due + by_us);
    }
}

/// For how long the clocks have stood still since it was opened.
fn paused_us(row: &Violation) -> i64 {
    let severity = Severity::parse(&row.severity);
    match (severity, row.opened_at, row.resolve_due_at) {
        (Some(severity), Some(opened), Some(due)) => {
            (due - opened - severity.resolve_s() * SECOND_US).max(0)
        }
        _ => 0,
    }
}

/// The next row, with everything else as it was.
fn following(before: &Violation, at_us: i64, transition: &str, status: Status) -> Violation {
    Violation {
        // Times of samples and of people are of different clocks; the order is that of versions.
        event_time: at_us,
        version: before.version + 1,
        transition: transition.to_owned(),
        status_before: Some(before.status.clone()),
        status: status.name().to_owned(),
        ..before.clone()
    }
}

/// The next row by what a person decided.
pub fn decide(before: &Violation, decision: &Decision, now_us: i64) -> Result<Violation, Refusal> {
    let id = || before.violation.clone();
    if before.version != decision.seen {
        return Err(Refusal::Changed {
            what: "violation",
            id: id(),
            seen: decision.seen,
            found: before.version,
        });
    }
    let action = decision.action;
    let status = Status::parse(&before.status).filter(|at| action.allowed_from().contains(at));
    if status.is_none() {
        let allowed: Vec<&str> = action.allowed_from().iter().map(|at| at.name()).collect();
        return Err(Refusal::NotAllowed {
            what: "violation",
            id: id(),
            status: before.status.clone(),
            action: action.name(),
            allowed: allowed.join(" or "),
        });
    }
    if action == Action::Resolve && before.condition.as_deref() == Some("holds") {
        return Err(Refusal::Holds { id: id() });
    }
    let waiver = decision.until_us.filter(|_| action == Action::Waive);
    let is_within = |until: i64| until > now_us && until - now_us <= MAX_WAIVER_US;
    if action == Action::Waive && !waiver.is_some_and(is_within) {
        return Err(Refusal::WaiverEnd);
    }
    let mut next = following(before, now_us, action.transition(), action.target());
    next.actor = decision.actor.name.clone();
    next.role = decision.actor.role.clone();
    next.reason = Some(decision.actor.reason.clone());
    next.waived_until = waiver;
    take_times(&mut next, action.transition(), now_us);
    put_off_due_times(before, &mut next);
    Ok(next)
}

/// The first row of what a person reports.
pub fn report(
    before: Option<&Violation>,
    report: &Report,
    now_us: i64,
) -> Result<Violation, Refusal> {
    let subject = (report.subject_kind, report.subject.as_str());
    let id = reported_id(report);
    if before.is_some() {
        return Err(Refusal::Exists { id });
    }
    let mut row = Violation {
        event_time: now_us,
        violation: id,
        version: 1,
        kind: report.kind.to_owned(),
        subject_kind: subject.0.to_owned(),
        subject: subject.1.to_owned(),
        severity: report.severity.name().to_owned(),
        transition: "opened".to_owned(),
        status: Status::Open.name().to_owned(),
        actor: report.actor.name.clone(),
        role: report.actor.role.clone(),
        reason: Some(report.actor.reason.clone()),
        since: report.since_us,
        until: report.until_us,
        window_start: report.since_us,
        ..Violation::default()
    };
    take_times(&mut row, "opened", now_us);
    Ok(row)
}

/// The id of what a person reports: equal for the same type, subject and beginning.
pub fn reported_id(report: &Report) -> String {
    let subject = (report.subject_kind, report.subject.as_str());
    // No id of a rule has a colon.
    violation_id(
        &format!("reported:{}", report.kind),
        subject,
        None,
        report.since_us,
    )
}

/// The next row of one whose waiver has ended: open again while what is forbidden holds or nothing
/// is known, otherwise closed.
pub fn end_waiver(before: &Violation, now_us: i64) -> Option<Violation> {
    let is_over = before.waived_until.is_some_and(|until| until <= now_us);
    if before.status != Status::Waived.name() || !is_over {
        return None;
    }
    let has_ended = before.condition.as_deref() == Some("ended");
    let (transition, status) = match has_ended {
        true => ("closed", Status::Closed),
        false => ("reopened", Status::Open),
    };
    let at_us = before.waived_until.unwrap_or(now_us);
    let mut next = following(before, at_us, transition, status);
    (next.actor, next.role) = (RULES.to_owned(), None);
    next.reason = Some("the waiver has ended".to_owned());
    take_times(&mut next, transition, at_us);
    Some(next)
}

#[cfg(test)]
mod tests;
