//! Each row of the failsafe table: the stated action within the stated time, with its notice.

use headframe_site::command::{Action, CommandReport, Path, Progress, Target};
use headframe_site::control::Observation;
use headframe_site::control::health::Health;
use headframe_site::control::metering::Quality;
use headframe_site::control::observation::{InterlockKind, InterlockReading};
use headframe_site::control::order::Order;
use headframe_site::control::policy::OnLoss;
use headframe_site::control::power::PowerRegion;
use headframe_site::request::{Level, SignalClass, SignalReading, SignalValue};

use crate::run::{Run, small, small_policy, small_running};

#[test]
fn a_lost_signal_is_held_said_when_late_and_means_curtail_after_three_reads() {
    let mut run = small_running();
    run.is_signal_silent = true;
    let late = run
        .until(300, |run| run.has_notice("late/signal/utility"))
        .unwrap();
    assert!((5..=130).contains(&late), "{late}");
    assert_eq!(run.region(), PowerRegion::Running);
    let stale = run
        .until(300, |run| run.region() == PowerRegion::Curtailing)
        .unwrap();
    assert!((230..=245).contains(&stale), "{stale}");
    assert!(run.has_notice("stale/signal/utility"));
    assert!(run.until(120, |run| run.plant.site_kw() <= 10.0).is_some());
}

#[test]
fn a_lost_signal_that_means_hold_changes_nothing() {
    let mut policy = small_policy();
    policy.signals.sources.get_mut("utility").unwrap().on_loss = Some(OnLoss::Hold);
    let mut run = Run::steady(small(), policy);
    run.is_signal_silent = true;
    run.seconds(1_800);
    assert_eq!(run.region(), PowerRegion::Running);
    assert!(run.has_notice("stale/signal/utility"));
}

#[test]
fn a_signal_that_is_not_understood_is_never_taken_for_normal() {
    let mut run = small_running();
    run.ask(Level::Curtail, None);
    assert!(
        run.until(600, |run| run.region() == PowerRegion::Curtailed)
            .is_some()
    );
    run.is_signal_silent = true;
    for _ in 0..300 {
        let at = run.now;
        run.tick_with(|observation| {
            observation.signals.push(SignalReading {
                source: "utility".to_owned(),
                class: SignalClass::Contract,
                read_at: at,
                value: SignalValue::Unknown("no number on the page".to_owned()),
            });
        });
    }
    assert_eq!(run.region(), PowerRegion::Curtailed);
    assert!(run.has_notice("late/signal/utility"));
}

/// Temperature of the container lost: all fans within a loop, half power after 15 minutes, stop
/// after 30.
fn container_is_lost(mut run: Run) {
    let before_kw = run.plant.site_kw();
    let fans = run
        .until(120, |run| run.state.fans.sound_on() == 4)
        .unwrap();
    assert!(fans <= 120, "{fans}");
    run.seconds(900 - fans - 60);
    assert!(
        run.plant.site_kw() > 0.9 * before_kw,
        "power is held for fifteen minutes"
    );
    run.seconds(300);
    let half_kw = 0.5 * run.site.plan.design_kw;
    assert!(run.plant.site_kw() <= half_kw, "{}", run.plant.site_kw());
    run.seconds(900);
    let machines_w: f64 = run.plant.machines.iter().map(|one| one.power_w).sum();
    assert!(machines_w < 1_000.0, "{machines_w}");
    assert!(run.has_notice("temperature/lost"));
}

#[test]
fn silent_sensors_start_all_fans_then_halve_and_stop_the_site() {
    let mut run = small_running();
    run.plant.faults.is_container_silent = true;
    container_is_lost(run);
}

#[test]
fn sensors_that_contradict_the_machines_are_not_believed() {
    let mut run = small_running();
    // So slowly that it is no jump.
    for _ in 0..60 {
        run.plant.faults.offset_c -= 0.2;
        run.tick();
        if run.has_notice("failed/temperature/north") && run.has_notice("failed/temperature/south")
        {
            break;
        }
    }
    run.plant.faults.offset_c -= 3.0;
    assert_eq!(run.state.inputs.health("temperature/north"), Health::Failed);
    assert!(run.has_notice("failed/temperature/north"));
    container_is_lost(run);
}

