//! Channels: what carries a notice to people, one kind a file.
//!
//! A kind is one file in this folder and one line in [`ALL`]. Who gets what: Telegram and e-mail
//! carry every notice, the hourly heartbeat too; SMS and webhooks carry emergencies, or what their
//! `least` says. A [`Notifier`] gives each channel a queue and a task of its own, so that a dead
//! one delays nothing; when a channel fails on a warning or an emergency, the next one that does
//! not have it takes over; an emergency that nobody acknowledges is sent again.

use std::time::Duration;

use async_trait::async_trait;
use headframe_ingest::source::{Credentials, Exchange, HttpAnswer};

use crate::notice::{Notice, Severity};

mod config;
mod email;
mod notifier;
mod queue;
mod routing;
mod sms;
mod sms_text;
mod telegram;
mod webhook;

pub use config::{ChannelConfig, ChannelError, faults};
pub use notifier::{Attempt, AttemptOutcome, Notifier};

/// Every kind of channel.
pub const ALL: &[&dyn ChannelKind] = &[
    &telegram::Telegram,
    &email::Email,
    &sms::Sms,
    &webhook::Webhook,
];

/// The keys of a `[[channel]]` that only its kind knows.
pub type Keys = serde_json::Map<String, serde_json::Value>;

/// A kind of channel.
pub trait ChannelKind: Sync {
    /// As it stands in `kind` of a `[[channel]]`.
    fn kind(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// Its own keys of a `[[channel]]`, each with its meaning.
    fn keys(&self) -> &'static [(&'static str, &'static str)];
    /// The least severity that it carries when the configuration does not say.
    fn least(&self) -> Severity;
    /// A channel for each recipient. Their secret may not be there yet. The error names the key.
    fn channels(&self, keys: Keys) -> Result<Vec<Box<dyn Channel>>, String>;
}

/// One way to one recipient.
#[async_trait]
pub trait Channel: Send + Sync {
    /// Refuses a secret that it cannot use. The error names the key, never the secret.
    fn check_secret(&self, credentials: &Credentials) -> Result<(), String>;
    /// Carries a notice; what the other side calls it. The caller bounds the time.
    async fn send(&self, notice: &Notice, link: &Link<'_>) -> Result<String, SendFailure>;
}

/// What a channel sends with.
#[derive(Debug, Clone, Copy)]
pub struct Link<'a> {
    /// Connects.
    pub exchange: &'a Exchange,
    /// What the other side wants to see.
    pub credentials: &'a Credentials,
    /// The site's name.
    pub site: &'a str,
    /// Seconds since 1970.
    pub now_s: i64,
}

/// Why a notice did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendFailure {
    /// In a sentence, without secrets.
    pub reason: String,
    /// Whether to try again.
    pub retry: Retry,
}

/// Whether to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It will not help.
    Never,
    /// After a pause of our own.
    Later,
    /// After the pause that the other side wants.
    After(Duration),
}

impl SendFailure {
    /// One that another attempt does not change.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry: Retry::Never,
        }
    }

    /// One that may pass.
    pub fn temporary(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            retry: Retry::Later,
        }
    }

    /// Of an HTTP answer that is no success: 429 and what is the server's fault may pass.
    pub fn of_answer(answer: &HttpAnswer, said: &str) -> Self {
        let said: String = said.chars().filter(|c| !c.is_control()).take(200).collect();
        let status = answer.status;
        let wait = answer.headers.get("retry-after");
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse::<u64>().ok());
        let retry = match (status, wait) {
            (429 | 503, Some(wait)) => Retry::After(Duration::from_secs(wait)),
            (408 | 425 | 429 | 500.., _) => Retry::Later,
            _ => Retry::Never,
        };
        Self {
            reason: format!("it answers HTTP {status}: {said}"),
            retry,
        }
    }
}

/// Reads a kind's own keys; unknown ones are refused by a type that denies them.
fn parse_keys<T: serde::de::DeserializeOwned>(keys: Keys) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::Object(keys)).map_err(|error| error.to_string())
}
