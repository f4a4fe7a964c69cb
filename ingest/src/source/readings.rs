//! What one poll of a device found: readings, and how many were missing or impossible.

use std::collections::BTreeMap;

use bytes::Bytes;
use headframe_schemas::Stream;
use headframe_schemas::stream::energy::{Energies, Energy};
use headframe_schemas::stream::hashrate::{Hashrate, Hashrates};
use headframe_schemas::stream::sensors::{self, Sensors};

use super::config::SourceConfig;
use super::{json, limits};

/// Rejected readings that are named; the others are only counted.
const NAMED: usize = 3;
/// A terahash is so many hashes.
const HASHES_PER_TERAHASH: f64 = 1e12;
/// Readings that one answer may have; the rest is cut off and counted as missing.
const MOST_READINGS: usize = 10_000;
/// Characters of a part's name.
const PART_CHARS: usize = 64;
/// Bytes of the name of a row, as the columns take them.
const NAME_BYTES: usize = 256;

/// One reading. `part` names the sensor, channel or circuit of the device; empty is the device
/// itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// A row of `energy`.
    Power {
        /// Channel or circuit.
        part: String,
        /// Active power in watts.
        power_w: f64,
        /// The device's own counter in watt-hours.
        energy_total_wh: Option<f64>,
    },
    /// A row of `sensors`.
    Sensor {
        /// Sensor.
        part: String,
        /// What is measured, unit last.
        quantity: String,
        /// In the unit of the quantity.
        value: f64,
    },
    /// A row of `hashrate`.
    Hashrate {
        /// Which of the machines that the device speaks for.
        part: String,
        /// Hashes per second.
        hashrate_hs: f64,
    },
}

/// A value that names its own quantity.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// Sensor, channel or circuit.
    pub part: &'a str,
    /// What is measured, unit last.
    pub quantity: &'a str,
    /// Nothing when it is missing.
    pub value: Option<f64>,
}

/// What an answer says beside its values.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// The values are new, as far as the progress does not say otherwise.
    #[default]
    New,
    /// There is nothing new, and why that is known.
    Unchanged(String),
    /// Somebody who must know says that the device is gone.
    Offline(String),
}

/// Refuses what cannot be the name of a quantity in a row.
pub fn check_quantity(quantity: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    match !quantity.is_empty() && quantity.chars().all(plain) {
        true => Ok(()),
        false => Err(format!(
            "the quantity {quantity:?} must be lower case with its unit last, as temperature_c"
        )),
    }
}

/// `value × factor + offset`.
pub fn scaled(value: f64, factor: Option<f64>, offset: f64) -> f64 {
    factor.map_or(value, |factor| value * factor) + offset
}

/// A raw value in the unit of its quantity; none where it stands for nothing.
pub fn converted(
    raw: f64,
    missing: &[f64],
    is_fahrenheit: bool,
    factor: Option<f64>,
    offset: f64,
) -> Option<f64> {
    if missing.contains(&raw) {
        return None;
    }
    let value = match is_fahrenheit {
        true => json::celsius(raw),
        false => raw,
    };
    Some(scaled(value, factor, offset))
}

/// What one poll found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Readings {
    /// What the device measured.
    pub values: Vec<Reading>,
    /// What it did not have.
    pub missing: u64,
    /// What cannot be true.
    pub rejected: u64,
    /// The first of those, with their values.
    pub rejected_names: Vec<String>,
    /// What of the device moves on with every new reading: its clock, its uptime, a counter.
    pub progress: Option<String>,
    /// The device's clock, in seconds since 1970, where it has one that can be compared.
    pub clock_s: Option<f64>,
    /// Whether they are readings at all.
    pub standing: Standing,
    /// When they came, in microseconds since 1970, where that was before they were asked for.
    pub at_us: Option<i64>,
}

impl Readings {
    /// Adds a power and its counter. Without a power the counter becomes a sensor's reading.
    pub fn power(&mut self, part: &str, power_w: Option<f64>, energy_total_wh: Option<f64>) {
        let energy_total_wh = energy_total_wh.filter(|value| value.is_finite());
        match power_w.filter(|value| value.is_finite()) {
            Some(power_w) => self.push(Reading::Power {
                part: clean(part),
                power_w,
                energy_total_wh,
            }),
            None => {
                self.missing += 1;
                if energy_total_wh.is_some() {
                    self.sensor(part, "energy_total_wh", energy_total_wh);
                }
            }
        }
    }

