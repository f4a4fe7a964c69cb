//! The `[[actuator]]` entries: which devices obey, and what each of their channels controls.

use std::collections::BTreeMap;
use std::path::PathBuf;

use headframe_ingest::source::{Credentials, read_secret};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use url::Url;

use super::{ALL, Actuator, ActuatorKind, AddressForm, Keys};
use crate::command::{Path, Target};

/// Machines, fans and feeders that one site controls.
const MOST_CONTROLS: usize = 20_000;
/// Fans of a site.
const MOST_FANS: u8 = 9;

/// One `[[actuator]]`: the keys that every kind has, and those of its kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActuatorConfig {
    /// One of the kinds in [`ALL`].
    pub kind: String,
    /// Its name, unique at the site.
    pub name: String,
    /// Where it is: `http://host[:port]` or `host[:port]`, as its kind wants.
    pub address: String,
    /// Seconds that one attempt may take; as its kind says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<f64>,
    /// User for HTTP authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The variable of the environment with the password or token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_env: Option<String>,
    /// The file with it, of mode 0600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The word before a token in the header `Authorization`, where there is no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_scheme: Option<String>,
    /// What it controls; the machine of its own name when left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controls: Vec<Control>,
    /// The keys of its kind.
    #[serde(flatten)]
    pub keys: Keys,
}

/// What one channel of a device controls: a machine, a fan or a feeder.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Which channel, as the kind counts; none where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// The machine, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The fan, 1 to 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fan: Option<u8>,
    /// The feeder, by its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feeder: Option<String>,
    /// Whether the relay is off while what it controls is on.
    #[serde(default)]
    pub inverted: bool,
    /// A timer in the device, for when the controller is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_man: Option<DeadMan>,
}

/// A timer in the device that returns what it controls to a resting state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeadMan {
    /// Seconds without a command.
    pub after_s: u32,
    /// Whether it then is on.
    pub rests_on: bool,
}

impl Control {
    /// Refuses what only relays have: a machine is off as a whole.
    pub fn check_machine(&self) -> Result<(), String> {
        if self.machine.is_none() {
            return Err("this kind controls a machine".to_owned());
        }
        if self.inverted {
            return Err("a machine is not inverted".to_owned());
        }
        match self.dead_man {
            Some(_) => Err("a machine has no timer; remove dead_man".to_owned()),
            None => Ok(()),
        }
    }

    /// What it controls. The error says what is missing.
    pub fn target(&self) -> Result<Target, String> {
        match (&self.machine, self.fan, &self.feeder) {
            (Some(machine), None, None) if !machine.is_empty() => {
                Ok(Target::Machine(machine.clone()))
            }
            (None, Some(fan), None) if (1..=MOST_FANS).contains(&fan) => Ok(Target::Fan(fan)),
            (None, None, Some(feeder)) if !feeder.is_empty() => Ok(Target::Feeder(feeder.clone())),
            _ => Err(format!(
                "a control needs exactly one of machine, fan (1 to {MOST_FANS}) and feeder"
            )),
        }
    }
}

/// Why an `[[actuator]]` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("actuator {name:?}: {reason}")]
pub struct ActuatorError {
    /// Its name.
    pub name: String,
    /// Names the key and says what to do.
    pub reason: String,
}

impl ActuatorConfig {
    /// Refuses what cannot work. The error names the key.
    pub fn validate(&self) -> Result<(), ActuatorError> {
        self.actuator()
            .map(|_| ())
            .map_err(|reason| self.error(reason))
    }

    /// An error of this entry.
    pub(super) fn error(&self, reason: String) -> ActuatorError {
        ActuatorError {
            name: self.name.clone(),
            reason,
        }
    }

    /// What it controls, and by which way each is told; nothing where its kind is unknown.
    pub fn routes(&self) -> Vec<(Target, Path)> {
        let Ok(kind) = self.kind_of_actuator() else {
            return Vec::new();
        };
        let targets = self.targets().into_iter();
        targets
            .map(|target| (target.clone(), kind.path(&target)))
            .collect()
    }

    /// Every target that it controls, of those that are named rightly.
    pub fn targets(&self) -> Vec<Target> {
        let controls = self.all_controls();
        controls
            .iter()
            .filter_map(|one| one.target().ok())
            .collect()
    }

    /// What it controls, its own machine when nothing is listed.
    pub(super) fn all_controls(&self) -> Vec<Control> {
        match self.controls.is_empty() {
            false => self.controls.clone(),
            true => vec![Control {
                machine: Some(self.name.clone()),
                ..Control::default()
            }],
        }
    }

