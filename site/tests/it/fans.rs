//! Fans: stages, motors, hunting, rotation, exercise and cooling after a stop.

use headframe_site::command::{Action, CommandReport, Progress, Target};
use headframe_site::control::Observation;
use headframe_site::control::decision::DecisionRecord;
use headframe_site::control::order::{Order, Scope};
use headframe_site::control::thermal::ThermalRegion;
use headframe_site::plant::{ContainerConfig, PlantConfig};
use headframe_site::random::Random;
use headframe_site::request::Level;

use crate::run::{Run, policy, small, small_policy};

/// Commands that switched fans, with their times in seconds.
fn switches(run: &Run) -> Vec<(u64, u8, bool)> {
    let of_fan = run.commands.iter().filter_map(|one| match one.target {
        Target::Fan(number) => Some((one.at.elapsed_ms / 1_000, number, one.action == Action::On)),
        _ => None,
    });
    of_fan.collect()
}

#[test]
fn at_a_steady_load_fans_change_at_most_twice_an_hour() {
    let mut worst = 0;
    for outside_c in [-15.0, -5.0, 0.0, 5.0, 10.0, 14.0, 18.0, 22.0] {
        let config = PlantConfig {
            container: ContainerConfig {
                outside_c,
                swing_c: 0.0,
                ..ContainerConfig::default()
            },
            ..PlantConfig::default()
        };
        let mut run = Run::new(config, policy());
        let mut random = Random(3);
        for _ in 0..6 * 720 {
            run.tick_with(|observation| {
                for one in &mut observation.temperatures {
                    one.celsius += 0.7 * random.signed() - 0.0;
                }
                *observation = std::mem::take(observation).rounded();
            });
        }
        let settled: Vec<u64> = switches(&run)
            .iter()
            .map(|(at, _, _)| *at)
            .filter(|at| *at > 3_600)
            .collect();
        for begin in &settled {
            let within = settled
                .iter()
                .filter(|at| (*begin..begin + 3_600).contains(*at))
                .count();
            worst = worst.max(within);
        }
        println!(
            "{outside_c} outside: {} changes in five hours, {:.1} inside, {} fans",
            settled.len(),
            run.plant.container.inside_c,
            run.state.fans.sound_on()
        );
    }
    assert!(worst <= 2, "{worst} changes within an hour");
}

#[test]
fn starts_are_five_seconds_apart_and_all_fans_run_when_it_is_hot() {
    let mut run = Run::steady(small(), small_policy());
    run.commands.clear();
    let hot = |observation: &mut Observation| {
        for one in &mut observation.temperatures {
            one.celsius = 36.0;
        }
    };
    for _ in 0..12 {
        run.tick_with(hot);
    }
    assert_eq!(run.state.thermal.region, ThermalRegion::Hot);
    assert_eq!(run.state.fans.sound_on(), 4);
    let starts = switches(&run);
    assert!(
        starts.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 5),
        "{starts:?}"
    );
    assert!(run.has_notice("temperature/hot"));
}

#[test]
fn fans_go_on_for_five_minutes_after_machines_stopped_or_until_boards_are_cool() {
    let mut run = Run::steady(small(), small_policy());
    run.plant.config.container.outside_c = 20.0;
    run.seconds(1_800);
    let before = run.state.fans.sound_on();
    assert!(before >= 2, "{before}");
    run.plant.config.container.outside_c = -25.0;
    run.signal_period_ms = 5_000;
    run.ask(Level::Emergency, Some(0.0));
    run.until(120, |run| {
        run.plant.machines.iter().all(|one| one.power_w < 100.0)
    })
    .unwrap();
    run.seconds(240);
    assert!(run.state.fans.sound_on() >= before, "cooling goes on");
    run.seconds(1_200);
    assert_eq!(
        run.state.fans.sound_on(),
        0,
        "{:?}",
        run.state.thermal.region
    );
}

