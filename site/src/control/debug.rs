//! Made-up values: they replace readings in a copy of the observation.
//!
//! The real site is never blind to its real readings: unless the policy allows it, made-up values
//! only go to a shadow of the state, whose commands nothing receives.

use super::observation::{FanReading, HumidityReading, MachineReading, Observation, SensorKind};
use super::order::DebugValues;
use super::site_plan::Site;
use super::state::State;
use crate::moment::Moment;
use crate::request::{Request, SignalClass, SignalReading, SignalValue};

/// The signal that made-up levels come from.
pub const SIGNAL: &str = "debug";

/// The observation with made-up values in place of readings.
pub fn replace(
    site: &Site,
    observation: &Observation,
    values: &DebugValues,
    now: Moment,
) -> Observation {
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
    replace_machines(site, &mut changed, values, now);
    for reading in &mut changed.fans {
        if let Some(made_up) = values.fans.get(&reading.fan) {
            reading.is_on = reading.is_on.filter(|_| made_up.is_on.is_none());
            reading.watts = reading.watts.filter(|_| made_up.watts.is_none());
        }
    }
    changed
        .fans
        .extend(values.fans.iter().map(|(fan, made_up)| FanReading {
            fan: *fan,
            is_on: made_up.is_on,
            watts: made_up.watts,
            at: now,
        }));
    changed
}

fn replace_machines(site: &Site, changed: &mut Observation, values: &DebugValues, now: Moment) {
    let made_up: Vec<MachineReading> = values
        .miners
        .iter()
        .filter_map(|(name, power_w)| {
            let machine = u32::try_from(site.machine(name)?).ok()?;
            Some(MachineReading {
                machine,
                power_w: *power_w,
                at: now,
            })
        })
        .collect();
    let is_real = |one: &MachineReading| made_up.iter().all(|other| other.machine != one.machine);
    changed.machines.retain(is_real);
    changed.machines.extend(made_up);
}

/// Forgets what made-up values left behind.
pub fn forget(state: &mut State) {
    state.shadow = None;
    if state.requests.0.remove(SIGNAL).is_some() {
        state.inputs.0.remove(&format!("signal/{SIGNAL}"));
    }
    state.inputs.0.remove(&format!("humidity/{SIGNAL}"));
}
