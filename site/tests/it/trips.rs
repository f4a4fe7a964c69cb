//! Hard trips: everything off in time, by every way, latched until a person resets it.

use headframe_site::command::{Action, Target};
use headframe_site::control::Observation;
use headframe_site::control::observation::{
    HumidityReading, InterlockKind, InterlockReading, SensorKind,
};
use headframe_site::control::order::{DebugValues, Order, Scope};
use headframe_site::control::power::PowerRegion;
use headframe_site::control::trip::TripCause;
use headframe_site::notice::Severity;
use headframe_site::request::Level;

use crate::run::{Run, small, small_policy, small_running};

fn machines_w(run: &Run) -> f64 {
    run.plant.machines.iter().map(|one| one.power_w).sum()
}

/// The trip was commanded in this step, everything is off within a minute, and it stays.
fn assert_trips(mut run: Run, cause: &TripCause, change: impl Fn(&Run, &mut Observation)) {
    let sent = run.commands.len();
    assert!(run.state.trips.latches.is_empty());
    let (mut off, mut ticks) = (false, 0);
    while !off {
        let before = run.clone();
        run.tick_with(|observation| change(&before, observation));
        off = run.region() == PowerRegion::Tripped;
        ticks += 1;
        assert!(ticks < 200, "it never tripped: {:?}", run.state.thermal);
    }
    assert!(
        run.state.trips.latches.contains_key(cause),
        "{:?}",
        run.state.trips.latches
    );
    let commands = &run.commands[sent..];
    let is_off = |name: &String| {
        commands
            .iter()
            .any(|one| one.target == Target::Machine(name.clone()) && one.action == Action::Off)
    };
    let all = run.site.plan.machines.iter().all(|one| is_off(&one.name));
    assert!(all, "every machine was told in the step of the trip");
    let topic = format!("trip/{}", cause.as_str());
    let notice = run.notices.iter().find(|one| one.topic == topic).unwrap();
    assert_eq!(notice.severity, Severity::Emergency);
    run.seconds(60);
    assert!(machines_w(&run) < 1_000.0, "{}", machines_w(&run));
    run.seconds(7_200);
    assert_eq!(run.region(), PowerRegion::Tripped, "it never resets itself");
}

fn heat(celsius: f64) -> impl Fn(&Run, &mut Observation) {
    move |_, observation| {
        for one in &mut observation.temperatures {
            if one.kind != SensorKind::Board {
                one.celsius = celsius;
            }
        }
    }
}

#[test]
fn forty_degrees_for_half_a_minute_trip() {
    let mut run = small_running();
    let nothing = run_nothing();
    // Slowly, two degrees a minute, so that the rise is no cause.
    for step in 0..54 {
        let change = heat(31.0 + f64::from(step) / 6.0);
        run.tick_with(|observation| change(&nothing, observation));
        assert_ne!(run.region(), PowerRegion::Tripped);
    }
    let change = heat(40.5);
    let mut ticks = 0;
    while run.region() != PowerRegion::Tripped {
        run.tick_with(|observation| change(&nothing, observation));
        ticks += 1;
    }
    // It was above 40 degrees for two polls before.
    assert!((4..=7).contains(&ticks), "{ticks}");
    assert!(
        run.state
            .trips
            .latches
            .contains_key(&TripCause::Temperature)
    );
    assert_eq!(run.state.trips.latches.len(), 1);
}

/// A run for closures that look at none.
fn run_nothing() -> Run {
    Run::new(small(), small_policy())
}

#[test]
fn forty_five_degrees_trip_at_once() {
    let mut run = small_running();
    let change = heat(45.0);
    run.tick_with(|observation| change(&run_nothing(), observation));
    assert_eq!(run.region(), PowerRegion::Tripped);
    assert_trips(small_running(), &TripCause::Temperature, heat(45.0));
}

#[test]
fn a_fast_rise_where_it_is_hot_trips() {
    let begun = small_running().now.elapsed_ms;
    assert_trips(
        small_running(),
        &TripCause::TemperatureRise,
        move |run, observation| {
            // 3.6 degrees a minute from 33 on.
            let seconds = (run.now.elapsed_ms - begun) as f64 / 1_000.0;
            heat(33.0 + 0.06 * seconds)(run, observation);
        },
    );
}

#[test]
fn every_interlock_trips() {
    for (kind, cause) in [
        (InterlockKind::Smoke, TripCause::Smoke),
        (InterlockKind::Leak, TripCause::Leak),
        (InterlockKind::Door, TripCause::Door),
        (InterlockKind::EmergencyStop, TripCause::EmergencyStop),
    ] {
        assert_trips(small_running(), &cause, move |run, observation| {
            observation.interlocks.push(InterlockReading {
                input: "one".to_owned(),
                kind,
                is_tripped: true,
                at: run.now,
            });
        });
    }
}

