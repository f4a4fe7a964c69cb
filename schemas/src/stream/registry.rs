//! `registry`: every change of a resource of the registry: who, when, what it was and what it is.
//!
//! The stream is the registry itself and no copy of it: a change is this one message, which says
//! the sequence that it follows, and what is now is the newest message of each subject. So nothing
//! can be written in one place and missing in another, whenever a process is killed.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The most bytes of a resource as JSON.
pub const MAX_JSON_BYTES: usize = 16_384;
/// What can happen to a resource.
pub const CHANGES: &[&str] = &["created", "updated", "deleted"];

/// The stream of changes.
pub struct RegistryChanges;

const COLUMNS: &[Column] = &[
    Column::time(
        "event_time",
        "When it happened; no two changes have the same time, and a later one has a later time.",
    )
    .required(),
    Column::new(
        "resource",
        Kind::Text,
        "Kind and id as one name, such as sites.north.",
    )
    .required(),
    Column::new("kind", Kind::Text, "The kind, such as sites.").required(),
    Column::new("id", Kind::Text, "The id within the kind.").required(),
    Column::new(
        "version",
        Kind::Int,
        "1 for the first change of this id, and one more with each.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(1, i64::MAX)),
    Column::new("change", Kind::Text, "created, updated or deleted.")
        .required()
        .limits(Limits::OneOf(CHANGES)),
    Column::new("actor", Kind::Text, "Who did it.").required(),
    Column::new("role", Kind::Text, "The role of who did it."),
    Column::new(
        "before",
        Kind::Text,
        "The fields as they were, as JSON; absent where there was nothing.",
    )
    .limits(Limits::TextBytes(MAX_JSON_BYTES)),
    Column::new(
        "after",
        Kind::Text,
        "The fields as they are since, as JSON; absent where it was deleted.",
    )
    .limits(Limits::TextBytes(MAX_JSON_BYTES)),
];

impl Stream for RegistryChanges {
    fn name(&self) -> &'static str {
        "registry"
    }
    fn doc(&self) -> &'static str {
        "Changes of pools, machines, sites, operators, meters, allocations, inspections and rules."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "resource"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Stop
    }
    fn write_permission(&self) -> WritePermission {
        WritePermission::Internal
    }
    fn read_permission(&self) -> ReadPermission {
        ReadPermission::Reader
    }
    fn miner_rows(&self) -> Option<MinerRows> {
        None
    }
    fn keeps_all_rows(&self) -> bool {
        true
    }
    fn is_subscribable(&self) -> bool {
        false
    }
    fn keeps_all_messages(&self) -> bool {
        true
    }
}

/// One change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryChange {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// Kind and id with a dot between them.
    pub resource: String,
    /// The kind.
    pub kind: String,
    /// The id.
    pub id: String,
    /// From 1.
    pub version: i64,
    /// One of [`CHANGES`].
    pub change: String,
    /// A user, a token or `local`.
    pub actor: String,
    /// A role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl Record for RegistryChange {
    const STREAM: &'static dyn Stream = &RegistryChanges;
    fn key(&self) -> &str {
        &self.resource
    }
}
