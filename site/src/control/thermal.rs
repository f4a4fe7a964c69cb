//! Region R2: how warm the container is, and which sensors are believed.
//!
//! Fans follow the median of the sensors that are believed; limits follow the highest. A sensor
//! that is stuck, jumps, or contradicts what the machines measure of their air is not believed.

mod sensor;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::health::{Health, Inputs, misses};
use super::observation::{Observation, SensorKind, rounded};
use super::output::Output;
use super::policy::{HealthPolicy, ThermalPolicy, ms};
use crate::moment::Moment;
use crate::notice::Severity;

pub use sensor::Sensor;

/// How warm it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThermalRegion {
    /// Below the least that machines like.
    Cold,
    /// As it should be.
    Normal,
    /// People are warned.
    Warm,
    /// Every fan runs.
    Hot,
    /// The next thing is a trip.
    Critical,
    /// No sensor is believed.
    Unknown,
}

/// What is remembered of the air.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThermalState {
    /// How warm it is.
    pub region: ThermalRegion,
    /// Every sensor by its input's name.
    pub sensors: BTreeMap<String, Sensor>,
    /// Since when no sensor of the container is believed.
    pub lost_since_ms: Option<u64>,
    /// The highest humidity of the last reading.
    pub humidity_pct: Option<f64>,
}

impl Default for ThermalState {
    fn default() -> Self {
        Self {
            region: ThermalRegion::Unknown,
            sensors: BTreeMap::new(),
            lost_since_ms: None,
            humidity_pct: None,
        }
    }
}

/// The air as a step sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Air {
    /// How warm it is.
    pub region: ThermalRegion,
    /// The median of what is believed.
    pub control_c: Option<f64>,
    /// The highest of what was read lately, believed or not: what trips go by.
    pub highest_c: Option<f64>,
    /// The steepest rise of a sensor that is above the limit for rises, degrees a minute.
    pub rise_c_per_min: f64,
    /// Of the boards.
    pub board_c: Option<f64>,
    /// Of the air.
    pub humidity_pct: Option<f64>,
    /// No sensor of the container is believed since.
    pub lost_since_ms: Option<u64>,
    /// No temperature at all came in time.
    pub is_blind: bool,
    /// Since the start no sensor had the time to be read.
    pub is_awaited: bool,
}

impl Air {
    /// Degrees from the air to its dew point (Magnus' formula with the constants of Sonntag, 1990).
    pub fn above_dew_point_c(&self) -> Option<f64> {
        let (celsius, pct) = (self.control_c?, self.humidity_pct?);
        let (b, c) = (17.62, 243.12);
        let gamma = (pct.clamp(1.0, 100.0) / 100.0).ln() + b * celsius / (c + celsius);
        Some(celsius - c * gamma / (b - gamma))
    }
}

/// Some reading of humidity is not too old.
fn is_humidity_known(inputs: &Inputs) -> bool {
    let mut inputs = inputs.0.iter();
    inputs.any(|(name, one)| name.starts_with("humidity/") && one.is_usable())
}

/// Which input a temperature belongs to.
fn input(kind: SensorKind, sensor: &str) -> String {
    let class = match kind {
        SensorKind::Container => "temperature",
        SensorKind::MinerAir => "air",
        SensorKind::Board => "board",
        SensorKind::Outside => "outside",
    };
    format!("{class}/{sensor}")
}

impl ThermalState {
    /// Takes readings in.
    pub fn read(&mut self, observation: &Observation, policy: &ThermalPolicy, inputs: &mut Inputs) {
        for reading in &observation.temperatures {
            let name = input(reading.kind, &reading.sensor);
            let sensor = self
                .sensors
                .entry(name.clone())
                .or_insert_with(|| Sensor::new(reading.kind));
            inputs.read(&name, reading.at);
            sensor.read(reading.celsius, reading.at.elapsed_ms, policy);
        }
        for reading in &observation.humidity {
            let name = format!("humidity/{}", reading.sensor);
            inputs.read(&name, reading.at);
        }
        let pct = observation.humidity.iter().map(|reading| reading.pct);
        self.humidity_pct = pct.reduce(f64::max).or(self.humidity_pct);
    }

