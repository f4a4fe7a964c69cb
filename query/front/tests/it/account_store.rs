//! An account store in memory, which can be away, and shows what was written to it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use headframe_query_front::access::Role;
use headframe_query_front::access::accounts::store::{
    AccountStore, Bucket, Entry, StoreError, WatchEvent, WatchStream,
};
use headframe_query_front::access::accounts::{Accounts, Actor, NewAccount, Wire};
use headframe_schemas::stream::access::AccessEvent;
use tokio::sync::broadcast;

pub const PASSWORD: &str = "a sentence of words";

type Values = BTreeMap<String, (u64, Option<Vec<u8>>)>;

pub struct MemoryStore {
    values: Mutex<[Values; 2]>,
    changes: broadcast::Sender<(Bucket, Entry)>,
    revision: AtomicU64,
    pub rows: Mutex<Vec<AccessEvent>>,
    pub is_away: AtomicBool,
    pub writes: AtomicU64,
}

impl MemoryStore {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            values: Mutex::default(),
            changes: broadcast::channel(1_024).0,
            revision: AtomicU64::new(0),
            rows: Mutex::default(),
            is_away: AtomicBool::new(false),
            writes: AtomicU64::new(0),
        })
    }

    fn here(&self) -> Result<(), StoreError> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("away".to_owned())),
            false => Ok(()),
        }
    }

    fn write(
        &self,
        bucket: Bucket,
        key: &str,
        value: Option<Vec<u8>>,
        seen: u64,
    ) -> Result<u64, StoreError> {
        self.here()?;
        let mut values = self.values.lock().unwrap();
        let values = &mut values[bucket as usize];
        let known = values.get(key).map_or(0, |(revision, _)| *revision);
        if known != seen {
            return Err(StoreError::Changed(key.to_owned()));
        }
        let revision = self.revision.fetch_add(1, Ordering::SeqCst) + 1;
        self.writes.fetch_add(1, Ordering::SeqCst);
        values.insert(key.to_owned(), (revision, value.clone()));
        let key = key.to_owned();
        // Nobody may be watching.
        let _ = self.changes.send((
            bucket,
            Entry {
                key,
                revision,
                value,
            },
        ));
        Ok(revision)
    }

    /// Everything that was ever written here, as text.
    pub fn everything(&self) -> String {
        let values = self.values.lock().unwrap();
        let kept = values.iter().flat_map(|values| values.iter());
        let kept = kept.map(|(key, (_, value))| {
            let value = value.clone().unwrap_or_default();
            format!("{key} {}\n", String::from_utf8(value).unwrap())
        });
        kept.chain(self.rows().iter().map(|row| format!("{row:?}\n")))
            .collect()
    }

    pub fn rows(&self) -> Vec<AccessEvent> {
        self.rows.lock().unwrap().clone()
    }

    /// `action outcome` of each row.
    pub fn outcomes(&self) -> Vec<String> {
        let rows = self.rows();
        let outcomes = rows
            .iter()
            .map(|row| format!("{} {}", row.action, row.outcome));
        outcomes.collect()
    }
}

#[async_trait]
impl AccountStore for MemoryStore {
    async fn watch(&self, bucket: Bucket) -> Result<WatchStream, StoreError> {
        self.here()?;
        let values = self.values.lock().unwrap();
        let changes = self.changes.subscribe();
        let now: Vec<_> = values[bucket as usize]
            .iter()
            .map(|(key, (revision, value))| {
                Ok(WatchEvent::Entry(Entry {
                    key: key.clone(),
                    revision: *revision,
                    value: value.clone(),
                }))
            })
            .chain([Ok(WatchEvent::Current)])
            .collect();
        let later = stream::unfold(changes, move |mut changes| async move {
            loop {
                let (of, entry) = changes.recv().await.ok()?;
                if of == bucket {
                    return Some((Ok(WatchEvent::Entry(entry)), changes));
                }
            }
        });
        Ok(stream::iter(now).chain(later).boxed())
    }

    async fn put(
        &self,
        bucket: Bucket,
        key: &str,
        value: Vec<u8>,
        seen: u64,
    ) -> Result<u64, StoreError> {
        self.write(bucket, key, Some(value), seen)
    }

    async fn delete(&self, bucket: Bucket, key: &str, seen: u64) -> Result<u64, StoreError> {
        self.write(bucket, key, None, seen)
    }

    async fn record(&self, event: AccessEvent) -> Result<(), StoreError> {
        self.here()?;
        self.note(event);
        Ok(())
    }

    fn note(&self, event: AccessEvent) {
        self.rows.lock().unwrap().push(event);
    }
}

/// Accounts over this store, which follow it.
pub async fn accounts(store: &Arc<MemoryStore>) -> Accounts {
    let (accounts, follower) = Accounts::open(store.clone()).await.unwrap();
    tokio::spawn(follower.run());
    accounts
}

pub fn actor() -> &'static Actor {
    static ANN: LazyLock<Actor> = LazyLock::new(|| Actor {
        name: "ann".to_owned(),
        wire: Wire::Command,
    });
    &ANN
}

pub fn account(name: &str, role: &str) -> NewAccount {
    let address = (role == "miner").then_some("4Own");
    NewAccount {
        name: name.to_owned(),
        role: Role::parse(role, address).unwrap(),
        streams: Vec::new(),
    }
}

pub async fn token(accounts: &Accounts, role: &str) -> String {
    let account = account(&format!("a-{role}"), role);
    accounts.add_token(actor(), account, None).await.unwrap()
}
