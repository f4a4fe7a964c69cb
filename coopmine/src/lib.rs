//! CoopMine: many machines that look like one miner to any pool.
//!
//! A worker's way: it registers over gRPC, gets a job with a lease of nonces of its own, and sends
//! what it finds; `cluster` decides everything as a pure value, `coordinator` is its shell of
//! sockets, `worker` hashes, and `standalone` does so at a pool without a coordinator.

pub mod certs;
pub mod cluster;
pub mod config;
pub mod coordinator;
pub mod election;
pub mod facts;
pub mod lease;
pub mod proto;
pub mod standalone;
pub mod status_line;
pub mod tls;
pub mod worker;
