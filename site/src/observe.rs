//! From readings of devices to what the controller observes: which meter is the site's, which
//! sensor hangs in the container, which outlet feeds which machine.
//!
//! A reading is named as in the rows of the streams: `device`, or `device/part`. A device that has
//! the name of a machine speaks for that machine.

use std::collections::{BTreeMap, HashMap};

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

/// What one reading says.
#[derive(Debug, Clone, PartialEq)]
enum Meaning {
    SiteMeter,
    MachinePower(u32),
    MachineChip(u32),
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
            let meter = config.machine.get(&machine.name).unwrap_or(&machine.name);
            map.add(meter, "power_w", Meaning::MachinePower(index));
        }
        for name in config.machine.keys() {
            if !map.machines.contains_key(name) {
                return Err(format!("readings.machine: there is no machine {name:?}"));
            }
        }
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
                    // A feeder is as loaded as its highest phase.
                    Meaning::FeederCurrent(feeder) => {
                        let highest = amps.entry(*feeder).or_insert(value);
                        *highest = highest.max(value);
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
        Meaning::MachineChip(machine) => observation.conditions.push(MachineCondition {
            machine,
            is_busy: false,
            is_out_of_use: false,
            is_failing: false,
            chip_c: Some(value),
        }),
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
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn plan() -> SitePlan {
        serde_json::from_value(json!({"name": "north", "design_kw": 10.0,
            "machines": [{"name": "m-1", "hashrate_ths": 100.0, "power_w": 3000.0},
                {"name": "m-2", "hashrate_ths": 100.0, "power_w": 3000.0}],
            "feeders": [{"name": "west", "limit_a": 100.0, "volts": 400.0, "phases": 3}],
            "fans": [{"watts": 900.0}]}))
        .unwrap()
    }

    fn map() -> ReadingMap {
        let config = serde_json::from_value(json!({"site_meter": "main",
            "machine": {"m-2": "pdu/2"},
            "temperature": [{"reading": "room/air", "kind": "container"}],
            "humidity": ["room/air"],
            "interlock": [{"reading": "room/smoke", "kind": "smoke", "trips_when_open": true}],
            "fan": [{"fan": 1, "power": "pdu/9", "relay": "relays/relay1"}],
            "feeder": [{"feeder": "west", "currents": ["main/a", "main/b"]}]}))
        .unwrap();
        ReadingMap::new(&config, &plan()).unwrap()
    }

    fn at() -> Moment {
        Moment {
            elapsed_ms: 7,
            utc_us: 9,
        }
    }

    #[test]
    fn readings_of_devices_find_what_they_are_of() {
        let mut main = Readings::default();
        main.power("", Some(9_500.0), None);
        main.sensor("a", "current_a", Some(12.0));
        main.sensor("b", "current_a", Some(14.0));
        let mut pdu = Readings::default();
        pdu.power("2", Some(2_900.0), None);
        pdu.power("9", Some(880.0), None);
        let mut relays = Readings::default();
        relays.sensor("relay1", "relay_state", Some(1.0));
        let mut thermometer = Readings::default();
        thermometer.sensor("air", "temperature_c", Some(24.5));
        thermometer.sensor("air", "humidity_pct", Some(40.0));
        thermometer.sensor("smoke", "switch_state", Some(0.0));
        let mut seen = Observation::default();
        for (device, readings) in [
            ("main", main),
            ("pdu", pdu),
            ("relays", relays),
            ("room", thermometer),
        ] {
            map().add_to(&mut seen, device, &readings, at());
        }
        assert_eq!(seen.site_meter, Some(MeterReading { kw: 9.5, at: at() }));
        assert_eq!(seen.machines[0].machine, 1);
        assert_eq!(seen.feeders[0].amps, Some(14.0));
        assert_eq!(
            (seen.fans[0].watts, seen.fans[1].is_on),
            (Some(880.0), Some(true))
        );
        assert_eq!(seen.temperatures[0].sensor, "room/air");
        assert_eq!(seen.humidity[0].pct, 40.0);
        assert!(seen.interlocks[0].is_tripped, "an open contact trips");
    }

    #[test]
    fn a_machine_speaks_for_itself_and_what_is_missing_is_not_observed() {
        let mut own = Readings::default();
        own.power("", None, None);
        own.sensor("board-1", "temperature_c", Some(70.0));
        own.sensor("board-2", "temperature_c", Some(75.0));
        own.sensor("inlet", "temperature_c", Some(22.0));
        let mut seen = Observation::default();
        map().add_to(&mut seen, "m-1", &own, at());
        assert!(seen.machines.is_empty(), "no power is not zero power");
        assert_eq!(seen.conditions[0].chip_c, Some(75.0));
        assert_eq!(seen.temperatures[0].kind, SensorKind::MinerAir);
    }

    #[test]
    fn what_the_plan_does_not_have_is_refused_by_its_key() {
        let refused = |config: serde_json::Value| {
            let config = serde_json::from_value(config).unwrap();
            ReadingMap::new(&config, &plan()).unwrap_err()
        };
        let fan = refused(json!({"fan": [{"fan": 2}]}));
        assert!(fan.contains("readings.fan"), "{fan}");
        let feeder = refused(json!({"feeder": [{"feeder": "east"}]}));
        assert!(feeder.contains("\"east\""), "{feeder}");
        let machine = refused(json!({"machine": {"m-9": "x"}}));
        assert!(machine.contains("\"m-9\""), "{machine}");
    }
}
