//! A plug with Tasmota and a sensor of temperature and humidity.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, fahrenheit, number};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;

pub struct Tasmota;

impl DeviceKind for Tasmota {
    fn name(&self) -> &'static str {
        "tasmota"
    }
    fn source_kind(&self) -> &'static str {
        "tasmota"
    }
    fn keys(&self) -> Value {
        json!({})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let state = view.state;
        vec![
            Shown::new("", "power_w", view.power_w, 0),
            Shown::new("", "energy_total_wh", view.counter_wh, 0),
            Shown::new("", "voltage_v", state.voltage_v, 0),
            Shown::new("AM2301", "temperature_c", state.inside_c, 1),
            Shown::new("AM2301", "humidity_pct", state.humidity_pct, 1),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        if let Some(power) = command(request, "Power") {
            let is_on = *snapshot.relays.get(power.channel)?;
            let word = if is_on { "ON" } else { "OFF" };
            let key = match snapshot.relays.len() {
                1 => "POWER".to_owned(),
                _ => format!("POWER{}", power.channel + 1),
            };
            return Some(json!({key: word}).to_string().into_bytes());
        }
        if let Some(pulse) = command(request, "PulseTime") {
            let key = format!("PulseTime{}", pulse.channel + 1);
            let set = pulse.argument.parse::<u32>().unwrap_or_default();
            let document = json!({key: {"Set": set, "Remaining": 0}});
            return Some(document.to_string().into_bytes());
        }
        if request.starts_with("/cm?cmnd=PowerOnState") {
            return Some(br#"{"PowerOnState":5}"#.to_vec());
        }
        let celsius = snapshot.value("AM2301", "temperature_c");
        let (temperature, unit) = match snapshot.is_fahrenheit {
            true => (celsius.map(fahrenheit), "F"),
            false => (celsius, "C"),
        };
        let total = snapshot.value("", "energy_total_wh").map(|wh| wh / 1_000.0);
        let document = json!({"StatusSNS": {
            "Time": snapshot.clock_s.to_string(),
            "ENERGY": {"Total": number(total), "Power": number(snapshot.value("", "power_w")),
                "Voltage": number(snapshot.value("", "voltage_v"))},
            "AM2301": {"Temperature": number(temperature),
                "Humidity": number(snapshot.value("AM2301", "humidity_pct"))},
            "TempUnit": unit}});
        (request == "/cm?cmnd=Status%208").then(|| document.to_string().into_bytes())
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        if request == "/cm?cmnd=PowerOnState%205" {
            return vec![Change::RestsOn(true)];
        }
        if let Some(pulse) = command(request, "PulseTime") {
            let seconds = match pulse.argument.parse::<u32>() {
                Ok(0) | Err(_) => None,
                Ok(tenths @ 1..=111) => Some(f64::from(tenths) / 10.0),
                Ok(seconds) => Some(f64::from(seconds) - 100.0),
            };
            return vec![Change::Pulse {
                channel: pulse.channel,
                after_s: seconds,
            }];
        }
        let power = command(request, "Power").filter(|power| !power.argument.is_empty());
        let relay = power.map(|power| Change::Relay {
            channel: power.channel,
            is_on: power.argument.eq_ignore_ascii_case("on"),
            back_after_s: None,
        });
        relay.into_iter().collect()
    }
}

/// A command to one channel.
struct ChannelCommand<'a> {
    channel: usize,
    argument: &'a str,
}

/// Reads `Power2%20Off` and its like; a name without a number is the first channel.
fn command<'a>(request: &'a str, name: &str) -> Option<ChannelCommand<'a>> {
    let rest = request.strip_prefix("/cm?cmnd=")?.strip_prefix(name)?;
    let (number, argument) = rest.split_once("%20").unwrap_or((rest, ""));
    let number: usize = match number {
        "" => 1,
        number => number.parse().ok()?,
    };
    Some(ChannelCommand {
        channel: number.checked_sub(1)?,
        argument,
    })
}
