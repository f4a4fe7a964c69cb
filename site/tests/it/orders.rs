//! Orders, announcements and requests that do not stand long enough.

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
