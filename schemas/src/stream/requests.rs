//! `requests`: who asked this system for what over its wires, and how it was answered.

use serde::{Deserialize, Serialize};

use crate::column::{Column, Kind, Limits, Unit};
use crate::stream::{GapPolicy, MinerRows, ReadPermission, Record, Stream, WritePermission};

/// The ways in.
pub const WIRES: &[&str] = &["http", "flight", "postgres"];

/// The stream of requests.
pub struct Requests;

const COLUMNS: &[Column] = &[
    Column::time("event_time", "When the answer was sent.").required(),
    Column::new("wire", Kind::Text, "The way in.")
        .required()
        .limits(Limits::OneOf(WIRES)),
    Column::new(
        "principal",
        Kind::Text,
        "Who asked: the name of a user or token, reader, operator, local, or anonymous.",
    )
    .required(),
    Column::new("role", Kind::Text, "The role, where there is one."),
    Column::new(
        "route",
        Kind::Text,
        "Over http method and path as the list of routes writes it, over flight the call, over \
         postgres the command; never with what was asked for.",
    )
    .required(),
    Column::new(
        "status",
        Kind::Int,
        "The status of the answer; over flight and postgres that which http has for it.",
    )
    .required()
    .limits(Limits::Int(100, 599)),
    Column::new(
        "duration_ms",
        Kind::Float,
        "From the head of the request to the end of the answer; the longest where the row stands \
         for several.",
    )
    .required()
    .limits(Limits::Float(0.0, 1e10)),
    Column::new(
        "bytes",
        Kind::Int,
        "Bytes of the answer's body before compression, of all requests of the row together.",
    )
    .required()
    .limits(Limits::Int(0, i64::MAX)),
    Column::new(
        "requests",
        Kind::Int,
        "Requests that the row stands for: 1, and more under a flood.",
    )
    .required()
    .unit(Unit::Count)
    .limits(Limits::Int(1, i64::MAX)),
    Column::new(
        "peer",
        Kind::Text,
        "The address that it came from, personal data; a /64 of IPv6. Missing where the row stands \
         for several requests.",
    ),
];

impl Stream for Requests {
    fn name(&self) -> &'static str {
        "requests"
    }
    fn doc(&self) -> &'static str {
        "Requests over HTTP, Flight and PostgreSQL's wire: who, which route, how it was answered."
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

/// One request, or several of the same kind. It never holds a secret, nor what was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RequestEvent {
    /// Microseconds since 1970.
    pub event_time: i64,
    /// One of [`WIRES`].
    pub wire: String,
    /// Who asked.
    pub principal: String,
    /// The role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Method and path of the route.
    pub route: String,
    /// The status of the answer.
    pub status: u16,
    /// The longest.
    pub duration_ms: f64,
    /// All of them.
    pub bytes: u64,
    /// How many.
    pub requests: u64,
    /// An address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

impl Record for RequestEvent {
    const STREAM: &'static dyn Stream = &Requests;
    fn key(&self) -> &str {
        &self.wire
    }
}
