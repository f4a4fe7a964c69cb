//! From readings of devices to what the controller observes: which meter is the site's, which
//! sensor hangs in the container, which outlet feeds which machine.
//!
//! A reading is named as in the rows of the streams: `device`, or `device/part`. A device that has
//! the name of a machine speaks for that machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use headframe_ingest::source::{Reading, Readings};
use serde::{Deserialize, Serialize};

use crate::control::observation::{
    FanReading, FeederReading, HumidityReading, InterlockKind, InterlockReading, MachineCondition,
    MachineReading, MeterReading, Observation, SensorKind, TemperatureReading,
};
use crate::control::site_plan::SitePlan;
use crate::moment::Moment;

/// The section `[readings]`: what readings mean.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadingsConfig {
    /// The power of the whole site.
    pub site_meter: Option<String>,
    /// The power of machines by their names, where it is not the device of the same name.
    pub machine: BTreeMap<String, String>,
    /// The loads of machines that nothing measures, by their names: readings whose quantity is
    /// `load_pct`, each good for the same machine. Its power follows from its load.
    pub load: BTreeMap<String, Vec<String>>,
    /// Readings that say more of machines, by their names: Foreman's, such as `foreman/m-1`. Of
    /// these, of the device of the same name and of what its power is read of, the quantities
    /// `busy_state`, `failing_state` and `out_of_use_state` count, each 1 where it is so.
    pub condition: BTreeMap<String, Vec<String>>,
    /// Temperatures.
    pub temperature: Vec<TemperatureConfig>,
    /// Relative humidities of the container.
    pub humidity: Vec<String>,
    /// Inputs of safety.
    pub interlock: Vec<InterlockConfig>,
    /// Fans.
    pub fan: Vec<FanConfig>,
    /// Feeders.
    pub feeder: Vec<FeederConfig>,
}

/// A temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TemperatureConfig {
    /// The reading, whose quantity is `temperature_c`.
    pub reading: String,
    /// What it is of.
    pub kind: SensorKind,
}

/// An input of safety.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterlockConfig {
    /// The reading.
    pub reading: String,
    /// Its quantity.
    #[serde(default = "switch_state")]
    pub quantity: String,
    /// What it guards.
    pub kind: InterlockKind,
    /// It trips below one half instead of above.
    #[serde(default)]
    pub trips_when_open: bool,
}

/// A fan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FanConfig {
    /// Its number, 1 to 9.
    pub fan: u8,
    /// The reading of its power.
    #[serde(default)]
    pub power: Option<String>,
    /// The reading of its relay, whose quantity is `relay_state`.
    #[serde(default)]
    pub relay: Option<String>,
}

/// A feeder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeederConfig {
    /// Its name in the plan.
    pub feeder: String,
    /// The readings of its currents, one a phase and all of one device, whose quantity is
    /// `current_a`.
    #[serde(default)]
    pub currents: Vec<String>,
    /// The reading of its contactor, whose quantity is `relay_state`.
    #[serde(default)]
    pub contactor: Option<String>,
}

fn switch_state() -> String {
    "switch_state".to_owned()
}

/// What a machine may be said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Busy,
    Failing,
    OutOfUse,
}

const CONDITIONS: [(&str, Condition); 3] = [
    ("busy_state", Condition::Busy),
    ("failing_state", Condition::Failing),
    ("out_of_use_state", Condition::OutOfUse),
];

/// What one reading says.
#[derive(Debug, Clone, PartialEq)]
enum Meaning {
    SiteMeter,
    MachinePower(u32),
    /// Watts without any load, and watts that a full one adds.
    MachineLoad(u32, f64, f64),
    MachineChip(u32),
    MachineCondition(u32, Condition),
    Temperature(SensorKind),
    Humidity,
    Interlock(InterlockKind, bool),
    FanPower(u8),
    FanRelay(u8),
    FeederCurrent(u32),
    FeederContactor(u32),
}

/// Finds the meaning of readings.
#[derive(Debug, Clone)]
pub struct ReadingMap {
    /// By reading and quantity.
    meanings: HashMap<(String, String), Vec<Meaning>>,
    machines: HashMap<String, u32>,
}

