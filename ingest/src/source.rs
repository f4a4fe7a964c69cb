//! A source: a kind of device that is polled, and every kind there is.
//!
//! A kind is one file in this folder and one line in [`ALL`]. It says what to ask a device and what
//! its answers mean, as pure functions of bytes ([`Device`]); asking, pacing, storing and the
//! health of each device are the [`Poller`]'s, the same for every kind. What every kind keeps to:
//!
//! * Missing is missing, never zero: a reading that the device does not have is counted, and no row
//!   stands for it.
//! * A reading outside of its [`limits`] is rejected, counted and named in the health.
//! * An answer that is no newer than the one before, by the device's own clock or counter, is not
//!   stored again; a device that only repeats itself becomes stale, although it answers.
//! * Rows carry the time at which the answer came, by our clock: a device whose clock is off cannot
//!   put its readings into another day. How far off it is stands in its health.

use std::path::PathBuf;

use bytes::Bytes;

mod asic;
mod config;
mod configured;
mod controlbyweb;
mod coopmine;
mod credentials;
mod exchange;
mod foreman;
mod health;
mod http_json;
mod iotawatt;
pub mod json;
mod limits;
mod modbus;
mod mqtt;
pub mod mqtt_packet;
mod poller;
mod readings;
mod roomalert;
mod schedule;
mod shelly;
mod sink;
mod snmp;
pub mod snmp_message;
mod tasmota;

pub use asic::document as asic_document;
pub use config::{Broker, SourceConfig, SourceError, SourcesConfig, Target};
pub use configured::{ConfiguredSource, faults};
pub use controlbyweb::values as controlbyweb_values;
pub use credentials::{Credentials, read_secret};
pub use exchange::{
    Exchange, Failure, HttpAnswer, HttpRequest, Method, ModbusRequest, ModbusResponse, SnmpLink,
};
pub use foreman::is_private;
pub use health::{Health, HealthLimits, Observation, State};
pub use poller::Poller;
pub use readings::{Measured, Reading, Readings, Row, Standing};
pub use sink::ReadingSink;

/// Every kind of source.
pub const ALL: &[&dyn Source] = &[
    &http_json::HttpJson,
    &roomalert::Roomalert,
    &iotawatt::IotaWatt,
    &asic::Asic,
    &tasmota::Tasmota,
    &shelly::Shelly,
    &controlbyweb::ControlByWeb,
    &modbus::Modbus,
    &coopmine::CoopMine,
    &snmp::Snmp,
    &mqtt::Mqtt,
    &foreman::Foreman,
];

/// A kind of device.
pub trait Source: Sync {
    /// As it stands in `kind` of a `[[source]]`.
    fn kind(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// The form of its address, and the port that one without a port means.
    fn address(&self) -> AddressForm;
    /// The word before a token in the header `Authorization` when none is configured.
    fn token_scheme(&self) -> &'static str {
        "Bearer"
    }
    /// Whether a password is sent only after the device said how it wants it, by digest or basic;
    /// otherwise it is sent at once, basic, which is one request less a poll.
    fn is_login_by_challenge(&self) -> bool {
        false
    }
    /// Refuses an address of the right form where this kind cannot be asked. The reason says what
    /// to do.
    fn check_target(&self, _target: &Target) -> Result<(), String> {
        Ok(())
    }
    /// Its own keys of a `[[source]]`, each with its meaning.
    fn keys(&self) -> &'static [(&'static str, &'static str)];
    /// A device with these keys. The error names the key.
    fn device(&self, keys: Keys) -> Result<Box<dyn Device>, String>;
}

/// One configured device: what it is asked, and what its answers mean. Pure.
pub trait Device: Send + Sync {
    /// The requests of one poll, in order; the next is sent when the one before was answered.
    fn requests(&self) -> Vec<Request>;
    /// What else is asked after these answers, page by page; nothing as a rule.
    fn next_request(&self, _answers: &[Option<Bytes>]) -> Option<Request> {
        None
    }
    /// The readings in the answers, which come in the order of the requests; one that is optional
    /// and failed is `None`. The error says in a sentence what cannot be read.
    fn read(&self, answers: &[Option<Bytes>]) -> Result<Readings, String>;
}

/// The keys of a `[[source]]` that only its kind knows.
pub type Keys = serde_json::Map<String, serde_json::Value>;

/// Reads a kind's own keys; unknown ones are refused by a type that denies them.
fn parse_keys<T: serde::de::DeserializeOwned>(keys: Keys) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::Object(keys)).map_err(|error| error.to_string())
}

/// How an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressForm {
    /// `http://host[:port][/path]`, or `https://…`.
    Http,
    /// `host[:port]`, with the port that is meant when none is given.
    Host(u16),
    /// `mqtt://host[:port]` or `mqtts://host[:port]`, ports 1883 and 8883 when left out.
    Mqtt,
}

/// One request of a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub query: Query,
    /// Whether the poll goes on when there is no answer.
    pub optional: bool,
}

impl Request {
    /// An HTTP GET of a path, which begins with `/` and may have a query.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            query: Query::Get(path.into()),
            optional: false,
        }
    }

    /// Bytes over TCP, answered until the device closes the connection or sends a zero byte.
    pub fn send(bytes: impl Into<Bytes>) -> Self {
        Self {
            query: Query::Send(bytes.into()),
            optional: false,
        }
    }

    /// The same, without which the poll goes on.
    pub fn optional(self) -> Self {
        Self {
            optional: true,
            ..self
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// HTTP GET of this path; the answer is the body.
    Get(String),
    /// These bytes over TCP; the answer is what comes until the end or a zero byte.
    Send(Bytes),
    /// HTTP GET of this path of a device that may answer without headers; the answer is all that
    /// comes until the end, with the headers if there are any.
    PlainGet(String),
    /// Modbus registers; the answer is two bytes each, the high one first.
    Registers {
        /// The unit behind the address.
        unit: u8,
        /// Input registers (function 4) instead of holding registers (function 3).
        input: bool,
        /// The first register.
        address: u16,
        /// How many.
        count: u16,
    },
    /// Objects over SNMP; the answer is they and their values, as they stand in a message.
    Snmp(snmp_message::Version, SnmpObjects),
    /// The newest messages of topics of a broker; the answer is they, as [`mqtt_packet::stored`]
    /// reads them.
    Messages(Subscription),
}

/// Topics of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Without wildcards.
    pub topics: Vec<String>,
    /// A PEM file with the authorities that may have signed the broker's certificate; those of the
    /// system when there is none.
    pub tls_ca: Option<PathBuf>,
}

/// Objects of a device that speaks SNMP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnmpObjects {
    /// These.
    Single(Vec<snmp_message::Oid>),
    /// All below this one, at most so many.
    Below(snmp_message::Oid, usize),
}