    /// Says of each sensor of the container what is wrong with it, before inputs are judged.
    pub fn judge_sensors(&self, policy: &ThermalPolicy, inputs: &mut Inputs, now: Moment) {
        let air = self.median(SensorKind::MinerAir, inputs, false);
        let insides = self
            .sensors
            .iter()
            .filter(|(_, one)| one.kind == SensorKind::Container);
        for (name, sensor) in insides {
            let fault = sensor.fault(policy, now.elapsed_ms).or_else(|| {
                let apart = (sensor.celsius? - air?).abs();
                (apart > policy.disagree_c).then(|| {
                    format!("It is {apart:.1} degrees from what machines measure of their air.")
                })
            });
            inputs.fault(name, fault);
        }
    }

    fn median(&self, kind: SensorKind, inputs: &Inputs, is_fresh: bool) -> Option<f64> {
        let mut believed: Vec<f64> = self
            .sensors
            .iter()
            .filter(|(name, one)| one.kind == kind && usable(inputs, name, is_fresh))
            .filter_map(|(_, one)| one.celsius)
            .collect();
        believed.sort_by(f64::total_cmp);
        let middle = believed.len() / 2;
        match believed.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(believed[middle]),
            _ => Some(rounded(f64::midpoint(
                believed[middle - 1],
                believed[middle],
            ))),
        }
    }

    /// The air at a time, and its alarms.
    pub fn assess(
        &mut self,
        policy: &ThermalPolicy,
        rise_above_c: f64,
        health: &HealthPolicy,
        inputs: &Inputs,
        output: &mut Output,
    ) -> Air {
        let now_ms = output.now.elapsed_ms;
        let inside = self.median(SensorKind::Container, inputs, false);
        let is_seen = |kind| self.median(kind, inputs, true).is_some();
        let is_blind = !is_seen(SensorKind::Container) && !is_seen(SensorKind::MinerAir);
        self.lost_since_ms = match inside {
            Some(_) => None,
            None => self.lost_since_ms.or(Some(now_ms)),
        };
        let control_c = inside.or_else(|| self.median(SensorKind::MinerAir, inputs, false));
        // A sensor that is not believed may still be the one that is right.
        let recent = self.sensors.iter().filter(|(name, one)| {
            let is_air = matches!(one.kind, SensorKind::Container | SensorKind::MinerAir);
            is_air
                && matches!(
                    inputs.health(name),
                    Health::Fresh | Health::Late | Health::Failed
                )
        });
        let mut highest_c: Option<f64> = None;
        let mut rise_c_per_min: f64 = 0.0;
        for (name, sensor) in recent {
            let Some(celsius) = sensor.celsius else {
                continue;
            };
            highest_c = Some(highest_c.map_or(celsius, |highest| highest.max(celsius)));
            // A sensor that jumps is at fault; its reading counts, its rise does not.
            if celsius >= rise_above_c && inputs.health(name) != Health::Failed {
                rise_c_per_min = rise_c_per_min.max(sensor.rise_c_per_min());
            }
        }
        self.region = match (is_blind, control_c, highest_c) {
            (false, Some(control), Some(highest)) => {
                region(policy, self.region, control, highest.max(control))
            }
            _ => ThermalRegion::Unknown,
        };
        let air = Air {
            region: self.region,
            control_c,
            highest_c,
            rise_c_per_min,
            board_c: self.median(SensorKind::Board, inputs, false),
            humidity_pct: self.humidity_pct.filter(|_| is_humidity_known(inputs)),
            lost_since_ms: self.lost_since_ms,
            is_blind,
            is_awaited: self.is_awaited(health, now_ms),
        };
        say(policy, &air, output);
        air
    }

    /// No sensor of the container was read since the start, and none has missed a reading.
    fn is_awaited(&self, health: &HealthPolicy, now_ms: u64) -> bool {
        let is_inside = |one: &Sensor| one.kind == SensorKind::Container;
        let waited_ms = self.lost_since_ms.map(|since| now_ms.saturating_sub(since));
        let missed = waited_ms.map(|ms| misses(ms, health.temperature_period_s, health.grace_s));
        missed == Some(0) && !self.sensors.values().any(is_inside)
    }

    /// The share of the design power that is left while no sensor of the container is believed, and
    /// why.
    pub fn lost_share(&self, policy: &ThermalPolicy, now_ms: u64) -> Option<(f64, String)> {
        let lost_ms = now_ms.saturating_sub(self.lost_since_ms?);
        let share = if lost_ms >= ms(policy.curtail_after_s) {
            0.0
        } else if lost_ms >= ms(policy.half_after_s) {
            policy.half_share
        } else {
            return None;
        };
        let minutes = lost_ms / 60_000;
        Some((
            share,
            format!("no temperature is believed for {minutes} minutes"),
        ))
    }
}