#[test]
fn a_stuck_sensor_is_not_believed_after_an_hour() {
    let mut run = small_running();
    let stick = |run: &mut Run| {
        run.tick_with(|observation| {
            for one in &mut observation.temperatures {
                if one.sensor == "north" {
                    one.celsius = 24.0;
                }
            }
        });
    };
    for _ in 0..710 {
        stick(&mut run);
    }
    assert_ne!(run.state.inputs.health("temperature/north"), Health::Failed);
    for _ in 0..15 {
        stick(&mut run);
    }
    assert_eq!(run.state.inputs.health("temperature/north"), Health::Failed);
    // The other sensor stands for it: nothing else happens.
    assert_eq!(run.region(), PowerRegion::Running);
}

#[test]
fn a_sensor_that_jumps_is_not_believed() {
    let mut run = small_running();
    run.tick_with(|observation| {
        for one in &mut observation.temperatures {
            if one.sensor == "north" {
                one.celsius += 7.0;
            }
        }
    });
    assert_eq!(run.state.inputs.health("temperature/north"), Health::Failed);
    assert!(run.has_notice("failed/temperature/north"));
    run.seconds(400);
    assert_eq!(run.state.inputs.health("temperature/north"), Health::Fresh);
}

#[test]
fn without_any_temperature_all_fans_run_and_nothing_is_started() {
    let mut run = small_running();
    run.ask(Level::Curtail, None);
    assert!(
        run.until(600, |run| run.region() == PowerRegion::Curtailed)
            .is_some()
    );
    run.seconds(1_200);
    run.plant.faults.is_container_silent = true;
    run.plant.faults.is_air_silent = true;
    let blind = run
        .until(60, |run| run.has_notice("temperature/blind"))
        .unwrap();
    assert!(blind <= 40, "{blind}");
    assert!(
        run.until(60, |run| run.state.fans.sound_on() == 4)
            .is_some()
    );
    run.ask(Level::Normal, None);
    let sent = run.commands.len();
    run.seconds(1_200);
    let starts = run.commands[sent..]
        .iter()
        .filter(|one| one.action == Action::On && matches!(one.target, Target::Machine(_)));
    assert_eq!(starts.count(), 0);
}

#[test]
fn without_watts_of_fans_one_more_runs() {
    let mut run = small_running();
    let before = run.state.fans.wanted;
    assert!(before < 4, "{before}");
    run.plant.faults.are_fans_silent = true;
    assert!(
        run.until(60, |run| run.has_notice("fans/unverified"))
            .is_some()
    );
    run.seconds(10);
    assert_eq!(run.state.fans.wanted, before + 1);
}

#[test]
fn a_fan_without_watts_is_noticed_within_a_minute_and_replaced() {
    for number in 1..=4_u8 {
        let mut run = small_running();
        // It is hot outside: every fan is wanted.
        run.plant.config.container.outside_c = 24.0;
        run.plant.config.container.swing_c = 0.0;
        run.until(3_600, |run| run.state.fans.sound_on() >= 2)
            .unwrap();
        let on: Vec<usize> = (0..4).filter(|at| run.state.fans.fans[*at].is_on).collect();
        let broken = on[usize::from(number) % on.len()];
        let before = run.state.fans.sound_on();
        run.plant.faults.broken_fans.push(broken as u8 + 1);
        let topic = format!("fan/{}/fault", broken + 1);
        let noticed = run.until(120, |run| run.has_notice(&topic)).unwrap();
        assert!(noticed <= 65, "{noticed}");
        run.seconds(10);
        assert!(
            run.state.fans.sound_on() >= before.min(3),
            "the next fan was started"
        );
    }
}

#[test]
fn three_faulty_fans_cap_the_site_at_seventy_per_cent() {
    let mut run = small_running();
    run.plant.faults.is_container_silent = true;
    run.until(120, |run| run.state.fans.sound_on() == 4)
        .unwrap();
    run.plant.faults.broken_fans = vec![1, 2, 3];
    run.until(120, |run| run.state.fans.faults() == 3).unwrap();
    let limit_kw = 0.7 * run.site.plan.design_kw;
    assert!(
        run.until(120, |run| run.plant.site_kw() <= limit_kw)
            .is_some()
    );
}

