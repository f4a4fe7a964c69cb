//! `asic`: mining machines by the API of their own, TCP 4028: Whatsminer, LuxOS and Avalon; a stock
//! Antminer, whose API only reads, over its web page (`antminer`).
//!
//! A machine says yes long before it draws less; [`Outcome::Verified`] is left to the meters.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Credentials, json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::antminer::{self, AntminerKeys};
use super::cgminer::{acknowledged, ask, summary};
use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, Outcome, ReadBack,
    malformed, parse_keys, whatsminer,
};
use crate::command::{Action, Path, PowerMode, Target};

const RETRIES: &[Duration] = &[Duration::from_secs(1)];

/// The kind.
pub struct Asic;

impl ActuatorKind for Asic {
    fn kind(&self) -> &'static str {
        "asic"
    }
    fn doc(&self) -> &'static str {
        "Mining machines by their own API: stock Antminer, Whatsminer, LuxOS, Avalon."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(4028)
    }
    fn channel(&self) -> Option<&'static str> {
        None
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            (
                "firmware",
                "`antminer` (stock), `whatsminer`, `luxos` or `avalon`. With `user` and a secret, \
                 commands to a Whatsminer carry a token and are encrypted.",
            ),
            (
                "web_address",
                "Antminer: where its page is; `http://` and the host of `address` when left out. \
                 It needs `user` and a secret.",
            ),
            (
                "low_mode",
                "Antminer: the number of its mode with low power; 3 when left out (2 on an S19k \
                 Pro).",
            ),
        ]
    }
    fn path(&self, _: &Target) -> Path {
        Path::Device
    }
    fn retries(&self) -> &'static [Duration] {
        RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let keys: AsicKeys = parse_keys(keys)?;
        let host = address.to_owned();
        let antminer = AntminerKeys {
            web_address: keys.web_address,
            low_mode: keys.low_mode,
        };
        let is_stock = keys.firmware == Firmware::Antminer;
        if !is_stock && antminer != AntminerKeys::default() {
            return Err("web_address and low_mode are for firmware = \"antminer\"".to_owned());
        }
        Ok(match keys.firmware {
            Firmware::Antminer => Box::new(antminer::actuator(&host, antminer)?),
            firmware => Box::new(Machine { host, firmware }),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Firmware {
    Antminer,
    Whatsminer,
    Luxos,
    Avalon,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AsicKeys {
    firmware: Firmware,
    web_address: Option<String>,
    low_mode: Option<u8>,
}

struct Machine {
    host: String,
    firmware: Firmware,
}

impl Machine {
    /// The command for an action; none where this firmware has none.
    fn command(&self, action: Action, now_s: u64) -> Option<Value> {
        use Firmware::{Avalon, Whatsminer};
        use PowerMode::{High, Low, Normal};
        let avalon = |what: &str| {
            // It obeys five seconds from now.
            let at = now_s + 5;
            Some(json!({"command": "ascset", "parameter": format!("0,{what},1:{at}")}))
        };
        match (self.firmware, action) {
            (Whatsminer, Action::Off) => Some(json!({"cmd": "power_off", "respbefore": "true"})),
            (Whatsminer, Action::On) => Some(json!({"cmd": "power_on"})),
            (Whatsminer, Action::Mode(Low)) => Some(json!({"cmd": "set_low_power"})),
            (Whatsminer, Action::Mode(Normal)) => Some(json!({"cmd": "set_normal_power"})),
            (Whatsminer, Action::Mode(High)) => Some(json!({"cmd": "set_high_power"})),
            (Whatsminer, Action::LimitWatts(watts)) => {
                Some(json!({"cmd": "adjust_power_limit", "power_limit": watts.to_string()}))
            }
            (Avalon, Action::Off) => avalon("softoff"),
            (Avalon, Action::On) => avalon("softon"),
            _ => None,
        }
    }

    /// LuxOS changes something only within a session, of which a machine has one at a time.
    async fn curtail(&self, what: &str, link: &Link<'_>) -> Result<(), ActuateFailure> {
        let logon = ask(&self.host, &json!({"command": "logon"}), link).await?;
        acknowledged(&logon)?;
        let session = logon
            .pointer("/SESSION/0/SessionID")
            .and_then(Value::as_str);
        let session = session.ok_or_else(|| malformed("the logon has no SessionID"))?;
        let parameter = format!("{session},{what}");
        let curtail = json!({"command": "curtail", "parameter": parameter});
        let result = ask(&self.host, &curtail, link).await;
        // Otherwise the next logon is refused until the session ends by itself.
        let logoff = json!({"command": "logoff", "parameter": session});
        ask(&self.host, &logoff, link).await.ok();
        acknowledged(&result?)
    }
}

fn unsupported(firmware: Firmware, action: Action) -> ActuateFailure {
    ActuateFailure::Unsupported(format!("{firmware:?} has no command for {action:?}"))
}

#[async_trait]
impl Actuator for Machine {
    fn check(&self, control: &Control) -> Result<(), String> {
        control.check_machine()
    }

    async fn apply(
        &self,
        _: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let now_s = now.unwrap_or_default().as_secs();
        match (self.firmware, action) {
            (Firmware::Luxos, Action::Off) => self.curtail("sleep", link).await?,
            (Firmware::Luxos, Action::On) => self.curtail("wakeup", link).await?,
            _ => {
                let command = self.command(action, now_s);
                let command = command.ok_or_else(|| unsupported(self.firmware, action))?;
                let answer = match (self.firmware, link.credentials) {
                    (Firmware::Whatsminer, Credentials::Basic { password, .. }) => {
                        whatsminer::send(&self.host, password, command, link).await?
                    }
                    _ => ask(&self.host, &command, link).await?,
                };
                acknowledged(&answer)?;
            }
        }
        Ok(Outcome::Acknowledged)
    }

    async fn read_back(&self, _: &Control, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        let mut found = summary(&self.host, link).await?;
        if self.firmware == Firmware::Luxos && found.power_w.is_none() {
            let power = ask(&self.host, &json!({"command": "power"}), link).await?;
            let watts = power.pointer("/POWER/0");
            found.power_w = watts.and_then(|watts| json::number_at(watts, "Watts"));
        }
        Ok(found)
    }
}
