//! `shelly`: Shelly plugs and relays, first and second generation.
//!
//! Generation 1 answers `GET /status` with `meters[]` (`power` in W, `total` in watt-minutes) or
//! `emeters[]` (`total` in Wh). Generation 2 answers `GET /rpc/Switch.GetStatus?id=n` with `apower`
//! and `aenergy.total` in Wh.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

/// The kind.
pub struct Shelly;

impl Source for Shelly {
    fn kind(&self) -> &'static str {
        "shelly"
    }
    fn doc(&self) -> &'static str {
        "Shelly plugs and relays of both generations."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn is_login_by_challenge(&self) -> bool {
        true
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("generation", "1 or 2; 2 when left out."),
            (
                "switches",
                "Generation 2: the ids of its switches; `[0]` when left out.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: ShellyDevice = parse_keys(keys)?;
        if !matches!(device.generation, 1 | 2) {
            return Err(format!(
                "generation is {}; it must be 1 or 2",
                device.generation
            ));
        }
        if device.switches.is_empty() || device.switches.len() > 16 {
            return Err("switches must have 1 to 16 ids".to_owned());
        }
        Ok(Box::new(device))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShellyDevice {
    #[serde(default = "second")]
    generation: u8,
    #[serde(default = "first_switch")]
    switches: Vec<u8>,
}

fn second() -> u8 {
    2
}

fn first_switch() -> Vec<u8> {
    vec![0]
}

impl Device for ShellyDevice {
    fn requests(&self) -> Vec<Request> {
        if self.generation == 1 {
            return vec![Request::get("/status")];
        }
        let ids = self.switches.iter();
        ids.map(|id| Request::get(format!("/rpc/Switch.GetStatus?id={id}")))
            .collect()
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        match self.generation {
            1 => first_generation(&json::document(answers.first())?),
            _ => self.second_generation(answers),
        }
    }
}

/// The part of a switch of several.
pub fn part(index: usize, count: usize, id: u64) -> String {
    match (index, count) {
        (0, 1) => String::new(),
        _ => format!("switch-{id}"),
    }
}

fn first_generation(document: &Value) -> Result<Readings, String> {
    let list = |key: &str| document.get(key).and_then(Value::as_array);
    let (meters, wh_of_total) = match (list("emeters"), list("meters")) {
        (Some(meters), _) => (meters, 1.0),
        (None, Some(meters)) => (meters, 1.0 / 60.0),
        (None, None) => return Err("the answer has neither `meters` nor `emeters`".to_owned()),
    };
    let mut readings = Readings::default();
    for (index, meter) in meters.iter().enumerate() {
        let is_valid = meter.get("is_valid").and_then(Value::as_bool) != Some(false);
        let at = |key: &str| json::number_at(meter, key).filter(|_| is_valid);
        let part = part(index, meters.len(), index as u64);
        readings.power(
            &part,
            at("power"),
            at("total").map(|total| total * wh_of_total),
        );
        if meter.get("voltage").is_some() {
            readings.sensor(&part, "voltage_v", at("voltage"));
        }
    }
    readings.sensor_if_any(
        "",
        "temperature_c",
        json::number_at(document, "temperature"),
    );
    readings.progress = json::progress(document.get("uptime").or(document.get("unixtime")));
    // A device that never reached a time server says 0.
    readings.clock_s = json::number_at(document, "unixtime").filter(|clock| *clock > 0.0);
    Ok(readings)
}

impl ShellyDevice {
    fn second_generation(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let mut readings = Readings::default();
        for (index, id) in self.switches.iter().enumerate() {
            let document = json::document(answers.get(index))?;
            let part = part(index, self.switches.len(), u64::from(*id));
            switch_status(&mut readings, &part, *id, &document)?;
        }
        Ok(readings)
    }
}

/// The status of one switch of the second generation, as it also comes over MQTT.
pub fn switch_status(
    readings: &mut Readings,
    part: &str,
    id: u8,
    document: &Value,
) -> Result<(), String> {
    if document.get("id").is_none() && document.get("apower").is_none() {
        return Err(format!("the answer is not the status of switch {id}"));
    }
    let energy = document.get("aenergy");
    let total = energy.and_then(|energy| json::number_at(energy, "total"));
    readings.power(part, json::number_at(document, "apower"), total);
    for (key, quantity) in [("voltage", "voltage_v"), ("current", "current_a")] {
        if document.get(key).is_some() {
            readings.sensor(part, quantity, json::number_at(document, key));
        }
    }
    if let Some(temperature) = document.get("temperature") {
        readings.sensor(part, "temperature_c", json::number_at(temperature, "tC"));
    }
    Ok(())
}

/// Whether the switch is on, where the status says so.
pub fn relay_state(readings: &mut Readings, part: &str, document: &Value) {
    let is_on = document.get("output").and_then(Value::as_bool);
    let state = is_on.map(|is_on| f64::from(u8::from(is_on)));
    readings.sensor_if_any(part, "relay_state", state);
}
