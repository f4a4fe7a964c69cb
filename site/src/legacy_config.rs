//! The configuration file of the controller before this one, `config/config.txt`, read as it is.
//!
//! It is an INI file as Python's `configparser` reads it: sections in brackets, `key = value` or
//! `key: value`, comments from `#` or `;` at the beginning of a line. Keys that it never had are
//! errors. What it does not say, such as what the number on the signal's page means, is a warning
//! that says what to add.

use std::collections::BTreeMap;
use std::path::Path;

use headframe_ingest::source::SourceConfig;
use serde_json::json;
use thiserror::Error;

use crate::actuate::ActuatorConfig;
use crate::notify::ChannelConfig;

mod secrets;
mod site_config;

pub use site_config::{DESIGN_KW, SITE, is_legacy, load, without_nulls};

/// Bytes of such a file.
const MOST_BYTES: usize = 64 * 1024;
/// Every section with its keys.
const KEYS: &[(&str, &[&str])] = &[
    (
        "GENERAL",
        &[
            "loop_interval_minutes",
            "max_temp_celsius",
            "min_temp_celsius",
            "max_humidity",
        ],
    ),
    (
        "APIS",
        &[
            "cornbelt_url",
            "roomalert_ip",
            "iotawatt_ip",
            "foreman_api",
            "pdu_ip",
            "fan_relay_ip",
        ],
    ),
    (
        "NOTIFICATIONS",
        &[
            "telegram_token",
            "telegram_chat_id",
            "email_smtp_server",
            "email_smtp_port",
            "email_username",
            "email_password",
            "email_recipients",
            "sms_api_key",
            "sms_phone",
        ],
    ),
];

/// What is wrong with a line or a key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {reason}")]
pub struct LegacyError {
    /// `line 7`, or the section and the key.
    pub place: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// What such a file says to the controller of today.
#[derive(Debug, Clone, PartialEq)]
pub struct LegacySettings {
    /// Minutes between two rounds.
    pub loop_interval_minutes: f64,
    /// The temperature that is warned of.
    pub max_temp_celsius: f64,
    /// The temperature below which fans stop.
    pub min_temp_celsius: f64,
    /// The relative humidity that is warned of.
    pub max_humidity: f64,
    /// The page with the power signal. Its pattern and map are not in the file.
    pub signal_url: Option<String>,
    /// Where Foreman is, over HTTPS. Its key and the ids of its miners are not in the file.
    pub foreman_address: Option<String>,
    /// Where the PDU is. Its make is not in the file.
    pub pdu_address: Option<String>,
    /// Sensors and meters that are polled.
    pub sources: Vec<SourceConfig>,
    /// The board of relays with fans 1 to 9.
    pub actuators: Vec<ActuatorConfig>,
    /// Who gets notices; their secrets lie in files.
    pub channels: Vec<ChannelConfig>,
    /// What is missing or was changed, and what to do.
    pub warnings: Vec<String>,
}

/// A file that was read.
pub struct LegacyConfig {
    values: BTreeMap<(&'static str, &'static str), String>,
}

// Values may be secrets.
impl std::fmt::Debug for LegacyConfig {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_set().entries(self.values.keys()).finish()
    }
}

fn error(place: impl Into<String>, reason: impl Into<String>) -> LegacyError {
    LegacyError {
        place: place.into(),
        reason: reason.into(),
    }
}

impl LegacyConfig {
    /// Reads a file. All of its faults are answered at once.
    pub fn read(path: &Path) -> Result<Self, Vec<LegacyError>> {
        let place = path.display().to_string();
        let content = std::fs::read(path);
        let content = content.map_err(|why| vec![error(&*place, format!("cannot be read: {why}"))]);
        Self::parse(&content?)
    }

    /// Reads its content.
    pub fn parse(content: &[u8]) -> Result<Self, Vec<LegacyError>> {
        if content.len() > MOST_BYTES {
            return Err(vec![error(
                "file",
                format!("it is longer than {MOST_BYTES} bytes"),
            )]);
        }
        let text = std::str::from_utf8(content);
        let text = text.map_err(|_| vec![error("file", "it is not UTF-8")])?;
        let mut values = BTreeMap::new();
        let (mut errors, mut section) = (Vec::new(), None);
        for (number, line) in (1..).zip(text.lines()) {
            let result = parse_line(line, &mut section, &mut values);
            errors.extend(
                result
                    .err()
                    .map(|reason| error(format!("line {number}"), reason)),
            );
        }
        match errors.is_empty() {
            true => Ok(Self { values }),
            false => Err(errors),
        }
    }

    /// The value of a key, unless it is missing or empty.
    fn text(&self, section: &'static str, key: &'static str) -> Option<&str> {
        let value = self.values.get(&(section, key))?;
        (!value.is_empty()).then_some(value)
    }

