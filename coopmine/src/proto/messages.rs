//! The messages of `coopmine.proto`, field by field.
//!
//! They are written here by hand, so that a build needs no protobuf compiler; a test holds them
//! against the file that others generate theirs from.

/// A worker comes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterRequest {
    /// `worker_id`.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `worker_name`.
    #[prost(string, tag = "2")]
    pub worker_name: String,
    /// `protocol`.
    #[prost(uint32, tag = "3")]
    pub protocol: u32,
    /// `algos`.
    #[prost(string, repeated, tag = "4")]
    pub algos: Vec<String>,
    /// `threads`.
    #[prost(uint32, tag = "5")]
    pub threads: u32,
    /// `agent`.
    #[prost(string, tag = "6")]
    pub agent: String,
}

/// It is taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RegisterResponse {
    /// `session`.
    #[prost(uint64, tag = "1")]
    pub session: u64,
    /// `heartbeat_interval_ms`.
    #[prost(uint32, tag = "2")]
    pub heartbeat_interval_ms: u32,
    /// `cluster_id`.
    #[prost(string, tag = "3")]
    pub cluster_id: String,
    /// `cluster_name`.
    #[prost(string, tag = "4")]
    pub cluster_name: String,
}

/// A worker goes.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnregisterRequest {
    /// `worker_id`.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `session`.
    #[prost(uint64, tag = "2")]
    pub session: u64,
}

/// It is gone.
#[derive(Clone, PartialEq, prost::Message)]
pub struct UnregisterResponse {}

/// How far a lease was searched.
#[derive(Clone, PartialEq, prost::Message)]
pub struct LeaseProgress {
    /// `epoch`.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// `searched`.
    #[prost(uint64, tag = "2")]
    pub searched: u64,
}

/// How a worker is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeartbeatRequest {
    /// `worker_id`.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `session`.
    #[prost(uint64, tag = "2")]
    pub session: u64,
    /// `hashrate_hs`.
    #[prost(double, tag = "3")]
    pub hashrate_hs: f64,
    /// `threads_active`.
    #[prost(uint32, tag = "4")]
    pub threads_active: u32,
    /// `searched`.
    #[prost(message, repeated, tag = "5")]
    pub searched: Vec<LeaseProgress>,
    /// `temperature_c`.
    #[prost(double, optional, tag = "6")]
    pub temperature_c: Option<f64>,
    /// `cpu_pct`.
    #[prost(double, optional, tag = "7")]
    pub cpu_pct: Option<f64>,
    /// `command_id`.
    #[prost(uint64, tag = "8")]
    pub command_id: u64,
    /// `command_refusal`.
    #[prost(string, tag = "9")]
    pub command_refusal: String,
}

/// It was heard.
#[derive(Clone, PartialEq, prost::Message)]
pub struct HeartbeatResponse {}

/// A worker wants to know what to do.
#[derive(Clone, PartialEq, prost::Message)]
pub struct StreamJobsRequest {
    /// `worker_id`.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `session`.
    #[prost(uint64, tag = "2")]
    pub session: u64,
}

/// What to search.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Lease {
    /// `epoch`.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// `start`.
    #[prost(uint64, tag = "2")]
    pub start: u64,
    /// `len`.
    #[prost(uint64, tag = "3")]
    pub len: u64,
}

/// What to do besides.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Command {
    /// `id`.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// `kind`.
    #[prost(string, tag = "2")]
    pub kind: String,
    /// `value`.
    #[prost(uint32, tag = "3")]
    pub value: u32,
}

