//! A RoomAlert over SNMP: its own sensor, and one of temperature and humidity.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire};
use crate::simulator::agent::{object, uptime};
use crate::simulator::answer::{Shown, Snapshot};
use crate::source::snmp_message::bindings_bytes;

/// What is said of a sensor that is not there: -999 in hundredths.
const ABSENT: i64 = -99_900;

pub struct RoomalertSnmp;

impl DeviceKind for RoomalertSnmp {
    fn name(&self) -> &'static str {
        "roomalert_snmp"
    }
    fn source_kind(&self) -> &'static str {
        "snmp"
    }
    fn keys(&self) -> Value {
        json!({"model": "roomalert", "version": "1"})
    }
    fn wire(&self) -> Wire {
        Wire::Snmp
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        let state = view.state;
        vec![
            Shown::new("internal", "temperature_c", view.air_c(), 2),
            Shown::new("digital-1", "temperature_c", state.outside_c, 2),
            Shown::new("digital-1", "humidity_pct", state.humidity_pct, 2),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, _: &str) -> Option<Vec<u8>> {
        let hundredths = |part: &str, quantity: &str| {
            let value = snapshot.value(part, quantity);
            value.map_or(ABSENT, |value| (value * 100.0).round() as i64)
        };
        let objects = [
            uptime(snapshot.uptime_s),
            object(
                "1.3.6.1.4.1.20916.1.9.1.1.1.1.0",
                hundredths("internal", "temperature_c"),
            ),
            object(
                "1.3.6.1.4.1.20916.1.10.1.2.1.0",
                hundredths("digital-1", "temperature_c"),
            ),
            object(
                "1.3.6.1.4.1.20916.1.10.1.2.3.0",
                hundredths("digital-1", "humidity_pct"),
            ),
        ];
        Some(bindings_bytes(
            &objects.into_iter().collect::<Option<Vec<_>>>()?,
        ))
    }
}
