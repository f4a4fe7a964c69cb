//! A stream: a kind of raw fact as it travels through JetStream, and the typed record our own
//! producers write.

use arrow::datatypes::{Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::column::Column;

pub mod access;
pub mod allocation_usage;
pub mod anomalies;
pub mod bans;
pub mod blocks;
pub mod commands;
pub mod curtailment;
pub mod curtailment_events;
pub mod energy;
pub mod evidence;
pub mod hashrate;
pub mod instructions;
pub mod notifications;
pub mod orders;
pub mod payments;
pub mod payouts;
pub mod registry;
pub mod requests;
pub mod sensors;
pub mod sessions;
pub mod shares;
pub mod signals;
pub mod site_commands;
pub mod source_health;
pub mod violations;
pub mod windows;
pub mod worker_shares;
pub mod workers;

/// What a pipeline does when messages vanished from the stream before it read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GapPolicy {
    /// Stop with a named fault until an operator decides: money depends on the stream.
    Stop,
    /// Write a gap record into the table and go on: a missing sample is bad, a stopped site worse.
    Record,
}

/// Who may write the rows of a stream. HTTP ingest and the permission of its route follow from this
/// alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WritePermission {
    /// This system's own processes only: they derive or decide the rows.
    Internal,
    /// This system's own processes, be they at a site that forwards its rows: over HTTP the
    /// operator, and a service token that was given this very stream.
    Site,
    /// This system's own processes and, over HTTP, the operator: money or access follows from the
    /// rows.
    Operator,
    /// Whoever may send facts.
    Producer,
}

/// Who may read the rows of a stream, stored or live, on every wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadPermission {
    /// Whoever reads the data of this system.
    Reader,
    /// Operators, auditors and admins: the rows say from which address somebody came, or who was
    /// given which rights.
    Personal,
}

/// Which rows of a stream are a miner's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinerRows {
    /// The column that names the miner.
    pub column: &'static str,
    /// Columns that even its own rows do not show it: they tell of others.
    pub hidden: &'static [&'static str],
}

impl MinerRows {
    /// The rows that name the miner in this column.
    pub const fn by(column: &'static str) -> Self {
        Self {
            column,
            hidden: &[],
        }
    }

    /// The same without these columns.
    pub const fn without(self, hidden: &'static [&'static str]) -> Self {
        Self { hidden, ..self }
    }
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
    /// Who may write its rows. It has no default, so that a new stream is closed until somebody
    /// decided.
    fn write_permission(&self) -> WritePermission;
    /// Who may read its rows. It has no default, so that a new stream is closed until somebody
    /// decided.
    fn read_permission(&self) -> ReadPermission;
    /// Which of its rows a miner may read, whatever [`Stream::read_permission`] asks of others;
    /// `None` where the stream does not exist for miners.
    fn miner_rows(&self) -> Option<MinerRows>;
    /// Whether its table keeps every row: money can be asked about for ever, so no retention drops
    /// it.
    fn keeps_all_rows(&self) -> bool;
    /// Whether the subscriber's user of the managed NATS may read it through its ready-made
    /// durable. It has no default either: what a stream holds can be meant for this system only.
    fn is_subscribable(&self) -> bool;
    /// Whether its messages stay in JetStream for ever, because what is now is read from them.
    fn keeps_all_messages(&self) -> bool {
        false
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
    &allocation_usage::AllocationUsages,
    &sensors::Sensors,
    &anomalies::Anomalies,
    &source_health::SourceHealths,
    &sessions::Sessions,
    &access::Access,
    &requests::Requests,
    &workers::Workers,
    &worker_shares::WorkerShares,
    &commands::Commands,
    &bans::Bans,
    &registry::RegistryChanges,
    &violations::Violations,
    &orders::OrderRows,
    &evidence::EvidenceRows,
    &signals::Signals,
    &curtailment::Curtailments,
    &curtailment_events::CurtailmentEvents,
    &site_commands::SiteCommands,
    &notifications::Notifications,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_named_and_closed_as_its_rows_need() {
        for stream in ALL {
            let name = stream.name();
            let plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(!name.is_empty() && name.chars().all(plain), "{name:?}");
            let same = ALL.iter().filter(|other| other.name() == name);
            assert_eq!(same.count(), 1, "{name} is there twice");
            assert!(stream.doc().ends_with('.'), "{name} has no sentence");
            let columns: Vec<&str> = stream.columns().iter().map(|c| c.name).collect();
            assert_eq!(columns[0], "event_time", "{name}");
            assert!(columns.contains(&stream.key()), "{name} has no key column");
            if let Some(own) = stream.miner_rows() {
                assert!(columns.contains(&own.column), "{name}");
                assert!(!own.hidden.contains(&own.column), "{name}");
                for hidden in own.hidden {
                    assert!(columns.contains(hidden), "{name} has no {hidden}");
                }
            }
            for column in stream.columns() {
                // Where somebody came from is not for everybody who reads, nor for a miner whose
                // name somebody else may have given.
                if column.doc.contains("personal data") {
                    assert_eq!(stream.read_permission(), ReadPermission::Personal, "{name}");
                    let own = stream.miner_rows();
                    assert!(own.is_none_or(|own| own.hidden.contains(&column.name)));
                }
            }
            // What is kept for ever is what money follows from.
            if stream.keeps_all_rows() {
                assert_ne!(
                    stream.write_permission(),
                    WritePermission::Producer,
                    "{name}"
                );
                assert_eq!(stream.gap_policy(), GapPolicy::Stop, "{name}");
            }
        }
    }
}
