//! A gateway that serves a RoomAlert as one object.

use serde_json::{Value, json};

use super::{DeviceKind, View, Wire, number};
use crate::simulator::answer::{Shown, Snapshot};

pub struct RoomalertFlat;

impl DeviceKind for RoomalertFlat {
    fn name(&self) -> &'static str {
        "roomalert_flat"
    }
    fn source_kind(&self) -> &'static str {
        "roomalert"
    }
    fn keys(&self) -> Value {
        json!({"shape": "flat"})
    }
    fn wire(&self) -> Wire {
        Wire::Http
    }
    fn shown(&self, view: &View<'_>) -> Vec<Shown> {
        vec![
            Shown::new("", "temperature_c", view.state.inside_c, 2),
            Shown::new("", "humidity_pct", view.state.humidity_pct, 2),
        ]
    }
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>> {
        let document = json!({
            "temperature": number(snapshot.value("", "temperature_c")),
            "humidity": number(snapshot.value("", "humidity_pct"))});
        (request == "/api/temp").then(|| document.to_string().into_bytes())
    }
}
