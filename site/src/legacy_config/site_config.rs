//! The old file as a configuration of this controller: printed, or used as it is.

use std::path::Path;

use serde_json::{Value, json};

use super::{KEYS, LegacyConfig, LegacySettings};
use crate::config::{ConfigError, SiteConfig};

/// The site's name, and its kilowatts, where nobody says them.
pub const SITE: &str = "site";
/// See [`SITE`].
pub const DESIGN_KW: f64 = 1_000.0;
/// The folder of its secrets, in the folder of the controller.
const SECRETS: &str = "secrets";
/// What the factory calls the sensor in the thermometer.
const SENSOR: &str = "roomalert/Internal Sensor";
const FANS: usize = 9;
const FAN_W: f64 = 900.0;

/// Whether a text is such a file: its first section is one of the old sections, which no
/// configuration of this controller has.
pub fn is_legacy(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    let section = first.and_then(|line| line.strip_prefix('[')?.strip_suffix(']'));
    section.is_some_and(|section| KEYS.iter().any(|(known, _)| *known == section))
}

impl LegacySettings {
    /// The configuration that follows from it, as JSON. It has neither machines nor a signal, of
    /// which the file does not know enough.
    pub fn site_config(&self, site: &str, design_kw: f64) -> Value {
        let fans = match self.actuators.is_empty() {
            true => Vec::new(),
            false => vec![json!({"watts": FAN_W}); FANS],
        };
        let has_sensor = self.sources.iter().any(|source| source.kind == "roomalert");
        let sensors: Vec<&str> = has_sensor.then_some(SENSOR).into_iter().collect();
        let temperature = sensors
            .iter()
            .map(|name| json!({"reading": name, "kind": "container"}));
        let config = json!({
            "policy": {
                "health": {"loop_s": (self.loop_interval_minutes * 60.0).round() as u64},
                "thermal": {"hot_c": self.max_temp_celsius, "cold_c": self.min_temp_celsius,
                    "humid_pct": self.max_humidity},
            },
            "plan": {"name": site, "design_kw": design_kw, "machines": [], "fans": fans,
                "container_sensors": sensors},
            "readings": {"temperature": temperature.collect::<Vec<_>>(), "humidity": sensors},
            "source": self.sources,
            "actuator": self.actuators,
            "channel": self.channels,
        });
        without_nulls(config)
    }
}

/// The configuration that such a file makes, with what another one, TOML of this controller, says
/// beyond it; and what is still missing.
///
/// Of the other one single values count before those of the file, and lists are added to its
/// lists. Secrets of the file lie in `secrets` of the `data_dir`, each in a file of mode 0600.
///
/// # Errors
///
/// Everything that is wrong with the file, or with what came of both.
pub fn load(path: &Path, more: Option<&Path>) -> Result<(SiteConfig, Vec<String>), ConfigError> {
    let shown = |path: &Path, why: &dyn std::fmt::Display| {
        ConfigError(vec![format!("{}: {why}", path.display())])
    };
    let more: Value = match more {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| shown(path, &error))?;
            toml::from_str(&text).map_err(|error| shown(path, &error))?
        }
        None => json!({}),
    };
    let text = |value: &Value, default: &str| value.as_str().unwrap_or(default).to_owned();
    let site = text(&more["plan"]["name"], SITE);
    let data_dir = text(&more["data_dir"], crate::config::DATA_DIR);
    let secrets = Path::new(&data_dir).join(SECRETS);
    let settings = LegacyConfig::read(path).and_then(|old| old.settings(&site, &secrets));
    let settings = settings.map_err(|errors| {
        let line = |error: super::LegacyError| format!("{}: {error}", path.display());
        ConfigError(errors.into_iter().map(line).collect())
    })?;
    let mut value = settings.site_config(&site, DESIGN_KW);
    merge(&mut value, more);
    let config: SiteConfig = serde_json::from_value(value).map_err(|error| shown(path, &error))?;
    config.check(false)?;
    let mut warnings = settings.warnings.clone();
    warnings.retain(|warning| !is_answered(warning, &settings, &config));
    if config.plan.machines.is_empty() {
        warnings.push("the plan has no machines, so that nothing is stopped; add them".to_owned());
    }
    Ok((config, warnings))
}

/// Adds what another one says: a single value takes the place of the one before, a list goes on.
fn merge(value: &mut Value, more: Value) {
    match (value, more) {
        (Value::Object(all), Value::Object(more)) => {
            for (key, more) in more {
                merge(all.entry(key).or_insert(Value::Null), more);
            }
        }
        (Value::Array(all), Value::Array(more)) => all.extend(more),
        (value, more) => *value = more,
    }
}

/// Whether what the file does not know was said elsewhere.
fn is_answered(warning: &str, settings: &LegacySettings, config: &SiteConfig) -> bool {
    let is_about = |key: &str| warning.starts_with(key);
    let pdu = settings.pdu_address.as_deref();
    let mut actuators = config.actuator.iter();
    if is_about("[APIS] cornbelt_url") {
        return !config.signal.is_empty();
    }
    if is_about("[APIS] iotawatt_ip") {
        return config.readings.site_meter.is_some();
    }
    if is_about("[APIS] foreman_api: the file") {
        return actuators.any(|one| one.kind == "foreman");
    }
    if is_about("[APIS] pdu_ip") {
        return pdu.is_some_and(|pdu| actuators.any(|one| one.address.contains(pdu)));
    }
    is_about("[NOTIFICATIONS] sms_api_key") && config.channel.iter().any(|one| one.kind == "sms")
}

/// The same without what is null: TOML has no null.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                kept.map(|(key, value)| (key, without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(all) => Value::Array(all.into_iter().map(without_nulls).collect()),
        value => value,
    }
}