    pub(super) fn actuator(&self) -> Result<Box<dyn Actuator>, String> {
        if self.name.is_empty() || self.name.len() > 128 {
            return Err("name must have 1 to 128 bytes".to_owned());
        }
        if let Some(timeout_s) = self.timeout_s
            && !(0.1..=300.0).contains(&timeout_s)
        {
            return Err(format!("timeout_s is {timeout_s}; it must be 0.1 to 300"));
        }
        let kind = self.kind_of_actuator()?;
        let address = address(&self.address, kind.address())?;
        let actuator = kind.actuator(&address, self.keys.clone())?;
        for control in self.all_controls() {
            let target = control.target()?;
            let wrong = |reason: String| format!("controls: {target:?}: {reason}");
            if control.channel.is_none()
                && let Some(channel) = kind.channel()
            {
                return Err(wrong(format!("channel is missing: {channel}")));
            }
            if control.channel.is_some() && kind.channel().is_none() {
                return Err(wrong(
                    "this kind has no channels; remove channel".to_owned(),
                ));
            }
            actuator.check(&control).map_err(wrong)?;
        }
        Ok(actuator)
    }

    pub(super) fn kind_of_actuator(&self) -> Result<&'static dyn ActuatorKind, String> {
        let found = ALL.iter().find(|kind| kind.kind() == self.kind);
        found.copied().ok_or_else(|| {
            let kinds: Vec<&str> = ALL.iter().map(|kind| kind.kind()).collect();
            format!("kind is {:?}; there are {}", self.kind, kinds.join(", "))
        })
    }

    pub(super) fn credentials(&self) -> Result<Credentials, String> {
        let secret = read_secret(self.secret_env.as_deref(), self.secret_file.as_deref())?;
        Credentials::new(self.user.as_deref(), secret, self.token_scheme.as_deref())
    }
}

/// The address with its port, or without a slash at its end.
pub(super) fn address(text: &str, form: AddressForm) -> Result<String, String> {
    match form {
        AddressForm::Http => {
            let hint = || format!("address is {text:?}; write http://host or https://host:port");
            let url = Url::parse(text).map_err(|_| hint())?;
            let is_plain = matches!(url.scheme(), "http" | "https")
                && url.host().is_some()
                && url.query().is_none()
                && url.fragment().is_none();
            if !is_plain {
                return Err(hint());
            }
            if !url.username().is_empty() || url.password().is_some() {
                return Err(
                    "address carries a login; use user and secret_file or secret_env".to_owned(),
                );
            }
            Ok(url.as_str().trim_end_matches('/').to_owned())
        }
        AddressForm::Host(port) => {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
            if text.is_empty() || !text.chars().all(is_plain) {
                return Err(format!(
                    "address is {text:?}; write host or host:port, without a scheme"
                ));
            }
            let has_port = text
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
            Ok(match has_port {
                true => text.to_owned(),
                false => format!("{text}:{port}"),
            })
        }
    }
}

/// The faults of all entries. Secrets are read only where commands are sent.
pub fn faults(entries: &[ActuatorConfig], reads_secrets: bool) -> Vec<ActuatorError> {
    let mut faults = Vec::new();
    let mut names = BTreeMap::new();
    let mut routes: BTreeMap<(Target, Path), &str> = BTreeMap::new();
    for entry in entries {
        if names.insert(&entry.name, ()).is_some() {
            let reason = "another actuator has the same name; each needs its own".to_owned();
            faults.push(entry.error(reason));
        }
        if let Err(error) = entry.validate() {
            faults.push(error);
            continue;
        }
        if reads_secrets && let Err(reason) = entry.credentials() {
            faults.push(entry.error(reason));
        }
        let Ok(kind) = entry.kind_of_actuator() else {
            continue;
        };
        for target in entry
            .all_controls()
            .iter()
            .filter_map(|one| one.target().ok())
        {
            let path = kind.path(&target);
            if let Some(other) = routes.insert((target.clone(), path), &entry.name) {
                let reason = format!("{target:?} is controlled by {other:?} in the same way");
                faults.push(entry.error(reason));
            }
        }
    }
    if routes.len() > MOST_CONTROLS {
        faults.push(ActuatorError {
            name: String::new(),
            reason: format!("there are more than {MOST_CONTROLS} controls"),
        });
    }
    faults
}