#[test]
fn fans_change_places_every_day_and_rested_ones_are_exercised_every_week() {
    let mut config = small();
    config.container.swing_c = 0.0;
    let mut policy = small_policy();
    policy.health.temperature_period_s = 60;
    policy.health.meter_period_s = 60;
    policy.health.interlock_period_s = 60;
    policy.health.fan_period_s = 60;
    policy.signals.sources.clear();
    let mut run = Run::steady(config, policy);
    run.commands.clear();
    let begun_s = run.now.elapsed_ms / 1_000;
    for _ in 0..8 * 1_440 {
        run.now = run.now.plus_ms(55_000);
        run.tick();
    }
    let hours: Vec<u64> = run
        .state
        .fans
        .fans
        .iter()
        .map(|fan| fan.run_ms / 3_600_000)
        .collect();
    println!("hours of fans after eight days: {hours:?}");
    assert!(
        hours.iter().all(|hours| *hours > 0),
        "every fan ran: {hours:?}"
    );
    let daily = switches(&run)
        .iter()
        .filter(|(at, _, on)| *on && *at > begun_s)
        .count();
    assert!((7..=40).contains(&daily), "{daily}");
}

#[test]
fn below_ten_degrees_all_fans_stop_and_humid_cool_air_gets_pulses() {
    let mut run = Run::steady(small(), small_policy());
    let air = |celsius: f64, pct: f64| {
        move |observation: &mut Observation| {
            for one in &mut observation.temperatures {
                one.celsius += celsius - 24.0;
            }
            for one in &mut observation.humidity {
                one.pct = pct;
            }
        }
    };
    let inside_c = run.plant.container.inside_c;
    run.plant.config.container.capacity_j_k = 1e15;
    run.plant.container.inside_c = 24.0;
    assert!((10.0..34.0).contains(&inside_c));
    for step in 0..60 {
        run.tick_with(air(24.0 - f64::from(step) * 0.25, 50.0));
    }
    for _ in 0..120 {
        run.tick_with(air(9.0, 50.0));
    }
    assert_eq!(run.state.thermal.region, ThermalRegion::Cold);
    assert_eq!(run.state.fans.sound_on(), 0);
    for machine in &mut run.plant.machines {
        machine.cut(0);
    }
    run.commands.clear();
    for _ in 0..720 {
        run.tick_with(air(12.0, 85.0));
    }
    let starts = switches(&run).iter().filter(|(_, _, on)| *on).count();
    println!("{starts} pulses in an hour");
    assert!((2..=5).contains(&starts), "{starts}");
    assert!(run.has_notice("humidity/high"));
    let decision = run.tick();
    let known = |decision: &DecisionRecord| {
        let mut inputs = decision.inputs.iter();
        inputs.any(|one| one.source == "humidity")
    };
    assert!(known(&decision));
    for _ in 0..240 {
        run.tick_with(|observation| observation.humidity.clear());
    }
    let decision = run.tick_with(|observation| observation.humidity.clear());
    assert!(!known(&decision), "an old reading is not used for ever");
}

#[test]
fn where_people_work_a_fan_that_did_not_start_is_not_told_again() {
    for is_locked in [false, true] {
        let mut run = Run::steady(small(), small_policy());
        run.commands.clear();
        // No relay follows, and every fan is wanted.
        let heat = |observation: &mut Observation| {
            for fan in &mut observation.fans {
                fan.is_on = fan.is_on.map(|_| false);
            }
            let is_word = |report: &CommandReport| report.progress == Progress::Verified;
            observation.reports.retain(|report| !is_word(report));
            for one in &mut observation.temperatures {
                one.celsius += 12.0;
            }
        };
        run.tick_with(heat);
        let starts = |run: &Run| switches(run).iter().filter(|(_, _, on)| *on).count();
        assert!(starts(&run) > 0);
        run.commands.clear();
        if is_locked {
            run.orders.push(Order::Lockout {
                by: "ann".to_owned(),
                reason: "a new fan".to_owned(),
                scope: Scope::Site,
            });
        }
        for _ in 0..12 {
            run.tick_with(heat);
        }
        assert_eq!(starts(&run) == 0, is_locked, "{}", starts(&run));
    }
}