    /// Adds a sensor's reading.
    pub fn sensor(&mut self, part: &str, quantity: &str, value: Option<f64>) {
        match value.filter(|value| value.is_finite()) {
            Some(value) => self.push(Reading::Sensor {
                part: clean(part),
                quantity: quantity.to_owned(),
                value,
            }),
            None => self.missing += 1,
        }
    }

    /// Adds a sensor's reading where the device has such a sensor at all.
    pub fn sensor_if_any(&mut self, part: &str, quantity: &str, value: Option<f64>) {
        if value.is_some() {
            self.sensor(part, quantity, value);
        }
    }

    /// Adds the hashrate of a machine.
    pub fn hashrate(&mut self, part: &str, hashrate_hs: Option<f64>) {
        match hashrate_hs.filter(|value| value.is_finite()) {
            Some(hashrate_hs) => self.push(Reading::Hashrate {
                part: clean(part),
                hashrate_hs,
            }),
            None => self.missing += 1,
        }
    }

    /// Adds values that name their own quantity: `power_w` with the `energy_total_wh` of the same
    /// part, `hashrate_hs`, and anything else as a sensor's.
    pub fn measured(&mut self, values: &[Measured<'_>]) {
        for one in values {
            let find = |quantity: &str| {
                let is_it =
                    |other: &&Measured<'_>| other.quantity == quantity && other.part == one.part;
                values.iter().find(is_it)
            };
            match one.quantity {
                "power_w" => {
                    let counter = find("energy_total_wh");
                    if counter.is_some_and(|counter| counter.value.is_none()) {
                        self.missing += 1;
                    }
                    let energy = counter.and_then(|counter| counter.value);
                    self.power(one.part, one.value, energy);
                }
                // It stands in the row of its power.
                "energy_total_wh" if find("power_w").is_some() => {}
                "hashrate_hs" => self.hashrate(one.part, one.value),
                quantity => self.sensor(one.part, quantity, one.value),
            }
        }
    }

    fn push(&mut self, reading: Reading) {
        match self.values.len() < MOST_READINGS {
            true => self.values.push(reading),
            false => self.missing += 1,
        }
    }

    /// Whether there is nothing in them at all, and nothing says why.
    pub fn is_empty(&self) -> bool {
        self.standing == Standing::New
            && self.values.is_empty()
            && self.missing == 0
            && self.rejected == 0
    }

    /// The same without what is out of its limits; `own` are the limits of the device, by quantity.
    pub fn within(mut self, own: &BTreeMap<String, [f64; 2]>) -> Self {
        let mut kept = Vec::with_capacity(self.values.len());
        for reading in std::mem::take(&mut self.values) {
            match reading {
                Reading::Power {
                    part,
                    power_w,
                    energy_total_wh,
                } => {
                    let energy_total_wh = energy_total_wh
                        .filter(|value| self.accepts(own, &part, "energy_total_wh", *value));
                    if self.accepts(own, &part, "power_w", power_w) {
                        kept.push(Reading::Power {
                            part,
                            power_w,
                            energy_total_wh,
                        });
                    }
                }
                Reading::Sensor {
                    part,
                    quantity,
                    value,
                } => {
                    if self.accepts(own, &part, &quantity, value) {
                        kept.push(Reading::Sensor {
                            part,
                            quantity,
                            value,
                        });
                    }
                }
                Reading::Hashrate { part, hashrate_hs } => {
                    if self.accepts(own, &part, "hashrate_hs", hashrate_hs) {
                        kept.push(Reading::Hashrate { part, hashrate_hs });
                    }
                }
            }
        }
        self.values = kept;
        self
    }

    fn accepts(
        &mut self,
        own: &BTreeMap<String, [f64; 2]>,
        part: &str,
        quantity: &str,
        value: f64,
    ) -> bool {
        let (least, most) = match own.get(quantity) {
            Some([least, most]) => (*least, *most),
            None => limits::range(quantity),
        };
        if (least..=most).contains(&value) {
            return true;
        }
        self.rejected += 1;
        if self.rejected_names.len() < NAMED {
            let name = name_of(part, quantity);
            self.rejected_names
                .push(format!("{name} {value} is not within {least} to {most}"));
        }
        false
    }

    /// The rows of these readings of a device, taken at this time in microseconds since 1970; and
    /// of what follows from two of them, its efficiency.
    pub fn rows(&self, config: &SourceConfig, at_us: i64) -> Vec<Row> {
        let derived = self.efficiencies(config.rated_jth);
        let rows = self.values.iter().chain(&derived);
        rows.filter_map(|reading| reading.row(config, at_us))
            .collect()
    }

    /// Joules a terahash of each part that hashes and says its power, and over the maker's rating.
    fn efficiencies(&self, rated_jth: Option<f64>) -> Vec<Reading> {
        let power = |wanted: &str| {
            self.values.iter().find_map(|reading| match reading {
                Reading::Power { part, power_w, .. } if part == wanted => Some(*power_w),
                _ => None,
            })
        };
        let mut found = Vec::new();
        for reading in &self.values {
            let Reading::Hashrate { part, hashrate_hs } = reading else {
                continue;
            };
            let power_w = power(part).filter(|power_w| *power_w > 0.0);
            let Some(power_w) = power_w.filter(|_| *hashrate_hs > 0.0) else {
                continue;
            };
            let sensor = |quantity: &str, value: f64| Reading::Sensor {
                part: part.clone(),
                quantity: quantity.to_owned(),
                value,
            };
            let jth = power_w * HASHES_PER_TERAHASH / hashrate_hs;
            found.push(sensor("efficiency_jth", jth));
            found.extend(rated_jth.map(|rated| sensor("efficiency_rated_ratio", jth / rated)));
        }
        found
    }
}

/// A row for a stream.
#[derive(Clone)]
pub struct Row {
    /// Where it goes.
    pub stream: &'static dyn Stream,
    /// The value of the stream's key column.
    pub key: String,
    /// The row as a JSON object.
    pub line: Bytes,
}

impl Reading {
    /// The row; none when it cannot be written as JSON, which finite numbers can.
    fn row(&self, config: &SourceConfig, at_us: i64) -> Option<Row> {
        let site = config.site.clone();
        let name = |part: &str| {
            let mut name = name_of(&config.name, part);
            name.truncate(name.floor_char_boundary(NAME_BYTES));
            name
        };
        let (stream, key, line): (&'static dyn Stream, String, _) = match self {
            Self::Power {
                part,
                power_w,
                energy_total_wh,
            } => {
                let row = Energy {
                    event_time: at_us,
                    site: site.clone(),
                    meter: name(part),
                    power_w: *power_w,
                    energy_total_wh: *energy_total_wh,
                };
                (&Energies, site, serde_json::to_vec(&row))
            }
            Self::Sensor {
                part,
                quantity,
                value,
            } => {
                let row = sensors::Reading {
                    event_time: at_us,
                    site: site.clone(),
                    sensor: name(part),
                    quantity: quantity.clone(),
                    value: *value,
                };
                (&Sensors, site, serde_json::to_vec(&row))
            }
            Self::Hashrate { part, hashrate_hs } => {
                let pool = config.pool.clone().unwrap_or_else(|| site.clone());
                let row = Hashrate {
                    event_time: at_us,
                    pool: pool.clone(),
                    miner: config.miner.clone().unwrap_or_else(|| site.clone()),
                    worker: name(part),
                    hashrate_hs: *hashrate_hs,
                    source: "miner".to_owned(),
                };
                (&Hashrates, pool, serde_json::to_vec(&row))
            }
        };
        Some(Row {
            stream,
            key,
            line: line.ok()?.into(),
        })
    }
}

/// `device/part`, or the one that is not empty.
fn name_of(device: &str, part: &str) -> String {
    match (device, part) {
        (device, "") => device.to_owned(),
        ("", part) => part.to_owned(),
        (device, part) => format!("{device}/{part}"),
    }
}

/// A name from outside: bounded, without control characters.
fn clean(part: &str) -> String {
    let plain = part.chars().filter(|c| !c.is_control());
    let name: String = plain.take(PART_CHARS).collect();
    name.trim().to_owned()
}
