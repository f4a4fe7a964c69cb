//! A scenario: what stands at the site, and what happens to it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::faults::{ScheduledFault, picks};

/// Machines and devices of one scenario.
const MOST_DEVICES: usize = 10_000;
/// 2026-03-01T00:00:00Z.
const MARCH_2026_S: i64 = 1_772_323_200;

/// A site and its story.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// All randomness follows from it.
    pub seed: u64,
    /// The name of the site.
    pub site: String,
    /// When virtual time begins, in seconds since 1970; real time begins now.
    #[serde(default = "march_2026")]
    pub start_s: i64,
    /// Seconds of one step of the model.
    #[serde(default = "default_step_s")]
    pub step_s: f64,
    /// Seconds between two polls of each device, in virtual time and in the printed
    /// configuration.
    #[serde(default = "default_interval_s")]
    pub interval_s: f64,
    /// The air outside.
    #[serde(default)]
    pub weather: Weather,
    /// The container that the machines stand in.
    #[serde(default)]
    pub container: Container,
    /// Machines.
    #[serde(default)]
    pub machines: Vec<MachineGroup>,
    /// Meters, sensors and relays.
    #[serde(default)]
    pub devices: Vec<DeviceEntry>,
    /// What the operator does with machines.
    #[serde(default)]
    pub events: Vec<SwitchEvent>,
    /// What goes wrong with devices.
    #[serde(default)]
    pub faults: Vec<ScheduledFault>,
}

fn march_2026() -> i64 {
    MARCH_2026_S
}

fn default_step_s() -> f64 {
    10.0
}

fn default_interval_s() -> f64 {
    60.0
}

/// The air outside: a daily wave with noise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weather {
    /// Mean over the day.
    pub mean_c: f64,
    /// Half the distance between the coldest and the warmest hour.
    pub swing_c: f64,
    /// The warmest hour of the day, UTC.
    pub warmest_hour: f64,
    /// How far a step may lie from the wave.
    pub noise_c: f64,
    /// Mean relative humidity.
    pub humidity_pct: f64,
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            mean_c: 12.0,
            swing_c: 8.0,
            warmest_hour: 15.0,
            noise_c: 0.3,
            humidity_pct: 55.0,
        }
    }
}

/// The container: one lump of air and metal, cooled through its walls and by fans.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Container {
    /// Temperature inside at the start.
    pub initial_c: f64,
    /// Heat that warms it by one degree.
    pub heat_capacity_j_k: f64,
    /// Heat that leaves through the walls by degree of difference.
    pub walls_w_k: f64,
    /// Fans.
    pub fans: u32,
    /// Heat that one fan moves out by degree of difference.
    pub fan_w_k: f64,
    /// What one fan draws.
    pub fan_w: f64,
    /// The temperature from which fans run; all of them run ten degrees above.
    pub setpoint_c: f64,
    /// The temperature at which machines stop hashing; they go on ten degrees below.
    pub trip_c: f64,
}

impl Default for Container {
    fn default() -> Self {
        Self {
            initial_c: 20.0,
            heat_capacity_j_k: 4e6,
            walls_w_k: 300.0,
            fans: 6,
            fan_w_k: 3_000.0,
            fan_w: 1_100.0,
            setpoint_c: 25.0,
            trip_c: 55.0,
        }
    }
}

/// The API of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Stock Antminer: no power, broken JSON.
    Antminer,
    /// Whatsminer: MH/s and watts.
    Whatsminer,
    /// LuxOS: GH/s, watts, and commands behind a session.
    Luxos,
    /// None that answers: the machine is seen by its meter only.
    None,
}

/// Machines of one model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineGroup {
    /// Machines are named `name-1` and so on.
    pub name: String,
    /// How many.
    pub count: usize,
    /// Rated hashrate.
    pub hashrate_ths: f64,
    /// Rated efficiency.
    pub efficiency_j_th: f64,
    /// How far a machine may lie from its rating.
    #[serde(default = "default_spread")]
    pub spread_pct: f64,
    /// What it draws in standby.
    #[serde(default = "default_standby")]
    pub standby_w: f64,
    /// The share of its rated power at which it works in low power mode.
    #[serde(default = "default_low_share")]
    pub low_share: f64,
    /// How long it starts.
    #[serde(default = "default_boot")]
    pub boot_s: f64,
    /// How it answers.
    #[serde(default = "default_api")]
    pub api: Api,
}

