//! Facts kept in memory, with a gate that holds shares back and a switch that makes them fail.

use futures::FutureExt;
use futures::future::BoxFuture;
use headframe_schemas::stream::bans::Ban;
use headframe_schemas::stream::blocks::Block;
use headframe_schemas::stream::hashrate::Hashrate;
use headframe_schemas::stream::sessions::Session;
use headframe_schemas::stream::shares::Share;
use headframe_stratum::{FactError, Facts};
use std::sync::Mutex;
use tokio::sync::watch;

pub struct Memory {
    pub shares: Mutex<Vec<Share>>,
    pub blocks: Mutex<Vec<Block>>,
    pub hashrates: Mutex<Vec<Hashrate>>,
    pub sessions: Mutex<Vec<Session>>,
    pub bans: Mutex<Vec<Ban>>,
    gate: watch::Sender<Gate>,
    /// Shares that have arrived at the gate.
    arrived: watch::Sender<u64>,
    changed: watch::Sender<u64>,
}

#[derive(Clone, Copy, PartialEq)]
pub enum Gate {
    Open,
    Held,
    Broken,
}

impl Memory {
    pub fn new() -> Self {
        Self {
            shares: Mutex::default(),
            blocks: Mutex::default(),
            hashrates: Mutex::default(),
            sessions: Mutex::default(),
            bans: Mutex::default(),
            gate: watch::channel(Gate::Open).0,
            arrived: watch::channel(0).0,
            changed: watch::channel(0).0,
        }
    }

    pub fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// Waits until so many shares have come to the gate.
    pub async fn until_arrived(&self, count: u64) {
        let mut arrived = self.arrived.subscribe();
        let wait = arrived.wait_for(|arrived| *arrived >= count);
        tokio::time::timeout(std::time::Duration::from_secs(240), wait)
            .await
            .expect("no share came")
            .unwrap();
    }

    /// Shares that have come to the gate so far.
    pub fn arrived(&self) -> u64 {
        *self.arrived.borrow()
    }

    /// Waits until the facts are as wanted.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = changed.wait_for(|_| wanted(self));
        let waited = tokio::time::timeout(std::time::Duration::from_secs(240), wait).await;
        assert!(
            waited.is_ok(),
            "{what}: did not happen; shares {:?}, blocks {:?}",
            self.outcomes(),
            self.statuses()
        );
    }

    pub fn outcomes(&self) -> Vec<String> {
        self.shares
            .lock()
            .unwrap()
            .iter()
            .map(|share| share.outcome.clone())
            .collect()
    }

    pub fn statuses(&self) -> Vec<String> {
        self.blocks
            .lock()
            .unwrap()
            .iter()
            .map(|block| block.status.clone())
            .collect()
    }

    fn note(&self) {
        self.changed.send_modify(|count| *count += 1);
    }
}

impl Facts for Memory {
    fn share(&self, share: Share) -> BoxFuture<'_, Result<(), FactError>> {
        async move {
            self.arrived.send_modify(|count| *count += 1);
            let mut gate = self.gate.subscribe();
            let open = *gate
                .wait_for(|gate| *gate != Gate::Held)
                .await
                .expect("the gate lives as long as the facts");
            if open == Gate::Broken {
                return Err(FactError {
                    stream: "shares",
                    reason: "broken on purpose".to_owned(),
                });
            }
            self.shares.lock().unwrap().push(share);
            self.note();
            Ok(())
        }
        .boxed()
    }

    fn block(&self, block: Block) -> BoxFuture<'_, Result<(), FactError>> {
        self.blocks.lock().unwrap().push(block);
        self.note();
        async { Ok(()) }.boxed()
    }

    fn block_rows(&self, pool: &str) -> BoxFuture<'_, Result<Vec<Block>, FactError>> {
        let pool = pool.to_owned();
        async move {
            Ok(self
                .blocks
                .lock()
                .unwrap()
                .iter()
                .filter(|block| block.pool == pool)
                .cloned()
                .collect())
        }
        .boxed()
    }

    fn newest_height(&self, pool: &str) -> BoxFuture<'_, Result<Option<u64>, FactError>> {
        let pool = pool.to_owned();
        let newest = async move {
            self.shares
                .lock()
                .unwrap()
                .iter()
                .rfind(|share| share.pool == pool)
                .map(|share| share.height as u64)
        };
        async move { Ok(newest.await) }.boxed()
    }

    fn hashrate(&self, hashrate: Hashrate) -> BoxFuture<'_, Result<(), FactError>> {
        self.hashrates.lock().unwrap().push(hashrate);
        self.note();
        async { Ok(()) }.boxed()
    }

    fn session(&self, session: Session) -> BoxFuture<'_, Result<(), FactError>> {
        self.sessions.lock().unwrap().push(session);
        self.note();
        async { Ok(()) }.boxed()
    }

    fn ban(&self, ban: Ban) -> BoxFuture<'_, Result<(), FactError>> {
        self.bans.lock().unwrap().push(ban);
        self.note();
        async { Ok(()) }.boxed()
    }
}