#[test]
fn air_as_hot_as_in_a_fire_trips() {
    // It is a jump, too; a sensor that is doubted still trips.
    assert_trips(small_running(), &TripCause::Temperature, heat(110.0));
}

#[test]
fn air_near_its_dew_point_trips() {
    assert_trips(
        small_running(),
        &TripCause::Condensation,
        |run, observation| {
            observation.humidity = vec![HumidityReading {
                sensor: "north".to_owned(),
                pct: 97.0,
                at: run.now,
            }];
        },
    );
}

#[test]
fn current_above_the_limit_trips_after_a_minute_and_far_above_after_five_seconds() {
    for (pct, least, most) in [(105.0, 12, 14), (115.0, 1, 3)] {
        let mut run = small_running();
        let limit_a = run.site.plan.feeders[0].limit_a;
        let overload = |observation: &mut Observation| {
            observation.feeders[0].amps = Some(limit_a * pct / 100.0);
        };
        let mut ticks = 0;
        while run.region() != PowerRegion::Tripped {
            run.tick_with(overload);
            ticks += 1;
        }
        assert!((least..=most).contains(&ticks), "{pct} %: {ticks}");
    }
    let limit_a = small_running().site.plan.feeders[0].limit_a;
    assert_trips(
        small_running(),
        &TripCause::FeederCurrent,
        move |_, observation| {
            observation.feeders[0].amps = Some(1.15 * limit_a);
        },
    );
}

fn stop() -> Order {
    Order::EmergencyStop {
        by: "ann".to_owned(),
        reason: "smell of smoke".to_owned(),
    }
}

fn reset(by: &str, reason: &str) -> Order {
    Order::ResetTrip {
        by: by.to_owned(),
        reason: reason.to_owned(),
    }
}

#[test]
fn the_emergency_stop_works_from_every_state() {
    let lockout = Order::Lockout {
        by: "bob".to_owned(),
        reason: "cleaning".to_owned(),
        scope: Scope::Site,
    };
    let debug = Order::Debug {
        by: "cid".to_owned(),
        values: DebugValues {
            temperature_c: Some(20.0),
            ..DebugValues::default()
        },
    };
    let mut starts = vec![("boot", Run::new(small(), small_policy()))];
    let mut testing = Run::new(small(), small_policy());
    testing.tick();
    starts.push(("self-test", testing.clone()));
    testing
        .until(60, |run| run.region() == PowerRegion::HoldOff)
        .unwrap();
    starts.push(("hold-off", testing));
    starts.push(("running", small_running()));
    let mut curtailing = small_running();
    curtailing.ask(Level::Emergency, None);
    curtailing
        .until(300, |run| run.region() == PowerRegion::Curtailing)
        .unwrap();
    starts.push(("curtailing", curtailing.clone()));
    curtailing.seconds(900);
    starts.push(("curtailed", curtailing.clone()));
    curtailing.ask(Level::Normal, None);
    curtailing
        .until(2_000, |run| run.region() == PowerRegion::Restoring)
        .unwrap();
    curtailing.seconds(30);
    starts.push(("restoring", curtailing));
    for (name, order) in [("lockout", lockout), ("debug", debug)] {
        let mut run = small_running();
        run.orders.push(order);
        run.tick();
        starts.push((name, run));
    }
    for (name, mut run) in starts {
        run.orders.push(stop());
        run.tick();
        assert!(
            run.state
                .trips
                .latches
                .contains_key(&TripCause::EmergencyStop),
            "{name}"
        );
        run.seconds(60);
        assert!(machines_w(&run) < 100.0, "{name}: {}", machines_w(&run));
        let sent = run.commands.len();
        run.seconds(600);
        let on = run.commands[sent..]
            .iter()
            .any(|one| one.action == Action::On && matches!(one.target, Target::Machine(_)));
        assert!(!on, "{name}");
        let is_off = matches!(run.region(), PowerRegion::Tripped | PowerRegion::Lockout);
        assert!(is_off, "{name}");
    }
}

#[test]
fn a_reset_needs_time_a_reason_and_two_persons_and_survives_restarts() {
    let mut policy = small_policy();
    policy.trips.is_two_person = true;
    let mut run = Run::steady(small(), policy);
    run.orders.push(stop());
    run.seconds(300);
    let order = |run: &mut Run, order: Order| {
        run.orders.push(order);
        run.tick();
        run.region()
    };
    assert_eq!(
        order(&mut run, reset("ann", "looked at it")),
        PowerRegion::Tripped
    );
    run.state = run.state.clone().after_restart(&run.site, run.now);
    run.seconds(600);
    assert_eq!(run.region(), PowerRegion::Tripped);
    assert_eq!(order(&mut run, reset("ann", " ")), PowerRegion::Tripped);
    assert_eq!(
        order(&mut run, reset("ann", "looked at it")),
        PowerRegion::Tripped
    );
    assert_eq!(
        order(&mut run, reset("ann", "looked again")),
        PowerRegion::Tripped
    );
    assert_eq!(
        order(&mut run, reset("bob", "looked at it")),
        PowerRegion::HoldOff
    );
}

