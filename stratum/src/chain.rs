//! A chain: where block templates come from and where found blocks go.
//!
//! The server knows nothing of coins. A driver turns its daemon's answers into [`Template`]s, which
//! make a hashing blob for any extranonce and a whole block out of a solution. A Bitcoin-shaped
//! driver differs in the blob, the nonce's place and the final comparison, so all three are asked
//! of the template.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use crate::work::template::{Extranonce, FoundBlock, Hash, Template};
pub use crate::work::template::{USUAL_NONCE_OFFSET, with_nonce};
use coinbase_tag::{Heights, TaggedBlock};

pub mod bitcoin;
pub mod coinbase_tag;
pub mod driver;
pub mod failover;
pub mod monero;

/// What a pool's configuration says of its chain and daemons.
#[derive(Debug, Clone)]
pub struct ChainConfig {
    /// The chain.
    pub kind: driver::ChainKind,
    /// The address that found blocks pay.
    pub wallet: String,
    /// The daemons' addresses, the preferred one first.
    pub urls: Vec<String>,
    /// How long a call to a daemon may take.
    pub timeout: Duration,
    /// The time between two polls of a daemon.
    pub poll: Duration,
    /// When a daemon counts as unfit.
    pub daemons: failover::DaemonSettings,
    /// What only OpenSY needs.
    pub opensy: bitcoin::OpensySettings,
    /// What the pool's coinbases are known by.
    pub tag: coinbase_tag::CoinbaseTag,
}

/// The daemon's view of the chain's end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tip {
    /// Id of the newest block.
    pub hash: Hash,
    /// Height the next block will have.
    pub next_height: u64,
    /// Why the daemon's templates must not be mined now, if so.
    pub unready: Option<Unready>,
}

/// Why a text names nobody who can be paid on a chain.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// The chain has not said yet which network it is.
    #[error("the daemon has not said yet which network it is on; try again in a few seconds")]
    NetworkUnknown,
    /// It is no address of a Monero-shaped chain, or not of this one.
    #[error(transparent)]
    Monero(#[from] monero::address::AddressError),
    /// It is no address of a Bitcoin-shaped chain, or not of this one.
    #[error(transparent)]
    Bitcoin(#[from] bitcoin::address::AddressError),
}

/// Why a daemon that answers must not be mined with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unready {
    /// What miners are told.
    pub cause: NoWorkCause,
    /// What the operator is told.
    pub reason: String,
}

impl Unready {
    /// The daemon still loads the chain; that ends by itself.
    pub fn syncing(reason: String) -> Self {
        let cause = NoWorkCause::Syncing;
        Self { cause, reason }
    }
}

/// A daemon whose state somebody must look at.
impl From<String> for Unready {
    fn from(reason: String) -> Self {
        let cause = NoWorkCause::DaemonUnfit;
        Self { cause, reason }
    }
}

impl fmt::Display for Unready {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.reason)
    }
}

/// Why there is nothing to mine, as far as it is the miners' business: daemons and their addresses
/// are the operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWorkCause {
    /// No daemon has answered yet, or none does any more.
    DaemonSilent,
    /// The daemon loads the chain.
    Syncing,
    /// The daemon's newest blocks are hashed to see whether the pool knows its rules.
    CheckingChain,
    /// The memory of the template's RandomX seed is computed.
    PreparingSeed,
    /// The daemon answers and has no block template that can be used.
    NoTemplate,
    /// The daemon is on another network, behind the others, without peers, or the like.
    DaemonUnfit,
}

impl NoWorkCause {
    /// What a miner is told that comes now.
    pub fn as_str(self) -> &'static str {
        match self {
            NoWorkCause::DaemonSilent => "it waits for its daemon",
            NoWorkCause::Syncing => "its daemon is synchronising",
            NoWorkCause::CheckingChain => "it checks its daemon's newest blocks",
            NoWorkCause::PreparingSeed => "it prepares RandomX for this epoch",
            NoWorkCause::NoTemplate => "its daemon gives no block template",
            NoWorkCause::DaemonUnfit => "its daemon cannot be mined with now",
        }
    }
}

/// What the daemon made of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is part of the daemon's chain.
    Accepted,
    /// The daemon took it, beside another block of the same height that came first and that its
    /// chain goes on from.
    Orphaned,
    /// The daemon's words.
    Refused(String),
}

