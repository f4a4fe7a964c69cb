//! Signals: what asks the site to draw less, one kind a file.
//!
//! A kind is one file in this folder and one line in [`ALL`]. What every kind keeps to: a signal
//! that cannot be read or understood is [`SignalValue::Unknown`] with its reason, never "normal"
//! and never zero; a read ends in time and takes a bounded number of bytes; what the bytes mean is
//! a pure function of them and the time.

use async_trait::async_trait;
use headframe_ingest::source::{Credentials, Exchange};
use serde::Deserialize;

use crate::moment::Moment;
use crate::request::{Request, SignalValue, TimedRequests};

mod config;
mod evidence;
mod fetch;
mod file;
mod layout;
mod level_map;
mod manual;
mod openadr;
mod page;
mod price;
mod push;
mod usage;

pub use config::{ConfiguredSignal, SignalConfig, SignalError, faults};
pub use evidence::RawBody;
pub use layout::{KeptLayout, LayoutShown};
pub use level_map::LevelRange;
pub use usage::{OperatingState, Usage, UsageReportError};

/// Every kind of signal.
pub const ALL: &[&dyn SignalKind] = &[
    &page::Page,
    &push::Push,
    &file::File,
    &price::Price,
    &manual::Manual,
    &openadr::OpenAdr,
];

/// The keys of a `[[signal]]` that only its kind knows.
pub type Keys = serde_json::Map<String, serde_json::Value>;

/// A kind of signal.
pub trait SignalKind: Sync {
    /// As it stands in `kind` of a `[[signal]]`.
    fn kind(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// Its own keys of a `[[signal]]`, each with its meaning.
    fn keys(&self) -> &'static [(&'static str, &'static str)];
    /// A signal with these keys. The error names the key.
    fn signal(&self, keys: Keys) -> Result<Box<dyn Signal>, String>;
}

/// One configured signal.
#[async_trait]
pub trait Signal: Send + Sync {
    /// What it says now. The caller bounds the time; dropping the future ends the read.
    async fn read(&self, context: &ReadContext<'_>) -> SignalValue;

    /// Takes what somebody gives. The error says why not.
    fn give(&self, _given: Given, _now: Moment) -> Result<(), String> {
        Err("this signal is read, and cannot be given".to_owned())
    }

    /// What somebody gave, and until when it counts.
    fn held(&self) -> Option<TimedRequests> {
        None
    }

    /// Takes what was given before a restart.
    fn restore(&self, _held: TimedRequests) {}

    /// The last bodies as they came, the newest last, where there are some.
    fn evidence(&self) -> Vec<RawBody> {
        Vec::new()
    }

    /// The layout of its page, where it has one that is checked.
    fn layout(&self) -> Option<LayoutShown> {
        None
    }

    /// Takes the layout that the last page had, after somebody looked at it. The error says why
    /// not.
    fn accept_layout(&self, _layout: &str) -> Result<(), String> {
        Err("it has no layout that is checked".to_owned())
    }

    /// The layout that is expected, to outlast a restart.
    fn kept_layout(&self) -> Option<KeptLayout> {
        None
    }

    /// Takes the layout that was expected before a restart.
    fn restore_layout(&self, _kept: &KeptLayout) {}

    /// Whether the asker wants to know how the site did.
    fn wants_reports(&self) -> bool {
        false
    }

    /// Says how the site did, where the asker wants to know.
    async fn report(
        &self,
        _usage: &Usage,
        _context: &ReadContext<'_>,
    ) -> Result<(), UsageReportError> {
        Ok(())
    }
}

/// What a read stands on.
#[derive(Debug, Clone, Copy)]
pub struct ReadContext<'a> {
    /// Connects.
    pub exchange: &'a Exchange,
    /// What the other side wants to see.
    pub credentials: &'a Credentials,
    /// The site's name.
    pub site: &'a str,
    /// Now.
    pub now: Moment,
    /// Bytes that an answer may have.
    pub most: usize,
}

/// What somebody gives to a signal.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// What is asked; nothing takes back what was asked before.
    pub requests: Vec<Request>,
    /// Seconds for which it counts; the kind's own time when left out.
    pub for_s: Option<f64>,
    /// Who gives it.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// Reads a kind's own keys; unknown ones are refused by a type that denies them.
fn parse_keys<T: serde::de::DeserializeOwned>(keys: Keys) -> Result<T, String> {
    serde_json::from_value(serde_json::Value::Object(keys)).map_err(|error| error.to_string())
}
