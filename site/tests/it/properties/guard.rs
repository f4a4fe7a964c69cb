//! What must be true of every step, whatever happened before.
//!
//! The guard knows nothing of how decisions are made. It looks at readings, commands and records,
//! and keeps its own timers.

use std::collections::BTreeMap;

use headframe_site::command::{Action, Command, Path, PowerMode, Target};
use headframe_site::control::observation::{
    InterlockKind, InterlockReading, Observation, SensorKind,
};
use headframe_site::control::order::Order;
use headframe_site::control::power::PowerRegion;
use headframe_site::control::{DecisionRecord, State};

use super::timers::Timers;
use crate::run::Run;

const HOUR_MS: u64 = 3_600_000;

/// What the guard remembers.
pub struct Guard {
    pub interlock: Option<(InterlockKind, bool)>,
    pub overload: Option<f64>,
    pub is_foreman_up: bool,
    pub timers: Timers,
    stopped_ms: BTreeMap<String, u64>,
    lowered_ms: BTreeMap<String, u64>,
    fans: BTreeMap<u8, FanTimes>,
    last_start_ms: Option<u64>,
    hot_since_ms: Option<u64>,
    tripped_since_ms: Option<u64>,
    last_ms: u64,
}

#[derive(Default)]
struct FanTimes {
    is_on: bool,
    changed_ms: Option<u64>,
    starts: Vec<u64>,
}

impl Guard {
    pub fn new(run: &Run) -> Self {
        let mut fans: BTreeMap<u8, FanTimes> = BTreeMap::new();
        for (at, fan) in run.state.fans.fans.iter().enumerate() {
            let times = fans.entry(at as u8 + 1).or_default();
            times.is_on = fan.is_on;
        }
        Self {
            interlock: None,
            overload: None,
            is_foreman_up: true,
            timers: Timers::default(),
            stopped_ms: BTreeMap::new(),
            lowered_ms: BTreeMap::new(),
            fans,
            last_start_ms: None,
            hot_since_ms: None,
            tripped_since_ms: None,
            last_ms: run.now.elapsed_ms,
        }
    }

    /// One poll: what is unsafe in it.
    pub fn tick(&mut self, run: &mut Run) -> Result<(), String> {
        run.commands.clear();
        run.notices.clear();
        let before = run.state.power.region;
        let mut seen = None;
        let (interlock, overload, is_up) = (self.interlock, self.overload, self.is_foreman_up);
        let limits: Vec<f64> = run
            .site
            .plan
            .feeders
            .iter()
            .map(|one| one.limit_a)
            .collect();
        let at = run.now.plus_ms(5_000);
        let decision = run.tick_with(|observation| {
            if let Some((kind, is_tripped)) = interlock {
                observation.interlocks.push(InterlockReading {
                    input: "one".to_owned(),
                    kind,
                    is_tripped,
                    at,
                });
            }
            if let Some(share) = overload {
                observation.feeders[0].amps = Some((share * limits[0]).round());
            }
            if !is_up {
                observation.foreman_trouble = Some("503".to_owned());
            }
            seen = Some(observation.clone());
        });
        let observation = seen.unwrap_or_default();
        let now_ms = run.now.elapsed_ms;
        let gap_ms = now_ms - self.last_ms;
        self.last_ms = now_ms;
        self.modes(run, &observation)?;
        self.machines(run, before, &decision)?;
        self.fans(&run.state, &run.commands, &observation, now_ms)?;
        self.hot(run, &observation, &decision, gap_ms)?;
        self.trips(run, before, &observation, gap_ms)?;
        self.timers.tick(run, &observation, &decision, gap_ms)?;
        caps(&decision)
    }

