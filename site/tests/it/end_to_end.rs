//! From a signal to machines that stop, metered proof, and safe restart.

use headframe_site::command::Action;
use headframe_site::control::power::PowerRegion;
use headframe_site::plant::PlantConfig;
use headframe_site::request::Level;

use crate::run::{Run, policy};

#[test]
fn a_signal_stops_machines_proves_it_by_metering_and_starts_them_again() {
    let mut run = Run::steady(PlantConfig::default(), policy());
    assert!(
        run.commands
            .iter()
            .all(|command| !matches!(command.target, headframe_site::command::Target::Machine(_)))
    );
    let before_kw = run.plant.site_kw();
    run.ask(Level::Curtail, Some(500.0));
    let curtailed = run.until(600, |run| run.region() == PowerRegion::Curtailed);
    println!(
        "curtailed after {curtailed:?} s at {:.1} kW",
        run.plant.site_kw()
    );
    assert!(
        curtailed.is_some_and(|seconds| seconds <= 90),
        "{curtailed:?}"
    );
    let decision = run.tick();
    println!("{}", decision.reason);
    assert!(
        decision
            .reason
            .starts_with("curtailed to 500 kW: utility asks CURTAIL since 1")
    );
    for _ in 0..240 {
        assert_eq!(run.tick().failed_commands, 0);
        assert!(run.plant.site_kw() <= 500.0, "{}", run.plant.site_kw());
        // No more machines were stopped than that takes: the largest draws less than 10 kW.
        assert!(run.plant.site_kw() > 480.0, "{}", run.plant.site_kw());
    }
    let sent = run.commands.len();
    run.ask(Level::Normal, None);
    let restored = run.until(3_600, |run| run.region() == PowerRegion::Running);
    println!(
        "restored after {restored:?} s at {:.1} kW",
        run.plant.site_kw()
    );
    assert!(restored.is_some());
    assert!(run.has_notice("heartbeat"));
    let on = run.commands[sent..]
        .iter()
        .filter(|command| command.action == Action::On)
        .count();
    assert!(on > 100, "{on}");
    assert!((run.plant.site_kw() - before_kw).abs() < 0.02 * before_kw);
}
