//! `asic`: mining machines with the API of cgminer, TCP 4028: Antminer, Whatsminer, LuxOS, Avalon.
//!
//! Why not the crate asic-rs (0.8.6): with the two largest makers alone it brings 38 crates that
//! are not in our lock file (its tree is 201), with all makers 54; it finds and talks to machines
//! by itself, with no pure function from bytes to readings that could be fuzzed, and turns what a
//! machine does not say into defaults. The commands `summary` and `stats` of the family are the
//! parser below; its file [`repair`] reads the broken JSON that such machines send.
//!
//! Units: keys say `MHS`, `GHS` or `THS`; Whatsminer's `HS RT` is in MH/s; `rate_unit` speaks for
//! `total_rate` alone. A chip or inlet at exactly 0 °C is a board that is off: missing, not cold. A
//! fan that is counted and stands still is a real zero.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

mod repair;

pub use repair::document;

/// Chains and fans that a machine may have.
const MOST_PARTS: usize = 16;
/// The hashrate of the last seconds, else of the longest time there is, with the factor to H/s.
const RATES: &[(&str, f64)] = &[
    ("THS 5s", 1e12),
    ("GHS 5s", 1e9),
    ("MHS 5s", 1e6),
    ("HS RT", 1e6),
    ("MHS 5m", 1e6),
    ("THS av", 1e12),
    ("GHS av", 1e9),
    ("MHS av", 1e6),
];
/// Commands that are asked for, as configured.
const COMMANDS: &[&str] = &["summary", "stats", "power", "devs", "config"];

/// The kind.
pub struct Asic;

impl Source for Asic {
    fn kind(&self) -> &'static str {
        "asic"
    }
    fn doc(&self) -> &'static str {
        "Mining machines with the API of cgminer (TCP 4028): hashrate, power, chips, fans."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(4028)
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[(
            "commands",
            "What is asked beside `summary`: `stats` (chips, fans), `power` (LuxOS), `devs` \
             (boards: `failing_state` is 1 where one is not alive), `config` (LuxOS: `busy_state` \
             is 1 while it tunes); `[\"stats\"]` when left out.",
        )]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: AsicDevice = parse_keys(keys)?;
        for command in &device.commands {
            if !COMMANDS.contains(&command.as_str()) || command == "summary" {
                return Err(format!(
                    "commands has {command:?}; there are stats, power, devs and config"
                ));
            }
        }
        Ok(Box::new(device))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AsicDevice {
    #[serde(default = "stats")]
    commands: Vec<String>,
}

fn stats() -> Vec<String> {
    vec!["stats".to_owned()]
}

impl Device for AsicDevice {
    fn requests(&self) -> Vec<Request> {
        let ask = |command: &str| Request::send(format!("{{\"command\":\"{command}\"}}"));
        let others = self.commands.iter().map(|command| ask(command).optional());
        std::iter::once(ask("summary")).chain(others).collect()
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let first = answers.first().and_then(Option::as_ref);
        let summary = repair::document(first.ok_or("there is no answer to read")?)?;
        let section = section(&summary, "SUMMARY").ok_or_else(|| refusal(&summary))?;
        let mut readings = Readings::default();
        let mut power = json::first_number(section, &["Power", "Power Realtime", "Wattage"]);
        let mut rate = rate(section);
        readings.progress = json::progress(section.get("Elapsed"));
        readings.clock_s = summary
            .get("STATUS")
            .and_then(|status| status.get(0))
            .and_then(|status| json::number_at(status, "When"))
            .filter(|clock| *clock > 0.0);
        let inlet = json::number_at(section, "Env Temp").filter(|celsius| *celsius != 0.0);
        readings.sensor_if_any("inlet", "temperature_c", inlet);
        for (fan, key) in [("fan-in", "Fan Speed In"), ("fan-out", "Fan Speed Out")] {
            readings.sensor_if_any(fan, "fan_rpm", json::number_at(section, key));
        }
        for (command, answer) in self.commands.iter().zip(answers.iter().skip(1)) {
            // One that is not understood by this machine is not a reading that is missing.
            let Some(Ok(document)) = answer.as_ref().map(|answer| repair::document(answer)) else {
                readings.missing += 1;
                continue;
            };
            match command.as_str() {
                "stats" => {
                    let stats = merged(&document, "STATS");
                    rate = rate.or_else(|| stats_rate(&stats));
                    chips_and_fans(&mut readings, &stats);
                }
                "power" => power = power.or_else(|| psu_power(&document)),
                "config" => {
                    let config = merged(&document, "CONFIG");
                    let tunes = config.get("IsTuning").and_then(Value::as_bool);
                    readings.sensor_if_any("", "busy_state", tunes.map(one_or_zero));
                }
                _ => devices(&mut readings, &document),
            }
        }
        readings.hashrate("", rate);
        // A stock Antminer does not know its power, which is no fault of it.
        if power.is_some() {
            readings.power("", power, None);
        }
        Ok(readings)
    }
}

