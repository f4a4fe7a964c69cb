//! Whether the parts of a configuration fit each other: readings have devices, safety inputs are
//! awaited, machines can be switched, numbers are in the right unit.

use std::collections::BTreeSet;

use super::SiteConfig;
use crate::command::Target;
use crate::control::observation::SensorKind;

/// No machine needs fewer joules for a terahash; watts that say so are kilowatts.
const LEAST_J_TH: f64 = 3.0;
/// A journal of fewer bytes could not hold a day.
pub(super) const LEAST_JOURNAL_BYTES: u64 = 16 * 1024 * 1024;
/// A longer loop is taken for a hung one by the unit of `deploy/headframe-site.service`.
const MOST_STEP_S: f64 = 7.0;
/// Above so many times of what is listed, the design power is probably in watts.
const MOST_DESIGN: f64 = 5.0;

impl SiteConfig {
    /// What cannot work, each with its key and what to write.
    pub(super) fn reference_faults(&self) -> Vec<String> {
        let mut faults = self.readings_without_source();
        faults.extend(self.unawaited_inputs());
        if self.journal_max_bytes < LEAST_JOURNAL_BYTES {
            faults.push(format!(
                "journal_max_bytes is {}; it must be {LEAST_JOURNAL_BYTES} (16 MiB) or more",
                self.journal_max_bytes
            ));
        }
        for machine in &self.plan.machines {
            let key = format!("plan.machines.{}", machine.name);
            let joules = machine.power_w / machine.hashrate_ths;
            if machine.hashrate_ths > 1.0 && joules < LEAST_J_TH {
                faults.push(format!(
                    "{key}.power_w is {} for {} TH/s, which would be {joules:.2} J/TH; say watts, \
                     as 3200 for 3.2 kW",
                    machine.power_w, machine.hashrate_ths
                ));
            }
            if !(machine.standby_w >= 0.0 && machine.standby_w < machine.power_w) {
                faults.push(format!(
                    "{key}.standby_w is {}; it must be 0 or more and less than power_w, {}",
                    machine.standby_w, machine.power_w
                ));
            }
        }
        for name in self.policy.signals.sources.keys() {
            if !self.signal.iter().any(|signal| signal.name == *name) {
                faults.push(format!(
                    "policy.signals.sources.{name}: no [[signal]] has this name; add one, or \
                     correct the name"
                ));
            }
        }
        faults
    }

