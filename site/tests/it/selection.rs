//! Which machines a limit stops: the limit of an energy allocation, energy that is paid for, what
//! is promised to owners, and machines that only safety stops.

use headframe_site::command::{Action, Target};
use headframe_site::control::machine::{MachinePhase, MachineState};
use headframe_site::control::order::{Order, Scope};
use headframe_site::control::power::PowerRegion;
use headframe_site::control::restore::{Bounds, RestoreState, start_group};
use headframe_site::control::selection::{SelectionGoal, cost_j_th, select};
use headframe_site::control::site_plan::FeederPlan;
use headframe_site::control::{Policy, Site, SitePlan, State};
use headframe_site::plant::{Interface, PlantConfig};
use headframe_site::request::{Level, SignalClass};

use crate::run::{Run, START, small, small_policy, small_running};

/// Machines of 3 kW each, alike but for what a test changes, and all at work.
fn alike(count: usize, change: impl FnOnce(&mut SitePlan)) -> (Site, Vec<MachineState>) {
    let mut plan = PlantConfig {
        machines: count,
        ..small()
    }
    .plan();
    for machine in &mut plan.machines {
        machine.power_w = 3_000.0;
        machine.hashrate_ths = 100.0;
        machine.efficiency_j_th = Some(30.0);
        machine.phase = None;
    }
    change(&mut plan);
    let site = Site::new(Policy::default(), plan).unwrap();
    let mut machines = State::new(&site, 1, START).machines;
    for machine in &mut machines {
        machine.phase = MachinePhase::Running;
        machine.power_w = Some(3_000.0);
    }
    (site, machines)
}

fn switched(run: &Run, action: Action) -> usize {
    let to_machine = |one: &&headframe_site::command::Command| {
        matches!(one.target, Target::Machine(_)) && one.action == action
    };
    run.commands.iter().filter(to_machine).count()
}

#[test]
fn the_site_keeps_below_the_share_of_its_energy_allocation_and_no_override_lifts_that() {
    let mut policy = small_policy();
    policy.power.allocation_limit_kw = Some(30.0);
    let mut run = Run::new(small(), policy);
    assert!(
        run.until(3_600, |run| run.region() == PowerRegion::Curtailed)
            .is_some()
    );
    let decision = run.tick();
    let winner = decision.verdict.cap(&decision.caps).unwrap();
    assert_eq!((winner.level, winner.source.as_str()), (4, "allocation"));
    assert_eq!(decision.verdict.target_kw, 28.5, "95 % of it");
    assert!(decision.reason.contains("the energy allocation is 30 kW"));
    run.orders.push(Order::Override {
        by: "ann".to_owned(),
        reason: "we want more".to_owned(),
        scope: Scope::Site,
        cap_kw: 40.0,
        for_s: None,
    });
    for _ in 0..360 {
        run.tick();
        assert!(run.plant.site_kw() <= 28.5, "{}", run.plant.site_kw());
    }
    // A lower request holds while it stands; after it the allocation is the limit again.
    run.ask(Level::Curtail, Some(15.0));
    run.seconds(700);
    assert!(run.plant.site_kw() <= 15.0, "{}", run.plant.site_kw());
    run.ask(Level::Normal, None);
    run.seconds(3_600);
    let kw = run.plant.site_kw();
    assert!((24.0..=28.5).contains(&kw), "{kw}");
}

/// A site at its target loses a machine: what is switched on within the next half hour, and the
/// power at the end.
fn after_a_loss(is_energy_paid: bool) -> (usize, f64) {
    let mut policy = small_policy();
    policy.power.is_energy_paid = is_energy_paid;
    let mut run = Run::steady(small(), policy);
    run.ask(Level::Curtail, Some(20.0));
    assert!(
        run.until(600, |run| run.region() == PowerRegion::Curtailed)
            .is_some()
    );
    run.seconds(900);
    let on = switched(&run, Action::On);
    let working = run
        .plant
        .machines
        .iter()
        .position(|one| one.power_w > 1_000.0);
    let now_ms = run.now.elapsed_ms;
    run.plant.machines[working.unwrap()].cut(now_ms);
    for _ in 0..360 {
        run.tick();
        assert!(run.plant.site_kw() <= 20.0, "{}", run.plant.site_kw());
    }
    (switched(&run, Action::On) - on, run.plant.site_kw())
}

