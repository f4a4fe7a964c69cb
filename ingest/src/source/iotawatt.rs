//! `iotawatt`: IoTaWatt, an open energy meter of up to 14 circuits.
//!
//! Mode `status` asks for what is now, mode `query` for the mean of the last interval. The device
//! does not sample while it answers: a poll is one short request, and nothing asks for history.
//! Watts arrive as text; a power between -2 and 2 W is reported as 0 by the device itself.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

/// Seconds that the mean of mode `query` may be over, as the device's recent log has them.
const WINDOW_S: std::ops::RangeInclusive<u32> = 5..=3_600;
/// Series of one query.
const MOST_SERIES: usize = 20;
/// Units of series and outputs, and what they are here.
const UNITS: &[(&str, &str)] = &[
    ("watts", "power_w"),
    ("volts", "voltage_v"),
    ("amps", "current_a"),
    ("hz", "frequency_hz"),
    ("va", "apparent_power_va"),
    ("var", "reactive_power_var"),
    ("pf", "power_factor"),
];

/// The kind.
pub struct IotaWatt;

impl Source for IotaWatt {
    fn kind(&self) -> &'static str {
        "iotawatt"
    }
    fn doc(&self) -> &'static str {
        "IoTaWatt: power of circuits, voltage and frequency; with a password its user is `user` or \
         `admin`."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn is_login_by_challenge(&self) -> bool {
        true
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "mode",
                "`status`, what is now, or `query`, the mean of the last `window_s` seconds; \
                 `status` when left out.",
            ),
            (
                "channels",
                "Mode `status`: names of inputs by channel, as `{ 1 = \"main\" }`; others are \
                 `input-1` and so on.",
            ),
            (
                "series",
                "Mode `query`: names with units, as `[\"main.watts\", \"V1.volts\"]`; units \
                 are watts, volts, amps, hz, va, var and pf.",
            ),
            (
                "window_s",
                "Mode `query`: seconds, 5 to 3600; 60 when left out.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let keys: IotaWattKeys = parse_keys(keys)?;
        let series: Result<Vec<Series>, String> =
            keys.series.iter().map(|text| Series::parse(text)).collect();
        let series = series?;
        let is_query = keys.mode == Mode::Query;
        if is_query && (series.is_empty() || series.len() > MOST_SERIES) {
            return Err(format!(
                "series must name 1 to {MOST_SERIES} series in mode query"
            ));
        }
        if !is_query && !series.is_empty() {
            return Err("series is a key of mode query".to_owned());
        }
        if is_query && !keys.channels.is_empty() {
            return Err("channels is a key of mode status".to_owned());
        }
        let window_s = keys.window_s.unwrap_or(60);
        if !WINDOW_S.contains(&window_s) {
            return Err(format!("window_s is {window_s}; it must be 5 to 3600"));
        }
        Ok(Box::new(IotaWattDevice {
            channels: keys.channels,
            series,
            window_s,
        }))
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Status,
    Query,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IotaWattKeys {
    #[serde(default)]
    mode: Mode,
    #[serde(default)]
    channels: BTreeMap<String, String>,
    #[serde(default)]
    series: Vec<String>,
    #[serde(default)]
    window_s: Option<u32>,
}

#[derive(Debug)]
struct IotaWattDevice {
    channels: BTreeMap<String, String>,
    /// Empty in mode `status`.
    series: Vec<Series>,
    window_s: u32,
}

#[derive(Debug)]
struct Series {
    name: String,
    unit: &'static str,
}

impl Series {
    fn parse(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let parsed = text.split_once('.').and_then(|(name, unit)| {
            let &(unit, _) = UNITS.iter().find(|(known, _)| *known == unit)?;
            let is_plain = !name.is_empty() && name.chars().all(plain);
            is_plain.then(|| Self {
                name: name.to_owned(),
                unit,
            })
        });
        parsed.ok_or_else(|| format!("series has {text:?}; write name.unit, as main.watts"))
    }
}

impl Device for IotaWattDevice {
    fn requests(&self) -> Vec<Request> {
        if self.series.is_empty() {
            return vec![Request::get("/status?stats=yes&inputs=yes&outputs=yes")];
        }
        let names = self.series.iter().map(|series| {
            let (name, unit) = (&series.name, series.unit);
            format!(",{name}.{unit}.d3")
        });
        let (names, window) = (names.collect::<String>(), self.window_s);
        vec![Request::get(format!(
            "/query?select=[time.utc.unix{names}]&begin=s-{window}s&end=s&group=all&format=json&header=yes&missing=null&limit=2&resolution=low"
        ))]
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let document = json::document(answers.first())?;
        if let Some(error) = document.get("error").and_then(Value::as_str) {
            let error: String = error.chars().take(200).collect();
            return Err(format!("the device refuses the query: {error}"));
        }
        match self.series.is_empty() {
            true => self.status(&document),
            false => self.query(&document),
        }
    }
}

impl IotaWattDevice {
    fn status(&self, document: &Value) -> Result<Readings, String> {
        let inputs = document.get("inputs").and_then(Value::as_array);
        let inputs = inputs.ok_or("the answer has no list `inputs`")?;
        let mut readings = Readings::default();
        for (index, input) in inputs.iter().enumerate() {
            let number = json::number_at(input, "channel").unwrap_or(index as f64);
            let channel = format!("{number}");
            let part = self.channels.get(&channel).cloned();
            let part = part.unwrap_or_else(|| format!("input-{channel}"));
            if input.get("Vrms").is_some() {
                readings.sensor(&part, "voltage_v", json::number_at(input, "Vrms"));
                readings.sensor(&part, "frequency_hz", json::number_at(input, "Hz"));
            } else {
                readings.power(&part, json::number_at(input, "Watts"), None);
            }
        }
        let outputs = document.get("outputs").and_then(Value::as_array);
        for output in outputs.map_or(&[][..], Vec::as_slice) {
            let text = |key: &str| output.get(key).and_then(Value::as_str).unwrap_or_default();
            let unit = text("units").to_ascii_lowercase();
            let value = json::number_at(output, "value");
            add(&mut readings, text("name"), &unit, value);
        }
        let stats = document.get("stats");
        readings.progress = json::progress(stats.and_then(|stats| stats.get("currenttime")));
        Ok(readings)
    }

    fn query(&self, document: &Value) -> Result<Readings, String> {
        let rows = document.get("data").and_then(Value::as_array);
        let row = rows.and_then(|rows| rows.last()).and_then(Value::as_array);
        let row = row.ok_or("the answer has no row in `data`")?;
        if row.len() != self.series.len() + 1 {
            return Err(format!(
                "the answer has {} values; {} were asked for",
                row.len(),
                self.series.len() + 1
            ));
        }
        let mut readings = Readings::default();
        for (series, value) in self.series.iter().zip(&row[1..]) {
            add(
                &mut readings,
                &series.name,
                series.unit,
                json::number(value),
            );
        }
        let end = document.get("range").and_then(|range| range.get(1));
        readings.progress = json::progress(end);
        Ok(readings)
    }
}

/// Adds a value in one of the device's units; units that mean nothing here are left out.
fn add(readings: &mut Readings, name: &str, unit: &str, value: Option<f64>) {
    match UNITS.iter().find(|(known, _)| *known == unit) {
        Some(&(_, "power_w")) => readings.power(name, value, None),
        Some(&(_, quantity)) => readings.sensor(name, quantity, value),
        None => {}
    }
}