impl ReadingMap {
    /// Checks that every machine, fan and feeder that is named is in the plan.
    ///
    /// # Errors
    ///
    /// The key, and what is wrong with it.
    pub fn new(config: &ReadingsConfig, plan: &SitePlan) -> Result<Self, String> {
        let mut map = Self {
            meanings: HashMap::new(),
            machines: HashMap::new(),
        };
        for (index, machine) in (0..).zip(&plan.machines) {
            map.machines.insert(machine.name.clone(), index);
            map.add_conditions(config, &machine.name, index);
            if let Some(loads) = config.load.get(&machine.name) {
                let full_w = machine.power_w - machine.standby_w;
                for reading in loads {
                    let meaning = Meaning::MachineLoad(index, machine.standby_w, full_w);
                    map.add(reading, "load_pct", meaning);
                }
                continue;
            }
            let meter = config.machine.get(&machine.name).unwrap_or(&machine.name);
            map.add(meter, "power_w", Meaning::MachinePower(index));
        }
        map.check_machines(config)?;
        if let Some(meter) = &config.site_meter {
            map.add(meter, "power_w", Meaning::SiteMeter);
        }
        for one in &config.temperature {
            map.add(
                &one.reading,
                "temperature_c",
                Meaning::Temperature(one.kind),
            );
        }
        for reading in &config.humidity {
            map.add(reading, "humidity_pct", Meaning::Humidity);
        }
        for one in &config.interlock {
            let meaning = Meaning::Interlock(one.kind, one.trips_when_open);
            map.add(&one.reading, &one.quantity, meaning);
        }
        map.add_fans(config, plan)?;
        map.add_feeders(config, plan)?;
        Ok(map)
    }

    /// Whoever speaks for a machine may say what it is busy with, and whether it can be used.
    fn add_conditions(&mut self, config: &ReadingsConfig, name: &String, index: u32) {
        let meter = config.machine.get(name);
        let loads = config.load.get(name).into_iter().flatten();
        let others = config.condition.get(name).into_iter().flatten();
        let speakers = std::iter::once(name).chain(meter).chain(loads);
        let speakers: BTreeSet<&String> = speakers.chain(others).collect();
        for speaker in speakers {
            for (quantity, condition) in CONDITIONS {
                let meaning = Meaning::MachineCondition(index, condition);
                self.add(speaker, quantity, meaning);
            }
        }
    }

    /// Refuses machines that are not there, and those with two kinds of evidence.
    fn check_machines(&self, config: &ReadingsConfig) -> Result<(), String> {
        let powers = config.machine.keys().map(|name| ("machine", name));
        let loads = config.load.keys().map(|name| ("load", name));
        let conditions = config.condition.keys().map(|name| ("condition", name));
        for (key, name) in powers.chain(loads).chain(conditions) {
            if !self.machines.contains_key(name) {
                return Err(format!("readings.{key}: there is no machine {name:?}"));
            }
        }
        for (name, loads) in &config.load {
            if config.machine.contains_key(name) {
                return Err(format!(
                    "readings.load.{name}: its power is measured, by readings.machine; remove one"
                ));
            }
            if loads.is_empty() {
                return Err(format!("readings.load.{name}: no reading is named"));
            }
        }
        Ok(())
    }

    fn add_fans(&mut self, config: &ReadingsConfig, plan: &SitePlan) -> Result<(), String> {
        for one in &config.fan {
            if one.fan == 0 || usize::from(one.fan) > plan.fans.len() {
                let fans = plan.fans.len();
                return Err(format!(
                    "readings.fan: there is no fan {}; the plan has {fans}",
                    one.fan
                ));
            }
            if let Some(reading) = &one.power {
                self.add(reading, "power_w", Meaning::FanPower(one.fan));
            }
            if let Some(reading) = &one.relay {
                self.add(reading, "relay_state", Meaning::FanRelay(one.fan));
            }
        }
        Ok(())
    }

    fn add_feeders(&mut self, config: &ReadingsConfig, plan: &SitePlan) -> Result<(), String> {
        for one in &config.feeder {
            let place = plan
                .feeders
                .iter()
                .position(|feeder| feeder.name == one.feeder);
            let Some(index) = place.and_then(|place| u32::try_from(place).ok()) else {
                return Err(format!(
                    "readings.feeder: there is no feeder {:?}",
                    one.feeder
                ));
            };
            for reading in &one.currents {
                self.add(reading, "current_a", Meaning::FeederCurrent(index));
            }
            if let Some(reading) = &one.contactor {
                self.add(reading, "relay_state", Meaning::FeederContactor(index));
            }
        }
        Ok(())
    }

    fn add(&mut self, reading: &str, quantity: &str, meaning: Meaning) {
        let key = (reading.to_owned(), quantity.to_owned());
        self.meanings.entry(key).or_default().push(meaning);
    }

