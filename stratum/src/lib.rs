//! The stratum crate: the mining protocol, block templates, RandomX checks and the facts that
//! follow from them.
//!
//! A share's way: `server` reads a line, `protocol` makes a command of it, `share` refuses what can
//! be refused for nothing, `randomx` computes the hash, `facts` makes the row durable, and only
//! then the miner is told OK. `chain` is the only place that knows a coin; `work`, `share` and
//! `protocol` are pure.
//!
//! Without the feature `pool` there is only what miners take: `miner`, `protocol`, `randomx`,
//! `work`; with `facts` also what makes rows durable.

#[cfg(feature = "pool")]
mod best_effort;
#[cfg(feature = "pool")]
pub mod blocks;
#[cfg(feature = "pool")]
mod broadcast_latency;
#[cfg(feature = "pool")]
pub mod chain;
#[cfg(feature = "pool")]
mod clock;
#[cfg(feature = "pool")]
pub mod config;
mod config_error;
#[cfg(feature = "pool")]
mod context;
#[cfg(feature = "pool")]
pub mod defence;
#[cfg(feature = "facts")]
pub mod facts;
#[cfg(feature = "pool")]
mod handshake;
#[cfg(feature = "pool")]
pub mod keccak;
pub mod lru_map;
pub mod miner;
#[cfg(feature = "pool")]
pub mod net;
#[cfg(feature = "pool")]
mod pool;
pub mod protocol;
pub mod randomx;
#[cfg(feature = "pool")]
mod server;
#[cfg(feature = "pool")]
mod session;
pub mod share;
#[cfg(feature = "facts")]
pub mod spool;
#[cfg(feature = "pool")]
mod stats;
#[cfg(feature = "pool")]
mod template_watcher;
pub mod token_bucket;
pub mod work;

#[cfg(feature = "pool")]
pub use blocks::operator::BlocksHandle;
#[cfg(feature = "pool")]
pub use config::StratumConfig;
pub use config_error::ConfigError;
#[cfg(feature = "pool")]
pub use defence::ban_store::BanStore;
#[cfg(feature = "facts")]
pub use facts::{DurableFacts, FactError, Facts, Spooler};
#[cfg(feature = "pool")]
pub use pool::{BoundPool, Stratum, StratumError};
#[cfg(feature = "pool")]
pub use stats::{ChainFall, Stats, StatsHandle, TipSeen};
