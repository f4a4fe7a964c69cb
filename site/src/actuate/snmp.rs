//! `snmp`: outlets of PDUs over SNMP v1 or v2c, by object identifiers that stand in data: those of
//! APC and Raritan here, any others in the configuration.
//!
//! Why not snmp2 0.5.3: it brings 3 crates, and changes the features of displaydoc, which stands
//! below url and so below DataFusion; everything would be compiled twice or anew. What is needed
//! here is one GET and one SET of an integer, in the file `ber`.
//!
//! The community is the secret; SNMP v1 and v2c send it in clear, so the network of the PDUs should
//! carry nothing else.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Credentials, Failure};
use serde::Deserialize;
use tokio::net::UdpSocket;

use super::relay::{RelayActuator, Relays, numbered};
use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, RELAY_RETRIES,
    ReadBack, malformed, parse_keys, refused,
};
use crate::command::{Path, Target};

mod ber;

use ber::{Pdu, Version};

/// Bytes of an answer.
const MOST_BYTES: usize = 4_096;
/// Before a request is sent again, which UDP may have lost.
const RESEND: Duration = Duration::from_millis(800);

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
            ber::oid(&oid.replace("{n}", "1"))
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

fn unreachable(error: &std::io::Error) -> ActuateFailure {
    Failure::Unreachable(error.to_string()).into()
}

impl SnmpOutlets {
    /// One request; the integer in its answer.
    async fn ask(
        &self,
        oid: &str,
        channel: &str,
        pdu: Pdu,
        link: &Link<'_>,
    ) -> Result<i64, ActuateFailure> {
        let Credentials::Token { token, .. } = link.credentials else {
            return Err(ActuateFailure::Unsupported(
                "set secret_env or secret_file to the community, and no user".to_owned(),
            ));
        };
        let oid = ber::oid(&oid.replace("{n}", channel)).map_err(ActuateFailure::Unsupported)?;
        let id = request_id();
        let request = ber::message(self.version, token, id, &oid, pdu);
        let here = if self.host.starts_with('[') {
            "[::]:0"
        } else {
            "0.0.0.0:0"
        };
        let socket = UdpSocket::bind(here)
            .await
            .map_err(|error| unreachable(&error))?;
        socket
            .connect(&self.host)
            .await
            .map_err(|error| unreachable(&error))?;
        let mut bytes = vec![0; MOST_BYTES];
        loop {
            // A SET of the same number once more changes nothing.
            socket
                .send(&request)
                .await
                .map_err(|error| unreachable(&error))?;
            let resend = tokio::time::Instant::now() + RESEND;
            while let Ok(received) = tokio::time::timeout_at(resend, socket.recv(&mut bytes)).await
            {
                let length = received.map_err(|error| unreachable(&error))?;
                let answer = ber::answer(&bytes[..length]).map_err(malformed)?;
                // One of an earlier request may come late.
                if answer.request_id != id {
                    continue;
                }
                if answer.oid != oid && answer.error == 0 {
                    return Err(malformed("the PDU answers for another object"));
                }
                return match (answer.error, answer.integer) {
                    (0, Some(integer)) => Ok(integer),
                    (0, None) => Err(malformed("the PDU has no integer there")),
                    (error, _) => Err(refused(format!(
                        "the PDU refuses it: {} (SNMP error {error})",
                        ber::error_name(error)
                    ))),
                };
            }
        }
    }
}

/// Unlikely to be that of the request before.
fn request_id() -> i32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let micros = now.unwrap_or_default().as_micros();
    (micros % 0x7FFF_FFFF) as i32
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
        self.ask(&self.outlets.write, channel, Pdu::Set(value), link)
            .await
            .map(|_| ())
    }

    async fn read(&self, channel: &str, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        let value = self
            .ask(&self.outlets.read, channel, Pdu::Get, link)
            .await?;
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
