//! A simulated kind of device: what it shows of the site, and how it writes that; and every one.

use serde_json::Value;

use super::answer::{Shown, Snapshot};
use super::relays::Change;
use super::scenario::{Api, Scenario};
use super::site::{Machine, SiteState};

mod antminer;
mod apc_pdu;
mod controlbyweb;
mod coopmine;
mod foreman;
mod http_json;
mod iotawatt;
mod iotawatt_query;
mod luxos;
mod modbus;
mod mqtt_json;
mod mqtt_tasmota;
mod raritan_pdu;
mod roomalert;
mod roomalert_flat;
mod roomalert_snmp;
mod shelly1;
mod shelly2;
mod tasmota;
mod whatsminer;

/// Every kind that `[[devices]]` may name.
pub const ALL: &[&dyn DeviceKind] = &[
    &roomalert::Roomalert,
    &roomalert_flat::RoomalertFlat,
    &iotawatt::IotaWatt,
    &iotawatt_query::IotaWattQuery,
    &tasmota::Tasmota,
    &shelly1::Shelly1,
    &shelly2::Shelly2,
    &controlbyweb::ControlByWeb,
    &modbus::Modbus,
    &http_json::HttpJson,
    &coopmine::CoopMine,
    &apc_pdu::ApcPdu,
    &raritan_pdu::RaritanPdu,
    &roomalert_snmp::RoomalertSnmp,
    &mqtt_tasmota::MqttTasmota,
    &mqtt_json::MqttJson,
    &foreman::Foreman,
];

/// A simulated kind of device.
pub trait DeviceKind: Sync {
    /// As it stands in a scenario.
    fn name(&self) -> &'static str;
    /// The kind of `[[source]]` that polls it.
    fn source_kind(&self) -> &'static str;
    /// The keys of that source which are its kind's own.
    fn keys(&self) -> Value;
    /// What it speaks.
    fn wire(&self) -> Wire;
    /// What it shows.
    fn shown(&self, view: &View<'_>) -> Vec<Shown>;
    /// Its answer to a path or a command; none where it has none. For [`Wire::Modbus`] its
    /// registers from 0, two bytes each; for [`Wire::Snmp`] its objects in order.
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>>;
    /// Whether its answer to a request says this value; a poll may take several requests, and the
    /// site goes on between two of them.
    fn says(&self, _request: &str, _value: &Shown) -> bool {
        true
    }
    /// What a request changes; its answer is made afterwards.
    fn changes(&self, _request: &str) -> Vec<Change> {
        Vec::new()
    }
}

/// Whose password a device wants.
pub const USER: &str = "admin";

/// What a device speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// HTTP.
    Http,
    /// HTTP whose answers have no headers.
    PlainHttp,
    /// The API of cgminer.
    Cgminer,
    /// Modbus TCP.
    Modbus,
    /// SNMP v1 and v2c.
    Snmp,
    /// MQTT; a request is a topic, and an answer what is published there.
    Mqtt,
}

/// What a device can see of its site.
pub struct View<'a> {
    /// The site.
    pub state: &'a SiteState,
    /// Watts of what it measures.
    pub power_w: f64,
    /// What it has counted.
    pub counter_wh: f64,
    /// The machine that it is.
    pub machine: Option<&'a Machine>,
    /// Its relays, in order: on or off.
    pub relays: Vec<bool>,
}

impl<'a> View<'a> {
    /// The air at the device, which moves by some tenths of a degree as the voltage does: the same
    /// state gives the same answer.
    pub fn air_c(&self) -> f64 {
        self.state.inside_c + 0.5 * (self.state.voltage_v.fract() - 0.5)
    }

    /// Of the device at this place of the scenario.
    pub fn of_device(scenario: &Scenario, state: &'a SiteState, index: usize) -> Self {
        Self {
            state,
            power_w: state.power_of(scenario, &scenario.devices[index].measures),
            counter_wh: state.counters_wh[index],
            machine: None,
            relays: state.relays.are_on(index),
        }
    }

    /// Of a machine.
    pub fn of_machine(state: &'a SiteState, index: usize) -> Self {
        let machine = &state.machines[index];
        Self {
            state,
            power_w: machine.power_w,
            counter_wh: 0.0,
            machine: Some(machine),
            relays: Vec::new(),
        }
    }
}

/// The kind of this name.
pub fn find(name: &str) -> Option<&'static dyn DeviceKind> {
    ALL.iter().copied().find(|kind| kind.name() == name)
}

/// The kind of a machine's API, where it has one.
pub fn of_api(api: Api) -> Option<&'static dyn DeviceKind> {
    match api {
        Api::Antminer => Some(&antminer::Antminer),
        Api::Whatsminer => Some(&whatsminer::Whatsminer),
        Api::Luxos => Some(&luxos::Luxos),
        Api::None => None,
    }
}

/// The value of a key in the query of a path.
fn query_value<'a>(request: &'a str, key: &str) -> Option<&'a str> {
    let (_, query) = request.split_once('?')?;
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let found = pairs.into_iter().find(|(name, _)| *name == key);
    found.map(|(_, value)| value)
}

/// The outlets of a PDU, of which the scenario may name eight.
const OUTLETS: [&str; 8] = [
    "outlet-1", "outlet-2", "outlet-3", "outlet-4", "outlet-5", "outlet-6", "outlet-7", "outlet-8",
];

/// What a PDU shows of its outlets; one that feeds nothing known has two, which are on.
fn outlets(view: &View<'_>) -> Vec<Shown> {
    let states = match view.relays.is_empty() {
        true => &[true, true][..],
        false => view.relays.as_slice(),
    };
    let outlets = OUTLETS.iter().zip(states);
    outlets
        .map(|(part, is_on)| Shown::new(part, "relay_state", f64::from(u8::from(*is_on)), 0))
        .collect()
}

/// The outlet, from 0, and the number of `set OID.OUTLET NUMBER`.
fn outlet_of_set(request: &str, column: &str) -> Option<(usize, i64)> {
    let rest = request.strip_prefix("set ")?.strip_prefix(column)?;
    let (outlet, number) = rest.strip_prefix('.')?.split_once(' ')?;
    let outlet: usize = outlet.parse().ok()?;
    Some((outlet.checked_sub(1)?, number.parse().ok()?))
}

/// A number as text, or this where there is none.
fn text(value: Option<f64>, none: &str) -> String {
    value.map_or_else(|| none.to_owned(), |value| value.to_string())
}

/// A number, or null.
fn number(value: Option<f64>) -> Value {
    value.map_or(Value::Null, Value::from)
}

/// °F with enough digits to get the °C back.
fn fahrenheit(celsius: f64) -> f64 {
    ((celsius * 1.8 + 32.0) * 1e4).round() / 1e4
}
