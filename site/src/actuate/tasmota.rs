//! `tasmota`: relays with the firmware Tasmota. Its `PulseTime` is a dead-man switch in hardware:
//! it switches off after its time, or on where `PowerOnState` is 5. `PowerOnState` holds for all
//! relays of a device, so all dead-man timers of one device rest alike.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Method, json};
use serde::Deserialize;
use serde_json::Value;

use super::relay::{RelayActuator, Relays, numbered};
use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, RELAY_RETRIES,
    ReadBack, http, malformed, parse_keys,
};
use crate::command::{Path, Target};

/// The kind.
pub struct Tasmota;

impl ActuatorKind for Tasmota {
    fn kind(&self) -> &'static str {
        "tasmota"
    }
    fn doc(&self) -> &'static str {
        "Relays with the firmware Tasmota."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn channel(&self) -> Option<&'static str> {
        Some("the number of the relay, from 1")
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    fn path(&self, target: &Target) -> Path {
        Path::of_relay(target)
    }
    fn retries(&self) -> &'static [Duration] {
        RELAY_RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let TasmotaKeys {} = parse_keys(keys)?;
        let address = address.to_owned();
        Ok(Box::new(RelayActuator(TasmotaRelays { address })))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TasmotaKeys {}

struct TasmotaRelays {
    address: String,
}

impl TasmotaRelays {
    async fn ask(&self, command: &str, link: &Link<'_>) -> Result<Value, ActuateFailure> {
        let path = format!("/cm?cmnd={}", command.replace(' ', "%20"));
        let answer = http::ask(link, Method::GET, &self.address, &path, None).await?;
        let document = json::document(Some(&Some(answer.body))).map_err(malformed)?;
        match document.get("WARNING").or(document.get("Command")) {
            Some(warning) => Err(super::refused(format!("the device says {warning:.100}"))),
            None => Ok(document),
        }
    }
}

/// `PulseTime` counts tenths of a second up to 111, then seconds from 112, which are 12.
fn pulse_time(after_s: u32) -> u32 {
    match after_s {
        0..=11 => after_s * 10,
        _ => (after_s + 100).min(64_900),
    }
}

#[async_trait]
impl Relays for TasmotaRelays {
    fn check(&self, control: &Control) -> Result<(), String> {
        numbered(control, 1, 32)?;
        match control.dead_man {
            Some(dead_man) if dead_man.after_s > 64_800 => {
                Err("dead_man.after_s must be at most 64800 for Tasmota".to_owned())
            }
            _ => Ok(()),
        }
    }

    async fn write(
        &self,
        channel: &str,
        is_on: bool,
        back_after_s: Option<u32>,
        link: &Link<'_>,
    ) -> Result<(), ActuateFailure> {
        if let Some(after_s) = back_after_s {
            let pulse = pulse_time(after_s);
            self.ask(&format!("PulseTime{channel} {pulse}"), link)
                .await?;
            if !is_on {
                self.ask("PowerOnState 5", link).await?;
            }
        }
        let word = if is_on { "On" } else { "Off" };
        self.ask(&format!("Power{channel} {word}"), link)
            .await
            .map(|_| ())
    }

    async fn read(&self, channel: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        let state = self.ask(&format!("Power{channel}"), link).await?;
        // A device with one relay leaves the number out.
        let named = state.get(format!("POWER{channel}"));
        let only = state.get("POWER").filter(|_| channel == "1");
        let is_on = match named.or(only).and_then(Value::as_str) {
            Some("ON") => true,
            Some("OFF") => false,
            _ => return Err(malformed(format!("the answer has no POWER{channel}"))),
        };
        Ok(ReadBack {
            is_on: Some(is_on),
            power_w: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::pulse_time;

    #[test]
    fn a_pulse_is_written_in_the_device_s_own_units() {
        assert_eq!(pulse_time(5), 50);
        assert_eq!(pulse_time(11), 110);
        assert_eq!(pulse_time(12), 112);
        assert_eq!(pulse_time(300), 400);
    }
}
