//! Safety in the policy: when inputs are late, what a bad sensor is, hard trips, and who may
//! overrule what.

use serde::{Deserialize, Serialize};

/// How often inputs are read, and how many missed readings are too many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthPolicy {
    /// The loop that supervises looks so often; three of it without a step are a gap that people
    /// are told of.
    pub loop_s: u64,
    /// A reading may come so much later than its period.
    pub grace_s: u64,
    /// Temperatures and humidity are read so often.
    pub temperature_period_s: u64,
    /// The site meter is read so often.
    pub meter_period_s: u64,
    /// After so many missed readings the site's power is estimated.
    pub meter_misses: u64,
    /// The power of machines is read so often.
    pub machine_period_s: u64,
    /// Watts of fans are read so often.
    pub fan_period_s: u64,
    /// After so many missed readings fans cannot be verified.
    pub fan_misses: u64,
    /// Interlocks and feeder currents are read so often.
    pub interlock_period_s: u64,
    /// After so many missed readings an interlock or current is stale.
    pub interlock_misses: u64,
    /// A step of the wall clock by more makes reports doubtful.
    pub clock_step_s: f64,
    /// So long without synchronisation makes reports doubtful.
    pub clock_unsynchronised_s: u64,
}

impl Default for HealthPolicy {
    fn default() -> Self {
        Self {
            loop_s: 120,
            grace_s: 5,
            temperature_period_s: 30,
            meter_period_s: 5,
            meter_misses: 2,
            machine_period_s: 10,
            fan_period_s: 10,
            fan_misses: 3,
            interlock_period_s: 5,
            interlock_misses: 3,
            clock_step_s: 2.0,
            clock_unsynchronised_s: 600,
        }
    }
}

/// Region R2, and when a temperature is not believed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThermalPolicy {
    /// Below it is cold.
    pub cold_c: f64,
    /// From it on people are warned.
    pub warm_c: f64,
    /// From it on every fan runs.
    pub hot_c: f64,
    /// From it on it is critical.
    pub critical_c: f64,
    /// A region is left when the temperature is so much below its limit.
    pub hysteresis_c: f64,
    /// More is humid.
    pub humid_pct: f64,
    /// So many missed readings make a sensor lost; one is enough when it was the last.
    pub sensor_misses: u64,
    /// A sensor that did not change by a hundredth of a degree for so long is stuck.
    pub stuck_s: u64,
    /// More degrees in a minute are a fault of the sensor.
    pub jump_c_per_min: f64,
    /// A sensor that was faulty is believed again after so long without a fault.
    pub recover_s: u64,
    /// More degrees between a sensor and what machines measure of their air is a fault.
    pub disagree_c: f64,
    /// After so long without a believed sensor the site goes down to `half_share`.
    pub half_after_s: u64,
    /// The share of the design power then.
    pub half_share: f64,
    /// After so long without a believed sensor the site stops.
    pub curtail_after_s: u64,
}

impl Default for ThermalPolicy {
    fn default() -> Self {
        Self {
            cold_c: 10.0,
            warm_c: 32.0,
            hot_c: 35.0,
            critical_c: 40.0,
            hysteresis_c: 1.0,
            humid_pct: 80.0,
            sensor_misses: 2,
            stuck_s: 3_600,
            jump_c_per_min: 5.0,
            recover_s: 300,
            disagree_c: 8.0,
            half_after_s: 900,
            half_share: 0.5,
            curtail_after_s: 1_800,
        }
    }
}

/// Hard trips: everything off, until a person resets it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TripPolicy {
    /// From it on, for `trip_after_s`.
    pub trip_c: f64,
    /// How long `trip_c` may last.
    pub trip_after_s: u64,
    /// From it on, at once.
    pub trip_at_once_c: f64,
    /// A rise of so much in a minute …
    pub rise_c_per_min: f64,
    /// … above it.
    pub rise_above_c: f64,
    /// From this humidity on …
    pub humidity_pct: f64,
    /// … when the air is nearer to its dew point than this.
    pub condensation_c: f64,
    /// A feeder above this share of its limit …
    pub feeder_over_pct: f64,
    /// … for so long.
    pub feeder_over_s: u64,
    /// A feeder above this share of its limit …
    pub feeder_far_over_pct: f64,
    /// … for so long.
    pub feeder_far_over_s: u64,
    /// A trip can be reset when its cause has been gone for so long.
    pub clear_s: u64,
    /// Two different persons must reset.
    pub is_two_person: bool,
    /// The second within so long of the first.
    pub two_person_within_s: u64,
    /// Contactors of feeders open when machines still draw power so long after a trip.
    pub contactor_after_s: u64,
    /// An interlock that has not been read for so long leaves the site …
    pub lost_half_after_s: u64,
    /// … this share of its design power.
    pub lost_half_share: f64,
    /// After so long without a reading of an interlock the site stops.
    pub lost_curtail_after_s: u64,
}

impl Default for TripPolicy {
    fn default() -> Self {
        Self {
            trip_c: 40.0,
            trip_after_s: 30,
            trip_at_once_c: 45.0,
            rise_c_per_min: 3.0,
            rise_above_c: 35.0,
            humidity_pct: 95.0,
            condensation_c: 2.0,
            feeder_over_pct: 100.0,
            feeder_over_s: 60,
            feeder_far_over_pct: 110.0,
            feeder_far_over_s: 5,
            clear_s: 600,
            is_two_person: false,
            two_person_within_s: 600,
            contactor_after_s: 30,
            lost_half_after_s: 900,
            lost_half_share: 0.5,
            lost_curtail_after_s: 1_800,
        }
    }
}

/// Region R4: who may overrule what, and for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorityPolicy {
    /// An override that names no time ends after it.
    pub override_default_s: u64,
    /// No override and no bypass lasts longer.
    pub override_max_s: u64,
    /// So long before an override ends people are warned.
    pub override_warning_s: u64,
    /// Values set for debugging drive real outputs.
    pub allow_live_debug: bool,
    /// An emergency that nobody acknowledged is said again after so long.
    pub acknowledge_within_s: u64,
    /// The heartbeat is sent so often.
    pub heartbeat_s: u64,
}

impl Default for AuthorityPolicy {
    fn default() -> Self {
        Self {
            override_default_s: 3_600,
            override_max_s: 86_400,
            override_warning_s: 300,
            allow_live_debug: false,
            acknowledge_within_s: 600,
            heartbeat_s: 3_600,
        }
    }
}
