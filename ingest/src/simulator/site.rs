//! The model of a site: a pure function from scenario, state and time to the next state.
//!
//! The container is one lump of heat capacity `C` at temperature `T` (Newton's law of cooling): `C
//! dT/dt = P - K (T - T_out)` with the heat `P` of all machines and `K` of walls and running fans.
//! A step takes its exact solution over constant `P` and `K`, so that long steps stay stable. The
//! weather is a daily cosine. A machine draws its hashrate times its own J/TH, 40 % of its power
//! while it starts, its standby power otherwise.

use super::faults::picks;
use super::random::Random;
use super::relays::{Change, Relays};
use super::scenario::{MachineGroup, Scenario, SwitchAction, fan_number};

/// The share of its power that a machine draws while it starts.
const BOOT_SHARE: f64 = 0.4;
/// How far a hashrate lies from its mean, as a share.
const RATE_NOISE: f64 = 0.015;
/// Degrees from the setpoint to all fans, and from the trip to going on.
const BAND_C: f64 = 10.0;
/// Degrees by which chips of a machine at its rated power are warmer than the air.
const CHIP_RISE_C: f64 = 45.0;

/// What a machine does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// Cut from power.
    Off,
    /// Waiting.
    Standby,
    /// Starting, for so many seconds more.
    Booting(f64),
    /// Working.
    Hashing,
    /// Waiting until it is cooler.
    TooHot,
}

/// One machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// What it does.
    pub mode: Mode,
    /// Its own rate, within the spread of its model.
    pub own_hs: f64,
    /// Its own efficiency.
    pub own_j_th: f64,
    /// Hashes per second.
    pub hashrate_hs: f64,
    /// Watts.
    pub power_w: f64,
    /// The hottest chip.
    pub chip_c: f64,
    /// Since it was started.
    pub uptime_s: f64,
    /// Whether it was told to sleep, which it remembers without power.
    pub is_asleep: bool,
    /// Whether it was told to work in low power mode, which it remembers too.
    pub is_low: bool,
    /// Whether the relays before it are on.
    pub is_fed: bool,
}

/// A site at a moment.
#[derive(Debug, Clone, PartialEq)]
pub struct SiteState {
    /// Since the start.
    pub elapsed_s: f64,
    /// Outside.
    pub outside_c: f64,
    /// In the container.
    pub inside_c: f64,
    /// In the container.
    pub humidity_pct: f64,
    /// That run.
    pub fans_on: u32,
    /// Of the supply.
    pub voltage_v: f64,
    /// Every machine.
    pub machines: Vec<Machine>,
    /// What each device of the scenario has counted, in watt-hours.
    pub counters_wh: Vec<f64>,
    /// The relays of each device of the scenario.
    pub relays: Relays,
    random: Random,
}

impl SiteState {
    /// A site whose machines begin to start.
    pub fn new(scenario: &Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let machines = scenario.machine_names().map(|(name, group)| {
            let spread = group.spread_pct / 100.0;
            Machine {
                name,
                mode: Mode::Booting(group.boot_s),
                own_hs: group.hashrate_ths * 1e12 * (1.0 + spread * random.signed()),
                own_j_th: group.efficiency_j_th * (1.0 + spread * random.signed()),
                hashrate_hs: 0.0,
                power_w: 0.0,
                chip_c: scenario.container.initial_c,
                uptime_s: 0.0,
                is_asleep: false,
                is_low: false,
                is_fed: true,
            }
        });
        Self {
            machines: machines.collect(),
            elapsed_s: 0.0,
            outside_c: scenario.weather.mean_c,
            inside_c: scenario.container.initial_c,
            humidity_pct: scenario.weather.humidity_pct,
            fans_on: 0,
            voltage_v: 240.0,
            counters_wh: vec![0.0; scenario.devices.len()],
            relays: Relays::new(scenario),
            random,
        }
    }

    /// Watts of what a meter measures: `site`, machines by the beginning of their names, or a fan
    /// as `fan-1`.
    pub fn power_of(&self, scenario: &Scenario, measures: &str) -> f64 {
        if let Some(fan) = fan_number(measures) {
            let runs = self.relays.runs(scenario, fan);
            return if runs { scenario.container.fan_w } else { 0.0 };
        }
        let machines = self.machines.iter();
        match measures {
            "site" => {
                let fans = f64::from(self.fans_on) * scenario.container.fan_w;
                machines.map(|machine| machine.power_w).sum::<f64>() + fans
            }
            beginning => machines
                .filter(|machine| machine.name.starts_with(beginning))
                .map(|machine| machine.power_w)
                .sum(),
        }
    }

    /// The state so many seconds later.
    pub fn step(mut self, scenario: &Scenario, dt_s: f64) -> Self {
        self.advance(scenario, dt_s);
        self
    }