    fn number(
        &self,
        key: &'static str,
        usual: f64,
        range: std::ops::RangeInclusive<f64>,
    ) -> Result<f64, LegacyError> {
        let Some(text) = self.text("GENERAL", key) else {
            return Ok(usual);
        };
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            let reason = format!("is {text:?}; it must be a number from {least} to {most}");
            error(format!("[GENERAL] {key}"), reason)
        })
    }

    /// The settings. Secrets are written into files of mode 0600 in this folder, which is made if
    /// it is not there. All faults are answered at once.
    pub fn settings(&self, site: &str, secrets: &Path) -> Result<LegacySettings, Vec<LegacyError>> {
        let mut errors = Vec::new();
        let mut warnings = Vec::new();
        let mut number = |key, usual, range| {
            let number = self.number(key, usual, range);
            number.unwrap_or_else(|error| {
                errors.push(error);
                usual
            })
        };
        let loop_interval_minutes = number("loop_interval_minutes", 2.0, 0.1..=60.0);
        let max_temp_celsius = number("max_temp_celsius", 35.0, -40.0..=80.0);
        let min_temp_celsius = number("min_temp_celsius", 10.0, -40.0..=80.0);
        let max_humidity = number("max_humidity", 80.0, 0.0..=100.0);
        if min_temp_celsius >= max_temp_celsius {
            let reason = format!("is {min_temp_celsius}, not below max_temp_celsius");
            errors.push(error("[GENERAL] min_temp_celsius", reason));
        }
        let channels = self.channels(secrets, &mut warnings);
        let (channels, sources, actuators) = (
            or_note(channels, &mut errors),
            self.sources(site, &mut warnings),
            self.actuators(),
        );
        let settings = LegacySettings {
            loop_interval_minutes,
            max_temp_celsius,
            min_temp_celsius,
            max_humidity,
            signal_url: self.signal_url(&mut warnings),
            foreman_address: or_note(self.foreman(&mut warnings), &mut errors),
            pdu_address: self.pdu(&mut warnings),
            sources: or_note(sources, &mut errors),
            actuators: or_note(actuators, &mut errors),
            channels,
            warnings,
        };
        match errors.is_empty() {
            true => Ok(settings),
            false => Err(errors),
        }
    }

    fn signal_url(&self, warnings: &mut Vec<String>) -> Option<String> {
        let url = self.text("APIS", "cornbelt_url")?;
        warnings.push(format!(
            "[APIS] cornbelt_url: the file does not say where on the page the number stands, nor \
             what it means; add [[signal]] with kind = \"page\", url = {url:?}, pattern and map"
        ));
        Some(url.to_owned())
    }

    /// Foreman takes no plain HTTP; its address ends before `/api`.
    fn foreman(&self, warnings: &mut Vec<String>) -> Result<Option<String>, LegacyError> {
        let Some(text) = self.text("APIS", "foreman_api") else {
            return Ok(None);
        };
        let key = "[APIS] foreman_api";
        let base = text.trim_end_matches('/').trim_end_matches("/api");
        let address = match base.strip_prefix("http://") {
            Some(rest) if !headframe_ingest::source::is_private(base) => {
                warnings.push(format!(
                    "{key}: {text} is plain HTTP, over which anybody could read the key; https:// \
                     is used instead"
                ));
                format!("https://{rest}")
            }
            _ => base.to_owned(),
        };
        if !headframe_ingest::source::is_private(&address) {
            return Err(error(key, format!("is {text:?}; write https://host/api")));
        }
        warnings.push(format!(
            "{key}: the file has neither Foreman's key nor the ids of its miners; add [[actuator]] \
             with kind = \"foreman\", address = {address:?}, token_scheme = \"Token\", secret_file \
             and controls"
        ));
        Ok(Some(address))
    }

    fn pdu(&self, warnings: &mut Vec<String>) -> Option<String> {
        let address = self.text("APIS", "pdu_ip")?;
        warnings.push(format!(
            "[APIS] pdu_ip: the file does not say what kind of PDU {address} is, nor what its \
             outlets feed; add [[actuator]] with kind, address and controls"
        ));
        Some(address.to_owned())
    }

    fn sources(
        &self,
        site: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<SourceConfig>, LegacyError> {
        let kinds = [("roomalert_ip", "roomalert"), ("iotawatt_ip", "iotawatt")];
        let mut sources = Vec::new();
        for (key, kind) in kinds {
            let Some(ip) = self.text("APIS", key) else {
                continue;
            };
            let place = format!("[APIS] {key}");
            let source = json!({"kind": kind, "name": kind, "site": site,
                "address": format!("http://{ip}")});
            let source: SourceConfig =
                serde_json::from_value(source).map_err(|why| error(&*place, why.to_string()))?;
            source.check().map_err(|reason| error(&*place, reason))?;
            warnings.push(match kind {
                "iotawatt" => format!(
                    "{place}: the file does not say which circuit measures the whole site; name \
                     it as site_meter below [readings]"
                ),
                _ => format!(
                    "{place}: the sensor is taken to have the label of the factory, Internal \
                     Sensor; see that it has"
                ),
            });
            sources.push(source);
        }
        Ok(sources)
    }

    fn actuators(&self) -> Result<Vec<ActuatorConfig>, LegacyError> {
        let Some(ip) = self.text("APIS", "fan_relay_ip") else {
            return Ok(Vec::new());
        };
        let place = "[APIS] fan_relay_ip";
        let controls: Vec<_> = (1..=9)
            .map(|fan| json!({"channel": fan.to_string(), "fan": fan}))
            .collect();
        let board = json!({"kind": "controlbyweb", "name": "fans", "address": ip,
            "controls": controls});
        let board: ActuatorConfig =
            serde_json::from_value(board).map_err(|why| error(place, why.to_string()))?;
        board.validate().map_err(|why| error(place, why.reason))?;
        Ok(vec![board])
    }

    fn channels(
        &self,
        secrets: &Path,
        warnings: &mut Vec<String>,
    ) -> Result<Vec<ChannelConfig>, LegacyError> {
        let text = |key| self.text("NOTIFICATIONS", key);
        let mut channels = Vec::new();
        if let Some(token) = text("telegram_token") {
            let place = "[NOTIFICATIONS] telegram_chat_id";
            let chat = text("telegram_chat_id");
            let chat = chat.ok_or_else(|| error(place, "is missing beside telegram_token"))?;
            let file = secrets::store(secrets, "telegram_token", token)?;
            let entry = json!({"kind": "telegram", "name": "telegram", "chat_id": chat,
                "secret_file": file});
            channels.push(channel(entry, "[NOTIFICATIONS] telegram_token")?);
        }
        if let Some(server) = text("email_smtp_server") {
            let place = |key: &str| format!("[NOTIFICATIONS] {key}");
            let needed = |key: &'static str| {
                text(key).ok_or_else(|| error(place(key), "is missing beside email_smtp_server"))
            };
            let port = text("email_smtp_port").unwrap_or("587").parse::<u16>();
            let port = port.map_err(|_| error(place("email_smtp_port"), "is no port"))?;
            let recipients = needed("email_recipients")?.split(',').map(str::trim);
            let recipients: Vec<&str> = recipients.filter(|one| !one.is_empty()).collect();
            let user = needed("email_username")?;
            let file = secrets::store(secrets, "email_password", needed("email_password")?)?;
            let tls = if port == 465 { "tls" } else { "starttls" };
            let entry = json!({"kind": "email", "name": "email", "server": server, "port": port,
                "tls": tls, "from": user, "to": recipients, "user": user, "secret_file": file});
            channels.push(channel(entry, "[NOTIFICATIONS] email_smtp_server")?);
        }
        if text("sms_api_key").is_some() || text("sms_phone").is_some() {
            warnings.push(
                "[NOTIFICATIONS] sms_api_key: the file does not say which provider it is for; add \
                 [[channel]] with kind = \"sms\", to, secret_file, and twilio or http"
                    .to_owned(),
            );
        }
        if channels.is_empty() {
            warnings.push(
                "[NOTIFICATIONS]: nobody is told anything; add telegram_token or email_smtp_server"
                    .to_owned(),
            );
        }
        Ok(channels)
    }
}

