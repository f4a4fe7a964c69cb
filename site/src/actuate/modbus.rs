//! `modbus`: coils over Modbus TCP (functions 1 and 5), read back after each write.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{ModbusRequest, ModbusResponse};
use serde::Deserialize;

use super::relay::{RelayActuator, Relays, numbered};
use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, RELAY_RETRIES,
    ReadBack, malformed, parse_keys,
};
use crate::command::{Path, Target};

/// The kind.
pub struct Modbus;

impl ActuatorKind for Modbus {
    fn kind(&self) -> &'static str {
        "modbus"
    }
    fn doc(&self) -> &'static str {
        "Coils over Modbus TCP."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(502)
    }
    fn channel(&self) -> Option<&'static str> {
        Some("the address of the coil, from 0")
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[("unit", "The unit behind the address; 1 when left out.")]
    }
    fn path(&self, target: &Target) -> Path {
        Path::of_relay(target)
    }
    fn retries(&self) -> &'static [Duration] {
        RELAY_RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let ModbusKeys { unit } = parse_keys(keys)?;
        let host = address.to_owned();
        Ok(Box::new(RelayActuator(Coils { host, unit })))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModbusKeys {
    #[serde(default = "first_unit")]
    unit: u8,
}

fn first_unit() -> u8 {
    1
}

struct Coils {
    host: String,
    unit: u8,
}

fn coil(channel: &str) -> Result<u16, ActuateFailure> {
    let wrong = |_| ActuateFailure::Unsupported(format!("{channel:?} is no coil"));
    channel.parse().map_err(wrong)
}

#[async_trait]
impl Relays for Coils {
    fn check(&self, control: &Control) -> Result<(), String> {
        numbered(control, 0, 65_535)?;
        match control.dead_man {
            Some(_) => Err("a coil has no timer; remove dead_man".to_owned()),
            None => Ok(()),
        }
    }

    async fn write(
        &self,
        channel: &str,
        is_on: bool,
        _: Option<u32>,
        link: &Link<'_>,
    ) -> Result<(), ActuateFailure> {
        let coil = coil(channel)?;
        let request = ModbusRequest::WriteSingleCoil(coil, is_on);
        match link.exchange.modbus(&self.host, self.unit, request).await? {
            ModbusResponse::WriteSingleCoil(at, to) if (at, to) == (coil, is_on) => Ok(()),
            _ => Err(malformed(
                "the device confirms another write than was asked for",
            )),
        }
    }

    async fn read(&self, channel: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        let request = ModbusRequest::ReadCoils(coil(channel)?, 1);
        match link.exchange.modbus(&self.host, self.unit, request).await? {
            // A byte comes, of which the first bit is the coil.
            ModbusResponse::ReadCoils(coils) if !coils.is_empty() => Ok(ReadBack {
                is_on: Some(coils[0]),
                power_w: None,
            }),
            _ => Err(malformed(
                "the answer is of another function or has no coil",
            )),
        }
    }
}
