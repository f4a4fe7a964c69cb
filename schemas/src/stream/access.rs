//! `access`: who was given which rights, who logged in, and who was refused.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The ways in.
pub const WIRES: &[&str] = &["http", "postgres", "flight", "command"];
/// What happened.
pub const ACTIONS: &[&str] = &[
    "user_add",
    "user_password",
    "user_revoke",
    "token_add",
    "token_revoke",
    "setup_offer",
    "setup",
    "login",
    "logout",
    "token_use",
];
/// How it ended.
pub const OUTCOMES: &[&str] = &["ok", "refused", "throttled", "failed"];

/// The stream of access.
pub struct Access;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When it happened.").required(),
    Column::new(
        "wire",
        Kind::Text,
        "The way in: http, postgres, flight, or command (headframe users).",
    )
    .required()
    .limits(Limits::OneOf(WIRES)),
    Column::new(
        "action",
        Kind::Text,
        "A change of rights (user_add, user_password, user_revoke, token_add, token_revoke, \
         setup_offer, setup), login, logout, or token_use, which is written for refused tokens \
         only.",
    )
    .required()
    .limits(Limits::OneOf(ACTIONS)),
    Column::new(
        "outcome",
        Kind::Text,
        "ok, refused, throttled (too many attempts), or failed. The row of a change comes before \
         the change; one that then fails has a second row.",
    )
    .required()
    .limits(Limits::OneOf(OUTCOMES)),
    Column::new(
        "actor",
        Kind::Text,
        "Who did it, as far as he was known; the name that was given at a login.",
    ),
    Column::new("subject", Kind::Text, "The user or token that was changed."),
    Column::new(
        "role",
        Kind::Text,
        "The role of the subject, else that of the actor.",
    ),
    Column::new(
        "peer",
        Kind::Text,
        "The address that it came from, personal data; a /64 of IPv6.",
    ),
    Column::new(
        "reason",
        Kind::Text,
        "Why it was refused or failed, or what was given beside the role.",
    ),
];

impl Stream for Access {
    fn name(&self) -> &'static str {
        "access"
    }
    fn doc(&self) -> &'static str {
        "Changes of users and tokens, logins, and what was refused."
    }
    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }
    fn key(&self) -> &'static str {
        "wire"
    }
    fn gap_policy(&self) -> GapPolicy {
        GapPolicy::Record
    }
    fn write_permission(&self) -> WritePermission {
        WritePermission::Internal
    }
    fn read_permission(&self) -> ReadPermission {
        ReadPermission::Personal
    }
    fn miner_rows(&self) -> Option<MinerRows> {
        None
    }
    fn keeps_all_rows(&self) -> bool {
        false
    }
    fn is_subscribable(&self) -> bool {
        false
    }
}

/// One change, login or refusal. It never holds a secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessEvent {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// One of [`WIRES`].
    pub wire: String,
    /// One of [`ACTIONS`].
    pub action: String,
    /// One of [`OUTCOMES`].
    pub outcome: String,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The user or token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// A role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// An address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Record for AccessEvent {
    const STREAM: &'static dyn Stream = &Access;
    fn key(&self) -> &str {
        &self.wire
    }
}
