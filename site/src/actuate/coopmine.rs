//! `coopmine`: workers of a CoopMine coordinator over its REST: pause, resume and a limit in watts.
//!
//! `POST /api/workers/{id}/commands` takes a command, `GET /api/workers/{id}` says how far the last
//! one has come. The worker obeys at its next heartbeat.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Method, json};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, Outcome, ReadBack,
    digest, malformed, parse_keys, refused,
};
use crate::command::{Action, Path, PowerMode, Target};

const RETRIES: &[Duration] = &[Duration::from_secs(1)];

/// The kind.
pub struct CoopMine;

impl ActuatorKind for CoopMine {
    fn kind(&self) -> &'static str {
        "coopmine"
    }
    fn doc(&self) -> &'static str {
        "Workers of a CoopMine coordinator; the secret is its dashboard.token."
    }
    fn address(&self) -> AddressForm {
        AddressForm::Http
    }
    fn channel(&self) -> Option<&'static str> {
        Some("the worker's id")
    }
    fn keys(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }
    fn path(&self, _: &Target) -> Path {
        Path::Device
    }
    fn retries(&self) -> &'static [Duration] {
        RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let CoopMineKeys {} = parse_keys(keys)?;
        Ok(Box::new(Coordinator {
            address: address.to_owned(),
        }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoopMineKeys {}

struct Coordinator {
    address: String,
}

/// The path of a worker.
fn path(control: &Control) -> String {
    let id = control.channel.as_deref().unwrap_or_default();
    let id: String = byte_serialize(id.as_bytes()).collect();
    // In a path a plus is a plus.
    format!("/api/workers/{}", id.replace('+', "%20"))
}

fn command(action: Action) -> Result<Value, ActuateFailure> {
    match action {
        Action::Off => Ok(json!({"command": "pause"})),
        Action::On | Action::Mode(PowerMode::Normal) => Ok(json!({"command": "resume"})),
        Action::LimitWatts(watts) => Ok(json!({"command": "throttle", "watts": watts})),
        Action::Mode(mode) => Err(ActuateFailure::Unsupported(format!(
            "a CoopMine worker has no mode {mode:?}; limit its watts"
        ))),
    }
}

#[async_trait]
impl Actuator for Coordinator {
    fn check(&self, control: &Control) -> Result<(), String> {
        control.check_machine()
    }

    async fn apply(
        &self,
        control: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure> {
        let path = format!("{}/commands", path(control));
        let body = command(action)?.to_string();
        let answer = digest::ask(link, Method::POST, &self.address, &path, Some(body)).await?;
        let answer = json::document(Some(&Some(answer.body))).map_err(malformed)?;
        match answer.get("id").and_then(Value::as_u64) {
            Some(_) => Ok(Outcome::Acknowledged),
            None => Err(refused(format!("the coordinator says {answer:.200}"))),
        }
    }

    async fn read_back(
        &self,
        control: &Control,
        link: &Link<'_>,
    ) -> Result<ReadBack, ActuateFailure> {
        let path = path(control);
        let answer = digest::ask(link, Method::GET, &self.address, &path, None).await?;
        let worker = json::document(Some(&Some(answer.body))).map_err(malformed)?;
        let threads = json::number_at(&worker, "threads_active");
        let is_online = worker.get("online").and_then(Value::as_bool);
        Ok(ReadBack {
            // One that is not heard of may hash or not.
            is_on: threads
                .filter(|_| is_online == Some(true))
                .map(|threads| threads > 0.0),
            power_w: None,
        })
    }
}
