//! Made-up values: they replace readings in a copy of the observation.
//!
//! The real site is never blind to its real readings: unless the policy allows it, made-up values
//! only go to a shadow of the state, whose commands nothing receives.

use super::observation::{HumidityReading, Observation, SensorKind};
use super::order::DebugValues;
use super::state::State;
use crate::moment::Moment;
use crate::request::{Request, SignalClass, SignalReading, SignalValue};

/// The signal that made-up levels come from.
pub const SIGNAL: &str = "debug";

/// The observation with made-up values in place of readings.
pub fn replace(observation: &Observation, values: &DebugValues, now: Moment) -> Observation {
    let mut changed = observation.clone();
    if let Some(level) = values.signal {
        changed.signals.push(SignalReading {
            source: SIGNAL.to_owned(),
            class: SignalClass::Contract,
            read_at: now,
            value: SignalValue::Known(vec![Request::of_level(level)]),
        });
    }
    if let Some(celsius) = values.temperature_c {
        let of_air = changed
            .temperatures
            .iter_mut()
            .filter(|one| matches!(one.kind, SensorKind::Container | SensorKind::MinerAir));
        of_air.for_each(|one| one.celsius = celsius);
    }
    if let Some(pct) = values.humidity_pct {
        changed.humidity = vec![HumidityReading {
            sensor: SIGNAL.to_owned(),
            pct,
            at: now,
        }];
    }
    changed
}

/// Forgets what made-up values left behind.
pub fn forget(state: &mut State) {
    state.shadow = None;
    if state.requests.0.remove(SIGNAL).is_some() {
        state.inputs.0.remove(&format!("signal/{SIGNAL}"));
    }
    state.inputs.0.remove(&format!("humidity/{SIGNAL}"));
}
