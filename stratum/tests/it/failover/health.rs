//! A daemon's breaker and its health, as rules over random histories.

use headframe_stratum::chain::Tip;
use headframe_stratum::chain::failover::breaker::{Breaker, Limits, State};
use headframe_stratum::chain::failover::daemon_health::{DaemonHealth, HealthRules, Unhealthy};

use crate::random::Random;

const LIMITS: Limits = Limits {
    failures: 3,
    first_wait_ms: 1000,
    longest_wait_ms: 5000,
    probe_ms: 10_000,
};
const RULES: HealthRules = HealthRules {
    silent_ms: 10_000,
    lag_ms: 30_000,
    tip_age_ms: None,
    return_ms: 15_000,
    breaker: LIMITS,
};

#[test]
fn a_breaker_opens_waits_and_lets_one_probe_through() {
    let mut breaker = Breaker::new(LIMITS);
    for now in 0..2 {
        assert!(breaker.admit(now));
        breaker.failed(now);
    }
    assert!(breaker.is_closed() && breaker.admit(2));
    breaker.failed(2);
    assert_eq!(
        breaker.state(),
        State::Open {
            until_ms: 1002,
            wait_ms: 1000
        }
    );
    assert!(!breaker.admit(1001));
    assert!(
        breaker.admit(1002) && !breaker.admit(1003),
        "one probe, not two"
    );
    breaker.failed(1100);
    assert_eq!(
        breaker.state(),
        State::Open {
            until_ms: 3100,
            wait_ms: 2000
        }
    );
    assert!(breaker.admit(3100));
    breaker.succeeded();
    assert_eq!(breaker.state(), State::Closed { failures: 0 });
}

#[test]
fn a_breaker_keeps_its_promises_in_any_history() {
    for case in 0..20_000 {
        let mut random = Random(case);
        let mut breaker = Breaker::new(LIMITS);
        let (mut now, mut failures, mut probing_since, mut shut_since) =
            (0, 0, None::<u64>, None::<u64>);
        for _ in 0..60 {
            now += random.below(3000);
            let was = breaker.state();
            let admitted = breaker.admit(now);
            if let State::Closed { .. } = was {
                assert!(admitted);
            } else if admitted {
                assert!(
                    matches!(was, State::Open { until_ms, .. } if now >= until_ms),
                    "case {case}"
                );
                assert_eq!(probing_since, None, "case {case}: two probes at once");
                probing_since = Some(now);
            } else if probing_since.is_some_and(|since| now - since >= LIMITS.probe_ms) {
                // The lost probe is given up.
                probing_since = None;
            }
            if !admitted {
                // Nobody is kept out for longer than the longest wait and a lost probe.
                let since = *shut_since.get_or_insert(now);
                assert!(
                    now - since <= LIMITS.longest_wait_ms + LIMITS.probe_ms + 2 * 3000,
                    "case {case}: shut since {since}, now {now}"
                );
                continue;
            }
            shut_since = None;
            match random.below(5) {
                0 => {
                    breaker.succeeded();
                    (failures, probing_since) = (0, None);
                    assert!(breaker.is_closed());
                }
                // The answer never comes.
                1 if probing_since.is_some() => {}
                _ => {
                    breaker.failed(now);
                    failures += 1;
                    assert_eq!(
                        breaker.is_closed(),
                        failures < LIMITS.failures && probing_since.is_none(),
                        "case {case}"
                    );
                    probing_since = None;
                }
            }
        }
    }
}

fn tip(block: u64, unready: bool) -> Tip {
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&block.to_le_bytes());
    Tip {
        hash,
        next_height: block + 1,
        unready: unready.then(|| "syncing".to_owned().into()),
    }
}

#[test]
fn a_preferred_daemon_is_used_again_only_after_a_while() {
    let mut health = DaemonHealth::new(2, RULES, 0);
    assert_eq!(health.active(), None);
    assert!(matches!(health.why_none(0, &["a", "b"]),
            Unhealthy::Silent(reason) if reason.contains("a: it has not answered yet; b:")));
    health.record_tip(1, tip(5, false), 100);
    assert_eq!(health.active(), Some(1));
    health.record_tip(0, tip(5, false), 200);
    health.record_tip(1, tip(5, false), 10_000);
    health.record_tip(0, tip(5, false), 15_199);
    assert_eq!(
        health.active(),
        Some(1),
        "the preferred one is not yet trusted again"
    );
    health.record_tip(1, tip(5, false), 15_199);
    health.record_tip(0, tip(5, false), 15_200);
    assert_eq!(health.active(), Some(0));
    for now in [15_300, 15_400, 15_500] {
        health.record_failure(0, "refused".to_owned(), now);
    }
    assert_eq!(
        health.active(),
        Some(1),
        "three failures in a row open the breaker"
    );
    assert!(matches!(health.check(0, 15_500),
            Err(Unhealthy::Silent(reason)) if reason.contains("refused")));
}

