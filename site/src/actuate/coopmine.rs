//! `coopmine`: workers of a CoopMine coordinator over its REST: pause, resume, fewer threads, and a
//! limit in watts.
//!
//! `POST /api/workers/{id}/commands` takes a command, `GET /api/workers/{id}` says how far the last
//! one has come. A yes of the coordinator is none of the worker: a command is acknowledged when the
//! coordinator says that the worker has acknowledged it.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Failure, HttpAnswer, HttpRequest, Method, json};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded::byte_serialize;

use super::{
    ActuateFailure, Actuator, ActuatorKind, AddressForm, Control, Keys, Link, Outcome, ReadBack,
    malformed, parse_keys, refused,
};
use crate::command::{Action, Path, PowerMode, Target};

const RETRIES: &[Duration] = &[Duration::from_secs(1)];
/// Between two looks at how far a command has come.
const LOOK: Duration = Duration::from_millis(200);
/// How long the first of two coordinators may take before the other one is asked.
const FIRST: Duration = Duration::from_secs(1);
/// The share of a worker's threads that hash in low power.
const LOW_SHARE: f64 = 0.5;

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
        &[
            (
                "other",
                "Of two coordinators the address of the other one; it is asked where the first \
                 does not answer or stands by.",
            ),
            (
                "low_share",
                "The share of a worker's threads that hash in low power; 0.5 when left out. One \
                 hashes at least.",
            ),
        ]
    }
    fn path(&self, _: &Target) -> Path {
        Path::Device
    }
    fn is_one_at_a_time(&self) -> bool {
        false
    }
    fn retries(&self) -> &'static [Duration] {
        RETRIES
    }
    fn actuator(&self, address: &str, keys: Keys) -> Result<Box<dyn Actuator>, String> {
        let CoopMineKeys { other, low_share } = parse_keys(keys)?;
        if !(low_share > 0.0 && low_share < 1.0) {
            return Err(format!(
                "low_share is {low_share}; it must be between 0 and 1"
            ));
        }
        let other = other.map(|other| super::config::address(&other, AddressForm::Http));
        let other = other
            .transpose()
            .map_err(|error| format!("other: {error}"))?;
        let mut addresses = vec![address.to_owned()];
        addresses.extend(other);
        Ok(Box::new(Coordinators {
            addresses,
            low_share,
        }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CoopMineKeys {
    other: Option<String>,
    #[serde(default = "low_share")]
    low_share: f64,
}

fn low_share() -> f64 {
    LOW_SHARE
}

/// One coordinator, or two of which one is active.
struct Coordinators {
    addresses: Vec<String>,
    low_share: f64,
}

/// What the coordinator says of a worker.
#[derive(Debug, Deserialize)]
struct Worker {
    online: bool,
    silent_s: u64,
    threads: u32,
    threads_active: u32,
    command: Option<Given>,
}

/// Its last command.
#[derive(Debug, Deserialize)]
struct Given {
    id: u64,
    state: String,
    refusal: String,
}

/// The worker of a control.
fn id(control: &Control) -> &str {
    control.channel.as_deref().unwrap_or_default()
}

/// The path of a worker.
fn path(control: &Control) -> String {
    let id: String = byte_serialize(id(control).as_bytes()).collect();
    // In a path a plus is a plus.
    format!("/api/workers/{}", id.replace('+', "%20"))
}

impl Coordinators {
    /// The command for an action; a worker is asked first where the command depends on it.
    async fn command(
        &self,
        control: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Value, ActuateFailure> {
        match action {
            Action::Off => Ok(json!({"command": "pause"})),
            Action::On | Action::Mode(PowerMode::Normal) => Ok(json!({"command": "resume"})),
            Action::LimitWatts(watts) => Ok(json!({"command": "throttle", "watts": watts})),
            Action::Mode(PowerMode::Low) => {
                let threads = self.worker(control, link).await?.threads;
                let low = (f64::from(threads) * self.low_share).floor().max(1.0) as u32;
                match low < threads {
                    true => Ok(json!({"command": "throttle", "threads": low})),
                    false => Err(ActuateFailure::Unsupported(format!(
                        "{} has {threads} thread and no low power; remove its low_power_w",
                        id(control)
                    ))),
                }
            }
            Action::Mode(PowerMode::High) => Err(ActuateFailure::Unsupported(
                "a CoopMine worker works at its rated power, not above".to_owned(),
            )),
        }
    }

    async fn worker(&self, control: &Control, link: &Link<'_>) -> Result<Worker, ActuateFailure> {
        let answer = self.ask(Method::GET, control, "", None, link).await?;
        serde_json::from_slice(&answer.body)
            .map_err(|error| malformed(format!("what the coordinator says of a worker: {error}")))
    }

    /// Asks the active coordinator.
    async fn ask(
        &self,
        method: Method,
        control: &Control,
        more: &str,
        body: Option<&Value>,
        link: &Link<'_>,
    ) -> Result<HttpAnswer, ActuateFailure> {
        let mut failure = malformed("no coordinator is configured");
        for address in &self.addresses {
            let json = [("Content-Type", "application/json".to_owned())];
            let request = HttpRequest {
                method: method.clone(),
                credentials: link.credentials,
                headers: if body.is_some() { &json } else { &[] },
                body: body.map(|body| body.to_string().into()),
                most: link.most,
                ..HttpRequest::get(format!("{address}{}{more}", path(control)))
            };
            // The caller bounds the last one.
            let most = match self.addresses.last() == Some(address) {
                true => Duration::MAX,
                false => FIRST,
            };
            let answer = tokio::time::timeout(most, link.exchange.http(request)).await;
            failure = match answer.unwrap_or(Err(Failure::Timeout(most))) {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) if answer.status == 503 => said_no(control, &answer),
                Ok(answer) => return Err(said_no(control, &answer)),
                Err(failure) => failure.into(),
            };
        }
        Err(failure)
    }

    /// Waits until the worker has answered a command; the caller bounds the time.
    async fn answered(
        &self,
        control: &Control,
        command: u64,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure> {
        let id = id(control);
        loop {
            let worker = self.worker(control, link).await?;
            let given = worker.command.as_ref();
            let given = given.ok_or_else(|| {
                refused(format!(
                    "the coordinator forgot the command to {id}; was it started again?"
                ))
            })?;
            if given.id != command {
                let newer = given.id;
                return Err(refused(format!(
                    "{id} was given command {newer} in place of {command}; who else commands it?"
                )));
            }
            match &*given.state {
                "acknowledged" => return Ok(Outcome::Acknowledged),
                "verified" => return Ok(Outcome::Verified),
                "refused" => return Err(refused(format!("{id} says: {:.200}", given.refusal))),
                _ if !worker.online => {
                    let silent_s = worker.silent_s;
                    return Err(refused(format!(
                        "{id} has not been heard of for {silent_s} s; it gets the command when \
                         it comes back"
                    )));
                }
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// An answer that is no success, in the coordinator's words.
fn said_no(control: &Control, answer: &HttpAnswer) -> ActuateFailure {
    let error: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let text = |key: &str| {
        error
            .pointer(&format!("/error/{key}"))
            .and_then(Value::as_str)
    };
    let said = text("message").map(|message| format!("{message:.200}"));
    let reason = match (answer.status, said) {
        (401, _) => "the coordinator wants its dashboard.token; set secret_file (HTTP 401)".into(),
        (404, _) => format!(
            "the coordinator knows no worker {:?}; channel is its id (HTTP 404)",
            id(control)
        ),
        (status, Some(said)) => format!("the coordinator says: {said} (HTTP {status})"),
        (status, None) => return Failure::Status(status).into(),
    };
    refused(reason)
}

#[async_trait]
impl Actuator for Coordinators {
    fn check(&self, control: &Control) -> Result<(), String> {
        control.check_machine()
    }

    async fn apply(
        &self,
        control: &Control,
        action: Action,
        link: &Link<'_>,
    ) -> Result<Outcome, ActuateFailure> {
        let body = self.command(control, action, link).await?;
        let given = self.ask(Method::POST, control, "/commands", Some(&body), link);
        let answer = json::document(Some(&Some(given.await?.body))).map_err(malformed)?;
        match answer.get("id").and_then(Value::as_u64) {
            Some(command) => self.answered(control, command, link).await,
            None => Err(malformed(format!(
                "the coordinator took a command and gave it no number: {answer:.200}"
            ))),
        }
    }

    async fn read_back(
        &self,
        control: &Control,
        link: &Link<'_>,
    ) -> Result<ReadBack, ActuateFailure> {
        let worker = self.worker(control, link).await?;
        Ok(ReadBack {
            // One that is not heard of may hash or not.
            is_on: worker.online.then_some(worker.threads_active > 0),
            power_w: None,
        })
    }
}