/// What to do now.
#[derive(Clone, PartialEq, prost::Message)]
pub struct JobMessage {
    /// `job`.
    #[prost(uint64, tag = "1")]
    pub job: u64,
    /// `algo`.
    #[prost(string, tag = "2")]
    pub algo: String,
    /// `blob`.
    #[prost(bytes = "vec", tag = "3")]
    pub blob: Vec<u8>,
    /// `nonce_offset`.
    #[prost(uint32, tag = "4")]
    pub nonce_offset: u32,
    /// `target`.
    #[prost(fixed64, tag = "5")]
    pub target: u64,
    /// `seed`.
    #[prost(bytes = "vec", tag = "6")]
    pub seed: Vec<u8>,
    /// `next_seed`.
    #[prost(bytes = "vec", tag = "7")]
    pub next_seed: Vec<u8>,
    /// `height`.
    #[prost(uint64, optional, tag = "8")]
    pub height: Option<u64>,
    /// `leases`.
    #[prost(message, repeated, tag = "9")]
    pub leases: Vec<Lease>,
    /// `idle_reason`.
    #[prost(string, tag = "10")]
    pub idle_reason: String,
    /// `command`.
    #[prost(message, optional, tag = "11")]
    pub command: Option<Command>,
}

/// A result.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubmitShareRequest {
    /// `worker_id`.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `session`.
    #[prost(uint64, tag = "2")]
    pub session: u64,
    /// `job`.
    #[prost(uint64, tag = "3")]
    pub job: u64,
    /// `nonce`.
    #[prost(fixed32, tag = "4")]
    pub nonce: u32,
    /// `hash`.
    #[prost(bytes = "vec", tag = "5")]
    pub hash: Vec<u8>,
}

/// What became of it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct SubmitShareResponse {
    /// `verdict`.
    #[prost(string, tag = "1")]
    pub verdict: String,
    /// `reason`.
    #[prost(string, tag = "2")]
    pub reason: String,
}

/// How is the cluster?
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClusterStatsRequest {}

/// The cluster.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClusterStats {
    /// `cluster_id`.
    #[prost(string, tag = "1")]
    pub cluster_id: String,
    /// `cluster_name`.
    #[prost(string, tag = "2")]
    pub cluster_name: String,
    /// `workers_total`.
    #[prost(uint32, tag = "3")]
    pub workers_total: u32,
    /// `workers_online`.
    #[prost(uint32, tag = "4")]
    pub workers_online: u32,
    /// `hashrate_hs`.
    #[prost(double, tag = "5")]
    pub hashrate_hs: f64,
    /// `shares_valid`.
    #[prost(uint64, tag = "6")]
    pub shares_valid: u64,
    /// `shares_invalid`.
    #[prost(uint64, tag = "7")]
    pub shares_invalid: u64,
    /// `shares_accepted`.
    #[prost(uint64, tag = "8")]
    pub shares_accepted: u64,
    /// `shares_refused_upstream`.
    #[prost(uint64, tag = "9")]
    pub shares_refused_upstream: u64,
    /// `pool_connected`.
    #[prost(bool, tag = "10")]
    pub pool_connected: bool,
    /// `pool`.
    #[prost(string, tag = "11")]
    pub pool: String,
}

/// How is a worker?
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerStatsRequest {
    /// `worker_id`.
    #[prost(string, tag = "1")]
    pub worker_id: String,
}

/// A worker.
#[derive(Clone, PartialEq, prost::Message)]
pub struct WorkerStats {
    /// `worker_id`.
    #[prost(string, tag = "1")]
    pub worker_id: String,
    /// `worker_name`.
    #[prost(string, tag = "2")]
    pub worker_name: String,
    /// `online`.
    #[prost(bool, tag = "3")]
    pub online: bool,
    /// `quarantined`.
    #[prost(bool, tag = "4")]
    pub quarantined: bool,
    /// `hashrate_hs`.
    #[prost(double, tag = "5")]
    pub hashrate_hs: f64,
    /// `threads`.
    #[prost(uint32, tag = "6")]
    pub threads: u32,
    /// `shares_valid`.
    #[prost(uint64, tag = "7")]
    pub shares_valid: u64,
    /// `shares_wrong`.
    #[prost(uint64, tag = "8")]
    pub shares_wrong: u64,
    /// `shares_accepted`.
    #[prost(uint64, tag = "9")]
    pub shares_accepted: u64,
}
