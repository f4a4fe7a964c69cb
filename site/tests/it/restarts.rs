//! Starts: everything is read back first, and nothing is asserted.

use headframe_site::command::Target;
use headframe_site::control::power::PowerRegion;
use headframe_site::control::thermal::ThermalRegion;
use headframe_site::control::{Site, State};
use headframe_site::request::Level;

use crate::run::{Run, small, small_policy, small_running};

#[test]
fn a_restart_reads_back_first_and_asserts_nothing() {
    let mut run = small_running();
    run.ask(Level::Curtail, None);
    run.until(600, |run| run.region() == PowerRegion::Curtailed)
        .unwrap();
    run.ask(Level::Normal, None);
    run.until(2_000, |run| run.region() == PowerRegion::Running)
        .unwrap();
    run.state = run.state.clone().after_restart(&run.site, run.now);
    let switched = |run: &Run| {
        let commands = run.commands.iter();
        commands
            .filter(|one| matches!(one.target, Target::Machine(_)))
            .count()
    };
    let sent = switched(&run);
    assert_eq!(run.region(), PowerRegion::Boot);
    run.tick();
    assert_eq!(run.region(), PowerRegion::SelfTest);
    run.until(60, |run| run.region() == PowerRegion::HoldOff)
        .unwrap();
    let held = run
        .until(600, |run| run.region() == PowerRegion::Restoring)
        .unwrap();
    assert!((300..=365).contains(&held), "{held}");
    assert_eq!(switched(&run), sent, "nothing was switched");
    assert!(
        run.until(60, |run| run.region() == PowerRegion::Running)
            .is_some()
    );
}

#[test]
fn a_restart_within_an_event_goes_on_with_it() {
    let mut run = small_running();
    run.ask(Level::Curtail, None);
    run.until(600, |run| run.region() == PowerRegion::Curtailed)
        .unwrap();
    run.state = run.state.clone().after_restart(&run.site, run.now);
    run.seconds(1_800);
    assert!(run.plant.site_kw() <= 10.0);
    run.ask(Level::Normal, None);
    assert!(
        run.until(3_600, |run| run.region() == PowerRegion::Running)
            .is_some()
    );
}

#[test]
fn a_self_test_that_does_not_pass_is_said_and_stays() {
    let mut run = Run::new(small(), small_policy());
    run.plant.faults.is_container_silent = true;
    run.seconds(600);
    assert_eq!(run.region(), PowerRegion::SelfTest);
    assert!(run.has_notice("self_test/degraded"));
}

#[test]
fn a_gap_of_steps_is_said() {
    let mut run = small_running();
    run.now = run.now.plus_ms(400_000);
    run.tick();
    assert!(run.has_notice("controller/gap"));
}

#[test]
fn a_state_for_another_plan_is_read_anew() {
    let run = small_running();
    let mut plan = run.site.plan.clone();
    plan.machines.pop();
    let site = Site::new(run.site.policy.clone(), plan).unwrap();
    let state: State = run.state.clone().after_restart(&site, run.now);
    assert_eq!(state.machines.len(), 11);
    assert_eq!(state.thermal.region, ThermalRegion::Unknown);
    assert_eq!(state.counters, run.state.counters);
}
