//! A relay board of ControlByWeb, whose answers have no HTTP headers.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, text};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

/// As many as the largest has.
const RELAYS: [&str; 10] = [
    "relay1", "relay2", "relay3", "relay4", "relay5", "relay6", "relay7", "relay8", "relay9",
    "relay10",
];

pub struct ControlByWeb;

impl DeviceKind for ControlByWeb {
    fn name(&self) -> &'static str {
        "controlbyweb"
    }
    fn source_kind(&self) -> &'static str {
        "controlbyweb"
    }
    fn keys(&self) -> Value {
        json!({})
    }
    fn wire(&self) -> Wire {
        Wire::PlainHttp
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        // One that feeds nothing shows which fans run.
        let relays = match view.relays.is_empty() {
            true => vec![view.state.fans_on >= 1, view.state.fans_on >= 2],
            false => view.relays.clone(),
        };
        let relays = RELAYS.iter().zip(relays);
        let state = |is_on: bool| f64::from(u8::from(is_on));
        let relays = relays.map(|(name, is_on)| Shown::new(name, "relay_state", state(is_on), 0));
        let others = [
            Shown::new("input1", "input_state", 1.0, 0),
            Shown::new("sensor1", "temperature_c", view.state.inside_c, 1),
            Shown::new("sensor2", "humidity_pct", view.state.humidity_pct, 1),
        ];
        relays.chain(others).collect()
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let celsius = snapshot.value("sensor1", "temperature_c");
        let (temperature, unit) = match snapshot.is_fahrenheit {
            true => (celsius.map(fahrenheit), "F"),
            false => (celsius, "C"),
        };
        let humidity = snapshot.value("sensor2", "humidity_pct");
        let state = |part: &str, quantity: &str| text(snapshot.value(part, quantity), "");
        let relays = RELAYS.iter().take(snapshot.relays.len().max(2));
        let relays: String = relays
            .map(|name| format!("<{name}state>{}</{name}state>", state(name, "relay_state")))
            .collect();
        let document = format!(
            "<?xml version=\"1.0\"?><datavalues>{relays}<input1state>{}</input1state><units>{unit}</units><sensor1temp>{}\
             </sensor1temp><sensor2temp>{}</sensor2temp><extvar1/><time>{}</time></datavalues>",
            state("input1", "input_state"),
            text(temperature, "x.x"),
            humidity.map_or("x.x".to_owned(), |humidity| format!("H{humidity}")),
            snapshot.clock_s,
        );
        let is_state = request == "/state.xml" || request.starts_with("/state.xml?");
        is_state.then(|| document.into_bytes())
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        let Some((_, query)) = request.split_once('?') else {
            return Vec::new();
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let change = |(key, value): (&str, &str)| {
            let key = key.to_ascii_lowercase();
            let number = key.strip_prefix("relay")?.strip_suffix("state")?;
            let number: usize = number.parse().ok()?;
            let pulse = super::query_value(request, &format!("pulseTime{number}"));
            Some(Change::Relay {
                channel: number.checked_sub(1)?,
                is_on: value != "0",
                back_after_s: match value {
                    "2" => pulse.and_then(|pulse| pulse.parse().ok()),
                    _ => None,
                },
            })
        };
        pairs.filter_map(change).collect()
    }
}
