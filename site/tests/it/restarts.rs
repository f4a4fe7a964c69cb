//! Starts: everything is read back first, and nothing is asserted.

use headframe_site::command::{Action, Target};
use headframe_site::control::power::PowerRegion;
use headframe_site::control::thermal::ThermalRegion;
use headframe_site::control::{Observation, Site, State};
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
fn temperatures_that_had_no_time_to_be_read_are_not_said_to_be_lost() {
    let unread = |run: &mut Run| {
        run.tick_with(|observation| observation.temperatures.clear());
    };
    let is_said =
        |run: &Run| run.has_notice("temperature/blind") || run.has_notice("temperature/lost");
    let mut run = Run::new(small(), small_policy());
    for _ in 0..6 {
        unread(&mut run);
        assert!(!is_said(&run), "{}", run.now.elapsed_ms);
    }
    // They come, and nothing was ever wrong.
    let mut read = run.clone();
    read.seconds(120);
    assert!(!is_said(&read));
    assert_eq!(read.region(), PowerRegion::HoldOff);
    // They do not come: that is said once they are late.
    for _ in 0..4 {
        unread(&mut run);
    }
    assert!(run.has_notice("temperature/blind"));
    // The same after a restart.
    let mut run = small_running();
    let before = run.notices.len();
    run.state = run.state.clone().after_restart(&run.site, run.now);
    for _ in 0..6 {
        unread(&mut run);
    }
    let new = run.notices[before..].iter();
    let of_air: Vec<_> = new
        .filter(|one| one.topic.starts_with("temperature/"))
        .collect();
    assert!(of_air.is_empty(), "{of_air:?}");
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

/// A start while power is below its cap: what the first readings would say is waited for.
#[test]
fn a_restart_below_its_cap_stops_nothing_before_it_has_read() {
    let mut run = small_running();
    run.ask(Level::Curtail, Some(20.0));
    run.until(600, |run| run.region() == PowerRegion::Curtailed)
        .unwrap();
    run.seconds(60);
    run.state = run.state.clone().after_restart(&run.site, run.now);
    let (begun, running) = (run.clone(), run.plant.site_kw());
    let nothing = |observation: &mut Observation| {
        observation.site_meter = None;
        observation.machines.clear();
    };
    let stops = |run: &Run| {
        let commands = run.commands[begun.commands.len()..].iter();
        let stops = commands.filter(|one| matches!(one.target, Target::Machine(_)));
        stops.filter(|one| one.action == Action::Off).count()
    };
    for _ in 0..2 {
        run.tick_with(nothing);
    }
    run.seconds(120);
    assert_eq!(stops(&run), 0, "{:?}", run.region());
    assert!((run.plant.site_kw() - running).abs() < 1.0);
    // Without readings for longer the estimate counts, and in an emergency at once.
    let mut blind = begun.clone();
    for _ in 0..5 {
        blind.tick_with(nothing);
    }
    assert!(stops(&blind) > 0, "{:?}", blind.region());
    let mut urgent = begun.clone();
    urgent.ask(Level::Emergency, Some(20.0));
    urgent.signal_read_ms = None;
    for _ in 0..3 {
        urgent.tick_with(nothing);
    }
    assert!(stops(&urgent) > 0, "{:?}", urgent.region());
    // Who was still on the way to a target has no time to lose.
    let mut late = small_running();
    late.ask(Level::Curtail, Some(20.0));
    late.until(600, |run| run.region() == PowerRegion::Curtailing)
        .unwrap();
    late.state = late.state.clone().after_restart(&late.site, late.now);
    for _ in 0..2 {
        late.tick_with(nothing);
    }
    assert_eq!(late.region(), PowerRegion::Curtailing);
}
