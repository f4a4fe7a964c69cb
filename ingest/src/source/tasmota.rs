//! `tasmota`: plugs and relays with the firmware Tasmota: power, energy and its sensors.
//!
//! `GET /cm?cmnd=Status%208` answers `{"StatusSNS":{"Time":…,"ENERGY":{…},"AM2301":{…}}}`. `Total`
//! is in kWh. A device of several channels reports lists. A password goes as HTTP basic
//! authentication, never into the query, where logs would show it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

const ENERGY: &[(&str, &str)] = &[
    ("Voltage", "voltage_v"),
    ("Current", "current_a"),
    ("ApparentPower", "apparent_power_va"),
    ("ReactivePower", "reactive_power_var"),
    ("Factor", "power_factor"),
];

/// The kind.
pub struct Tasmota;

impl Source for Tasmota {
    fn kind(&self) -> &'static str {
        "tasmota"
    }
    fn doc(&self) -> &'static str {
        "Plugs and relays with the firmware Tasmota."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: TasmotaDevice = parse_keys(keys)?;
        Ok(Box::new(device))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TasmotaDevice {}

impl Device for TasmotaDevice {
    fn requests(&self) -> Vec<Request> {
        vec![Request::get("/cm?cmnd=Status%208")]
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let document = json::document(answers.first())?;
        // Older firmware names the section after the command.
        let status = document.get("StatusSNS").or(document.get("Status8"));
        let status = status
            .and_then(Value::as_object)
            .ok_or("the answer has no section `StatusSNS`")?;
        let mut readings = Readings::default();
        sections(&mut readings, status);
        readings.progress = json::progress(status.get("Time"));
        Ok(readings)
    }
}

/// What the sensors say, as it also comes over MQTT.
pub fn sections(readings: &mut Readings, status: &Map<String, Value>) {
    let is_fahrenheit = status.get("TempUnit").and_then(Value::as_str) == Some("F");
    for (name, section) in status {
        match name.as_str() {
            "ENERGY" => energy(readings, section),
            _ => climate(readings, name, section, is_fahrenheit),
        }
    }
}

/// The states of relays in a telemetry of MQTT: `POWER` of one, or `POWER1` and so on.
pub fn relays(readings: &mut Readings, state: &Value) {
    let state_of = |key: &str| match state.get(key).and_then(Value::as_str) {
        Some("ON") => Some(Some(1.0)),
        Some("OFF") => Some(Some(0.0)),
        Some(_) => Some(None),
        None => None,
    };
    if let Some(value) = state_of("POWER") {
        readings.sensor("", "relay_state", value);
    }
    for channel in 1..=32 {
        if let Some(value) = state_of(&format!("POWER{channel}")) {
            readings.sensor(&format!("channel-{channel}"), "relay_state", value);
        }
    }
}

/// One value, or one of each channel.
fn channels(value: Option<&Value>) -> Vec<Option<f64>> {
    match value {
        Some(Value::Array(list)) => list.iter().take(32).map(json::number).collect(),
        Some(value) => vec![json::number(value)],
        None => Vec::new(),
    }
}

fn part(index: usize, count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!("channel-{}", index + 1),
    }
}

fn energy(readings: &mut Readings, section: &Value) {
    let powers = channels(section.get("Power"));
    let totals = channels(section.get("Total"));
    if powers.is_empty() {
        readings.power("", None, None);
    }
    for (index, power) in powers.iter().enumerate() {
        // A total of all channels belongs to none of them.
        let total = match totals.len() == powers.len() {
            true => totals.get(index).copied().flatten(),
            false => None,
        };
        let part = part(index, powers.len());
        readings.power(&part, *power, total.map(|kwh| kwh * 1_000.0));
    }
    for (key, quantity) in ENERGY {
        let values = channels(section.get(*key));
        for (index, value) in values.iter().enumerate() {
            readings.sensor(&part(index, values.len()), quantity, *value);
        }
    }
}

fn climate(readings: &mut Readings, name: &str, section: &Value, is_fahrenheit: bool) {
    if let Some(value) = section.get("Temperature") {
        let number = json::number(value);
        let celsius = match is_fahrenheit {
            true => number.map(json::celsius),
            false => number,
        };
        readings.sensor(name, "temperature_c", celsius);
    }
    if let Some(value) = section.get("Humidity") {
        readings.sensor(name, "humidity_pct", json::number(value));
    }
}
