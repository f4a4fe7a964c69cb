//! Actuators: what carries a command to a machine, an outlet or a fan, one kind a file.
//!
//! A kind is one file in this folder and one line in [`ALL`]. Commands are idempotent: what is
//! already so stays so. A [`Dispatcher`] carries them out, a bounded number at a time, each with a
//! timeout and the retries of its kind, and reports how far each came.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Credentials, Exchange, Failure};

use crate::command::{Action, Path, Target};

mod antminer;
mod asic;
mod cgminer;
mod config;
mod controlbyweb;
mod coopmine;
mod dispatcher;
mod foreman;
mod http;
mod modbus;
mod relay;
mod shelly;
mod snmp;
mod tasmota;
mod whatsminer;

pub use config::{ActuatorConfig, ActuatorError, Control, DeadMan, faults};
pub use dispatcher::{Clock, Dispatcher};

/// Every kind of actuator.
pub const ALL: &[&dyn ActuatorKind] = &[
    &asic::Asic,
    &foreman::Foreman,
    &shelly::Shelly,
    &tasmota::Tasmota,
    &controlbyweb::ControlByWeb,
    &modbus::Modbus,
    &snmp::Snmp,
    &coopmine::CoopMine,
];

/// Pauses before an outlet or relay is tried again.
const RELAY_RETRIES: &[Duration] = &[
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];

/// The keys of an `[[actuator]]` that only its kind knows.
pub type Keys = serde_json::Map<String, serde_json::Value>;

/// A kind of actuator.
pub trait ActuatorKind: Sync {
    /// As it stands in `kind` of an `[[actuator]]`.
    fn kind(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// How its address is written.
    fn address(&self) -> AddressForm;
    /// What `channel` of a control is; nothing where there is only one.
    fn channel(&self) -> Option<&'static str>;
    /// Its own keys of an `[[actuator]]`, each with its meaning.
    fn keys(&self) -> &'static [(&'static str, &'static str)];
    /// By which way a command to this target goes.
    fn path(&self, target: &Target) -> Path;
    /// Seconds that one attempt may take when the configuration does not say.
    fn timeout_s(&self) -> f64 {
        3.0
    }
    /// Whether one command at a time goes to its address, as small devices need; a service that
    /// many machines are reached through takes those of all of them at once.
    fn is_one_at_a_time(&self) -> bool {
        true
    }
    /// Pauses before further attempts.
    fn retries(&self) -> &'static [Duration];
    /// An actuator at this address with these keys. The error names the key.
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String>;
}

/// How an address is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressForm {
    /// `http://host[:port]`, or `https://…`.
    Http,
    /// `host[:port]`, with the port that is meant when none is given.
    Host(u16),
}

/// One configured device.
#[async_trait]
pub trait Actuator: Send + Sync {
    /// Refuses a control that it cannot have. The error names the key.
    fn check(&self, control: &Control) -> Result<(), String>;
    /// Does it; nothing changes where it is done already. The caller bounds the time.
    async fn apply(
        &self,
        control: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure>;
    /// What is so now.
    async fn read_back(
        &self,
        control: &Control,
        link: &Link<'_>,
    ) -> Result<ReadBack, ActuateFailure>;
}

/// What an actuator connects with.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// Connects.
    pub exchange: &'a Exchange,
    /// What the device wants to see.
    pub credentials: &'a Credentials,
    /// Bytes that an answer may have.
    pub most: usize,
}

/// How far a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The device said yes.
    Acknowledged,
    /// It reads back what was written.
    Verified,
}

/// What a device says that is so.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ReadBack {
    /// Whether it is on, or a machine works; nothing when it does not say.
    pub is_on: Option<bool>,
    /// What it draws; nothing when it does not say.
    pub power_w: Option<f64>,
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActuateFailure {
    /// It cannot do that at all; trying again does not help.
    #[error("{0}")]
    Unsupported(String),
    /// It did not answer, or said no.
    #[error(transparent)]
    Device(#[from] Failure),
    /// It said yes, and reads back something else.
    #[error("{0}")]
    NotVerified(String),
}

/// Reads a kind's own keys; unknown ones are refused by a type that denies them.
fn parse_keys<T: serde::de::DeserializeOwned>(keys: Keys) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::Object(keys)).map_err(|error| error.to_string())
}

/// An answer that cannot be read.
fn malformed(reason: impl Into<String>) -> ActuateFailure {
    ActuateFailure::Device(Failure::Malformed(reason.into()))
}

/// An answer that says no.
fn refused(reason: impl Into<String>) -> ActuateFailure {
    ActuateFailure::Device(Failure::Refused(reason.into()))
}
