//! A stream: a kind of raw fact as it travels through JetStream, and the typed record our own
//! producers write.

use arrow::datatypes::{Schema, SchemaRef};
use serde::Serialize;
use std::sync::Arc;

use crate::column::Column;

pub mod bans;
pub mod blocks;
pub mod energy;
pub mod hashrate;
pub mod instructions;
pub mod payments;
pub mod payouts;
pub mod sensors;
pub mod sessions;
pub mod shares;
pub mod windows;

/// What a pipeline does when messages vanished from the stream before it read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapPolicy {
    /// Stop with a named fault until an operator decides: money depends on the stream.
    Stop,
    /// Write a gap record into the table and go on: a missing sample is bad, a stopped site worse.
    Record,
}

/// A kind of raw fact.
pub trait Stream: Sync {
    /// Plural noun; the name of the JetStream stream, of its subject's first token and of its raw
    /// table.
    fn name(&self) -> &'static str;
    /// One sentence for the users.
    fn doc(&self) -> &'static str;
    /// The columns a producer fills, `event_time` first.
    fn columns(&self) -> &'static [Column];
    /// The column whose value is the second token of the subject: the pool or the site.
    fn key(&self) -> &'static str;
    /// What to do when messages vanished.
    fn gap_policy(&self) -> GapPolicy;
    /// Whether only a part of this program derives its rows from other streams; nobody else may
    /// send any.
    fn derived(&self) -> bool {
        false
    }
    /// Whether its table keeps every row: money can be asked about for ever, so no retention drops
    /// it.
    fn for_ever(&self) -> bool {
        self.derived()
    }

    /// The Arrow schema of the columns a producer fills.
    fn schema(&self) -> SchemaRef {
        Arc::new(Schema::new(
            self.columns().iter().map(Column::field).collect::<Vec<_>>(),
        ))
    }
}

/// A typed row of a stream. Its serde form is one NDJSON line.
pub trait Record: Serialize + Send + Sync {
    /// The stream it belongs to.
    const STREAM: &'static dyn Stream;
    /// The second token of the subject: the pool or the site.
    fn key(&self) -> &str;
}

/// Every stream.
pub const ALL: &[&dyn Stream] = &[
    &shares::Shares,
    &blocks::Blocks,
    &windows::Windows,
    &payouts::Payouts,
    &payments::Payments,
    &instructions::Instructions,
    &hashrate::Hashrates,
    &energy::Energies,
    &sensors::Sensors,
    &sessions::Sessions,
    &bans::Bans,
];

/// The stream of this name.
pub fn find(name: &str) -> Option<&'static dyn Stream> {
    ALL.iter().copied().find(|stream| stream.name() == name)
}

/// The subject a row with this key is published to. Characters that NATS reserves become `_`.
pub fn subject(stream: &dyn Stream, key: &str) -> String {
    let clean = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' || c == '_' {
            c
        } else {
            '_'
        }
    };
    let token: String = key.chars().take(64).map(clean).collect();
    let token = if token.is_empty() {
        "none".to_owned()
    } else {
        token
    };
    format!("{}.{token}", stream.name())
}
