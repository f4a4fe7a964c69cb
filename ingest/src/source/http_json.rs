//! `http_json`: any device or service that answers a GET with JSON; pointers say what is where.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::readings::{Measured, check_quantity, converted};
use super::{AddressForm, Device, Keys, Readings, Request, Source, json, parse_keys};

/// Values that one answer may be read for.
const MOST_VALUES: usize = 500;

/// The kind.
pub struct HttpJson;

impl Source for HttpJson {
    fn kind(&self) -> &'static str {
        "http_json"
    }
    fn doc(&self) -> &'static str {
        "Anything that answers a GET with JSON."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "path",
                "The path of the request, with its query; `/` when left out.",
            ),
            (
                "values",
                "A list of `{ pointer, quantity, part, factor, offset, fahrenheit, missing }`: \
                 a JSON pointer (RFC 6901) and what stands there. `power_w` makes a row of \
                 energy, with the `energy_total_wh` of the same part; `hashrate_hs` one of \
                 hashrate; any other quantity one of sensors. The value is multiplied by \
                 `factor`, then `offset` is added; one that equals a number in `missing` is \
                 none.",
            ),
            (
                "progress",
                "The pointer of what moves on with every reading, such as a time; without it \
                 an answer is always new.",
            ),
        ]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: JsonDevice = parse_keys(keys)?;
        if !device.path.starts_with('/') {
            return Err(format!("path is {:?}; it begins with /", device.path));
        }
        if device.values.is_empty() || device.values.len() > MOST_VALUES {
            return Err(format!("values must have 1 to {MOST_VALUES} entries"));
        }
        let pointers = device.values.iter().map(|value| &value.pointer);
        for pointer in pointers.chain(&device.progress) {
            if !pointer.is_empty() && !pointer.starts_with('/') {
                return Err(format!("the pointer {pointer:?} must begin with /"));
            }
        }
        for value in &device.values {
            check_quantity(&value.quantity)?;
        }
        Ok(Box::new(device))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonDevice {
    #[serde(default = "root")]
    path: String,
    #[serde(default)]
    values: Vec<JsonValue>,
    #[serde(default)]
    progress: Option<String>,
}

fn root() -> String {
    "/".to_owned()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonValue {
    pointer: String,
    quantity: String,
    #[serde(default)]
    part: String,
    #[serde(default)]
    factor: Option<f64>,
    #[serde(default)]
    offset: f64,
    #[serde(default)]
    fahrenheit: bool,
    #[serde(default)]
    missing: Vec<f64>,
}

impl JsonValue {
    fn value(&self, document: &Value) -> Option<f64> {
        let raw = document.pointer(&self.pointer).and_then(json::number)?;
        converted(
            raw,
            &self.missing,
            self.fahrenheit,
            self.factor,
            self.offset,
        )
    }
}

impl Device for JsonDevice {
    fn requests(&self) -> Vec<Request> {
        vec![Request::get(&self.path)]
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let document = json::document(answers.first())?;
        let mut readings = Readings::default();
        let values = self.values.iter().map(|value| Measured {
            part: &value.part,
            quantity: &value.quantity,
            value: value.value(&document),
        });
        readings.measured(&values.collect::<Vec<_>>());
        let progress = self.progress.as_ref();
        readings.progress = progress.and_then(|pointer| json::progress(document.pointer(pointer)));
        Ok(readings)
    }
}
