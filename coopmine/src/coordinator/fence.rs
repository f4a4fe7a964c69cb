//! The fence between two coordinators of one cluster: only the one that holds the key in JetStream
//! acts.
//!
//! It asks the clock before each act, so that a coordinator that was stopped and goes on does
//! nothing, although nobody has told it yet that another is active.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use headframe_ingest::Nats;
use headframe_ingest::registry::{Bucket, BucketSettings, Entry, RegistryError, WatchEvent};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::election::{Election, ElectionTiming, KeyWrite, WriteEnd};

/// The bucket with one key a cluster.
const BUCKET: BucketSettings = BucketSettings {
    name: "coopmine",
    description: "Which coordinator of each CoopMine cluster is the active one.",
    max_age: None,
    max_value_bytes: 4_096,
    max_bytes: 1024 * 1024,
    replicas: 1,
};
/// Between two looks at the clock.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Between tries when JetStream is away.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The fence as one coordinator sees it.
pub struct Fence {
    election: Mutex<Election>,
    started: Instant,
    /// The token under which we are active, as far as was looked.
    term: watch::Sender<Option<u64>>,
}

/// One term of a coordinator: what it does, it does under its token or not at all.
#[derive(Clone)]
pub struct FencedTerm {
    fence: Arc<Fence>,
    token: u64,
}

impl FencedTerm {
    /// The term's token; `None` when we are not active at this moment, or under another token: what
    /// was to be done meanwhile was not done, so that the term is over.
    pub fn token(&self) -> Option<u64> {
        let token = self.fence.token();
        token.filter(|token| *token == self.token)
    }

    /// Waits until it is over.
    pub(super) async fn ended(&self) {
        let mut terms = self.fence.term.subscribe();
        // The sender lives as long as we do.
        let _ = terms.wait_for(|token| *token != Some(self.token)).await;
    }
}

impl Fence {
    /// A fence that is closed.
    pub(super) fn new(timing: ElectionTiming) -> Arc<Self> {
        Arc::new(Self {
            election: Mutex::new(Election::new(timing)),
            started: Instant::now(),
            term: watch::Sender::new(None),
        })
    }

    /// The token under which we are active now.
    pub fn token(&self) -> Option<u64> {
        let now = self.now_ms();
        self.lock().holds(now)
    }

    /// Waits until we are active.
    pub(super) async fn next_term(self: &Arc<Self>) -> FencedTerm {
        let mut terms = self.term.subscribe();
        loop {
            let token = *terms.borrow_and_update();
            if let Some(token) = token {
                let fence = self.clone();
                return FencedTerm { fence, token };
            }
            // The sender lives as long as we do.
            let _ = terms.changed().await;
        }
    }

    /// Takes part in the election until `stop`, then lets the key go.
    pub(super) async fn run(&self, nats: Nats, cluster: &str, name: &str, stop: CancellationToken) {
        let key = key_of(cluster);
        let campaign = async {
            loop {
                let error = match Bucket::open(nats.clone(), &BUCKET).await {
                    Ok(bucket) => self.campaign(&bucket, &key, name).await,
                    Err(error) => error,
                };
                tracing::warn!(%error, "the election waits for jetstream");
                self.publish();
                tokio::time::sleep(RETRY_DELAY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = campaign => {}
        }
        self.release(nats, &key).await;
    }

    /// Reads and writes the key until JetStream is away.
    async fn campaign(&self, bucket: &Bucket, key: &str, name: &str) -> RegistryError {
        let events = match bucket.watch().await {
            Ok(events) => events,
            Err(error) => return error,
        };
        let mut events = pin!(events);
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        let mut listed = 0;
        loop {
            tokio::select! {
                heard = self.hear(&mut events, key, &mut listed) => {
                    if let Err(error) = heard {
                        return error;
                    }
                }
                _ = ticks.tick() => {}
            }
            let now = self.now_ms();
            let write = self.lock().step(now);
            if let Some(write) = write {
                let end = attempt(bucket, key, name, write).await;
                let now = self.now_ms();
                self.lock().wrote(end, now);
            }
            self.publish();
        }
    }

    async fn hear(
        &self,
        events: &mut (impl Stream<Item = Result<WatchEvent, RegistryError>> + Unpin),
        key: &str,
        listed: &mut u64,
    ) -> Result<(), RegistryError> {
        match events.next().await {
            Some(Ok(WatchEvent::Entry(entry))) if entry.key == key => {
                *listed = entry.revision;
                self.saw(&entry);
            }
            Some(Ok(WatchEvent::Entry(_))) => {}
            Some(Ok(WatchEvent::Current)) => {
                let now = self.now_ms();
                self.lock().listed(*listed, now);
            }
            Some(Err(error)) => return Err(error),
            None => {
                return Err(RegistryError::Nats {
                    attempt: "watch",
                    bucket: BUCKET.name,
                    reason: "the watch ended".to_owned(),
                });
            }
        }
        Ok(())
    }

    fn saw(&self, entry: &Entry) {
        let now = self.now_ms();
        self.lock().saw(entry.revision, entry.value.is_some(), now);
    }

    /// Lets the key go, so that the other one need not wait.
    async fn release(&self, nats: Nats, key: &str) {
        let now = self.now_ms();
        let resigned = self.lock().resign(now);
        self.publish();
        let Some(revision) = resigned else { return };
        let deleted = async {
            let bucket = Bucket::open(nats, &BUCKET).await?;
            bucket.delete(key, revision).await
        };
        if let Err(error) = deleted.await {
            tracing::warn!(%error, "the other coordinator waits until the key has rested");
        }
    }

    fn publish(&self) {
        let token = self.token();
        self.term.send_if_modified(|known| {
            let is_other = *known != token;
            *known = token;
            is_other
        });
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Election> {
        // Its methods do not panic half-way.
        self.election.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn attempt(bucket: &Bucket, key: &str, name: &str, write: KeyWrite) -> WriteEnd {
    // For people who look at the key.
    let value = json!({"coordinator": name}).to_string().into_bytes();
    match bucket.put(key, value, write.seen).await {
        Ok(revision) => WriteEnd::Written(revision),
        Err(RegistryError::Changed { .. }) => WriteEnd::Lost,
        Err(error) => {
            tracing::warn!(%error, "the key of the cluster could not be written");
            WriteEnd::Unknown
        }
    }
}

/// A cluster's id as a key: letters, digits, `-` and `_`.
fn key_of(cluster: &str) -> String {
    let clean = |c: char| match c {
        c if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') => c,
        _ => '_',
    };
    let key: String = cluster.chars().take(128).map(clean).collect();
    if key.is_empty() {
        "cluster".to_owned()
    } else {
        key
    }
}
