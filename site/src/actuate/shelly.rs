//! `shelly`: Shelly relays of both generations, with their timer (`timer`, `toggle_after`) as a
//! dead-man switch in hardware.

use async_trait::async_trait;
use headframe_ingest::source::{Method, json};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

use super::relay::{RelayActuator, Relays, numbered};
use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, RELAY_RETRIES,
    ReadBack, http, malformed, parse_keys,
};
use crate::command::{Path, Target};

/// The kind.
pub struct Shelly;

impl ActuatorKind for Shelly {
    fn kind(&self) -> &'static str {
        "shelly"
    }
    fn doc(&self) -> &'static str {
        "Shelly relays of both generations."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn channel(&self) -> Option<&'static str> {
        Some("the number of the switch, from 0")
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[("generation", "1 or 2; 2 when left out.")]
    }
    fn path(&self, target: &Target) -> Path {
        Path::of_relay(target)
    }
    fn retries(&self) -> &'static [Duration] {
        RELAY_RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let keys: ShellyKeys = parse_keys(keys)?;
        if !matches!(keys.generation, 1 | 2) {
            let generation = keys.generation;
            return Err(format!("generation is {generation}; it must be 1 or 2"));
        }
        Ok(Box::new(RelayActuator(ShellyRelays {
            address: address.to_owned(),
            generation: keys.generation,
        })))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShellyKeys {
    #[serde(default = "second")]
    generation: u8,
}

fn second() -> u8 {
    2
}

struct ShellyRelays {
    address: String,
    generation: u8,
}

impl ShellyRelays {
    async fn ask(&self, path: &str, link: &Link<'_>) -> Result<Value, ActuateFailure> {
        let answer = http::ask(link, Method::GET, &self.address, path, None).await?;
        json::document(Some(&Some(answer.body))).map_err(malformed)
    }
}

#[async_trait]
impl Relays for ShellyRelays {
    fn check(&self, control: &Control) -> Result<(), String> {
        numbered(control, 0, 15).map(|_| ())
    }

    async fn write(
        &self,
        channel: &str,
        is_on: bool,
        back_after_s: Option<u32>,
        link: &Link<'_>,
    ) -> Result<(), ActuateFailure> {
        let path = match self.generation {
            1 => {
                let turn = if is_on { "on" } else { "off" };
                let timer = back_after_s.map_or(String::new(), |after| format!("&timer={after}"));
                format!("/relay/{channel}?turn={turn}{timer}")
            }
            _ => {
                let timer = back_after_s;
                let timer = timer.map_or(String::new(), |after| format!("&toggle_after={after}"));
                format!("/rpc/Switch.Set?id={channel}&on={is_on}{timer}")
            }
        };
        self.ask(&path, link).await.map(|_| ())
    }

    async fn read(&self, channel: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        match self.generation {
            1 => {
                let relay = self.ask(&format!("/relay/{channel}"), link).await?;
                Ok(ReadBack {
                    is_on: relay.get("ison").and_then(Value::as_bool),
                    power_w: None,
                })
            }
            _ => {
                let path = format!("/rpc/Switch.GetStatus?id={channel}");
                let status = self.ask(&path, link).await?;
                Ok(ReadBack {
                    is_on: status.get("output").and_then(Value::as_bool),
                    power_w: json::number_at(&status, "apower"),
                })
            }
        }
    }
}