fn channel(entry: serde_json::Value, place: &str) -> Result<ChannelConfig, LegacyError> {
    let entry: ChannelConfig =
        serde_json::from_value(entry).map_err(|why| error(place, why.to_string()))?;
    match super::notify::faults(std::slice::from_ref(&entry), true).pop() {
        Some(fault) => Err(error(place, fault.reason)),
        None => Ok(entry),
    }
}

/// The value, or its default and one error more.
fn or_note<T: Default>(result: Result<T, LegacyError>, errors: &mut Vec<LegacyError>) -> T {
    result.unwrap_or_else(|error| {
        errors.push(error);
        T::default()
    })
}

type Section = (&'static str, &'static [&'static str]);

fn parse_line(
    line: &str,
    section: &mut Option<Section>,
    values: &mut BTreeMap<(&'static str, &'static str), String>,
) -> Result<(), String> {
    let trimmed = line.trim();
    if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
        return Ok(());
    }
    if let Some(name) = trimmed.strip_prefix('[') {
        let name = name.strip_suffix(']').ok_or("a section ends with ]")?;
        let found = KEYS.iter().find(|(known, _)| *known == name);
        let (known, keys) = found.ok_or_else(|| {
            let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
            format!(
                "there is no section {name:.40?}; there are {}",
                names.join(", ")
            )
        })?;
        *section = Some((known, keys));
        return Ok(());
    }
    if line.starts_with([' ', '\t']) {
        return Err("a value goes on in a second line; write it in one".to_owned());
    }
    let (section, keys) = section.ok_or("a key stands before the first section")?;
    let at = trimmed
        .find(['=', ':'])
        .ok_or("this is neither a section nor key = value")?;
    let (key, value) = (
        trimmed[..at].trim().to_ascii_lowercase(),
        trimmed[at + 1..].trim(),
    );
    let known = keys.iter().find(|known| **known == key);
    let known = known.ok_or_else(|| {
        let keys = keys.join(", ");
        format!("[{section}] has no key {key:.40?}; there are {keys}")
    })?;
    match values.insert((section, known), value.to_owned()) {
        Some(_) => Err(format!("[{section}] {known} is there twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