    /// Readings of devices that nobody polls: they would never come.
    fn readings_without_source(&self) -> Vec<String> {
        let readings = &self.readings;
        let mut named: Vec<(String, &String)> = Vec::new();
        let mut add = |key: &str, reading| named.push((format!("readings.{key}"), reading));
        if let Some(reading) = &readings.site_meter {
            add("site_meter", reading);
        }
        for (machine, reading) in &readings.machine {
            add(&format!("machine.{machine}"), reading);
        }
        for (machine, readings) in &readings.condition {
            for reading in readings {
                add(&format!("condition.{machine}"), reading);
            }
        }
        for one in &readings.temperature {
            add("temperature", &one.reading);
        }
        for reading in &readings.humidity {
            add("humidity", reading);
        }
        for one in &readings.interlock {
            add("interlock", &one.reading);
        }
        for one in &readings.fan {
            for reading in one.power.iter().chain(&one.relay) {
                add(&format!("fan {}", one.fan), reading);
            }
        }
        for one in &readings.feeder {
            for reading in one.currents.iter().chain(&one.contactor) {
                add(&format!("feeder {}", one.feeder), reading);
            }
        }
        let has_source = |reading: &str| {
            self.source.iter().any(|source| {
                let rest = reading.strip_prefix(source.name.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
        };
        let named = named.into_iter();
        let lost = named.filter(|(_, reading)| !has_source(reading));
        lost.map(|(key, reading)| {
            let device = reading.split('/').next().unwrap_or_default();
            format!(
                "{key} is {reading:?}, and no [[source]] has the name {device:?}: it would never \
                 be read; add the source, or correct the name"
            )
        })
        .collect()
    }

    /// Inputs of safety that are read and not awaited, so that nobody would miss them, or awaited
    /// and not read.
    fn unawaited_inputs(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let interlocks: BTreeSet<&String> = self
            .readings
            .interlock
            .iter()
            .map(|one| &one.reading)
            .collect();
        let awaited: BTreeSet<&String> = self.plan.interlocks.iter().collect();
        for reading in interlocks.difference(&awaited) {
            faults.push(format!(
                "readings.interlock {reading:?} is not in plan.interlocks, so that its loss would \
                 not be noticed; add it there"
            ));
        }
        for reading in awaited.difference(&interlocks) {
            faults.push(format!(
                "plan.interlocks has {reading:?}, which no readings.interlock reads; add it there"
            ));
        }
        let air = self.readings.temperature.iter();
        let air: BTreeSet<&String> = air
            .filter(|one| one.kind == SensorKind::Container)
            .map(|one| &one.reading)
            .collect();
        for sensor in &self.plan.container_sensors {
            if !air.contains(sensor) {
                faults.push(format!(
                    "plan.container_sensors has {sensor:?}, which no readings.temperature of kind \
                     \"container\" reads; add it there, or correct the name"
                ));
            }
        }
        faults
    }

    /// What works, and is probably not what was meant: each with its key and what to write.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let targets: Vec<Target> = self.actuator.iter().flat_map(|one| one.targets()).collect();
        let is_switched = |name: &String| {
            let is_it = |one: &Target| matches!(one, Target::Machine(machine) if machine == name);
            targets.iter().any(is_it)
        };
        for machine in &self.plan.machines {
            if !is_switched(&machine.name) {
                warnings.push(format!(
                    "plan.machines.{}: no [[actuator]] controls it, so that nothing stops it; add \
                     one",
                    machine.name
                ));
            }
        }
        warnings.extend(self.doubtful_power());
        if self.step_s > MOST_STEP_S {
            warnings.push(format!(
                "step_s is {}: systemd ends a controller that takes no step for 15 s, unless \
                 WatchdogSec of its unit is raised; say {MOST_STEP_S} or less",
                self.step_s
            ));
        }
        if self.plan.has_site_meter && self.readings.site_meter.is_none() {
            warnings.push(
                "readings.site_meter is missing: the site's power is estimated; name the meter, \
                 or say plan.has_site_meter = false"
                    .to_owned(),
            );
        }
        for one in &self.readings.temperature {
            let is_awaited = self.plan.container_sensors.contains(&one.reading);
            if one.kind == SensorKind::Container && !is_awaited {
                warnings.push(format!(
                    "readings.temperature {:?} is not in plan.container_sensors, so that its loss \
                     would not be noticed; add it there",
                    one.reading
                ));
            }
        }
        for one in self
            .readings
            .feeder
            .iter()
            .filter(|one| !one.currents.is_empty())
        {
            let mut feeders = self.plan.feeders.iter();
            if feeders.any(|feeder| feeder.name == one.feeder && !feeder.is_metered) {
                warnings.push(format!(
                    "plan.feeders.{}.is_metered is false although its currents are read, so that \
                     their loss would not be noticed; say true",
                    one.feeder
                ));
            }
        }
        warnings
    }

    /// Powers that are probably in another unit.
    fn doubtful_power(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let design_kw = self.plan.design_kw;
        let machines_w: f64 = self.plan.machines.iter().map(|one| one.power_w).sum();
        let fans_w: f64 = self.plan.fans.iter().map(|one| one.watts).sum();
        let listed_kw = (machines_w + fans_w) / 1_000.0 + self.plan.auxiliary_kw;
        if !self.plan.machines.is_empty() && design_kw > MOST_DESIGN * listed_kw {
            warnings.push(format!(
                "plan.design_kw is {design_kw}, and all that is listed draws {listed_kw:.1} kW; \
                 say kilowatts, as 1000 for 1 MW"
            ));
        }
        for (name, rule) in &self.policy.signals.sources {
            let key = |field: &str| format!("policy.signals.sources.{name}.{field}");
            if rule.curtail_kw >= design_kw {
                warnings.push(format!(
                    "{} is {}, not below plan.design_kw, {design_kw}: it asks for nothing; say \
                     kilowatts",
                    key("curtail_kw"),
                    rule.curtail_kw
                ));
            }
            if rule.emergency_kw > rule.curtail_kw {
                warnings.push(format!(
                    "{} is {}, more than curtail_kw, {}: an emergency would ask for less; say at \
                     most as much",
                    key("emergency_kw"),
                    rule.emergency_kw,
                    rule.curtail_kw
                ));
            }
        }
        warnings
    }
}

/// A complaint about the file or variable of a secret, under the key that names it here.
pub fn named(key: &str, reason: &str) -> String {
    let reason = reason.replace("secret_file is ", "");
    format!("{key}: {}", reason.replace("secret_env names ", ""))
}