#[test]
fn without_the_meter_power_is_estimated_with_five_per_cent_more() {
    let mut run = small_running();
    run.plant.faults.is_meter_silent = true;
    run.seconds(30);
    let decision = run.tick();
    assert_eq!(decision.quality, Quality::Estimated);
    let real_kw = run.plant.site_kw();
    assert!(decision.measured_kw > real_kw && decision.measured_kw < 1.08 * real_kw);
    assert!(run.has_notice("meter/estimated"));
    run.ask(Level::Curtail, Some(20.0));
    run.seconds(400);
    assert!(run.plant.site_kw() <= 20.0);
    assert_eq!(run.region(), PowerRegion::Curtailed);
}

#[test]
fn without_foreman_a_machine_is_asked_directly_and_then_cut() {
    let mut config = small();
    config.dead_share = 1.0;
    let mut run = Run::steady(config, small_policy());
    run.ask(Level::Emergency, None);
    run.signal_period_ms = 5_000;
    run.state.inputs.read("signal/utility", run.now);
    let trouble = |observation: &mut headframe_site::control::Observation| {
        observation.foreman_trouble = Some("503".to_owned());
    };
    for _ in 0..20 {
        run.tick_with(trouble);
    }
    assert!(run.has_notice("foreman/lost"));
    let first = Target::Machine("m000".to_owned());
    let paths: Vec<Path> = run
        .commands
        .iter()
        .filter(|one| one.target == first)
        .map(|one| one.path)
        .collect();
    assert_eq!(paths, [Path::Device, Path::Device, Path::Outlet]);
    assert!(run.plant.machines.iter().all(|one| !one.is_fed()));
}

#[test]
fn a_device_that_fails_is_asked_by_foreman_then_cut() {
    let mut config = small();
    config.dead_share = 1.0;
    let mut run = Run::steady(config, small_policy());
    run.signal_period_ms = 5_000;
    run.ask(Level::Emergency, None);
    run.seconds(60);
    let first = Target::Machine("m000".to_owned());
    let paths = run
        .commands
        .iter()
        .filter(|one| one.target == first)
        .map(|one| one.path);
    assert_eq!(
        paths.collect::<Vec<_>>(),
        [Path::Device, Path::Foreman, Path::Outlet]
    );
}

/// A smoke detector that says that all is well, unless it is silent.
fn smoke(run: &Run, observation: &mut Observation) {
    observation.interlocks.push(InterlockReading {
        input: "smoke".to_owned(),
        kind: InterlockKind::Smoke,
        is_tripped: false,
        at: run.now,
    });
}

#[test]
fn a_lost_interlock_starts_nothing_then_halves_and_stops_the_site_and_is_no_trip() {
    let mut run = small_running();
    let tick = |run: &mut Run, is_silent: bool| {
        let before = run.clone();
        run.tick_with(|observation| {
            if !is_silent {
                smoke(&before, observation);
            }
        });
    };
    tick(&mut run, false);
    let before_kw = run.plant.site_kw();
    let silent = |run: &mut Run, seconds: u64| {
        for _ in 0..seconds / 5 {
            tick(run, true);
        }
    };
    silent(&mut run, 60);
    assert!(run.has_notice("interlock/lost"));
    assert_eq!(run.region(), PowerRegion::Running);
    silent(&mut run, 800);
    assert!(run.plant.site_kw() > 0.9 * before_kw, "power is held");
    silent(&mut run, 200);
    let half_kw = 0.5 * run.site.plan.design_kw;
    assert!(run.plant.site_kw() <= half_kw, "{}", run.plant.site_kw());
    silent(&mut run, 900);
    let machines_w = |run: &Run| -> f64 { run.plant.machines.iter().map(|one| one.power_w).sum() };
    assert!(machines_w(&run) < 1_000.0, "{}", machines_w(&run));
    assert!(run.state.trips.latches.is_empty());
    // It is read again: power comes back without anybody.
    for _ in 0..700 {
        tick(&mut run, false);
    }
    assert_eq!(run.region(), PowerRegion::Running);
    // One that is bypassed asks for nothing; its bypass ends by itself.
    run.orders.push(Order::Bypass {
        by: "ann".to_owned(),
        input: "interlock/smoke".to_owned(),
        for_s: 2_400,
        reason: "the sensor is replaced; I stand beside it".to_owned(),
    });
    silent(&mut run, 2_300);
    assert_eq!(run.region(), PowerRegion::Running);
    silent(&mut run, 300);
    assert!(machines_w(&run) < 1_000.0, "{}", machines_w(&run));
}