/// Where a found block stands on the daemon's best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainPosition {
    /// It is part of it. The block itself is the first confirmation, so the tip has one.
    Best { confirmations: u64 },
    /// Another block of its height is; the confirmations are that block's.
    Beside { confirmations: u64 },
    /// The chain has no block of its height (any more, or not yet).
    Absent,
}

/// What can go wrong between us and a daemon.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ChainError {
    /// No answer.
    #[error(
        "{method} at {url} failed: {reason}; check that the daemon runs and its RPC port is \
         reachable"
    )]
    Unreachable {
        url: String,
        method: &'static str,
        reason: String,
    },
    /// An error as answer.
    #[error("{method} was refused by the daemon: {message} (code {code})")]
    Refused {
        method: &'static str,
        code: i64,
        message: String,
    },
    /// An answer that we cannot mine on.
    #[error("the daemon's block template is not usable: {0}")]
    Template(String),
    /// No daemon is healthy enough to be asked.
    #[error("no daemon can be used: {0}; check that they run and are synchronised")]
    NoDaemon(String),
}

impl ChainError {
    /// No answer from the daemon at this address, whose user and password are left out: what is
    /// said here ends up in logs and rows.
    pub(crate) fn unreachable(url: &str, method: &'static str, reason: String) -> Self {
        Self::Unreachable {
            url: masked(url),
            method,
            reason,
        }
    }
}

/// The address without user and password.
fn masked(url: &str) -> String {
    let Ok(mut parsed) = reqwest::Url::parse(url) else {
        return url.to_owned();
    };
    // Neither fails for an address that http can reach.
    let _ = parsed.set_username("");
    let _ = parsed.set_password(None);
    parsed.to_string()
}

/// A source of templates and a place to submit to.
pub trait Chain: Send + Sync + 'static {
    /// The name miners must know the proof of work by, e.g. `rx/0`.
    fn algo(&self) -> &str;
    /// Why a miner that offers these algorithms cannot mine here, if so.
    fn algo_refusal(&self, offered: &[String]) -> Option<String> {
        let algo = self.algo();
        // A miner that sends no list is an old one that does what it is told.
        let able = offered.is_empty() || offered.iter().any(|name| name == algo);
        (!able).then(|| {
            format!("This pool needs the algorithm {algo}, which the miner does not offer")
        })
    }
    /// Whether an account can be paid on this chain.
    fn check_address(&self, address: &str) -> Result<(), AddressError>;
    /// The end of the chain: cheap, asked several times a second.
    fn tip(&self) -> BoxFuture<'_, Result<Tip, ChainError>>;
    /// A new template.
    fn template(&self) -> BoxFuture<'_, Result<Arc<dyn Template>, ChainError>>;
    /// Hands a found block to the daemon; retries what a retry can mend, and says accepted also
    /// when an earlier try was.
    fn submit<'a>(&'a self, block: &'a FoundBlock) -> BoxFuture<'a, Result<Submitted, ChainError>>;
    /// Where a block that was found earlier stands now.
    fn position(&self, id: Hash, height: u64) -> BoxFuture<'_, Result<ChainPosition, ChainError>>;
    /// The blocks of the best chain at these heights that carry this pool's mark; heights beyond
    /// its end have none.
    fn tagged_blocks(
        &self,
        heights: Heights,
    ) -> BoxFuture<'_, Result<Vec<TaggedBlock>, ChainError>>;
    /// Confirmations, the block itself counted, at which the next block may spend its reward.
    fn maturity(&self) -> u64;
    /// The mean time between blocks of a network that goes on without us; `None` for a private one,
    /// where a chain that does not grow proves nothing.
    fn block_time(&self) -> Option<Duration> {
        None
    }
    /// What holds the first answer up, and how far it is, while that takes long.
    fn progress(&self) -> Option<String> {
        None
    }
    /// Whatever the chain must do in the background, until `stop`. Notifies `wakeup` when a
    /// look at the tip is worth it.
    fn run_background(&self, wakeup: Arc<Notify>, stop: CancellationToken) -> BoxFuture<'_, ()> {
        // A chain that is only asked has nothing to notify of.
        drop(wakeup);
        async move { stop.cancelled().await }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemons_password_is_in_no_message() {
        let error = ChainError::unreachable(
            "http://pool:geheim@node:18081/json_rpc",
            "get_info",
            "refused".to_owned(),
        )
        .to_string();
        assert!(
            error.contains("http://node:18081/json_rpc")
                && !error.contains("geheim")
                && !error.contains("pool:"),
            "{error}"
        );
    }
}
