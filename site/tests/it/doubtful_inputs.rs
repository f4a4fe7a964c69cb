//! Meters that are mounted the wrong way: a current below zero trips, and a meter below what its
//! machines draw proves nothing.

use headframe_site::command::{Action, Target};
use headframe_site::control::Observation;
use headframe_site::control::health::Health;
use headframe_site::control::machine::MachinePhase;
use headframe_site::control::metering::Quality;
use headframe_site::control::power::PowerRegion;
use headframe_site::control::trip::TripCause;
use headframe_site::request::Level;

use crate::run::{Run, small_running};

#[test]
fn a_current_below_zero_is_as_high_as_its_size_and_is_said() {
    let mut run = small_running();
    let limit_a = run.site.plan.feeders[0].limit_a;
    let reversed = |share: f64| {
        move |observation: &mut Observation| {
            observation.feeders[0].amps = Some(-share * limit_a);
        }
    };
    for _ in 0..3 {
        run.tick_with(reversed(0.8));
    }
    assert!(run.has_notice("feeder/f1/reversed"));
    assert!(run.state.trips.latches.is_empty());
    for _ in 0..3 {
        run.tick_with(reversed(2.0));
    }
    let latch = &run.state.trips.latches[&TripCause::FeederCurrent];
    assert_eq!(
        latch.detail,
        format!("feeder f1 carries {:.0} A", 2.0 * limit_a)
    );
    // What is no number is no reading.
    let mut run = small_running();
    run.tick_with(|observation| observation.feeders[0].amps = Some(f64::NAN));
    assert!(run.state.trips.latches.is_empty());
}

#[test]
fn a_meter_below_what_its_machines_draw_proves_no_curtailment() {
    for wrong_kw in [0.0, -42.0, 8.0] {
        let mut run = small_running();
        let wrong = |observation: &mut Observation| {
            if let Some(meter) = &mut observation.site_meter {
                meter.kw = wrong_kw;
            }
        };
        run.ask(Level::Curtail, Some(14.0));
        run.signal_period_ms = 5_000;
        let mut obeyed = None;
        for step in 0..60 {
            let decision = run.tick_with(wrong);
            if decision.after.power == PowerRegion::Curtailed && obeyed.is_none() {
                obeyed = Some((step, run.plant.site_kw()));
            }
            if step == 0 {
                // From the first such reading on it is an estimate.
                assert_eq!(decision.quality, Quality::Estimated, "{wrong_kw}");
                assert!(decision.measured_kw > 38.0, "{}", decision.measured_kw);
            }
            if step == 2 {
                assert_eq!(run.state.inputs.health("meter/site"), Health::Failed);
                assert!(run.has_notice("failed/meter/site"));
            }
        }
        let (_, site_kw) = obeyed.expect("it is curtailed in the end");
        assert!(site_kw <= 14.0, "{wrong_kw}: curtailed at {site_kw} kW");
    }
    // One that says what it should is used again.
    let mut run = small_running();
    for _ in 0..5 {
        run.tick_with(|observation| observation.site_meter.as_mut().unwrap().kw = 0.0);
    }
    run.seconds(15);
    assert_eq!(run.tick().quality, Quality::Measured);
    assert_eq!(run.state.inputs.health("meter/site"), Health::Fresh);
}

fn curtailed(cap_kw: f64) -> Run {
    let mut run = small_running();
    run.ask(Level::Curtail, Some(cap_kw));
    let reached = run.until(600, |run| run.region() == PowerRegion::Curtailed);
    assert!(reached.is_some());
    run.seconds(300);
    run.commands.clear();
    run
}

fn stops(run: &Run) -> usize {
    let is_stop = |target: &Target| matches!(target, Target::Machine(_));
    let own = run.commands.iter();
    own.filter(|one| one.action == Action::Off && is_stop(&one.target))
        .count()
}

