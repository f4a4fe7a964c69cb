//! What a reading of a signal makes of the requests of the reading before.
//!
//! That the site shall draw less must stand for some readings before it counts. The number may
//! change meanwhile, as a utility's base point does: what is debounced is the asking. A tighter
//! number then counts at once, a looser one when it has stood as long itself.

use super::super::policy::{SignalPolicy, SignalRule, ms};
use super::{HeldRequest, LooserCap};
use crate::moment::Moment;
use crate::request::Request;

/// A cap that is tighter by this share runs with a deadline of its own.
const CLEARLY_TIGHTER: f64 = 0.01;

/// The requests of a reading, with what is known of them from the reading before.
pub(super) fn follow(
    mut before: Vec<HeldRequest>,
    requests: &[Request],
    policy: &SignalPolicy,
    rule: &SignalRule,
    at: Moment,
) -> Vec<HeldRequest> {
    // The same request goes before one that became of it, and that before one that took its place.
    let mut found: Vec<Option<HeldRequest>> = vec![None; requests.len()];
    type Match = fn(&HeldRequest, &Request, &SignalRule, Moment) -> bool;
    let matches: [Match; 3] = [
        |one, request, _, _| one.request == *request,
        is_changed_request,
        is_replacement,
    ];
    for is_match in matches {
        for (request, found) in requests.iter().zip(&mut found) {
            if found.is_none() {
                let place = before
                    .iter()
                    .position(|one| is_match(one, request, rule, at));
                *found = place.map(|place| before.remove(place));
            }
        }
    }
    let follow = |(request, found): (&Request, Option<HeldRequest>)| match found {
        Some(one) => changed_to(one, request, policy, rule, at),
        None => HeldRequest {
            request: request.clone(),
            since: at,
            reads: 1,
            firm_kw: cap_kw(request, rule),
            looser: None,
            tightened: cap_kw(request, rule).map(|kw| (at, kw)),
        },
    };
    requests.iter().zip(found).map(follow).collect()
}

/// What a request asks, in kilowatts; none where it asks nothing.
fn cap_kw(request: &Request, rule: &SignalRule) -> Option<f64> {
    let usual = rule.cap_kw(request.level)?;
    Some(request.cap_kw.unwrap_or(usual).max(0.0))
}

/// Whether a request goes on as another: of the same event, with the same start, and both ask for
/// less power.
fn is_changed_request(before: &HeldRequest, now: &Request, rule: &SignalRule, at: Moment) -> bool {
    let then = &before.request;
    let is_same_start =
        then.starts_at_us == now.starts_at_us || has_begun(then, at) && has_begun(now, at);
    both_ask_for_less(before, now, rule) && is_same_start && then.event == now.event
}

/// Whether a request of another event took the place of one that counted: the signal goes on asking
/// for less power, and nothing is given back between the two.
fn is_replacement(before: &HeldRequest, now: &Request, rule: &SignalRule, at: Moment) -> bool {
    both_ask_for_less(before, now, rule) && has_begun(&before.request, at) && has_begun(now, at)
}

fn both_ask_for_less(before: &HeldRequest, now: &Request, rule: &SignalRule) -> bool {
    cap_kw(&before.request, rule).is_some() && cap_kw(now, rule).is_some()
}

fn has_begun(request: &Request, at: Moment) -> bool {
    request.starts_at_us.is_none_or(|start| start <= at.utc_us)
}