fn usable(inputs: &Inputs, name: &str, is_fresh: bool) -> bool {
    inputs.is_usable(name) && (!is_fresh || inputs.health(name) == Health::Fresh)
}

/// The region of a temperature; one is left only when it is passed by the hysteresis.
fn region(
    policy: &ThermalPolicy,
    before: ThermalRegion,
    control_c: f64,
    highest_c: f64,
) -> ThermalRegion {
    use ThermalRegion::{Cold, Critical, Hot, Normal, Warm};
    let at_least = |limit_c: f64, region: ThermalRegion| {
        let stays = before != ThermalRegion::Unknown && before >= region;
        highest_c >= limit_c - if stays { policy.hysteresis_c } else { 0.0 }
    };
    if at_least(policy.critical_c, Critical) {
        return Critical;
    }
    if at_least(policy.hot_c, Hot) {
        return Hot;
    }
    if at_least(policy.warm_c, Warm) {
        return Warm;
    }
    let is_cold = before == Cold;
    let cold_c = policy.cold_c + if is_cold { policy.hysteresis_c } else { 0.0 };
    if control_c < cold_c { Cold } else { Normal }
}

fn say(policy: &ThermalPolicy, air: &Air, output: &mut Output) {
    let celsius = air.highest_c.unwrap_or_default();
    match air.region {
        ThermalRegion::Warm => output.alarm(
            Severity::Info,
            "temperature/warm",
            format!("{celsius:.1} degrees in the container"),
            format!("Every fan runs from {} degrees on.", policy.hot_c),
        ),
        ThermalRegion::Hot => output.alarm(
            Severity::Warning,
            "temperature/hot",
            format!("{celsius:.1} degrees in the container"),
            "Every fan runs. Look for blocked air or stopped fans.",
        ),
        ThermalRegion::Critical => output.alarm(
            Severity::Emergency,
            "temperature/critical",
            format!("{celsius:.1} degrees in the container"),
            "Every fan runs; if it lasts, everything is switched off.",
        ),
        _ => {}
    }
    if air.is_awaited {
        // Right after a start nothing is known yet, and nothing is wrong.
    } else if air.is_blind {
        output.alarm(
            Severity::Warning,
            "temperature/blind",
            "no temperature is known",
            "Every fan runs and nothing is started. Look at the sensors and their network.",
        );
    } else if air.lost_since_ms.is_some() {
        output.alarm(
            Severity::Warning,
            "temperature/lost",
            "no temperature sensor of the container is believed",
            format!(
                "Every fan runs, nothing is started. In {} minutes power is reduced, in {} minutes \
                 the site stops. Look at the sensors.",
                policy.half_after_s / 60,
                policy.curtail_after_s / 60
            ),
        );
    }
    if air.humidity_pct.is_some_and(|pct| pct > policy.humid_pct) {
        output.alarm(
            Severity::Warning,
            "humidity/high",
            format!("{:.0} % humidity", air.humidity_pct.unwrap_or_default()),
            format!(
                "More than {} %. Look for water and open air inlets.",
                policy.humid_pct
            ),
        );
    }
}