#[test]
fn energy_below_the_target_is_taken_up_again_where_the_contract_pays_for_it() {
    let (unpaid, unpaid_kw) = after_a_loss(false);
    let (paid, paid_kw) = after_a_loss(true);
    assert_eq!(unpaid, 0, "nothing is started where nobody pays");
    assert!(
        paid >= 1 && paid_kw > unpaid_kw + 1.0,
        "{paid} {paid_kw} {unpaid_kw}"
    );
}

/// The machines that are stopped for so many watts at a level.
fn stops(site: &Site, machines: &[MachineState], excess_w: f64, level: u8) -> Vec<usize> {
    let wanted = SelectionGoal {
        excess_w,
        level,
        may_trim: false,
        now_ms: START.elapsed_ms,
    };
    select(site, machines, wanted).stops
}

#[test]
fn machines_with_a_higher_promise_are_stopped_later_than_worse_ones_without() {
    let (site, machines) = alike(4, |plan| {
        plan.machines[0].sla_weight = 3.0;
        plan.machines[1].sla_weight = 2.0;
        // 40 J/TH at twice the weight are worth 20: less than 30 at the usual one.
        plan.machines[2].efficiency_j_th = Some(40.0);
        plan.machines[2].sla_weight = 2.0;
    });
    let costs: Vec<f64> = site.plan.machines.iter().map(cost_j_th).collect();
    assert_eq!(costs, [10.0, 15.0, 20.0, 30.0]);
    let order = stops(&site, &machines, 11_000.0, 4);
    assert_eq!(order, [3, 2, 1, 0], "the least promised first");
    let one = stops(&site, &machines, 2_000.0, 4);
    assert_eq!(one.len(), 1);
}

#[test]
fn a_machine_that_must_run_is_stopped_by_safety_alone() {
    let (site, machines) = alike(3, |plan| {
        plan.machines[1].is_mandatory_run = true;
        // It would be the first to go.
        plan.machines[1].efficiency_j_th = Some(90.0);
    });
    let stopped = |level| stops(&site, &machines, 9_000.0, level);
    for level in 3..=7 {
        assert_eq!(stopped(level), [0, 2], "level {level}");
    }
    for level in 0..=2 {
        assert_eq!(stopped(level)[0], 1, "level {level}");
    }
}

#[test]
fn a_machine_that_must_run_goes_on_under_an_emergency_of_the_utility_and_stops_for_a_trip() {
    let mut run = small_running();
    let mut plan = run.site.plan.clone();
    plan.machines[4].is_mandatory_run = true;
    let site = Site::new(run.site.policy.clone(), plan.clone()).unwrap();
    run.state.plan_version.clone_from(&site.plan_version);
    run.site = std::sync::Arc::new(site);
    run.ask(Level::Emergency, Some(0.0));
    run.seconds(900);
    let working: Vec<usize> = (0..12)
        .filter(|at| run.plant.machines[*at].power_w > 1_000.0)
        .collect();
    assert_eq!(working, [4]);
    run.orders.push(Order::EmergencyStop {
        by: "ann".to_owned(),
        reason: "smoke".to_owned(),
    });
    run.seconds(120);
    assert!(run.plant.machines.iter().all(|one| one.power_w < 100.0));
}

