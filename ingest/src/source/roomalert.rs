//! `roomalert`: AVTECH RoomAlert, temperature and humidity with alarms.
//!
//! Shapes: `get_data`, the `getData.json` of the device (older firmware answers the same at
//! `getData.htm`: set `path`), and `flat`, an object `{temperature, humidity}` as gateways serve
//! it. The third, SNMP, is not read.
//!
//! Names of keys differ by model and numbers arrive as text. `tempc` goes before `tempf`; a bare
//! `temp` is in the unit that the top level's `scale` names (1 is °F, 0 is °C).

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

/// What the device reports for a sensor that is not plugged in.
const UNPLUGGED: f64 = -999.0;

/// The kind.
pub struct Roomalert;

impl Source for Roomalert {
    fn kind(&self) -> &'static str {
        "roomalert"
    }
    fn doc(&self) -> &'static str {
        "AVTECH RoomAlert: temperature, humidity, switches."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "shape",
                "`get_data`, the device's own document, or `flat`, an object with \
                 `temperature` and `humidity`; `get_data` when left out.",
            ),
            (
                "path",
                "`/getData.json`, or `/api/temp` of the shape `flat`, when left out.",
            ),
            (
                "temperature",
                "Shape `flat`: the pointer of the temperature; `/temperature` when left out.",
            ),
            (
                "humidity",
                "Shape `flat`: the pointer of the humidity; `/humidity` when left out.",
            ),
            (
                "fahrenheit",
                "Shape `flat`: whether the temperature is in °F.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: RoomalertDevice = parse_keys(keys)?;
        let path = device.path.as_deref().unwrap_or("/");
        if !path.starts_with('/') {
            return Err(format!("path is {path:?}; it begins with /"));
        }
        let is_flat_only =
            device.temperature.is_some() || device.humidity.is_some() || device.fahrenheit;
        if device.shape == Shape::GetData && is_flat_only {
            return Err(
                "temperature, humidity and fahrenheit are keys of the shape flat".to_owned(),
            );
        }
        Ok(Box::new(device))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    #[default]
    GetData,
    Flat,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoomalertDevice {
    #[serde(default)]
    shape: Shape,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    temperature: Option<String>,
    #[serde(default)]
    humidity: Option<String>,
    #[serde(default)]
    fahrenheit: bool,
}

impl Device for RoomalertDevice {
    fn requests(&self) -> Vec<Request> {
        let usual = match self.shape {
            Shape::GetData => "/getData.json",
            Shape::Flat => "/api/temp",
        };
        vec![Request::get(self.path.as_deref().unwrap_or(usual))]
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let document = json::document(answers.first())?;
        match self.shape {
            Shape::GetData => get_data(&document),
            Shape::Flat => Ok(self.flat(&document)),
        }
    }
}

impl RoomalertDevice {
    fn flat(&self, document: &Value) -> Readings {
        let at = |pointer: &Option<String>, usual: &str| {
            let pointer = pointer.as_deref().unwrap_or(usual);
            let number = document.pointer(pointer).and_then(json::number);
            number.filter(|number| *number != UNPLUGGED)
        };
        let mut temperature = at(&self.temperature, "/temperature");
        if self.fahrenheit {
            temperature = temperature.map(json::celsius);
        }
        let mut readings = Readings::default();
        readings.sensor("", "temperature_c", temperature);
        readings.sensor("", "humidity_pct", at(&self.humidity, "/humidity"));
        readings
    }
}

fn get_data(document: &Value) -> Result<Readings, String> {
    let list = |key: &str| document.get(key).and_then(Value::as_array);
    let sensors = list("sensor").ok_or("the answer has no list `sensor`")?;
    let is_fahrenheit = json::number_at(document, "scale").map(|scale| scale == 1.0);
    let mut readings = Readings::default();
    for (index, sensor) in sensors
        .iter()
        .enumerate()
        .filter(|(_, sensor)| is_on(sensor))
    {
        let part = label(sensor, "sensor", index);
        let (temperature, has_temperature) = temperature(sensor, is_fahrenheit);
        let (humidity, has_humidity) = first(sensor, &["humid", "hum", "rh"]);
        if has_temperature || !has_humidity {
            readings.sensor(&part, "temperature_c", temperature);
        }
        if has_humidity {
            readings.sensor(&part, "humidity_pct", humidity);
        }
    }
    let switches = list("switch_sen").map_or(&[][..], Vec::as_slice);
    for (index, switch) in switches.iter().enumerate().filter(|(_, one)| is_on(one)) {
        let part = label(switch, "switch", index);
        readings.sensor(&part, "switch_state", json::number_at(switch, "status"));
    }
    // The date alone may have a resolution of a minute; the uptime goes beside it.
    let date = json::progress(document.get("date"));
    let uptime = json::progress(document.get("uptime"));
    readings.progress = match (date, uptime) {
        (None, None) => None,
        (date, uptime) => Some(format!("{date:?} {uptime:?}")),
    };
    Ok(readings)
}

fn is_on(sensor: &Value) -> bool {
    json::number_at(sensor, "enabled") != Some(0.0)
}

fn label(sensor: &Value, what: &str, index: usize) -> String {
    match sensor.get("label").and_then(Value::as_str).map(str::trim) {
        Some(label) if !label.is_empty() => label.to_owned(),
        _ => format!("{what}-{}", index + 1),
    }
}

/// The number of the first of these keys that says one, and whether any of them is there.
fn first(sensor: &Value, keys: &[&str]) -> (Option<f64>, bool) {
    let has = keys.iter().any(|key| sensor.get(*key).is_some());
    let number = json::first_number(sensor, keys).filter(|number| *number != UNPLUGGED);
    (number, has)
}

/// °C, and whether the sensor has a temperature at all.
fn temperature(sensor: &Value, is_fahrenheit: Option<bool>) -> (Option<f64>, bool) {
    let (celsius, has_celsius) = first(sensor, &["tempc", "tc", "temp_c"]);
    let (fahrenheit, has_fahrenheit) = first(sensor, &["tempf", "tf", "temp_f"]);
    let (bare, has_bare) = first(sensor, &["temp"]);
    let bare = match is_fahrenheit {
        Some(true) => bare.map(json::celsius),
        Some(false) => bare,
        // Nobody knows which unit it is in.
        None => None,
    };
    let value = celsius.or(fahrenheit.map(json::celsius)).or(bare);
    (value, has_celsius || has_fahrenheit || has_bare)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::Reading;

    fn read(text: &str) -> Readings {
        let device = Roomalert.device(Keys::new()).unwrap();
        device.read(&[Some(Bytes::from(text.to_owned()))]).unwrap()
    }

    fn sensor(part: &str, quantity: &str, value: f64) -> Reading {
        Reading::Sensor {
            part: part.to_owned(),
            quantity: quantity.to_owned(),
            value,
        }
    }

    #[test]
    fn units_and_names_of_keys_differ_by_model() {
        let readings = read(
            r#"{"date":"07/19/17 09:50:58","scale":1,"sensor":[
            {"label":"Internal Sensor","tempf":"77.00","tempc":"25.00"},
            {"label":"A","tf":"50"},{"label":"B","temp":"32.0"},
            {"label":"","temp_c":"21.5","hum":"40.5"},{"label":"off","enabled":0,"tempc":"1"}],
            "switch_sen":[{"label":"gate","enabled":1,"status":1}]}"#,
        );
        assert_eq!(
            readings.values,
            [
                sensor("Internal Sensor", "temperature_c", 25.0),
                sensor("A", "temperature_c", 10.0),
                sensor("B", "temperature_c", 0.0),
                sensor("sensor-4", "temperature_c", 21.5),
                sensor("sensor-4", "humidity_pct", 40.5),
                sensor("gate", "switch_state", 1.0),
            ]
        );
        assert_eq!((readings.missing, readings.rejected), (0, 0));
        assert!(readings.progress.unwrap().contains("07/19/17"));
    }

    #[test]
    fn what_is_not_there_is_missing_and_never_zero() {
        let readings = read(
            r#"{"sensor":[{"label":"a","tempc":""},{"label":"b","tempc":"---","tempf":"-999"},
            {"label":"c","tempc":-999},{"label":"d"},{"label":"e","temp":"70"},
            {"label":"f","rh":""}]}"#,
        );
        assert_eq!(readings.values, []);
        assert_eq!(readings.missing, 6);
    }
}