#[test]
fn after_a_reset_and_closed_contactors_the_site_starts_again() {
    let mut run = small_running();
    run.orders.push(stop());
    run.seconds(700);
    run.orders.push(reset("ann", "false alarm"));
    run.tick();
    assert_eq!(run.region(), PowerRegion::HoldOff);
    run.seconds(600);
    assert!(
        machines_w(&run) < 100.0,
        "contactors are closed by people only"
    );
    for feeder in &mut run.plant.feeders {
        *feeder = true;
    }
    let restored = run.until(7_200, |run| {
        run.region() == PowerRegion::Running && machines_w(run) > 35_000.0
    });
    assert!(
        restored.is_some(),
        "{:?} {}",
        run.region(),
        machines_w(&run)
    );
}

#[test]
fn a_lockout_refuses_to_energise_and_each_person_removes_their_own() {
    let lock = |by: &str, scope: Scope| Order::Lockout {
        by: by.to_owned(),
        reason: "cleaning".to_owned(),
        scope,
    };
    let unlock = |by: &str, scope: Scope| Order::EndLockout {
        by: by.to_owned(),
        reason: "done".to_owned(),
        scope,
    };
    let mut run = small_running();
    run.orders.push(lock("ann", Scope::Site));
    run.orders.push(lock("bob", Scope::Site));
    run.seconds(900);
    assert_eq!(run.region(), PowerRegion::Lockout);
    assert!(machines_w(&run) < 1_000.0);
    run.orders.push(unlock("ann", Scope::Site));
    run.seconds(1_000);
    assert_eq!(run.region(), PowerRegion::Lockout);
    run.orders.push(unlock("bob", Scope::Site));
    assert!(
        run.until(3_600, |run| run.region() == PowerRegion::Running)
            .is_some()
    );
    // A lockout of one machine leaves the others alone.
    let scope = Scope::Machine("m003".to_owned());
    run.orders.push(lock("ann", scope));
    run.seconds(1_500);
    assert!(run.plant.machines[3].power_w < 100.0);
    assert!(machines_w(&run) > 30_000.0);
}

#[test]
fn made_up_values_drive_nothing_unless_that_is_allowed() {
    let values = DebugValues {
        signal: Some(Level::Emergency),
        temperature_c: Some(50.0),
        ..DebugValues::default()
    };
    let order = Order::Debug {
        by: "cid".to_owned(),
        values,
    };
    let mut run = small_running();
    let sent = run.commands.len();
    run.orders.push(order.clone());
    let mut simulated = 0;
    for _ in 0..60 {
        simulated += run.tick().simulated.len();
    }
    assert!(simulated >= 12, "{simulated}");
    let touched = run.commands[sent..]
        .iter()
        .any(|one| matches!(one.target, Target::Machine(_)));
    assert!(!touched);
    assert_eq!(run.region(), PowerRegion::Running);
    assert!(run.state.trips.latches.is_empty());
    let mut policy = small_policy();
    policy.authority.allow_live_debug = true;
    let mut run = Run::steady(small(), policy);
    run.orders.push(order);
    run.seconds(60);
    assert_eq!(run.region(), PowerRegion::Tripped);
}

#[test]
fn a_reset_hides_no_cause_of_its_own_step() {
    let mut run = small_running();
    run.orders.push(reset("ann", "nothing stands"));
    let at = run.now.plus_ms(5_000);
    run.tick_with(|observation| {
        observation.interlocks.push(InterlockReading {
            input: "smoke".to_owned(),
            kind: InterlockKind::Smoke,
            is_tripped: true,
            at,
        });
    });
    assert_eq!(run.region(), PowerRegion::Tripped);
}

#[test]
fn a_stop_that_is_ordered_again_keeps_its_first_reason_and_restarts_the_wait() {
    let mut run = small_running();
    run.orders.push(stop());
    run.seconds(60);
    let first = run.state.trips.latches[&TripCause::EmergencyStop].clone();
    assert!(first.clear_since_ms.is_some());
    run.orders.push(Order::EmergencyStop {
        by: "bob".to_owned(),
        reason: "to be sure".to_owned(),
    });
    run.seconds(60);
    let again = &run.state.trips.latches[&TripCause::EmergencyStop];
    assert_eq!((&again.detail, again.at), (&first.detail, first.at));
    // A reset waits from the newest stop on.
    assert!(again.clear_since_ms > first.clear_since_ms, "{again:?}");
}