    /// Adds what a device said to what is observed.
    pub fn add_to(
        &self,
        observation: &mut Observation,
        device: &str,
        readings: &Readings,
        at: Moment,
    ) {
        let mut amps: BTreeMap<u32, f64> = BTreeMap::new();
        for reading in &readings.values {
            let (part, quantity, value) = match reading {
                Reading::Power { part, power_w, .. } => (part.as_str(), "power_w", *power_w),
                Reading::Sensor {
                    part,
                    quantity,
                    value,
                } => (part.as_str(), quantity.as_str(), *value),
                Reading::Hashrate { .. } => continue,
            };
            let name = match part {
                "" => device.to_owned(),
                part => format!("{device}/{part}"),
            };
            let key = (name, quantity.to_owned());
            for meaning in self.meanings.get(&key).into_iter().flatten() {
                match meaning {
                    // A feeder is as loaded as its highest phase, whatever its sign.
                    Meaning::FeederCurrent(feeder) => {
                        let highest = amps.entry(*feeder).or_insert(value);
                        if value.abs() > highest.abs() {
                            *highest = value;
                        }
                    }
                    meaning => observe(observation, meaning, &key.0, value, at),
                }
            }
        }
        for (feeder, amps) in amps {
            observe(
                observation,
                &Meaning::FeederCurrent(feeder),
                device,
                amps,
                at,
            );
        }
        if let Some(machine) = self.machines.get(device) {
            Self::add_machine(observation, *machine, device, readings, at);
        }
    }

    /// What a machine says of itself beside its power: its hottest board and the air it breathes.
    fn add_machine(
        observation: &mut Observation,
        machine: u32,
        device: &str,
        readings: &Readings,
        at: Moment,
    ) {
        let mut hottest: Option<f64> = None;
        for reading in &readings.values {
            let Reading::Sensor {
                part,
                quantity,
                value,
            } = reading
            else {
                continue;
            };
            match (part.as_str(), quantity.as_str()) {
                ("inlet", "temperature_c") => {
                    observation.temperatures.push(TemperatureReading {
                        sensor: format!("{device}/inlet"),
                        kind: SensorKind::MinerAir,
                        celsius: *value,
                        at,
                    });
                }
                (board, "temperature_c") if board.starts_with("board") => {
                    hottest = Some(hottest.map_or(*value, |other| other.max(*value)));
                }
                _ => {}
            }
        }
        if let Some(chip_c) = hottest {
            observe(
                observation,
                &Meaning::MachineChip(machine),
                device,
                chip_c,
                at,
            );
        }
    }
}

/// One thing that a machine is said to be, or not to be.
fn said(machine: u32, condition: Condition, value: f64, at: Moment) -> MachineCondition {
    let of = |one| (one == condition).then_some(value > 0.5);
    MachineCondition {
        machine,
        is_busy: of(Condition::Busy),
        is_failing: of(Condition::Failing),
        is_out_of_use: of(Condition::OutOfUse),
        chip_c: None,
        at: Some(at),
    }
}

fn observe(observation: &mut Observation, meaning: &Meaning, name: &str, value: f64, at: Moment) {
    match *meaning {
        Meaning::SiteMeter => {
            let kw = value / 1_000.0;
            observation.site_meter = Some(MeterReading { kw, at });
        }
        Meaning::MachinePower(machine) => observation.machines.push(MachineReading {
            machine,
            power_w: value,
            at,
        }),
        Meaning::MachineLoad(machine, standby_w, full_w) => {
            observation.machines.push(MachineReading {
                machine,
                power_w: standby_w + full_w * value / 100.0,
                at,
            });
        }
        Meaning::MachineChip(machine) => observation.conditions.push(MachineCondition {
            machine,
            chip_c: Some(value),
            at: Some(at),
            ..MachineCondition::default()
        }),
        Meaning::MachineCondition(machine, one) => {
            observation.conditions.push(said(machine, one, value, at));
        }
        Meaning::Temperature(kind) => observation.temperatures.push(TemperatureReading {
            sensor: name.to_owned(),
            kind,
            celsius: value,
            at,
        }),
        Meaning::Humidity => observation.humidity.push(HumidityReading {
            sensor: name.to_owned(),
            pct: value,
            at,
        }),
        Meaning::Interlock(kind, trips_when_open) => {
            observation.interlocks.push(InterlockReading {
                input: name.to_owned(),
                kind,
                is_tripped: (value > 0.5) != trips_when_open,
                at,
            });
        }
        Meaning::FanPower(fan) => observation.fans.push(FanReading {
            fan,
            is_on: None,
            watts: Some(value),
            at,
        }),
        Meaning::FanRelay(fan) => observation.fans.push(FanReading {
            fan,
            is_on: Some(value > 0.5),
            watts: None,
            at,
        }),
        Meaning::FeederCurrent(feeder) => observation.feeders.push(FeederReading {
            feeder,
            amps: Some(value),
            is_closed: None,
            at,
        }),
        Meaning::FeederContactor(feeder) => observation.feeders.push(FeederReading {
            feeder,
            amps: None,
            is_closed: Some(value > 0.5),
            at,
        }),
    }
}

#[cfg(test)]
mod tests;