#[test]
fn a_meter_that_said_too_much_teaches_nothing_of_the_rest() {
    for wrong_kw in [80.0, 400.0, 1e300] {
        let mut run = small_running();
        let before_kw = run.state.metering.auxiliary_kw;
        for _ in 0..3 {
            run.tick_with(|observation| observation.site_meter.as_mut().unwrap().kw = wrong_kw);
        }
        let learned_kw = run.state.metering.auxiliary_kw;
        assert!((learned_kw - before_kw).abs() < 0.1, "{learned_kw} kW");
        // So the estimate without the meter stops no more than it must.
        run.plant.faults.is_meter_silent = true;
        run.ask(Level::Curtail, Some(20.0));
        let reached = run.until(600, |run| run.region() == PowerRegion::Curtailed);
        assert!(reached.is_some());
        run.seconds(300);
        let site_kw = run.plant.site_kw();
        assert!((14.0..=20.0).contains(&site_kw), "{wrong_kw}: {site_kw} kW");
    }
    // A load that came to stay is learned.
    let mut run = small_running();
    run.plant.config.auxiliary_kw += 4.0;
    run.seconds(900);
    let learned_kw = run.state.metering.auxiliary_kw;
    assert!((5.5..7.0).contains(&learned_kw), "{learned_kw} kW");
}

#[test]
fn one_reading_far_too_high_stops_nothing_and_a_second_one_does() {
    let mut run = curtailed(25.0);
    let decision = run.tick_with(|observation| observation.site_meter.as_mut().unwrap().kw = 400.0);
    assert_eq!(decision.quality, Quality::Estimated);
    run.seconds(60);
    let doubted = stops(&run);
    assert!(doubted <= 1, "{doubted} machines were stopped");
    for _ in 0..2 {
        run.tick_with(|observation| observation.site_meter.as_mut().unwrap().kw = 400.0);
    }
    assert!(stops(&run) > 5, "{}", stops(&run));
}

#[test]
fn what_no_machine_can_draw_is_no_reading_and_a_sign_is_not_believed() {
    let mut run = small_running();
    run.tick_with(|observation| observation.machines[0].power_w *= -1.0);
    assert_eq!(run.state.machines[0].phase, MachinePhase::Running);
    assert!(run.state.machines[0].power_w.unwrap() > 2_000.0);
    // One machine whose numbers are nonsense keeps no other from being stopped.
    for nonsense in [f64::INFINITY, f64::NAN, -1e300, 1e9] {
        let mut run = small_running();
        run.ask(Level::Emergency, None);
        for _ in 0..60 {
            run.tick_with(|observation| observation.machines[0].power_w = nonsense);
        }
        let site_kw = run.plant.site_kw();
        assert!(site_kw < 5.0, "{nonsense}: {site_kw} kW");
    }
}

#[test]
fn fans_whose_relays_fell_off_by_themselves_are_started_again() {
    let mut run = small_running();
    run.plant.faults.is_container_silent = true;
    run.plant.faults.are_fans_silent = true;
    let all = run.until(120, |run| run.plant.fans.iter().all(|is_on| *is_on));
    assert!(all.is_some());
    // The relay box lost its power for a moment, and comes back with all outlets off.
    run.plant.fans = vec![false; 4];
    let again = run.until(120, |run| run.plant.fans.iter().all(|is_on| *is_on));
    assert!(again.is_some_and(|seconds| seconds <= 45), "{again:?}");
    // One that somebody switched on is known to run, and stopped when it is not wanted.
    let mut run = small_running();
    let off = run.plant.fans.iter().position(|is_on| !is_on).unwrap();
    run.plant.fans[off] = true;
    run.seconds(15);
    assert!(run.state.fans.fans[off].is_on);
    let wanted = run.state.fans.wanted;
    run.seconds(300);
    let on = run.plant.fans.iter().filter(|is_on| **is_on).count();
    assert!(on <= wanted.max(run.state.fans.wanted), "{on} {wanted}");
}
