//! What the pool believes, kept in memory.

use std::sync::Mutex;

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use headframe_schemas::stream::bans::Ban;
use headframe_schemas::stream::blocks::Block;
use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::sessions::Session;
use headframe_schemas::stream::shares::Share;
use headframe_stratum::{FactError, Facts};

#[derive(Default)]
pub struct Memory {
    shares: Mutex<Vec<Share>>,
    blocks: Mutex<Vec<Block>>,
    sessions: Mutex<Vec<Session>>,
}

impl Memory {
    /// What became of each share.
    pub fn outcomes(&self) -> Vec<String> {
        let shares = self.shares.lock().unwrap();
        shares.iter().map(|share| share.outcome.clone()).collect()
    }

    pub fn accepted_blocks(&self) -> usize {
        let blocks = self.blocks.lock().unwrap();
        blocks
            .iter()
            .filter(|block| block.status == "accepted")
            .count()
    }

    pub fn logins(&self) -> usize {
        let sessions = self.sessions.lock().unwrap();
        sessions
            .iter()
            .filter(|session| session.event == "login")
            .count()
    }

    fn keep<T>(place: &Mutex<Vec<T>>, row: T) -> BoxFuture<'_, Result<(), FactError>> {
        place.lock().unwrap().push(row);
        ready(Ok(())).boxed()
    }
}

impl Facts for Memory {
    fn share(&self, share: Share) -> BoxFuture<'_, Result<(), FactError>> {
        Self::keep(&self.shares, share)
    }
    fn block(&self, block: Block) -> BoxFuture<'_, Result<(), FactError>> {
        Self::keep(&self.blocks, block)
    }
    fn block_rows(&self, _: &str) -> BoxFuture<'_, Result<Vec<Block>, FactError>> {
        ready(Ok(self.blocks.lock().unwrap().clone())).boxed()
    }
    fn newest_height(&self, _: &str) -> BoxFuture<'_, Result<Option<u64>, FactError>> {
        ready(Ok(None)).boxed()
    }
    fn hashrate(&self, _: Hashrate) -> BoxFuture<'_, Result<(), FactError>> {
        ready(Ok(())).boxed()
    }
    fn session(&self, session: Session) -> BoxFuture<'_, Result<(), FactError>> {
        Self::keep(&self.sessions, session)
    }
    fn ban(&self, _: Ban) -> BoxFuture<'_, Result<(), FactError>> {
        ready(Ok(())).boxed()
    }
}
