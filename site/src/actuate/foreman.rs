//! `foreman`: machines through Foreman's service: `power-mode` with sleeping, low, normal and high,
//! and the state of each command until it is complete.
//!
//! `POST /api/actions/power-mode/{miner}` answers `{"status", "command"}`; `GET
//! /api/actions/status/{command}` answers pending, in-progress, complete or failed; `GET /api/ping`
//! answers when the service is there and knows the key. A token never goes over plain HTTP, unless
//! to this machine.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Method, is_private, json};
use serde::Deserialize;
use serde_json::Value;

use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, Outcome, ReadBack,
    http, malformed, parse_keys, refused,
};
use crate::command::{Action, Path, PowerMode, Target};

/// Pause before the first look at a command; each pause after it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The kind.
pub struct Foreman;

impl ActuatorKind for Foreman {
    fn kind(&self) -> &'static str {
        "foreman"
    }
    fn doc(&self) -> &'static str {
        "Machines through Foreman's service (power mode)."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn channel(&self) -> Option<&'static str> {
        Some("Foreman's id of the miner")
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    fn path(&self, _: &Target) -> Path {
        Path::Foreman
    }
    fn timeout_s(&self) -> f64 {
        60.0
    }
    fn is_one_at_a_time(&self) -> bool {
        false
    }
    fn retries(&self) -> &'static [Duration] {
        &[]
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let ForemanKeys {} = parse_keys(keys)?;
        if !is_private(address) {
            return Err(format!(
                "address is {address}; Foreman is reached over https:// only, its key would go in \
                 clear"
            ));
        }
        Ok(Box::new(ForemanService {
            address: address.to_owned(),
        }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ForemanKeys {}

struct ForemanService {
    address: String,
}

fn power_mode(action: Action) -> Result<&'static str, ActuateFailure> {
    match action {
        Action::Off => Ok("sleeping"),
        Action::On | Action::Mode(PowerMode::Normal) => Ok("normal"),
        Action::Mode(PowerMode::Low) => Ok("low"),
        Action::Mode(PowerMode::High) => Ok("high"),
        Action::LimitWatts(_) => Err(ActuateFailure::Unsupported(
            "Foreman has no command for a limit in watts".to_owned(),
        )),
    }
}

impl ForemanService {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
        link: &Link<'_>,
    ) -> Result<Value, ActuateFailure> {
        let answer = http::ask(link, method, &self.address, path, body).await?;
        json::document(Some(&Some(answer.body))).map_err(malformed)
    }
}

#[async_trait]
impl Actuator for ForemanService {
    fn check(&self, control: &Control) -> Result<(), String> {
        control.check_machine()?;
        let channel = control.channel.as_deref().unwrap_or_default();
        match channel.parse::<u64>() {
            Ok(_) => Ok(()),
            Err(_) => Err(format!("channel is {channel:?}; it is the miner's number")),
        }
    }

    async fn apply(
        &self,
        control: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure> {
        let miner = control.channel.as_deref().unwrap_or_default();
        let path = format!("/api/actions/power-mode/{miner}");
        let body = format!("{{\"powerMode\":\"{}\"}}", power_mode(action)?);
        let answer = self.ask(Method::POST, &path, Some(body), link).await?;
        let command = answer.get("command").and_then(Value::as_u64);
        let command = command.ok_or_else(|| refused(format!("Foreman says {answer:.200}")))?;
        let path = format!("/api/actions/status/{command}");
        let mut pause = FIRST_PAUSE;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            let answer = self.ask(Method::GET, &path, None, link).await?;
            match answer.get("status").and_then(Value::as_str) {
                Some("complete") => return Ok(Outcome::Acknowledged),
                Some("pending" | "in-progress") => {}
                Some("failed") => return Err(refused("Foreman says that the command failed")),
                _ => return Err(malformed("Foreman's answer has no status that is known")),
            }
        }
    }

    /// It does not say what a machine does, only that it is there.
    async fn read_back(&self, _: &Control, link: &Link<'_>) -> Result<ReadBack, ActuateFailure> {
        http::ask(link, Method::GET, &self.address, "/api/ping", None).await?;
        Ok(ReadBack::default())
    }
}
