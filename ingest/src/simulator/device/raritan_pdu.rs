//! A PDU of Raritan over SNMP v2c: its inlet, outlets, and a probe of temperature and humidity,
//! each value with its decimal digits beside it.

use serde_json::{Value, json};

use super::{DeviceKind, OUTLETS, View, Wire, outlet_of_set, outlets};
use crate::simulator::agent::{object, uptime};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;
use crate::source::snmp_message::{Binding, bindings_bytes};

const BASE: &str = "1.3.6.1.4.1.13742.6";
const SWITCH: &str = "1.3.6.1.4.1.13742.6.4.1.2.1.2.1";

/// Part, quantity, decimal digits, type of the sensor, and what stands after the column.
const SENSORS: &[(&str, &str, i32, i64, &str)] = &[
    ("inlet-1", "current_a", 3, 1, "1.1.1"),
    ("inlet-1", "voltage_v", 0, 4, "1.1.4"),
    ("inlet-1", "power_w", 1, 5, "1.1.5"),
    ("inlet-1", "energy_total_wh", 0, 8, "1.1.8"),
    ("sensor-1", "temperature_c", 1, 10, "1.1"),
    ("sensor-2", "humidity_pct", 0, 11, "1.2"),
];

pub struct RaritanPdu;

impl DeviceKind for RaritanPdu {
    fn name(&self) -> &'static str {
        "raritan_pdu"
    }
    fn source_kind(&self) -> &'static str {
        "snmp"
    }
    fn keys(&self) -> Value {
        json!({"model": "raritan"})
    }
    fn wire(&self) -> Wire {
        Wire::Snmp
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let state = view.state;
        let amps = view.power_w / state.voltage_v.max(1.0);
        let mut shown = vec![
            Shown::new("inlet-1", "power_w", view.power_w, 1),
            Shown::new("inlet-1", "energy_total_wh", view.counter_wh, 0),
            Shown::new("inlet-1", "current_a", amps, 3),
            Shown::new("inlet-1", "voltage_v", state.voltage_v, 0),
            Shown::new("sensor-1", "temperature_c", state.inside_c, 1),
            Shown::new("sensor-2", "humidity_pct", state.humidity_pct, 0),
        ];
        shown.extend(outlets(view));
        shown
    }
    fn answer(&self, snapshot: &Snapshot, _: &str) -> Option<Vec<u8>> {
        let mut objects: Vec<Binding> = vec![uptime(snapshot.uptime_s)?];
        for (part, quantity, digits, sensor_type, row) in SENSORS {
            let value = snapshot.value(part, quantity);
            let raw = value.map_or(0, |value| (value * 10_f64.powi(*digits)).round() as i64);
            let (values, digits_at) = match part.starts_with("inlet") {
                true => ("5.2.3.1", "3.3.4.1.7"),
                false => ("5.5.3.1", "3.6.3.1.17"),
            };
            let valid = if value.is_some() { 1 } else { 2 };
            objects.push(object(&format!("{BASE}.{values}.2.{row}"), valid)?);
            objects.push(object(&format!("{BASE}.{values}.4.{row}"), raw)?);
            objects.push(object(
                &format!("{BASE}.{digits_at}.{row}"),
                i64::from(*digits),
            )?);
            if part.starts_with("sensor") {
                objects.push(object(&format!("{BASE}.3.6.3.1.2.{row}"), *sensor_type)?);
            }
        }
        for (index, part) in OUTLETS.iter().enumerate() {
            let Some(shown) = snapshot.shown.iter().find(|one| one.part == *part) else {
                break;
            };
            let state = match shown.value {
                Some(1.0) => 7,
                Some(0.0) => 8,
                Some(_) => 99,
                None => -1,
            };
            objects.push(object(&format!("{BASE}.4.1.2.1.3.1.{}", index + 1), state)?);
        }
        objects.sort_by(|one, other| one.oid.cmp(&other.oid));
        Some(bindings_bytes(&objects))
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        let change = outlet_of_set(request, SWITCH).and_then(|(channel, number)| {
            let is_on = match number {
                1 => true,
                0 => false,
                _ => return None,
            };
            Some(Change::Relay {
                channel,
                is_on,
                back_after_s: None,
            })
        });
        change.into_iter().collect()
    }
}