fn changed_to(
    before: HeldRequest,
    request: &Request,
    policy: &SignalPolicy,
    rule: &SignalRule,
    at: Moment,
) -> HeldRequest {
    let is_same_event = before.request.event == request.event;
    let goes_on = is_same_event && before.request.level == request.level;
    let mut held = HeldRequest {
        request: request.clone(),
        since: if goes_on { before.since } else { at },
        reads: before.reads.saturating_add(1),
        ..before
    };
    let Some(asked_kw) = cap_kw(request, rule) else {
        return held;
    };
    let firm_kw = held.firm_kw.unwrap_or(asked_kw);
    if asked_kw <= firm_kw {
        held.firm_kw = Some(asked_kw);
        held.looser = None;
        let from_kw = held.tightened.map_or(firm_kw, |(_, kw)| kw);
        if asked_kw < from_kw * (1.0 - CLEARLY_TIGHTER) {
            held.tightened = Some((at, asked_kw));
        }
        return held;
    }
    let looser = match held.looser {
        Some(looser) => LooserCap {
            kw: looser.kw.min(asked_kw),
            reads: looser.reads.saturating_add(1),
            ..looser
        },
        None => LooserCap {
            kw: asked_kw,
            since: at,
            reads: 1,
        },
    };
    let has_stood =
        looser.reads >= policy.debounce_reads || at.ms_since(looser.since) >= ms(policy.debounce_s);
    match has_stood {
        true => {
            held.firm_kw = Some(looser.kw);
            held.looser = None;
            held.tightened = held.tightened.map(|(since, _)| (since, looser.kw));
        }
        false => held.looser = Some(looser),
    }
    held
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::request::Level;

    fn at(seconds: u64) -> Moment {
        Moment {
            elapsed_ms: seconds * 1_000,
            utc_us: i64::try_from(seconds * 1_000_000).unwrap(),
        }
    }

    fn ask(level: Level, kw: f64) -> Request {
        Request {
            cap_kw: Some(kw),
            ..Request::of_level(level)
        }
    }

    /// The firm cap after each of these, five seconds apart.
    fn firm(requests: &[(Level, f64)]) -> (Vec<f64>, HeldRequest) {
        let (policy, rule) = (SignalPolicy::default(), SignalRule::default());
        let mut held = Vec::new();
        let mut seen = Vec::new();
        for (number, (level, kw)) in (0..).zip(requests) {
            held = follow(held, &[ask(*level, *kw)], &policy, &rule, at(5 * number));
            seen.push(held[0].firm_kw.unwrap());
        }
        (seen, held.remove(0))
    }

    #[test]
    fn a_cap_that_moves_is_one_request_and_the_tighter_one_counts_meanwhile() {
        let c = Level::Curtail;
        let (seen, held) = firm(&[(c, 14.0), (c, 14.01), (c, 10.0), (c, 20.0), (c, 19.0)]);
        assert_eq!(seen, [14.0, 14.0, 10.0, 10.0, 19.0]);
        assert_eq!((held.reads, held.since), (5, at(0)));
        assert_eq!(held.tightened, Some((at(10), 19.0)));
    }

    #[test]
    fn what_falls_slowly_gets_a_new_deadline_once_it_fell_by_a_hundredth() {
        let steps: Vec<_> = (0..=120)
            .map(|step| (Level::Curtail, 100.0 - 0.01 * f64::from(step)))
            .collect();
        let (seen, held) = firm(&steps);
        assert!((seen[120] - 98.8).abs() < 1e-9);
        let (since, _) = held.tightened.unwrap();
        assert!(since <= at(5 * 102) && since >= at(5 * 100), "{since:?}");
    }

    #[test]
    fn an_event_that_follows_another_gives_nothing_back_and_has_a_deadline_of_its_own() {
        let (policy, rule) = (SignalPolicy::default(), SignalRule::default());
        let named = |event: &str, kw| Request {
            event: Some(event.to_owned()),
            ..ask(Level::Curtail, kw)
        };
        let first = follow(Vec::new(), &[named("a", 20.0)], &policy, &rule, at(0));
        let first = follow(first, &[named("a", 20.0)], &policy, &rule, at(5));
        // A tighter one counts at once, a looser one when it has stood.
        let tighter = follow(first.clone(), &[named("b", 15.0)], &policy, &rule, at(10));
        assert_eq!((tighter[0].firm_kw, tighter[0].reads), (Some(15.0), 3));
        assert_eq!(tighter[0].since, at(10));
        let looser = follow(first.clone(), &[named("b", 30.0)], &policy, &rule, at(10));
        assert_eq!(looser[0].firm_kw, Some(20.0));
        let stood = follow(looser, &[named("b", 30.0)], &policy, &rule, at(15));
        assert_eq!((stood[0].firm_kw, stood[0].since), (Some(30.0), at(10)));
        // Beside the first one, or later, it stands for itself.
        let both = [named("a", 20.0), named("b", 15.0)];
        let beside = follow(first.clone(), &both, &policy, &rule, at(10));
        assert_eq!((beside[0].reads, beside[1].reads), (3, 1));
        let later = Request {
            starts_at_us: Some(60_000_000),
            ..named("b", 15.0)
        };
        let announced = follow(first, &[later], &policy, &rule, at(10));
        assert_eq!((announced[0].reads, announced[0].firm_kw), (1, Some(15.0)));
    }

    #[test]
    fn an_emergency_that_becomes_a_curtailment_lifts_nothing_at_once() {
        let (seen, held) = firm(&[
            (Level::Emergency, 0.0),
            (Level::Curtail, 14.0),
            (Level::Curtail, 14.0),
        ]);
        assert_eq!(seen, [0.0, 0.0, 14.0]);
        assert_eq!(held.since, at(5));
        assert!(held.reads >= 2, "it is believed all the time");
    }
}
