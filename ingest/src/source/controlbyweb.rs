//! `controlbyweb`: ControlByWeb relays: `state.xml` with relays, inputs and sensors.
//!
//! Older devices answer `GET /state.xml` without any HTTP headers, which HTTP clients refuse; so
//! the request goes over plain TCP, and headers are cut off where there are some.

use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde::Deserialize;

use super::{AddressForm, Device, Keys, Query, Readings, Request, Source, json, parse_keys};

/// Values of one document.
const MOST_VALUES: usize = 200;

/// The kind.
pub struct ControlByWeb;

impl Source for ControlByWeb {
    fn kind(&self) -> &'static str {
        "controlbyweb"
    }
    fn doc(&self) -> &'static str {
        "ControlByWeb relays and inputs, with temperatures."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(80)
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[("path", "`/state.xml` when left out.")]
    }
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String> {
        let device: ControlByWebDevice = parse_keys(keys)?;
        let plain = |c: char| c.is_ascii_graphic();
        if !device.path.starts_with('/') || !device.path.chars().all(plain) {
            return Err(format!("path is {:?}; it begins with /", device.path));
        }
        Ok(Box::new(device))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlByWebDevice {
    #[serde(default = "state")]
    path: String,
}

fn state() -> String {
    "/state.xml".to_owned()
}

impl Device for ControlByWebDevice {
    fn requests(&self) -> Vec<Request> {
        vec![Request {
            query: Query::PlainGet(self.path.clone()),
            optional: false,
        }]
    }

    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String> {
        let answer = answers.first().and_then(Option::as_ref);
        let values = values(answer.ok_or("there is no answer to read")?)?;
        let is_fahrenheit = values
            .iter()
            .any(|(name, value)| name == "units" && value.eq_ignore_ascii_case("f"));
        let mut readings = Readings::default();
        for (name, value) in &values {
            read_value(&mut readings, name, value, is_fahrenheit);
        }
        let time = values.iter().find(|(name, _)| name == "time");
        readings.progress = time.map(|(_, value)| value.clone());
        readings.clock_s = time.and_then(|(_, value)| json::text_number(value));
        Ok(readings)
    }
}

/// What follows the headers, if there are any.
fn body(answer: &Bytes) -> Result<&str, String> {
    let text = std::str::from_utf8(answer).map_err(|_| "the answer is not text")?;
    if !text.starts_with("HTTP/") {
        return Ok(text);
    }
    let status = text.split(' ').nth(1).unwrap_or_default();
    if status != "200" {
        let status: String = status.chars().take(8).collect();
        return Err(format!("the device answers HTTP {status}"));
    }
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
    body.ok_or_else(|| "the answer ends in its headers".to_owned())
}

/// Names, in lower case, and texts of the elements in `<datavalues>` of an answer with or without
/// HTTP headers.
pub fn values(answer: &Bytes) -> Result<Vec<(String, String)>, String> {
    let body = body(answer)?;
    let broken = |error: quick_xml::Error| format!("the answer is not XML: {error}");
    let mut reader = Reader::from_str(body);
    let mut values: Vec<(String, String)> = Vec::new();
    let (mut path, mut is_complete) = (Vec::new(), false);
    loop {
        match reader.read_event().map_err(broken)? {
            Event::Start(tag) => {
                path.push(String::from_utf8_lossy(tag.name().as_ref()).to_ascii_lowercase());
                if path.len() > 8 {
                    return Err("the answer is nested too deeply".to_owned());
                }
            }
            Event::End(_) => {
                path.pop();
                is_complete = is_complete || path.is_empty();
            }
            Event::Text(text) if path.len() == 2 && path[0] == "datavalues" => {
                if values.len() >= MOST_VALUES {
                    return Err(format!("the answer has more than {MOST_VALUES} values"));
                }
                let text = text.decode().map_err(|_| "the answer is not text")?;
                values.push((path[1].clone(), text.trim().to_owned()));
            }
            Event::Eof => break,
            _ => {}
        }
    }
    match is_complete {
        true => Ok(values),
        false => Err("the answer has no whole element `datavalues`".to_owned()),
    }
}

fn read_value(readings: &mut Readings, name: &str, value: &str, is_fahrenheit: bool) {
    let number = json::text_number(value);
    if let Some(part) = name.strip_suffix("state") {
        let quantity = match part.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "relay" => "relay_state",
            "input" => "input_state",
            _ => return,
        };
        readings.sensor(part, quantity, number);
    } else if let Some(part) = name
        .strip_suffix("temp")
        .filter(|part| part.starts_with("sensor"))
    {
        // A humidity sensor in the place of a thermometer marks its value with an H.
        if let Some(humidity) = value.strip_prefix('H') {
            readings.sensor(part, "humidity_pct", json::text_number(humidity));
        } else {
            let celsius = match is_fahrenheit {
                true => number.map(json::celsius),
                false => number,
            };
            readings.sensor(part, "temperature_c", celsius);
        }
    } else if let Some(part) = name.strip_suffix("humid") {
        readings.sensor(part, "humidity_pct", number);
    }
}
