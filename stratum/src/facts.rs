//! Where the pool's facts go, seen from the pool: a share is told OK only after this said it is
//! durable.

use futures::future::BoxFuture;
use headframe_schemas::stream::bans::Ban;
use headframe_schemas::stream::blocks::Block;
use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::sessions::Session;
use headframe_schemas::stream::shares::Share;
use thiserror::Error;

use crate::spool::SpoolWatch;

mod durable;
mod history;

pub use durable::{DurableFacts, Spooler};

/// A fact that may not be durable.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("a row of {stream} could not be made durable: {reason}; check that JetStream is reachable")]
pub struct FactError {
    /// The stream it was for.
    pub stream: &'static str,
    /// What went wrong.
    pub reason: String,
}

/// A durable place for facts. Each future ends well only when the fact survives a crash of
/// everything.
pub trait Facts: Send + Sync + 'static {
    /// A share with its verdict.
    fn share(&self, share: Share) -> BoxFuture<'_, Result<(), FactError>>;
    /// A step in a block's life.
    fn block(&self, block: Block) -> BoxFuture<'_, Result<(), FactError>>;
    /// Every row about blocks of this pool that is durable and still kept, oldest first. Rows that
    /// were told to be durable before the call are among them.
    fn block_rows(&self, pool: &str) -> BoxFuture<'_, Result<Vec<Block>, FactError>>;
    /// The height of the newest durable share of this pool: where it worked last. `None` when it
    /// never did, or too long ago.
    fn newest_height(&self, pool: &str) -> BoxFuture<'_, Result<Option<u64>, FactError>>;
    /// A session's hashrate.
    fn hashrate(&self, hashrate: Hashrate) -> BoxFuture<'_, Result<(), FactError>>;
    /// The spool behind it, if there is one.
    fn spool(&self) -> Option<SpoolWatch> {
        None
    }
    /// A login or a logout.
    fn session(&self, session: Session) -> BoxFuture<'_, Result<(), FactError>>;
    /// A ban or its end.
    fn ban(&self, ban: Ban) -> BoxFuture<'_, Result<(), FactError>>;
}
