//! A switched PDU of APC over SNMP v1: watts, volts, the load of its phase, and outlets.

use serde_json::{Value, json};

use super::{DeviceKind, OUTLETS, View, Wire, outlet_of_set, outlets};
use crate::simulator::agent::{object, uptime};
use crate::simulator::answer::{Shown, Snapshot};
use crate::simulator::relays::Change;
use crate::source::snmp_message::bindings_bytes;

const OUTLET: &str = "1.3.6.1.4.1.318.1.1.4.4.2.1.3";

pub struct ApcPdu;

impl DeviceKind for ApcPdu {
    fn name(&self) -> &'static str {
        "apc_pdu"
    }
    fn source_kind(&self) -> &'static str {
        "snmp"
    }
    fn keys(&self) -> Value {
        json!({"model": "apc", "version": "1"})
    }
    fn wire(&self) -> Wire {
        Wire::Snmp
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let volts = view.state.voltage_v;
        let mut shown = vec![
            Shown::new("", "power_w", view.power_w, 0),
            Shown::new("", "voltage_v", volts, 0),
            Shown::new("phase-1", "current_a", view.power_w / volts.max(1.0), 1),
        ];
        shown.extend(outlets(view));
        shown
    }
    fn answer(&self, snapshot: &Snapshot, _: &str) -> Option<Vec<u8>> {
        // What the unit cannot measure is -1.
        let value = |part: &str, quantity: &str, factor: f64| {
            let value = snapshot.value(part, quantity);
            value.map_or(-1, |value| (value * factor).round() as i64)
        };
        let mut objects = vec![uptime(snapshot.uptime_s)];
        let states = OUTLETS.iter().enumerate().filter_map(|(index, part)| {
            let shown = snapshot.shown.iter().find(|one| one.part == *part)?;
            let state = match shown.value {
                Some(1.0) => 1,
                Some(0.0) => 2,
                Some(_) => 7,
                None => -1,
            };
            Some(object(&format!("{OUTLET}.{}", index + 1), state))
        });
        objects.extend(states);
        let volts = value("", "voltage_v", 1.0);
        let load = value("phase-1", "current_a", 10.0);
        objects.push(object("1.3.6.1.4.1.318.1.1.12.1.15.0", volts));
        objects.push(object(
            "1.3.6.1.4.1.318.1.1.12.1.16.0",
            value("", "power_w", 1.0),
        ));
        objects.push(object("1.3.6.1.4.1.318.1.1.12.2.3.1.1.2.1", load));
        Some(bindings_bytes(
            &objects.into_iter().collect::<Option<Vec<_>>>()?,
        ))
    }
    fn changes(&self, request: &str) -> Vec<Change> {
        let change = outlet_of_set(request, OUTLET).and_then(|(channel, number)| {
            let is_on = match number {
                1 => true,
                2 => false,
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
