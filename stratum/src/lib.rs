//! The stratum crate: the mining protocol, block templates, RandomX checks and the facts that
//! follow from them.
//!
//! A share's way: `server` reads a line, `protocol` makes a command of it, `share` refuses what can
//! be refused for nothing, `randomx` computes the hash, `facts` makes the row durable, and only
//! then the miner is told OK. `chain` is the only place that knows a coin; `work`, `share` and
//! `protocol` are pure.

mod best_effort;
pub mod blocks;
mod broadcast_latency;
pub mod chain;
mod clock;
pub mod config;
mod config_error;
mod context;
pub mod defence;
pub mod facts;
mod handshake;
pub mod keccak;
pub mod lru_map;
pub mod miner;
pub mod net;
mod pool;
pub mod protocol;
pub mod randomx;
mod server;
mod session;
pub mod share;
pub mod spool;
mod stats;
mod template_watcher;
pub mod token_bucket;
pub mod work;

pub use blocks::operator::BlocksHandle;
pub use config::StratumConfig;
pub use config_error::ConfigError;
pub use defence::ban_store::BanStore;
pub use facts::{DurableFacts, FactError, Facts, Spooler};
pub use pool::{BoundPool, Stratum, StratumError};
pub use stats::{Stats, StatsHandle};