    /// A change of mode never starts a machine that is off, and low power lasts its least time.
    fn modes(&mut self, run: &Run, observation: &Observation) -> Result<(), String> {
        let (now_ms, after) = (run.now.elapsed_ms, run.state.power.region);
        for command in &run.commands {
            let (Target::Machine(name), Action::Mode(mode)) = (&command.target, command.action)
            else {
                continue;
            };
            let at = run.site.machine(name).ok_or("an unknown machine")?;
            let plan = &run.site.plan.machines[at];
            if command.path == Path::Outlet || plan.low_power_w.is_none() {
                return Err(format!(
                    "{name} was ordered to {mode:?} by {:?}",
                    command.path
                ));
            }
            let reading = observation
                .machines
                .iter()
                .find(|one| one.machine == at as u32);
            let power_w = reading.map_or(0.0, |one| one.power_w);
            if power_w <= 1.5 * plan.standby_w {
                return Err(format!("{name} was ordered to {mode:?} at {power_w} W"));
            }
            if mode == PowerMode::Low {
                if !matches!(after, PowerRegion::Curtailing | PowerRegion::Curtailed) {
                    return Err(format!("{name} was ordered to low power in {after:?}"));
                }
                self.lowered_ms.insert(name.clone(), now_ms);
                continue;
            }
            let low_ms = self.lowered_ms.get(name).map(|at| now_ms - at);
            if low_ms.is_some_and(|low_ms| low_ms < 600_000) {
                return Err(format!("{name} was brought back after {low_ms:?} ms"));
            }
        }
        Ok(())
    }

    fn machines(
        &mut self,
        run: &Run,
        before: PowerRegion,
        decision: &DecisionRecord,
    ) -> Result<(), String> {
        let after = run.state.power.region;
        let now_ms = run.now.elapsed_ms;
        let mut starts = 0;
        for command in &run.commands {
            let name = match &command.target {
                Target::Machine(name) => name,
                Target::Feeder(name) if command.action == Action::On => {
                    return Err(format!("a program closed the contactor of {name}"));
                }
                _ => continue,
            };
            if command.action == Action::Off {
                self.stopped_ms.insert(name.clone(), now_ms);
                continue;
            }
            if command.action == Action::Mode(PowerMode::Low) {
                continue;
            }
            starts += 1;
            let may = matches!(
                after,
                PowerRegion::Restoring
                    | PowerRegion::Running
                    | PowerRegion::Notice
                    | PowerRegion::Curtailed
            );
            if !may {
                return Err(format!("{name} was started in {after:?} after {before:?}"));
            }
            let off_ms = self.stopped_ms.get(name).map(|at| now_ms - at);
            if off_ms.is_some_and(|off_ms| off_ms < 600_000) {
                return Err(format!("{name} was started after {off_ms:?} ms off"));
            }
            let locked = run
                .state
                .authority
                .lockouts
                .iter()
                .any(|one| match &one.scope {
                    headframe_site::control::order::Scope::Machine(locked) => locked == name,
                    _ => false,
                });
            if locked {
                return Err(format!("{name} was started while it is locked out"));
            }
        }
        if starts > 0 && !run.state.trips.latches.is_empty() {
            return Err("machines were started while a trip stands".to_owned());
        }
        if starts > 0 && decision.verdict.is_capped(&decision.caps) {
            let plans = &run.site.plan.machines;
            let machines = run.state.machines.iter().zip(plans);
            let settled_w: f64 = machines.map(|(one, plan)| one.settled_w(plan)).sum();
            let rest_kw = decision.measured_kw - decision.mining_kw;
            let settled_kw = settled_w / 1_000.0 + rest_kw;
            let limit_kw = decision.verdict.target_kw + 0.05 * run.site.plan.design_kw;
            if settled_kw > limit_kw {
                return Err(format!("started to {settled_kw} kW against {limit_kw} kW"));
            }
        }
        Ok(())
    }

    fn fans(
        &mut self,
        state: &State,
        commands: &[Command],
        observation: &Observation,
        now_ms: u64,
    ) -> Result<(), String> {
        let policy_forces = highest_c(observation).is_none_or(|celsius| celsius >= 33.0)
            || state.thermal.lost_since_ms.is_some()
            || state.thermal.region >= headframe_site::control::thermal::ThermalRegion::Hot;
        for command in commands {
            let Target::Fan(number) = command.target else {
                continue;
            };
            let fan = self.fans.entry(number).or_default();
            let is_on = command.action == Action::On;
            if fan.is_on == is_on {
                // A write that is repeated.
                continue;
            }
            let since_ms = fan.changed_ms.map(|at| now_ms - at);
            if !is_on && since_ms.is_some_and(|since| since < 180_000) {
                return Err(format!("fan {number} was stopped after {since_ms:?} ms"));
            }
            if is_on {
                let gap_ms = self.last_start_ms.map(|at| now_ms - at);
                if gap_ms.is_some_and(|gap| gap < 5_000) {
                    return Err(format!(
                        "fan {number} was started {gap_ms:?} ms after another"
                    ));
                }
                if !policy_forces && since_ms.is_some_and(|since| since < 120_000) {
                    return Err(format!(
                        "fan {number} was started after {since_ms:?} ms off"
                    ));
                }
                fan.starts.retain(|at| now_ms - at < HOUR_MS);
                fan.starts.push(now_ms);
                if !policy_forces && fan.starts.len() > 6 {
                    return Err(format!("fan {number} was started seven times in an hour"));
                }
                self.last_start_ms = Some(now_ms);
            }
            fan.is_on = is_on;
            fan.changed_ms = Some(now_ms);
        }
        Ok(())
    }

