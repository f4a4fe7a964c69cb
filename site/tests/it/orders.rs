//! Orders, announcements and requests that do not stand long enough.

use std::collections::BTreeSet;

use headframe_site::command::Target;
use headframe_site::control::health::Health;
use headframe_site::control::order::{Order, Scope};
use headframe_site::control::power::PowerRegion;
use headframe_site::request::{Level, Request};

use crate::run::small_running;

#[test]
fn an_override_ends_by_itself_warns_before_and_never_masks_a_contract() {
    let order = |cap_kw: f64, for_s: Option<u64>| Order::Override {
        by: "ann".to_owned(),
        reason: "noise test".to_owned(),
        scope: Scope::Site,
        cap_kw,
        for_s,
    };
    let mut run = small_running();
    run.orders.push(order(15.0, Some(90_000)));
    run.tick();
    assert!(run.has_notice("order/refused"), "more than 24 hours");
    run.orders.push(order(15.0, None));
    run.seconds(300);
    assert!(run.plant.site_kw() <= 15.0);
    assert!(!run.has_notice("override/ends"));
    run.seconds(3_020);
    assert!(run.has_notice("override/ends"));
    run.seconds(300);
    assert!(run.has_notice("override/ended"));
    assert!(
        run.until(3_600, |run| run.region() == PowerRegion::Running)
            .is_some()
    );
    run.ask(Level::Curtail, Some(20.0));
    run.orders.push(order(40.0, None));
    run.seconds(400);
    assert!(
        run.plant.site_kw() <= 20.0,
        "an override does not lift a contract"
    );
}

#[test]
fn a_bypassed_input_is_neither_used_nor_missed_until_its_time_is_over() {
    let mut run = small_running();
    run.orders.push(Order::Bypass {
        by: "ann".to_owned(),
        reason: "sensor is being replaced".to_owned(),
        input: "temperature/north".to_owned(),
        for_s: 600,
    });
    run.tick();
    assert_eq!(
        run.state.inputs.health("temperature/north"),
        Health::Bypassed
    );
    run.seconds(610);
    assert_eq!(run.state.inputs.health("temperature/north"), Health::Fresh);
}

#[test]
fn an_announced_event_is_prepared_and_a_cancelled_one_forgotten() {
    let mut run = small_running();
    run.signal_period_ms = 5_000;
    run.request = Request {
        starts_at_us: Some(run.now.utc_us + 600_000_000),
        ..Request::of_level(Level::Curtail)
    };
    run.seconds(10);
    assert_eq!(run.region(), PowerRegion::Notice);
    assert!(run.has_notice("event/announced"));
    let start = run.request.clone();
    run.ask(Level::Normal, None);
    run.seconds(10);
    assert_eq!(run.region(), PowerRegion::Running);
    run.request = start;
    let begun = run
        .until(900, |run| run.region() == PowerRegion::Curtailing)
        .unwrap();
    assert!((570..=585).contains(&begun), "{begun}");
}

#[test]
fn what_an_announced_event_will_stop_is_remembered_shown_and_stopped_first() {
    let mut run = small_running();
    run.signal_period_ms = 5_000;
    run.request = Request {
        starts_at_us: Some(run.now.utc_us + 300_000_000),
        cap_kw: Some(20.0),
        ..Request::of_level(Level::Curtail)
    };
    let decision = (0..4)
        .map(|_| run.tick())
        .find(|one| one.prepared.is_some());
    let prepared = run.state.prepared.clone().unwrap();
    assert_eq!(
        decision.unwrap().prepared,
        Some(prepared.clone()),
        "the journal has it"
    );
    assert_eq!(
        (prepared.source.as_str(), prepared.cap_kw),
        ("utility", 20.0)
    );
    let excess_kw = run.plant.site_kw() - 20.0;
    assert!(prepared.kw >= excess_kw, "{prepared:?} of {excess_kw}");
    assert!(!prepared.machines.is_empty() && prepared.machines.len() < 12);
    let said = run
        .notices
        .iter()
        .find(|one| one.topic == "event/announced")
        .unwrap();
    let first = &run.site.plan.machines[prepared.machines[0] as usize].name;
    assert!(said.text.contains(first), "{}", said.text);
    // It is worked out anew from time to time, and when the event changes.
    run.request.cap_kw = Some(25.0);
    run.seconds(15);
    let changed = run.state.prepared.clone().unwrap();
    assert!(
        changed.machines.len() < prepared.machines.len(),
        "{changed:?}"
    );
    let sent = run.commands.len();
    run.until(600, |run| run.region() == PowerRegion::Curtailing)
        .unwrap();
    let announced = run.state.prepared.clone().unwrap().machines;
    let stopped: BTreeSet<usize> = run.commands[sent..]
        .iter()
        .filter_map(|one| match &one.target {
            Target::Machine(name) => run.site.machine(name),
            _ => None,
        })
        .collect();
    let announced: BTreeSet<usize> = announced.into_iter().map(|at| at as usize).collect();
    let is_as_announced = stopped.is_subset(&announced) || announced.is_subset(&stopped);
    assert!(
        is_as_announced && !stopped.is_empty(),
        "{stopped:?} {announced:?}"
    );
    run.until(600, |run| run.region() == PowerRegion::Curtailed)
        .unwrap();
    run.tick();
    assert_eq!(run.state.prepared, None);
}

