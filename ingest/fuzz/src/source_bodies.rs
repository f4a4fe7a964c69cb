//! What a device of any kind answers.

use std::sync::LazyLock;

use bytes::Bytes;
use headframe_ingest::simulator::{Scenario, endpoints};
use headframe_ingest::source::ConfiguredSource;
use headframe_schemas::codec;
use serde_json::json;

/// Parts two answers of one poll.
const SEPARATOR: u8 = 0x1e;
const MOST_READINGS: usize = 10_000;
const AT_US: i64 = 1_772_323_200_000_000;

/// The simulated kinds, whose sources read them.
const DEVICES: &[&str] = &[
    "roomalert",
    "roomalert_flat",
    "roomalert_snmp",
    "iotawatt",
    "iotawatt_query",
    "tasmota",
    "shelly1",
    "shelly2",
    "controlbyweb",
    "modbus",
    "http_json",
    "coopmine",
    "apc_pdu",
    "raritan_pdu",
    "mqtt_tasmota",
    "mqtt_json",
    "foreman",
];
const MACHINES: [&str; 3] = ["antminer", "whatsminer", "luxos"];

/// A source of each kind, by the name of what it reads.
static SOURCES: LazyLock<Vec<(String, ConfiguredSource)>> = LazyLock::new(|| {
    let devices: Vec<_> = DEVICES
        .iter()
        .map(|kind| json!({"kind": kind, "name": kind}))
        .collect();
    let machines = MACHINES.map(|api| {
        json!({"name": api, "count": 1, "hashrate_ths": 100.0, "efficiency_j_th": 30.0,
            "boot_s": 1.0, "api": api})
    });
    let scenario = json!({"seed": 1, "site": "north", "step_s": 1.0, "interval_s": 1.0,
        "container": {"initial_c": 26.0, "fan_w_k": 5000.0}, "machines": machines,
        "devices": devices});
    let scenario: Scenario = serde_json::from_value(scenario).expect("a scenario");
    let endpoints = endpoints(&scenario).expect("devices of known kinds");
    let sources = endpoints.iter().map(|endpoint| {
        let source = endpoint.reader(&scenario).expect("a source of its own");
        (endpoint.kind.name().to_owned(), source)
    });
    sources.collect()
});

/// The first line names the kind; bytes that name none are those of the kind that the first byte
/// chooses.
pub fn run(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let (name, rest) = bytes.split_at(end.unwrap_or(0));
    let named = SOURCES.iter().find(|(kind, _)| kind.as_bytes() == name);
    let (source, body) = match (named, bytes.split_first()) {
        (Some((_, source)), _) => (source, &rest[1..]),
        (None, Some((choice, rest))) => (&SOURCES[usize::from(*choice) % SOURCES.len()].1, rest),
        (None, None) => return,
    };
    let answers: Vec<Option<Bytes>> = body
        .split(|byte| *byte == SEPARATOR)
        .map(|answer| Some(Bytes::copy_from_slice(answer)))
        .collect();
    // Whatever is asked next, page by page.
    let _next = source.next_request(&answers);
    let Ok(readings) = source.read(&answers) else {
        return;
    };
    assert!(readings.values.len() <= MOST_READINGS);
    for row in readings.rows(&source.config, AT_US) {
        let checked = codec::decode_ndjson(row.stream, &[row.line.as_ref()]);
        assert!(checked.rejects.is_empty(), "{:?}", row.line);
    }
}