/// The first object of a section, also where several commands were answered at once.
fn section<'a>(document: &'a Value, name: &str) -> Option<&'a Value> {
    let nested = document
        .get(name.to_lowercase())
        .and_then(|answers| answers.get(0))
        .and_then(|answer| answer.get(name));
    let list = document.get(name).or(nested)?;
    list.get(0).filter(|first| first.is_object())
}

/// What the machine says instead of a summary.
fn refusal(document: &Value) -> String {
    let status = document.get("STATUS").and_then(|status| status.get(0));
    let text = |key: &str| {
        let text = status.and_then(|status| status.get(key)?.as_str());
        text.unwrap_or_default()
            .chars()
            .take(100)
            .collect::<String>()
    };
    format!(
        "the machine answers without a summary (status {:?}: {:?})",
        text("STATUS"),
        text("Msg")
    )
}

fn rate(section: &Value) -> Option<f64> {
    RATES
        .iter()
        .find_map(|(key, factor)| Some(json::number_at(section, key)? * factor))
}

fn stats_rate(stats: &Value) -> Option<f64> {
    let factor = match stats.get("rate_unit").and_then(Value::as_str) {
        Some("TH") => 1e12,
        Some("MH") => 1e6,
        Some("GH") => 1e9,
        _ => return rate(stats),
    };
    let total = json::first_number(stats, &["rate_5s", "total_rate"]);
    rate(stats).or(total.map(|total| total * factor))
}

/// All objects of a section as one: a machine puts its version into the first and its values into
/// the next.
fn merged(document: &Value, name: &str) -> Value {
    let mut all = serde_json::Map::new();
    let list = document.get(name).and_then(Value::as_array);
    for object in list.into_iter().flatten().filter_map(Value::as_object) {
        for (key, value) in object {
            all.insert(key.clone(), value.clone());
        }
    }
    Value::Object(all)
}

fn chips_and_fans(readings: &mut Readings, stats: &Value) {
    for board in 1..=MOST_PARTS {
        let part = format!("board-{board}");
        for key in ["temp_chip", "temp2_"] {
            if let Some(value) = stats.get(format!("{key}{board}")) {
                readings.sensor_if_any(&part, "temperature_c", hottest(value));
            }
        }
    }
    let fans = json::number_at(stats, "fan_num").map_or(MOST_PARTS, |fans| fans as usize);
    for fan in 1..=fans.min(MOST_PARTS) {
        let key = format!("fan{fan}");
        if stats.get(&key).is_some() {
            readings.sensor(
                &format!("fan-{fan}"),
                "fan_rpm",
                json::number_at(stats, &key),
            );
        }
    }
}

/// The hottest of `78-50-69-70`; chips at 0 are off.
fn hottest(value: &Value) -> Option<f64> {
    let chips: Vec<f64> = match value {
        Value::String(text) => text.split('-').filter_map(json::text_number).collect(),
        value => json::number(value).into_iter().collect(),
    };
    chips
        .into_iter()
        .filter(|chip| *chip != 0.0)
        .reduce(f64::max)
}

/// What LuxOS measures at the wall; without a power supply that measures it estimates.
fn psu_power(document: &Value) -> Option<f64> {
    let list = document.get("POWER").and_then(Value::as_array)?;
    list.iter()
        .find_map(|entry| json::number_at(entry, "Watts"))
}