#[test]
fn a_single_reading_that_asks_to_curtail_is_not_enough() {
    let mut run = small_running();
    run.signal_period_ms = 5_000;
    run.ask(Level::Curtail, None);
    run.tick();
    run.ask(Level::Normal, None);
    run.seconds(60);
    assert_eq!(run.region(), PowerRegion::Running);
    run.ask(Level::Emergency, None);
    run.tick();
    assert_eq!(
        run.region(),
        PowerRegion::Curtailing,
        "an emergency is not debounced"
    );
}

fn override_of(by: &str, scope: Scope, cap_kw: f64) -> Order {
    Order::Override {
        by: by.to_owned(),
        reason: "the cable is hot".to_owned(),
        scope,
        cap_kw,
        for_s: Some(7_200),
    }
}

#[test]
fn an_override_of_a_part_holds_and_takes_nobody_elses_away() {
    let mut run = small_running();
    let feeder = Scope::Feeder("f1".to_owned());
    let of_feeder = |run: &crate::run::Run| -> f64 {
        let machines = run.plant.machines.iter().zip(&run.site.plan.machines);
        let own = machines.filter(|(_, plan)| plan.feeder.as_deref() == Some("f1"));
        own.map(|(one, _)| one.power_w).sum()
    };
    assert!(of_feeder(&run) > 8_000.0);
    run.orders.push(override_of("ann", feeder.clone(), 5.0));
    run.seconds(300);
    let left_w = of_feeder(&run);
    assert!(left_w <= 5_000.0 && left_w > 2_000.0, "{left_w}");
    assert!(run.plant.site_kw() > 30.0, "the others go on");
    // Another person's orders stand beside it, and none takes it away.
    run.orders
        .push(override_of("bob", Scope::Machine("m001".to_owned()), 0.0));
    run.orders.push(override_of("bob", Scope::Site, 38.0));
    let decision = run.tick();
    assert_eq!(
        (decision.refused.len(), run.state.authority.overrides.len()),
        (0, 3)
    );
    run.orders
        .push(override_of("bob (session)", feeder.clone(), 50.0));
    let decision = run.tick();
    assert!(
        decision.refused[0].reason.contains("ann"),
        "{:?}",
        decision.refused
    );
    run.seconds(300);
    assert!(of_feeder(&run) <= 5_000.0);
    assert!(run.plant.machines[1].power_w < 100.0);
    // Ann may, however she is known; then all of it may run again.
    run.orders
        .push(override_of("ann (token_file)", feeder.clone(), 50.0));
    assert!(run.tick().refused.is_empty());
    for scope in [feeder, Scope::Site, Scope::Machine("m001".to_owned())] {
        let (by, scope) = ("bob".to_owned(), Some(scope));
        run.orders.push(Order::EndOverride { by, scope });
    }
    assert!(run.tick().refused.is_empty());
    let restored = run.until(3_600, |run| of_feeder(run) > 8_000.0);
    assert!(restored.is_some(), "{:?}", run.region());
}

#[test]
fn what_cannot_be_done_is_refused_with_its_reason() {
    let mut run = small_running();
    let (by, reason, scope) = ("ann (token_file)", "x".to_owned(), Scope::Site);
    let by = by.to_owned();
    let timed = |for_s| Order::Override {
        by: "ann".to_owned(),
        reason: "x".to_owned(),
        scope: Scope::Site,
        cap_kw: 9.0,
        for_s: Some(for_s),
    };
    let input = "meter/nothing".to_owned();
    let orders = vec![
        timed(0),
        timed(86_401),
        Order::Bypass {
            by: by.clone(),
            reason: reason.clone(),
            input: input.clone(),
            for_s: 60,
        },
        Order::EndBypass {
            by: by.clone(),
            input,
        },
        Order::EndOverride {
            by: by.clone(),
            scope: None,
        },
        Order::Lockout {
            by,
            reason: reason.clone(),
            scope: scope.clone(),
        },
        Order::EndLockout {
            by: "bob (session)".to_owned(),
            reason,
            scope,
        },
    ];
    run.orders = orders;
    let refused = run.tick().refused;
    let places: Vec<usize> = refused.iter().map(|one| one.order).collect();
    assert_eq!(places, [0, 1, 2, 3, 4, 6], "{refused:?}");
    assert!(
        refused[5].reason.contains("locked out by ann"),
        "{refused:?}"
    );
    let (reason, scope) = ("done".to_owned(), Scope::Site);
    let by = "Ann (session)".to_owned();
    run.orders.push(Order::EndLockout { by, reason, scope });
    assert!(run.tick().refused.is_empty(), "she is the same person");
    assert!(run.state.authority.lockouts.is_empty());
}