#[test]
fn a_late_event_opens_the_feeder_of_a_stuck_machine_but_none_that_feeds_one_that_must_run() {
    let mut config = small();
    config.has_outlets = false;
    let mut run = Run::steady(config, small_policy());
    let mut plan = run.site.plan.clone();
    for machine in &mut plan.machines {
        machine.has_foreman = false;
    }
    plan.machines[4].is_mandatory_run = true;
    let site = Site::new(run.site.policy.clone(), plan).unwrap();
    run.state.plan_version.clone_from(&site.plan_version);
    run.site = std::sync::Arc::new(site);
    // Machines 0 and 4 hang on the first feeder, machine 1 on the second.
    run.plant.machines[0].interface = Interface::Dead;
    run.plant.machines[1].interface = Interface::Dead;
    run.ask(Level::Emergency, Some(0.0));
    for _ in 0..180 {
        run.tick_with(|observation| {
            for reading in &mut observation.signals {
                reading.class = SignalClass::Mandatory;
            }
        });
    }
    let opened: Vec<&str> = run
        .commands
        .iter()
        .filter_map(|one| match &one.target {
            Target::Feeder(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    assert!(
        opened.contains(&"f2") && !opened.contains(&"f1"),
        "{opened:?}"
    );
    assert!(run.plant.machines[4].power_w > 1_000.0);
}

#[test]
fn of_machines_alike_one_that_fails_or_disobeyed_again_and_again_stops_first() {
    let (site, mut machines) = alike(8, |_| {});
    let wanted = SelectionGoal {
        excess_w: 5_000.0,
        level: 3,
        may_trim: false,
        now_ms: 1_000_000,
    };
    assert_eq!(select(&site, &machines, wanted).stops[0], 0);
    machines[3].failures = 2;
    assert_eq!(
        select(&site, &machines, wanted).stops[0],
        0,
        "that may be chance"
    );
    machines[3].failures = 3;
    machines[6].is_failing = true;
    let stops = select(&site, &machines, wanted).stops;
    assert_eq!(stops, [3, 6]);
    // A busy one only where the rest is not enough.
    machines[3].is_busy = true;
    let stops = select(&site, &machines, wanted).stops;
    assert_eq!(stops[0], 6);
    assert!(!stops.contains(&3));
}

#[test]
fn machines_of_the_heaviest_phase_stop_first_until_phases_are_balanced() {
    let phase = |at: usize| [2, 3, 2, 3, 1, 1, 1, 1, 1][at];
    let change = |plan: &mut SitePlan| {
        for (at, machine) in plan.machines.iter_mut().enumerate() {
            machine.phase = Some(phase(at));
        }
    };
    let (site, machines) = alike(9, change);
    let wanted = |count: f64| SelectionGoal {
        excess_w: 2_800.0 * count,
        level: 3,
        may_trim: false,
        now_ms: 1_000_000,
    };
    // 15, 6 and 6 kW: three of the first phase, and whichever fits best at the end.
    let stops = select(&site, &machines, wanted(4.0)).stops;
    let phases: Vec<u8> = stops.into_iter().map(phase).collect();
    assert_eq!(phases, [1, 1, 1, 2]);
    // Efficiency goes before balance: one that is much worse stops first.
    let (mut site, machines) = alike(9, change);
    site.plan.machines[0].efficiency_j_th = Some(60.0);
    let stops = select(&site, &machines, wanted(2.0)).stops;
    assert_eq!(stops[0], 0);
}

#[test]
fn a_feeder_is_filled_to_its_limit_and_no_further_when_machines_are_started() {
    let change = |plan: &mut SitePlan| {
        // 10 A of 400 V on three phases: two machines of 3 kW, and not a third.
        plan.feeders = vec![FeederPlan {
            name: "west".to_owned(),
            limit_a: 10.0,
            volts: 400.0,
            phases: 3,
            has_contactor: false,
            is_metered: false,
        }];
        for (at, machine) in plan.machines.iter_mut().enumerate() {
            machine.feeder = (at < 4).then(|| "west".to_owned());
        }
    };
    let (mut site, mut machines) = alike(6, change);
    site.policy.restore.group_pct = 100.0;
    site.policy.restore.ramp_pct_per_min = 1_000.0;
    for machine in &mut machines {
        machine.phase = MachinePhase::Stopped;
        machine.power_w = Some(40.0);
        machine.off_since_ms = Some(0);
    }
    let forbidden = vec![false; machines.len()];
    let mut state = RestoreState::default();
    for minute in [20, 40, 60] {
        let bounds = Bounds {
            headroom_kw: f64::INFINITY,
            rise_kw: 0.0,
            forbidden: &forbidden,
            now_ms: minute * 60_000,
        };
        start_group(&site, &mut machines, &mut state, bounds);
        let is_on = |machine: &MachineState| machine.phase == MachinePhase::Starting;
        let on: Vec<bool> = machines.iter().map(is_on).collect();
        assert_eq!(
            on,
            [true, true, false, false, true, true],
            "minute {minute}"
        );
    }
}

#[test]
fn the_heartbeat_comes_each_hour_whatever_else_is_said() {
    let mut run = small_running();
    run.notices.clear();
    run.seconds(1_800);
    run.ask(Level::Curtail, Some(15.0));
    run.seconds(1_800);
    run.ask(Level::Normal, None);
    run.seconds(7_200);
    let beats = run.notices.iter().filter(|one| one.topic == "heartbeat");
    let times: Vec<u64> = beats.map(|one| one.at.elapsed_ms).collect();
    assert!(times.len() >= 2, "{times:?}");
    for pair in times.windows(2) {
        assert_eq!(pair[1] - pair[0], 3_600_000, "{times:?}");
    }
}
