//! The report of how the site did, as JSON.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::signal::usage::{OperatingState, Usage};

/// The body of `POST /reports`. What was not metered is not in it.
pub fn body(usage: &Usage, event: &str, program: &str, client: &str, site: &str) -> Value {
    let reading = if usage.is_estimated {
        "ESTIMATED"
    } else {
        "DIRECT_READ"
    };
    let state = match usage.state {
        OperatingState::Normal => "RUNNING_NORMAL",
        OperatingState::Curtailed => "RUNNING_CURTAILED",
        OperatingState::Error => "ERROR",
    };
    let quality = match (usage.energy_kwh, usage.is_estimated) {
        (None, _) => "MISSING",
        (Some(_), true) => "ESTIMATED",
        (Some(_), false) => "OK",
    };
    let mut payloads = vec![
        json!({"type": "OPERATING_STATE", "values": [state]}),
        json!({"type": "DATA_QUALITY", "values": [quality]}),
    ];
    let mut descriptors = Vec::new();
    let numbers = [
        ("USAGE", "KWH", usage.energy_kwh),
        ("DEMAND", "KW", usage.power_kw),
    ];
    for (kind, units, value) in numbers {
        if let Some(value) = value {
            payloads.push(json!({"type": kind, "values": [value]}));
            descriptors.push(json!({"payloadType": kind, "readingType": reading, "units": units}));
        }
    }
    let start = DateTime::<Utc>::from_timestamp_micros(usage.from_us).unwrap_or_default();
    let seconds = usage.to_us.saturating_sub(usage.from_us).max(0) / 1_000_000;
    let period = json!({"start": start.to_rfc3339_opts(SecondsFormat::Secs, true),
        "duration": format!("PT{seconds}S")});
    json!({"objectType": "REPORT", "programID": program, "eventID": event, "clientName": client,
        "reportName": format!("{site}-{}", usage.from_us), "payloadDescriptors": descriptors,
        "resources": [{"resourceName": site,
            "intervals": [{"id": 0, "intervalPeriod": period, "payloads": payloads}]}]})
}
