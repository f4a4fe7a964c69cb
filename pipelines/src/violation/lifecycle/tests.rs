//! Lifecycles: what is allowed, what is counted once, and what stays as it was.
#![allow(clippy::unwrap_used)]

use headframe_schemas::violation::{Actor, SEVERITIES, STATUSES, TRANSITIONS, TYPES};
use proptest::prelude::*;

use super::*;
use crate::violation::evaluation::Episode;

const HOUR: i64 = 3_600_000_000;

fn finder(severity: Severity) -> Finder<'static> {
    Finder {
        rule: "r1",
        kind: "SAFETY_TEMP",
        threshold: 40.0,
        subject_kind: "site",
        subject: "north",
        object: Some("s1"),
        evidence_stream: "sensors",
        severity,
    }
}

fn finding(kind: FindingKind, at_us: i64) -> Finding {
    Finding {
        kind,
        at_us,
        episode: Episode {
            since_us: 100,
            window_us: 100,
            peak: 44.0,
            from_seq: 7,
        },
        value: Some(43.0),
        seq: at_us,
    }
}

fn decision(action: Action, seen: i64, now_us: i64) -> Decision {
    Decision {
        action,
        until_us: (action == Action::Waive).then_some(now_us + HOUR),
        seen,
        actor: Actor {
            name: "ann".to_owned(),
            role: Some("operator".to_owned()),
            reason: "because".to_owned(),
        },
    }
}

fn opened() -> Violation {
    observe(
        None,
        &finder(Severity::High),
        &finding(FindingKind::Held, 200),
    )
    .unwrap()
}

#[test]
fn a_violation_goes_from_detected_to_closed_with_every_step_told() {
    let high = finder(Severity::High);
    let detected = observe(None, &high, &finding(FindingKind::Began, 100)).unwrap();
    assert_eq!(
        (detected.status.as_str(), detected.opened_at),
        ("detected", None)
    );
    let open = observe(Some(&detected), &high, &finding(FindingKind::Held, 200)).unwrap();
    assert_eq!((open.status.as_str(), open.opened_at), ("open", Some(200)));
    assert_eq!(open.acknowledge_due_at, Some(200 + 4 * HOUR));
    assert_eq!(open.resolve_due_at, Some(200 + 72 * HOUR));
    let known = decide(&open, &decision(Action::Acknowledge, 2, 300), 300).unwrap();
    assert_eq!(
        (known.actor.as_str(), known.acknowledged_at),
        ("ann", Some(300))
    );
    let held = decide(&known, &decision(Action::Resolve, 3, 400), 400);
    assert_eq!(
        held,
        Err(Refusal::Holds {
            id: open.violation.clone()
        })
    );
    let resolved = observe(Some(&known), &high, &finding(FindingKind::Ended, 500)).unwrap();
    assert_eq!(
        (resolved.status.as_str(), resolved.until),
        ("resolved", Some(500))
    );
    assert_eq!(
        (resolved.actor.as_str(), resolved.role.as_deref()),
        (RULES, None)
    );
    let verified = decide(&resolved, &decision(Action::Verify, 4, 600), 600).unwrap();
    let closed = decide(&verified, &decision(Action::Close, 5, 700), 700).unwrap();
    assert_eq!((closed.status.as_str(), closed.version), ("closed", 6));
    let again = observe(Some(&closed), &high, &finding(FindingKind::Held, 800)).unwrap();
    assert_eq!(
        (again.transition.as_str(), again.status.as_str()),
        ("reopened", "open")
    );
    assert_eq!((again.until, again.opened_at), (None, Some(800)));
    assert_eq!((again.acknowledged_at, again.resolved_at), (None, None));
}

#[test]
fn what_was_found_before_the_newest_row_is_not_found_again() {
    let high = finder(Severity::High);
    let ended = finding(FindingKind::Ended, 500);
    let resolved = observe(Some(&opened()), &high, &ended).unwrap();
    for kind in [
        FindingKind::Held,
        FindingKind::Continued,
        FindingKind::Returned,
    ] {
        assert_eq!(observe(Some(&resolved), &high, &finding(kind, 500)), None);
        assert!(observe(Some(&resolved), &high, &finding(kind, 501)).is_some());
    }
}

