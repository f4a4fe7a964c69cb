//! A relay board of ControlByWeb, whose answers have no HTTP headers.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, text};
use crate::simulator::answer::{Shown, Snapshot};

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
        let running = |fan: u32| f64::from(u8::from(view.state.fans_on >= fan));
        vec![
            Shown::new("relay1", "relay_state", running(1), 0),
            Shown::new("relay2", "relay_state", running(2), 0),
            Shown::new("input1", "input_state", 1.0, 0),
            Shown::new("sensor1", "temperature_c", view.state.inside_c, 1),
            Shown::new("sensor2", "humidity_pct", view.state.humidity_pct, 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let celsius = snapshot.value("sensor1", "temperature_c");
        let (temperature, unit) = match snapshot.is_fahrenheit {
            true => (celsius.map(fahrenheit), "F"),
            false => (celsius, "C"),
        };
        let humidity = snapshot.value("sensor2", "humidity_pct");
        let state = |part: &str, quantity: &str| text(snapshot.value(part, quantity), "");
        let document = format!(
            "<?xml version=\"1.0\"?><datavalues><relay1state>{}</relay1state><relay2state>{}\
             </relay2state><input1state>{}</input1state><units>{unit}</units><sensor1temp>{}\
             </sensor1temp><sensor2temp>{}</sensor2temp><extvar1/><time>{}</time></datavalues>",
            state("relay1", "relay_state"),
            state("relay2", "relay_state"),
            state("input1", "input_state"),
            text(temperature, "x.x"),
            humidity.map_or("x.x".to_owned(), |humidity| format!("H{humidity}")),
            snapshot.clock_s,
        );
        (request == "/state.xml").then(|| document.into_bytes())
    }
}