#[test]
fn stuck_silent_and_unsynchronised_daemons_are_not_used() {
    let mut health = DaemonHealth::new(2, RULES, 0);
    health.record_tip(0, tip(5, false), 0);
    health.record_tip(1, tip(5, false), 0);
    // The second one moves on, the first does not: a natural delay at first, and then it is stuck.
    for now in (1000..=30_000).step_by(1000) {
        health.record_tip(0, tip(5, false), now);
        health.record_tip(1, tip(6, false), now);
        assert_eq!(health.active(), Some(0), "{now}");
    }
    health.record_tip(0, tip(5, false), 31_000);
    assert!(matches!(health.check(0, 31_000),
            Err(Unhealthy::Unready(reason)) if reason.reason == "stuck at height 6 for 30 s while \
                                                                 another daemon is at 7"));
    assert_eq!(health.active(), Some(1));
    // A fork of the same height is no reason.
    let mut other = tip(6, false);
    other.hash = [9; 32];
    health.record_tip(0, other, 32_000);
    health.record_tip(1, tip(6, false), 32_000);
    assert_eq!(health.check(0, 32_000), Ok(()));
    // Nobody answers for ten seconds.
    health.update(43_000);
    assert_eq!(health.active(), None);
    assert!(
        matches!(health.why_none(43_000, &["a", "b"]), Unhealthy::Silent(_)),
        "silence may pass"
    );
    // The one in use says it is not synchronised: its template is dead at once.
    health.record_tip(1, tip(6, true), 44_000);
    assert!(matches!(
        health.why_none(44_000, &["a", "b"]),
        Unhealthy::Unready(_)
    ));
    // A public network that has seen no block for an hour has lost us.
    health.limit_tip_age(Some(3_600_000));
    health.record_tip(0, tip(6, false), 50_000);
    health.record_tip(0, tip(6, false), 3_650_001);
    assert!(matches!(health.check(0, 3_650_001),
            Err(Unhealthy::Unready(reason)) if reason.reason.contains("no new block for 60 \
                                                                       minutes")));
    health.record_tip(0, tip(7, false), 3_650_002);
    assert_eq!(health.check(0, 3_650_002), Ok(()));
}

#[test]
fn whoever_is_used_is_fit_in_any_history() {
    for case in 0..5_000 {
        let mut random = Random(case);
        let mut health = DaemonHealth::new(
            3,
            HealthRules {
                tip_age_ms: Some(60_000),
                ..RULES
            },
            0,
        );
        let (mut now, mut heights) = (0, [5u64; 3]);
        for _ in 0..80 {
            now += random.below(4000);
            let who = random.below(3) as usize;
            if health.may_ask(who, now) {
                heights[who] += random.below(2);
                match random.below(8) {
                    0 | 1 => health.record_failure(who, "no".to_owned(), now),
                    2 => health.record_refusal(who, "busy".to_owned()),
                    3 => drop(health.record_tip(who, tip(heights[who], true), now)),
                    _ => drop(health.record_tip(who, tip(heights[who], false), now)),
                }
            }
            health.update(now);
            let fit: Vec<bool> = (0..3).map(|who| health.check(who, now).is_ok()).collect();
            match health.active() {
                Some(active) => assert!(fit[active], "case {case}: {active} is used and unfit"),
                None => assert_eq!(fit, [false; 3], "case {case}: somebody is fit and not used"),
            }
            // Whoever is preferred and has been fit for long is used.
            let ripe = (0..3).find(|who| {
                health.daemons()[*who]
                    .healthy_since_ms
                    .is_some_and(|since| now - since >= RULES.return_ms)
            });
            assert!(
                ripe.is_none_or(|ripe| health.active().is_some_and(|active| active <= ripe)),
                "case {case}"
            );
        }
    }
}
