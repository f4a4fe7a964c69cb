//! A simulated kind of device: what it shows of the site, and how it writes that; and every one.

use serde_json::Value;

use super::answer::{Shown, Snapshot};
use super::relays::Change;
use super::scenario::{Api, Scenario};
use super::site::{Machine, SiteState};

mod antminer;
mod controlbyweb;
mod http_json;
mod iotawatt;
mod iotawatt_query;
mod luxos;
mod modbus;
mod roomalert;
mod roomalert_flat;
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
    /// registers from 0, two bytes each.
    fn answer(&self, snapshot: &Snapshot, request: &str) -> Option<Vec<u8>>;
    /// What a request changes; its answer is made afterwards.
    fn changes(&self, _request: &str) -> Vec<Change> {
        Vec::new()
    }
}

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