    /// [`SiteState::step`] in place.
    pub fn advance(&mut self, scenario: &Scenario, dt_s: f64) {
        let before_s = self.elapsed_s;
        self.elapsed_s += dt_s;
        self.weather(scenario);
        let due = scenario
            .events
            .iter()
            .filter(|event| event.at_s >= before_s && event.at_s < self.elapsed_s);
        for event in due {
            for (machine, group) in self.machines.iter_mut().zip(scenario.machine_groups()) {
                if picks(&event.machines, &machine.name) {
                    machine.switch(group, event.action);
                }
            }
        }
        self.relays.advance(self.elapsed_s);
        self.feed(scenario);
        let (inside_c, trip_c) = (self.inside_c, scenario.container.trip_c);
        for (machine, group) in self.machines.iter_mut().zip(scenario.machine_groups()) {
            machine.step(group, inside_c, trip_c, dt_s, &mut self.random);
        }
        self.container(scenario, dt_s);
        for (index, device) in scenario.devices.iter().enumerate() {
            let power = self.power_of(scenario, &device.measures);
            self.counters_wh[index] += power * dt_s / 3_600.0;
        }
    }

    /// A device or machine is told something; `index` is its place among the scenario's devices or
    /// machines.
    pub fn change(&mut self, scenario: &Scenario, index: usize, change: &Change) {
        match change {
            Change::Sleep | Change::Wake => {
                let groups = scenario.machine_groups();
                let mut machines = self.machines.iter_mut().zip(groups);
                if let Some((machine, group)) = machines.nth(index) {
                    machine.is_asleep = *change == Change::Sleep;
                    let action = match machine.is_asleep {
                        true => SwitchAction::Standby,
                        false => SwitchAction::Start,
                    };
                    // One without power only remembers it.
                    if machine.is_fed {
                        machine.switch(group, action);
                    }
                }
            }
            Change::LowPower(is_low) => {
                let groups = scenario.machine_groups();
                let mut machines = self.machines.iter_mut().zip(groups);
                if let Some((machine, group)) = machines.nth(index) {
                    machine.set_low(group, *is_low);
                }
            }
            _ => {
                self.relays.change(index, change, self.elapsed_s);
                self.feed(scenario);
            }
        }
    }

    /// Cuts and starts machines as the relays before them say.
    fn feed(&mut self, scenario: &Scenario) {
        for (machine, group) in self.machines.iter_mut().zip(scenario.machine_groups()) {
            let is_fed = self.relays.feed(scenario, &machine.name);
            if is_fed != machine.is_fed {
                machine.is_fed = is_fed;
                machine.mode = match (is_fed, machine.is_asleep) {
                    (false, _) => Mode::Off,
                    (true, true) => Mode::Standby,
                    (true, false) => Mode::Booting(group.boot_s),
                };
            }
        }
    }

    fn weather(&mut self, scenario: &Scenario) {
        let weather = &scenario.weather;
        let seconds = (scenario.start_s as f64 + self.elapsed_s).rem_euclid(86_400.0);
        let angle = (seconds / 3_600.0 - weather.warmest_hour) / 24.0 * std::f64::consts::TAU;
        let noise = weather.noise_c * self.random.signed();
        self.outside_c = weather.mean_c + weather.swing_c * angle.cos() + noise;
        // Air that is warmed takes up no water: its relative humidity falls.
        let drier = 1.5 * (self.inside_c - self.outside_c);
        self.humidity_pct = (weather.humidity_pct - drier + self.random.signed()).clamp(5.0, 95.0);
        self.voltage_v = 240.0 + 2.0 * self.random.signed();
    }

    fn container(&mut self, scenario: &Scenario, dt_s: f64) {
        let container = &scenario.container;
        let above = (self.inside_c - container.setpoint_c) / BAND_C;
        let fans = (above * f64::from(container.fans)).ceil();
        let by_temperature = fans.clamp(0.0, f64::from(container.fans)) as u32;
        self.fans_on = self.relays.fans_on(scenario).unwrap_or(by_temperature);
        let heat_w: f64 = self.machines.iter().map(|machine| machine.power_w).sum();
        let loss_w_k = container.walls_w_k + f64::from(self.fans_on) * container.fan_w_k;
        let steady_c = self.outside_c + heat_w / loss_w_k;
        let decay = (-loss_w_k * dt_s / container.heat_capacity_j_k).exp();
        self.inside_c = steady_c + (self.inside_c - steady_c) * decay;
    }
}

impl Machine {
    /// Its power mode; one that works begins anew in the other.
    fn set_low(&mut self, group: &MachineGroup, is_low: bool) {
        if self.is_low != is_low && self.mode == Mode::Hashing {
            self.mode = Mode::Booting(group.boot_s);
        }
        self.is_low = is_low;
    }