fn devices(readings: &mut Readings, document: &Value) {
    let list = document.get("DEVS").and_then(Value::as_array);
    for (index, device) in list.into_iter().flatten().enumerate().take(MOST_PARTS) {
        // "Tenperature" is what some firmware writes.
        let keys = ["Chip Temp Max", "Temperature", "Tenperature"];
        let chip = json::first_number(device, &keys).filter(|celsius| *celsius != 0.0);
        readings.sensor_if_any(&format!("board-{}", index + 1), "temperature_c", chip);
    }
    let status = |device: &Value| {
        device
            .get("Status")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let mut said = list.into_iter().flatten().filter_map(status).peekable();
    let is_known = said.peek().is_some();
    let fails = said.any(|status| !status.eq_ignore_ascii_case("alive"));
    readings.sensor_if_any("", "failing_state", is_known.then(|| one_or_zero(fails)));
}

fn one_or_zero(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::source::Reading;

    fn read(summary: &str, stats: Option<&str>) -> Result<Readings, String> {
        let device = Asic.device(Keys::new())?;
        let bytes = |text: &str| Bytes::from(text.to_owned());
        device.read(&[Some(bytes(summary)), stats.map(bytes)])
    }

    fn sensor(part: &str, quantity: &str, value: f64) -> Reading {
        Reading::Sensor {
            part: part.to_owned(),
            quantity: quantity.to_owned(),
            value,
        }
    }

    #[test]
    fn an_antminer_has_a_hashrate_chips_and_fans_and_no_power() {
        let readings = read(
            "{\"STATUS\":[{\"STATUS\":\"S\",\"When\":1700000000,\"Msg\":\"Summary\"}],\"SUMMARY\":[\
             {\"Elapsed\":4242,\"GHS 5s\":\"110123.45\",\"GHS av\":109000.5,}],\"id\":1}\0",
            Some(
                "{\"STATS\":[{\"BMMiner\":\"1.0\"}{\"fan_num\":2,\"fan1\":5400,\"fan2\":0,\"fan3\":0,\
                 \"temp_chip1\":\"78-50-69-70\",\"temp_chip2\":\"0-0-0-0\",\"temp_chip3\":\"\"}]}\0",
            ),
        )
        .unwrap();
        assert_eq!(
            readings.values,
            [
                sensor("board-1", "temperature_c", 78.0),
                sensor("fan-1", "fan_rpm", 5400.0),
                sensor("fan-2", "fan_rpm", 0.0),
                Reading::Hashrate {
                    part: String::new(),
                    hashrate_hs: 110_123.45e9
                },
            ]
        );
        assert_eq!(readings.progress.as_deref(), Some("4242"));
        assert_eq!(readings.clock_s, Some(1_700_000_000.0));
        assert_eq!(readings.missing, 0);
    }

    #[test]
    fn a_whatsminer_speaks_of_megahashes_and_watts() {
        let readings = read(
            r#"{"STATUS":[{"STATUS":"S"}],"SUMMARY":[{"Elapsed":5,"HS RT":100000000.0,
            "Power":3300,"Env Temp":24.5}]}"#,
            None,
        )
        .unwrap();
        assert_eq!(
            readings.values,
            [
                sensor("inlet", "temperature_c", 24.5),
                Reading::Hashrate {
                    part: String::new(),
                    hashrate_hs: 1e14,
                },
                Reading::Power {
                    part: String::new(),
                    power_w: 3300.0,
                    energy_total_wh: None
                },
            ]
        );
        assert_eq!(readings.missing, 1, "its stats did not come");
    }

    #[test]
    fn a_machine_that_tunes_is_busy_and_one_with_a_dead_board_fails() {
        let keys = serde_json::json!({"commands": ["devs", "config"]});
        let device = Asic.device(keys.as_object().unwrap().clone()).unwrap();
        let states = |devs: &str, config: &str| {
            let summary = r#"{"SUMMARY":[{"Elapsed":5,"GHS 5s":1.0}]}"#;
            let answers = [summary, devs, config].map(|text| Some(Bytes::from(text.to_owned())));
            let readings = device.read(&answers).unwrap();
            let state = |quantity: &str| {
                readings.values.iter().find_map(|one| match one {
                    Reading::Sensor {
                        quantity: own,
                        value,
                        ..
                    } if own == quantity => Some(*value),
                    _ => None,
                })
            };
            (state("failing_state"), state("busy_state"))
        };
        let alive = r#"{"DEVS":[{"ASC":0,"Status":"Alive"},{"ASC":1,"Status":"Alive"}]}"#;
        let dead = r#"{"DEVS":[{"ASC":0,"Status":"Alive"},{"ASC":1,"Status":"Dead"}]}"#;
        let tunes = |is_so: bool| format!("{{\"CONFIG\":[{{\"IsTuning\":{is_so}}}]}}");
        assert_eq!(states(alive, &tunes(true)), (Some(0.0), Some(1.0)));
        assert_eq!(states(dead, &tunes(false)), (Some(1.0), Some(0.0)));
        let silent = (r#"{"DEVS":[{"ASC":0}]}"#, r#"{"CONFIG":[{}]}"#);
        assert_eq!(states(silent.0, silent.1), (None, None));
    }

    #[test]
    fn infinity_and_nothing_are_missing_hashrates_not_zero() {
        for value in ["inf", "nan", "-nan", "\"\"", "null"] {
            let readings = read(
                &format!("{{\"SUMMARY\":[{{\"Elapsed\":5,\"GHS 5s\":{value}}}]}}"),
                Some("{\"STATS\":[]}"),
            )
            .unwrap();
            assert_eq!((readings.values.len(), readings.missing), (0, 1), "{value}");
        }
        let refused = read(
            r#"{"STATUS":[{"STATUS":"E","Msg":"Invalid command"}]}"#,
            None,
        );
        assert!(refused.unwrap_err().contains("Invalid command"));
    }
}
