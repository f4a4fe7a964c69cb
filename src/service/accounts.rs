//! The account store of a process: users, tokens and sessions in the registry, changes and logins
//! in the stream `access`.

use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use headframe_ingest::registry::{self, BucketSettings, RegistryError};
use headframe_ingest::{Nats, Publisher};
use headframe_query_front::Probe;
use headframe_query_front::access::accounts::store::{
    AccountStore, Bucket, Entry, StoreError, WatchEvent, WatchStream,
};
use headframe_schemas::stream::access::AccessEvent;
use tokio::sync::mpsc;

/// Rows of logins that wait to be written; more are counted and dropped.
const MAX_WAITING_ROWS: usize = 1_024;
/// A session lasts so long at most.
const SESSION_LIFE: Duration = Duration::from_secs(7 * 86_400);

/// Accounts in NATS.
pub struct RegistryStore {
    accounts: registry::Bucket,
    sessions: registry::Bucket,
    publisher: Publisher,
    notes: mpsc::Sender<AccessEvent>,
}

impl RegistryStore {
    /// Opens the buckets, and makes those that are missing, with so many copies in a cluster. The
    /// rows that come out of the receiver are to be given to [`write_notes`].
    pub async fn open(
        nats: &Nats,
        publisher: Publisher,
        replicas: usize,
    ) -> Result<(Self, mpsc::Receiver<AccessEvent>), RegistryError> {
        let settings = BucketSettings {
            name: "headframe_accounts",
            description: "Users and tokens: change them with `headframe users`.",
            max_age: None,
            max_value_bytes: 64 * 1024,
            max_bytes: 256 * 1024 * 1024,
            replicas,
        };
        let accounts = registry::Bucket::open(nats.clone(), &settings).await?;
        let settings = BucketSettings {
            name: "headframe_sessions",
            description: "Sessions of users of Headframe.",
            max_age: Some(SESSION_LIFE),
            ..settings
        };
        let sessions = registry::Bucket::open(nats.clone(), &settings).await?;
        let (notes, receiver) = mpsc::channel(MAX_WAITING_ROWS);
        let store = Self {
            accounts,
            sessions,
            publisher,
            notes,
        };
        Ok((store, receiver))
    }

    fn bucket(&self, bucket: Bucket) -> &registry::Bucket {
        match bucket {
            Bucket::Accounts => &self.accounts,
            Bucket::Sessions => &self.sessions,
        }
    }
}

/// Writes the rows that nobody waits for.
pub async fn write_notes(publisher: Publisher, mut notes: mpsc::Receiver<AccessEvent>) {
    while let Some(event) = notes.recv().await {
        if let Err(error) = publisher.record(&event).await {
            count_dropped();
            tracing::debug!(%error, "a row about access was not written");
        }
    }
}

#[async_trait]
impl AccountStore for RegistryStore {
    async fn watch(&self, bucket: Bucket) -> Result<WatchStream, StoreError> {
        let events = self.bucket(bucket).watch().await.map_err(translate)?;
        let events = events.map(|event| match event {
            Ok(registry::WatchEvent::Current) => Ok(WatchEvent::Current),
            Ok(registry::WatchEvent::Entry(entry)) => Ok(WatchEvent::Entry(Entry {
                key: entry.key,
                revision: entry.revision,
                value: entry.value.map(|value| value.to_vec()),
            })),
            Err(error) => Err(translate(error)),
        });
        Ok(Box::pin(events))
    }

    async fn put(
        &self,
        bucket: Bucket,
        key: &str,
        value: Vec<u8>,
        seen: u64,
    ) -> Result<u64, StoreError> {
        let put = self.bucket(bucket).put(key, value, seen);
        put.await.map_err(translate)
    }

    async fn delete(&self, bucket: Bucket, key: &str, seen: u64) -> Result<u64, StoreError> {
        let deleted = self.bucket(bucket).delete(key, seen).await;
        deleted.map_err(translate)
    }

    async fn record(&self, event: AccessEvent) -> Result<(), StoreError> {
        let recorded = self.publisher.record(&event).await;
        recorded
            .map(|_| ())
            .map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    fn note(&self, event: AccessEvent) {
        if self.notes.try_send(event).is_err() {
            count_dropped();
        }
    }
}

fn count_dropped() {
    metrics::counter!("headframe_access_rows_dropped_total").increment(1);
}

fn translate(error: RegistryError) -> StoreError {
    match error {
        RegistryError::Changed { key } => StoreError::Changed(key),
        RegistryError::Nats { .. } => StoreError::Unavailable(error.to_string()),
    }
}

/// Says when users and tokens are those of before an outage.
pub struct AccountsProbe(pub Nats);

#[async_trait]
impl Probe for AccountsProbe {
    fn name(&self) -> &str {
        "accounts"
    }

    async fn check(&self) -> Result<(), String> {
        Ok(())
    }

    async fn note(&self) -> Option<String> {
        (!self.0.is_connected()).then(|| {
            "NATS is away; users and tokens are those of before, and nobody can change them"
                .to_owned()
        })
    }
}
