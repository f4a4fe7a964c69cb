//! `controlbyweb`: relays of ControlByWeb over `state.xml`. A pulse is a dead-man switch in
//! hardware that returns the relay to off; so a fan that must rest on hangs at the contact that is
//! closed while the relay is off, and its control is `inverted`.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::controlbyweb_values;
use serde::Deserialize;

use super::relay::{RelayActuator, Relays, numbered};
use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, RELAY_RETRIES,
    ReadBack, malformed, parse_keys,
};
use crate::command::{Path, Target};

/// The kind.
pub struct ControlByWeb;

impl ActuatorKind for ControlByWeb {
    fn kind(&self) -> &'static str {
        "controlbyweb"
    }
    fn doc(&self) -> &'static str {
        "ControlByWeb relays."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(80)
    }
    fn channel(&self) -> Option<&'static str> {
        Some("the number of the relay, from 1")
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("path", "`/state.xml` when left out."),
            (
                "single",
                "`true` for a device with one relay, which has no number.",
            ),
        ]
    }
    fn path(&self, target: &Target) -> Path {
        Path::of_relay(target)
    }
    fn retries(&self) -> &'static [Duration] {
        RELAY_RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let keys: ControlByWebKeys = parse_keys(keys)?;
        let is_plain = |c: char| c.is_ascii_graphic() && !"?#".contains(c);
        if !keys.path.starts_with('/') || !keys.path.chars().all(is_plain) {
            return Err(format!("path is {:?}; it begins with /", keys.path));
        }
        Ok(Box::new(RelayActuator(ControlByWebRelays {
            host: address.to_owned(),
            keys,
        })))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ControlByWebKeys {
    #[serde(default = "state")]
    path: String,
    #[serde(default)]
    single: bool,
}

fn state() -> String {
    "/state.xml".to_owned()
}

struct ControlByWebRelays {
    host: String,
    keys: ControlByWebKeys,
}

impl ControlByWebRelays {
    fn number<'a>(&self, channel: &'a str) -> &'a str {
        if self.keys.single { "" } else { channel }
    }

    async fn ask(
        &self,
        query: &str,
        link: &Link<'_>,
    ) -> Result<Vec<(String, String)>, ActuateFailure> {
        let path = format!("{}{query}", self.keys.path);
        let answer = link
            .exchange
            .plain_get(&self.host, &path, link.credentials, link.most);
        controlbyweb_values(&answer.await?).map_err(malformed)
    }
}

#[async_trait]
impl Relays for ControlByWebRelays {
    fn check(&self, control: &Control) -> Result<(), String> {
        numbered(control, 1, 32)?;
        // At rest the relay is off; what it controls is on only if it is inverted.
        match control.dead_man {
            Some(dead_man) if dead_man.rests_on != control.inverted => Err(
                "a ControlByWeb relay rests off: for dead_man.rests_on = true wire it to the \
                 closed contact and set inverted = true"
                    .to_owned(),
            ),
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
        let number = self.number(channel);
        let query = match (is_on, back_after_s) {
            (true, Some(after_s)) => {
                format!("?relay{number}State=2&pulseTime{number}={after_s}")
            }
            (true, None) => format!("?relay{number}State=1"),
            (false, _) => format!("?relay{number}State=0"),
        };
        self.ask(&query, link).await.map(|_| ())
    }

    async fn read(&self, channel: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        let name = format!("relay{}state", self.number(channel));
        let values = self.ask("", link).await?;
        let found = values.iter().find(|(key, _)| *key == name);
        let is_on = match found.map(|(_, value)| value.as_str()) {
            Some("1") => true,
            Some("0") => false,
            _ => return Err(malformed(format!("the answer has no {name} of 0 or 1"))),
        };
        Ok(ReadBack {
            is_on: Some(is_on),
            power_w: None,
        })
    }
}