#[test]
fn an_alert_that_ends_in_time_is_no_violation() {
    let high = finder(Severity::High);
    let detected = observe(None, &high, &finding(FindingKind::Began, 100)).unwrap();
    let closed = observe(Some(&detected), &high, &finding(FindingKind::Ended, 200)).unwrap();
    assert_eq!((closed.status.as_str(), closed.opened_at), ("closed", None));
}

#[test]
fn missing_data_change_the_condition_and_not_the_status() {
    let high = finder(Severity::High);
    let missing = observe(Some(&opened()), &high, &finding(FindingKind::Missing, 300)).unwrap();
    assert_eq!(
        (
            missing.status.as_str(),
            missing.condition.as_deref(),
            missing.until
        ),
        ("open", Some("missing"), None)
    );
    // A person may say that it is over, where no data say that it is not.
    assert!(decide(&missing, &decision(Action::Resolve, 2, 400), 400).is_ok());
    let back = observe(Some(&missing), &high, &finding(FindingKind::Returned, 400)).unwrap();
    assert_eq!(back.condition.as_deref(), Some("holds"));
}

#[test]
fn clocks_stand_still_while_data_are_missing() {
    let due = |row: &Violation| {
        let from_opening = |due: Option<i64>| due.unwrap() - 200;
        (
            from_opening(row.acknowledge_due_at),
            from_opening(row.resolve_due_at),
        )
    };
    let see = |before: &Violation, severity, kind, at_us| {
        observe(Some(before), &finder(severity), &finding(kind, at_us)).unwrap()
    };
    let missing = see(&opened(), Severity::High, FindingKind::Missing, 300);
    assert_eq!(due(&missing), (4 * HOUR, 72 * HOUR));
    // Whoever takes notice meanwhile neither ends the pause nor is counted as data.
    let known = decide(&missing, &decision(Action::Acknowledge, 2, 350), 350).unwrap();
    assert_eq!(due(&known), (4 * HOUR, 72 * HOUR));
    let back = see(&known, Severity::High, FindingKind::Returned, 400);
    assert_eq!(due(&back), (4 * HOUR + 100, 72 * HOUR + 100));
    // A second pause adds to the first, and what gets worse keeps both.
    let again = see(&back, Severity::High, FindingKind::Missing, 1_000);
    let back = see(&again, Severity::High, FindingKind::Continued, 1_050);
    let worse = see(&back, Severity::Critical, FindingKind::Continued, 1_100);
    assert_eq!(due(&worse), (HOUR / 4 + 150, 4 * HOUR + 150));
    // Worse in the very sample with which the data are back.
    let at_once = see(&again, Severity::Critical, FindingKind::Returned, 1_050);
    assert_eq!(due(&at_once), (HOUR / 4 + 150, 4 * HOUR + 150));
    // What was resolved without data was resolved in the time that was left.
    let resolved = decide(&again, &decision(Action::Resolve, 5, 1_030), 1_030).unwrap();
    assert_eq!(due(&resolved), (4 * HOUR + 130, 72 * HOUR + 130));
    let over = see(&resolved, Severity::High, FindingKind::Ended, 1_200);
    assert_eq!(due(&over), due(&resolved));
    // Opened anew, the clocks begin anew.
    let reopened = see(&over, Severity::High, FindingKind::Held, 1_300);
    assert_eq!(due(&reopened), (4 * HOUR + 1_100, 72 * HOUR + 1_100));
}

#[test]
fn a_waiver_ends_open_while_it_holds_and_closed_after() {
    let now = 1_000;
    let waived = decide(&opened(), &decision(Action::Waive, 1, now), now).unwrap();
    assert_eq!(
        (waived.status.as_str(), waived.waived_until),
        ("waived", Some(now + HOUR))
    );
    assert_eq!(end_waiver(&waived, now + HOUR - 1), None);
    let open = end_waiver(&waived, now + HOUR).unwrap();
    assert_eq!(
        (open.status.as_str(), open.opened_at),
        ("open", Some(now + HOUR))
    );
    let high = finder(Severity::High);
    let ended = observe(Some(&waived), &high, &finding(FindingKind::Ended, 2_000)).unwrap();
    assert_eq!(ended.status, "waived");
    assert_eq!(end_waiver(&ended, now + 9 * HOUR).unwrap().status, "closed");
    for until in [None, Some(now), Some(now + MAX_WAIVER_US + 1)] {
        let mut wanted = decision(Action::Waive, 1, now);
        wanted.until_us = until;
        assert_eq!(decide(&opened(), &wanted, now), Err(Refusal::WaiverEnd));
    }
}