fn default_spread() -> f64 {
    3.0
}

fn default_standby() -> f64 {
    15.0
}

fn default_low_share() -> f64 {
    0.7
}

fn default_boot() -> f64 {
    120.0
}

fn default_api() -> Api {
    Api::Antminer
}

/// A meter, sensor or relay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceEntry {
    /// One of the simulated kinds; docs/sources.md lists them.
    pub kind: String,
    /// Its name, unique in the scenario.
    pub name: String,
    /// What a meter measures: `site`, the beginning of the names of machines, or a fan as `fan-1`.
    /// Sensors measure the container.
    #[serde(default = "whole_site")]
    pub measures: String,
    /// What each of its relays feeds, in order: a machine by its name, machines by the beginning
    /// of their names and `*`, or a fan as `fan-1`. Where any relay feeds a fan, fans run as their
    /// relays say and not by temperature.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<String>,
    /// What a device that speaks HTTP wants as the password of `admin`, by digest. Its `[[source]]`
    /// reads it from the variable `HEADFRAME_SIM_PASSWORD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
}

fn whole_site() -> String {
    "site".to_owned()
}

/// The number of a fan, of `fan-1` and so on.
pub fn fan_number(fed: &str) -> Option<u32> {
    let number = fed.strip_prefix("fan-")?.parse().ok()?;
    (number > 0).then_some(number)
}

/// What the operator does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchEvent {
    /// Seconds since the start.
    pub at_s: f64,
    /// A name, or the beginning of names and `*`.
    pub machines: String,
    /// What.
    pub action: SwitchAction,
}

/// What can be done with a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchAction {
    /// It stops hashing and draws its standby power.
    Standby,
    /// It starts.
    Start,
    /// It is cut from power.
    Off,
}

/// Why a scenario cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct ScenarioError(pub String);

impl Scenario {
    /// The names of all machines, in order.
    pub fn machine_names(&self) -> impl Iterator<Item = (String, &MachineGroup)> {
        self.machines.iter().flat_map(|group| {
            (1..=group.count).map(move |number| (format!("{}-{number}", group.name), group))
        })
    }

    /// The group of each machine, in the same order.
    pub fn machine_groups(&self) -> impl Iterator<Item = &MachineGroup> {
        let groups = self.machines.iter();
        groups.flat_map(|group| std::iter::repeat_n(group, group.count))
    }

    /// Refuses what cannot be played. The error names the key.
    pub fn validate(&self) -> Result<(), ScenarioError> {
        let wrong = |text: String| Err(ScenarioError(text));
        for (key, value, least, most) in [
            ("step_s", self.step_s, 0.1, 3_600.0),
            ("interval_s", self.interval_s, 0.1, 86_400.0),
            (
                "container.heat_capacity_j_k",
                self.container.heat_capacity_j_k,
                1.0,
                1e12,
            ),
            ("container.walls_w_k", self.container.walls_w_k, 0.001, 1e9),
            ("container.fan_w_k", self.container.fan_w_k, 0.0, 1e9),
        ] {
            if !(least..=most).contains(&value) {
                return wrong(format!("{key} is {value}; it must be {least} to {most}"));
            }
        }
        let machines: usize = self.machines.iter().map(|group| group.count).sum();
        if machines + self.devices.len() > MOST_DEVICES {
            return wrong(format!(
                "there are more than {MOST_DEVICES} machines and devices"
            ));
        }
        let mut names = BTreeSet::new();
        let machines = self.machine_names().map(|(name, _)| name);
        let devices = self.devices.iter().map(|device| device.name.clone());
        for name in machines.chain(devices) {
            if !names.insert(name.clone()) {
                return wrong(format!("the name {name:?} is there twice"));
            }
        }
        for device in &self.devices {
            for fed in &device.feeds {
                let is_fan = fan_number(fed).is_some_and(|fan| fan <= self.container.fans);
                if !is_fan && !self.machine_names().any(|(name, _)| picks(fed, &name)) {
                    let name = &device.name;
                    return wrong(format!("{name} feeds {fed:?}, which is not there"));
                }
            }
        }
        let used = self.faults.iter().map(|fault| ("faults", &fault.device));
        let used = used.chain(self.events.iter().map(|event| ("events", &event.machines)));
        for (key, pattern) in used {
            if !names.iter().any(|name| picks(pattern, name)) {
                return wrong(format!("{key} names {pattern:?}, which is not there"));
            }
        }
        Ok(())
    }
}