#[test]
fn a_relay_without_read_back_is_written_four_times_and_said() {
    let mut run = small_running();
    run.plant.faults.is_container_silent = true;
    for _ in 0..30 {
        run.tick_with(|observation| {
            for one in &mut observation.fans {
                one.is_on = None;
            }
            let is_fan = |report: &CommandReport| report.progress == Progress::Verified;
            observation.reports.retain(|report| !is_fan(report));
        });
    }
    let said = run
        .notices
        .iter()
        .find(|one| one.topic.ends_with("/relay"))
        .unwrap();
    let number = said.topic.split('/').nth(1).unwrap().parse().unwrap();
    let fan = Target::Fan(number);
    let writes = run
        .commands
        .iter()
        .filter(|one| one.target == fan && one.action == Action::On);
    assert_eq!(writes.count(), 4);
}

#[test]
fn a_clock_that_steps_marks_reports_and_moves_no_timer() {
    let mut run = small_running();
    run.ask(Level::Curtail, None);
    run.until(600, |run| run.region() == PowerRegion::Curtailed)
        .unwrap();
    run.now.utc_us += 7_200_000_000;
    let decision = run.tick_with(|observation| observation.clock.stepped_s = Some(7_200.0));
    assert!(decision.is_clock_doubtful);
    assert!(run.has_notice("clock/doubtful"));
    run.ask(Level::Normal, None);
    run.seconds(120);
    assert_eq!(
        run.region(),
        PowerRegion::Curtailed,
        "the least time off counts elapsed time"
    );
    let decision = run.tick_with(|observation| observation.clock.unsynchronised_s = Some(601));
    assert!(decision.is_clock_doubtful);
}

#[test]
fn machines_whose_power_is_not_read_are_taken_for_running_and_stop_by_their_word() {
    let mut run = small_running();
    let silent = |observation: &mut headframe_site::control::Observation| {
        observation.machines.clear();
    };
    for _ in 0..12 {
        run.tick_with(silent);
    }
    assert!(run.state.machines.iter().all(|one| one.power_w.is_none()));
    run.signal_period_ms = 5_000;
    run.ask(Level::Emergency, None);
    for _ in 0..24 {
        run.tick_with(silent);
    }
    assert!(run.plant.site_kw() <= 10.0, "{}", run.plant.site_kw());
    assert_eq!(run.region(), PowerRegion::Curtailed);
}

#[test]
fn what_the_supervising_loop_finds_is_said_until_it_finds_nothing() {
    use headframe_site::control::observation::Supervision;
    let mut run = small_running();
    let found = |stuck: &[&str], unread: &[&str]| {
        let names = |all: &[&str]| all.iter().map(|one| (*one).to_owned()).collect();
        Some(Supervision {
            is_advancing: true,
            stuck: names(stuck),
            unread: names(unread),
        })
    };
    run.tick_with(|seen| seen.supervision = found(&["fan 2 (command 7)"], &["meter/site"]));
    let said = run
        .notices
        .iter()
        .find(|one| one.topic == "supervisor/commands")
        .unwrap();
    assert!(said.text.contains("fan 2 (command 7)"), "{said:?}");
    assert!(run.has_notice("supervisor/inputs"));
    run.notices.clear();
    // It stands until it looks again, and is then over.
    run.seconds(115);
    assert!(!run.has_notice("supervisor/commands"));
    run.tick_with(|seen| seen.supervision = found(&[], &[]));
    run.seconds(70);
    let over = run
        .notices
        .iter()
        .find(|one| one.topic == "supervisor/commands")
        .unwrap();
    assert!(over.title.starts_with("over:"), "{over:?}");
}
