//! `snmp`: outlets of PDUs over SNMP v1 or v2c, by object identifiers that stand in data: those of
//! APC and Raritan here, any others in the configuration.
//!
//! The community is the secret; SNMP v1 and v2c send it in clear, so the network of the PDUs should
//! carry nothing else.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::snmp_message::{Oid, Pdu, Value, Version, error_name};
use headframe_ingest::source::{Credentials, SnmpLink};
use serde::Deserialize;

use super::relay::{RelayActuator, Relays, numbered};
use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, RELAY_RETRIES,
    ReadBack, malformed, parse_keys, refused,
};
use crate::command::{Path, Target};

/// Where an outlet is written and read, and what the numbers mean. `{n}` in an identifier is the
/// outlet's number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outlets {
    write: String,
    on: i64,
    off: i64,
    read: String,
    read_on: i64,
    read_off: i64,
}

/// A PDU of a known make.
struct Model {
    name: &'static str,
    write: &'static str,
    /// What is written for on and off.
    on_off: [i64; 2],
    read: &'static str,
    /// What is read when it is on and off.
    reads_on_off: [i64; 2],
}

/// PDUs by their make: NUT's drivers apc-pdu-mib.c and raritan-px2-mib.c.
const MODELS: &[Model] = &[
    Model {
        name: "apc",
        write: "1.3.6.1.4.1.318.1.1.4.4.2.1.3.{n}",
        on_off: [1, 2],
        read: "1.3.6.1.4.1.318.1.1.4.4.2.1.3.{n}",
        reads_on_off: [1, 2],
    },
    Model {
        name: "apc_rpdu",
        write: "1.3.6.1.4.1.318.1.1.12.3.3.1.1.4.{n}",
        on_off: [1, 2],
        read: "1.3.6.1.4.1.318.1.1.12.3.5.1.1.4.{n}",
        reads_on_off: [1, 2],
    },
    Model {
        name: "raritan",
        write: "1.3.6.1.4.1.13742.6.4.1.2.1.2.1.{n}",
        on_off: [1, 0],
        read: "1.3.6.1.4.1.13742.6.4.1.2.1.3.1.{n}",
        reads_on_off: [7, 8],
    },
];

/// The kind.
pub struct Snmp;

impl ActuatorKind for Snmp {
    fn kind(&self) -> &'static str {
        "snmp"
    }
    fn doc(&self) -> &'static str {
        "Outlets of PDUs over SNMP v1 or v2c; the secret is the community for writing."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Host(161)
    }
    fn channel(&self) -> Option<&'static str> {
        Some("the number of the outlet, from 1")
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[
            ("model", "`apc`, `apc_rpdu` or `raritan`."),
            (
                "outlets",
                "Instead of `model`: `{ write, on, off, read, read_on, read_off }`: the object \
                 identifiers of an outlet, with `{n}` for its number, and what their integers \
                 mean.",
            ),
            ("version", "`\"1\"` or `\"2c\"`; `\"2c\"` when left out."),
        ]
    }
    fn path(&self, target: &Target) -> Path {
        Path::of_relay(target)
    }
    fn retries(&self) -> &'static [Duration] {
        RELAY_RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let keys: SnmpKeys = parse_keys(keys)?;
        let outlets = match (keys.model.as_deref(), keys.outlets) {
            (Some(model), None) => of_model(model)?,
            (None, Some(outlets)) => outlets,
            _ => return Err("set either model or outlets".to_owned()),
        };
        for (key, oid) in [("write", &outlets.write), ("read", &outlets.read)] {
            Oid::parse(&oid.replace("{n}", "1"))
                .map_err(|reason| format!("outlets.{key}: {reason}"))?;
            if !oid.contains("{n}") {
                return Err(format!("outlets.{key} has no {{n}}, the outlet's number"));
            }
        }
        if outlets.on == outlets.off || outlets.read_on == outlets.read_off {
            return Err("outlets: on and off must differ".to_owned());
        }
        Ok(Box::new(RelayActuator(SnmpOutlets {
            host: address.to_owned(),
            outlets,
            version: keys.version,
        })))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SnmpKeys {
    model: Option<String>,
    outlets: Option<Outlets>,
    #[serde(default)]
    version: Version,
}

fn of_model(name: &str) -> Result<Outlets, String> {
    let found = MODELS.iter().find(|model| model.name == name);
    let model = found.ok_or_else(|| {
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        format!("model is {name:?}; there are {}", names.join(", "))
    })?;
    Ok(Outlets {
        write: model.write.to_owned(),
        on: model.on_off[0],
        off: model.on_off[1],
        read: model.read.to_owned(),
        read_on: model.reads_on_off[0],
        read_off: model.reads_on_off[1],
    })
}

struct SnmpOutlets {
    host: String,
    outlets: Outlets,
    version: Version,
}

impl SnmpOutlets {
    fn oid(template: &str, channel: &str) -> Result<Oid, ActuateFailure> {
        Oid::parse(&template.replace("{n}", channel)).map_err(ActuateFailure::Unsupported)
    }

    /// One request about an outlet; the integer in its answer.
    async fn ask(&self, oid: &Oid, pdu: &Pdu, link: &Link<'_>) -> Result<i64, ActuateFailure> {
        let Credentials::Token { token, .. } = link.credentials else {
            return Err(ActuateFailure::Unsupported(
                "set secret_env or secret_file to the community, and no user".to_owned(),
            ));
        };
        let device = SnmpLink {
            host: &self.host,
            version: self.version,
            community: token,
        };
        let answer = device.ask(pdu).await?;
        match (answer.error, answer.bindings.as_slice()) {
            (0, [found]) if found.oid != *oid => {
                Err(malformed("the PDU answers for another object"))
            }
            (0, [found]) => match found.value {
                Value::Integer(integer) => Ok(integer),
                _ => Err(malformed("the PDU has no integer there")),
            },
            (0, _) => Err(malformed("the PDU answers for another object")),
            (error, _) => Err(refused(format!(
                "the PDU refuses it: {} (SNMP error {error})",
                error_name(error)
            ))),
        }
    }
}

#[async_trait]
impl Relays for SnmpOutlets {
    fn check(&self, control: &Control) -> Result<(), String> {
        numbered(control, 1, 256)?;
        match control.dead_man {
            Some(_) => Err("an outlet has no timer; remove dead_man".to_owned()),
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
        let value = if is_on {
            self.outlets.on
        } else {
            self.outlets.off
        };
        let oid = Self::oid(&self.outlets.write, channel)?;
        let pdu = Pdu::Set(oid.clone(), value);
        self.ask(&oid, &pdu, link).await.map(|_| ())
    }

    async fn read(&self, channel: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        let oid = Self::oid(&self.outlets.read, channel)?;
        let pdu = Pdu::Get(vec![oid.clone()]);
        let value = self.ask(&oid, &pdu, link).await?;
        let is_on = match value {
            value if value == self.outlets.read_on => true,
            value if value == self.outlets.read_off => false,
            value => return Err(malformed(format!("the outlet's state is {value}"))),
        };
        Ok(ReadBack {
            is_on: Some(is_on),
            power_w: None,
        })
    }
}