#[test]
fn a_worse_violation_is_escalated_and_its_clocks_are_shorter() {
    let open = opened();
    let same = observe(
        Some(&open),
        &finder(Severity::Low),
        &finding(FindingKind::Continued, 300),
    );
    assert_eq!(same, None);
    let worse = finder(Severity::Critical);
    let worse = observe(Some(&open), &worse, &finding(FindingKind::Continued, 300)).unwrap();
    assert_eq!(
        (worse.transition.as_str(), worse.severity.as_str()),
        ("escalated", "critical")
    );
    assert_eq!(worse.acknowledge_due_at, Some(200 + HOUR / 4));
}

#[test]
fn ids_differ_where_anything_does() {
    let id = |rule, subject, object, window| violation_id(rule, subject, object, window);
    let one = id("a", ("pool", "b"), None, 1);
    assert_eq!(one, id("a", ("pool", "b"), None, 1));
    assert_eq!(one.len(), 17);
    for other in [
        id("ap", ("ool", "b"), None, 1),
        id("a", ("pool", "b"), Some("c"), 1),
        id("a", ("pool", "b"), None, 2),
        id("a", ("pool", "bb"), None, 1),
        id("b", ("pool", "a"), None, 1),
    ] {
        assert_ne!(one, other);
    }
}

fn kinds() -> impl Strategy<Value = FindingKind> {
    use FindingKind::{Began, Continued, Ended, Held, Missing, Returned};
    prop_oneof![
        Just(Began),
        Just(Held),
        Just(Continued),
        Just(Ended),
        Just(Missing),
        Just(Returned),
    ]
}

proptest! {
    #[test]
    fn every_row_follows_from_the_one_before_by_the_table(
        steps in proptest::collection::vec((any::<bool>(), kinds(), 0..8_usize, 0..4_usize), 1..60),
    ) {
        let mut now = 200;
        let mut row: Option<Violation> = None;
        for (is_rule, kind, action, severity) in steps {
            now += 10;
            let finder = finder(Severity::ALL[severity]);
            let next = match (&row, is_rule) {
                (None, _) | (Some(_), true) => observe(row.as_ref(), &finder, &finding(kind, now)),
                (Some(before), false) => {
                    let action = Action::ALL[action];
                    let wanted = decision(action, before.version, now);
                    let stale = decision(action, before.version - 1, now);
                    prop_assert!(decide(before, &stale, now).is_err());
                    decide(before, &wanted, now).ok()
                }
            };
            let Some(next) = next else { continue };
            prop_assert_eq!(next.version, row.as_ref().map_or(1, |before| before.version + 1));
            prop_assert!(STATUSES.contains(&next.status.as_str()));
            prop_assert!(TRANSITIONS.contains(&next.transition.as_str()));
            prop_assert!(SEVERITIES.contains(&next.severity.as_str()));
            prop_assert!(TYPES.contains(&next.kind.as_str()));
            if let Some(before) = &row {
                prop_assert_eq!(&next.status_before, &Some(before.status.clone()));
                prop_assert_eq!((&next.violation, next.since), (&before.violation, before.since));
                let severity = |row: &Violation| Severity::parse(&row.severity).unwrap();
                prop_assert!(severity(&next) >= severity(before), "severity fell");
                // Nobody but a person says that there was nothing.
                if next.status == "false_positive" && before.status != "false_positive" {
                    prop_assert_eq!(next.actor.as_str(), "ann");
                }
            }
            let open = ["open", "acknowledged", "in_remediation"];
            if open.contains(&next.status.as_str()) {
                prop_assert!(next.opened_at.is_some() && next.resolve_due_at.is_some());
            }
            if next.actor == RULES {
                // The same finding again changes nothing.
                prop_assert_eq!(observe(Some(&next), &finder, &finding(kind, now)), None);
            }
            row = Some(next);
        }
    }
}