    fn switch(&mut self, group: &MachineGroup, action: SwitchAction) {
        self.mode = match (action, self.mode) {
            (SwitchAction::Off, _) => Mode::Off,
            (SwitchAction::Standby, Mode::Off) => Mode::Off,
            (SwitchAction::Standby, _) => Mode::Standby,
            (SwitchAction::Start, Mode::Off | Mode::Standby) => Mode::Booting(group.boot_s),
            (SwitchAction::Start, mode) => mode,
        };
    }

    fn step(
        &mut self,
        group: &MachineGroup,
        inside_c: f64,
        trip_c: f64,
        dt_s: f64,
        random: &mut Random,
    ) {
        self.mode = match self.mode {
            Mode::Booting(left_s) if left_s <= dt_s => Mode::Hashing,
            Mode::Booting(left_s) => Mode::Booting(left_s - dt_s),
            Mode::Hashing if inside_c > trip_c => Mode::TooHot,
            Mode::TooHot if inside_c < trip_c - BAND_C => Mode::Booting(group.boot_s),
            mode => mode,
        };
        let rated_w = self.own_hs / 1e12 * self.own_j_th;
        // One number a step, whatever the mode, so that events change nothing else.
        let noise = 1.0 + RATE_NOISE * random.signed();
        (self.hashrate_hs, self.power_w) = match self.mode {
            Mode::Off => (0.0, 0.0),
            Mode::Standby | Mode::TooHot => (0.0, group.standby_w),
            Mode::Booting(_) => (0.0, BOOT_SHARE * rated_w),
            Mode::Hashing => {
                let share = if self.is_low { group.low_share } else { 1.0 };
                let rate = self.own_hs * share * noise;
                (rate, rate / 1e12 * self.own_j_th)
            }
        };
        self.uptime_s = match self.mode {
            Mode::Off => 0.0,
            _ => self.uptime_s + dt_s,
        };
        let share = if rated_w > 0.0 {
            self.power_w / rated_w
        } else {
            0.0
        };
        self.chip_c = inside_c + CHIP_RISE_C * share;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn scenario() -> Scenario {
        let text = serde_json::json!({"seed": 5, "site": "north",
            "machines": [{"name": "a", "count": 3, "hashrate_ths": 100.0,
                "efficiency_j_th": 30.0, "boot_s": 60.0}],
            "devices": [{"kind": "shelly2", "name": "m", "measures": "site"}],
            "events": [{"at_s": 600.0, "machines": "a-1", "action": "standby"},
                {"at_s": 900.0, "machines": "a-*", "action": "off"}]});
        serde_json::from_value(text).unwrap()
    }

    fn run(scenario: &Scenario, seconds: usize) -> SiteState {
        let state = SiteState::new(scenario);
        (0..seconds / 10).fold(state, |state, _| state.step(scenario, 10.0))
    }

    #[test]
    fn a_seed_gives_the_same_site_and_another_seed_another() {
        let scenario = scenario();
        assert_eq!(run(&scenario, 500), run(&scenario, 500));
        let other = Scenario {
            seed: 6,
            ..scenario.clone()
        };
        assert_ne!(run(&scenario, 500).machines, run(&other, 500).machines);
    }

    #[test]
    fn machines_boot_hash_wait_and_are_cut() {
        let scenario = scenario();
        let booting = run(&scenario, 30);
        assert!(booting.machines.iter().all(|one| one.hashrate_hs == 0.0));
        let power = booting.machines[0].power_w;
        assert!((1_100.0..1_300.0).contains(&power), "{power}");
        let hashing = run(&scenario, 500);
        for one in &hashing.machines {
            let j_th = one.power_w / (one.hashrate_hs / 1e12);
            assert!((28.9..31.1).contains(&j_th), "{j_th}");
            assert!(one.chip_c > hashing.inside_c + 40.0);
        }
        let waiting = run(&scenario, 700);
        assert_eq!(waiting.machines[0].power_w, 15.0);
        assert!(waiting.machines[1].power_w > 2_500.0);
        let cut = run(&scenario, 1_000);
        assert_eq!(cut.power_of(&scenario, "a"), 0.0);
    }

    #[test]
    fn the_counter_is_the_integral_of_power_and_heat_warms_the_container() {
        let scenario = scenario();
        let mut state = SiteState::new(&scenario);
        let mut joules = 0.0;
        for _ in 0..60 {
            state = state.step(&scenario, 10.0);
            joules += 10.0 * state.power_of(&scenario, "site");
        }
        assert!((state.counters_wh[0] - joules / 3_600.0).abs() < 1e-6);
        assert!(state.inside_c > 20.0, "{}", state.inside_c);
    }
}