    fn hot(
        &mut self,
        run: &Run,
        observation: &Observation,
        decision: &DecisionRecord,
        gap_ms: u64,
    ) -> Result<(), String> {
        let is_hot = highest_c(observation).is_some_and(|celsius| celsius >= 35.6);
        let off = run
            .commands
            .iter()
            .any(|one| matches!(one.target, Target::Fan(_)) && one.action == Action::Off);
        if is_hot && off {
            return Err("a fan was stopped above 35 degrees".to_owned());
        }
        let is_led = !matches!(
            decision.after.power,
            PowerRegion::Lockout | PowerRegion::Boot | PowerRegion::SelfTest
        );
        let is_bypassed = run.state.inputs.0.values().any(|one| one.bypass.is_some());
        if !is_hot || !is_led || is_bypassed || gap_ms > 5_000 {
            self.hot_since_ms = None;
            return Ok(());
        }
        let since_ms = *self.hot_since_ms.get_or_insert(run.now.elapsed_ms);
        let all = run.state.fans.fans.iter().all(|fan| fan.is_on);
        if !all && run.now.elapsed_ms - since_ms >= 60_000 {
            return Err("not all fans run after a minute above 35 degrees".to_owned());
        }
        Ok(())
    }

    fn trips(
        &mut self,
        run: &Run,
        before: PowerRegion,
        observation: &Observation,
        gap_ms: u64,
    ) -> Result<(), String> {
        let after = run.state.power.region;
        let is_off = matches!(after, PowerRegion::Tripped | PowerRegion::Lockout);
        let has = |test: fn(&Order) -> bool| observation.orders.iter().any(test);
        let is_stopped = has(|one| matches!(one, Order::EmergencyStop { .. }));
        let is_reset = has(|one| matches!(one, Order::ResetTrip { .. }));
        let is_interlocked = observation.interlocks.iter().any(|one| one.is_tripped);
        let is_far_too_hot = observation
            .temperatures
            .iter()
            .any(|one| one.kind == SensorKind::MinerAir && one.celsius >= 45.0);
        if (is_stopped && !is_reset || is_interlocked || is_far_too_hot) && !is_off {
            return Err(format!(
                "a cause of a trip stands, and the site is {after:?}"
            ));
        }
        let was_tripped = before == PowerRegion::Tripped;
        if was_tripped && !is_off && !is_reset {
            return Err(format!("a trip ended without a reset, to {after:?}"));
        }
        if after != PowerRegion::Tripped || gap_ms > 5_000 {
            self.tripped_since_ms = None;
            return Ok(());
        }
        let since_ms = *self.tripped_since_ms.get_or_insert(run.now.elapsed_ms);
        let machines_w: f64 = run.plant.machines.iter().map(|one| one.power_w).sum();
        if run.now.elapsed_ms - since_ms >= 60_000 && machines_w > 1_000.0 {
            return Err(format!(
                "machines draw {machines_w} W a minute after a trip"
            ));
        }
        Ok(())
    }
}

fn highest_c(observation: &Observation) -> Option<f64> {
    let air = observation
        .temperatures
        .iter()
        .filter(|one| matches!(one.kind, SensorKind::Container | SensorKind::MinerAir));
    air.map(|one| one.celsius).reduce(f64::max)
}

/// No override above a cap of safety, duty or contract.
fn caps(decision: &DecisionRecord) -> Result<(), String> {
    let strong = decision
        .caps
        .iter()
        .filter(|cap| cap.level <= 4 && cap.scope == headframe_site::control::order::Scope::Site);
    let least_kw = strong.map(|cap| cap.kw).fold(f64::MAX, f64::min);
    if decision.verdict.target_kw > least_kw {
        let target = decision.verdict.target_kw;
        return Err(format!(
            "the target is {target} kW against a cap of {least_kw} kW"
        ));
    }
    Ok(())
}
