//! Users, service tokens and sessions: a watched copy of the account store, so that a request costs
//! no round trip and a revocation takes effect within moments.
//!
//! While the store is away the copy goes on being used. Every change is a row of the stream
//! `access` before it is made, and never holds a secret.

use std::sync::{Arc, RwLock};
use std::time::Instant;

use futures::StreamExt;
use headframe_schemas::stream::access::AccessEvent;
use tokio::sync::{mpsc, watch};

use crate::clock::now_us;
use directory::Directory;
use login::Login;
use program_session::ProgramSessions;
use store::{AccountStore, Bucket, StoreError, WatchEvent};
use uses::Use;

mod bearer;
mod change;
mod directory;
mod ended_session;
mod hex_text;
pub mod login;
mod password;
mod program_session;
mod record;
pub mod secret;
pub mod session;
mod standing;
pub mod store;
mod throttle;
mod token_login;
mod uses;

pub(crate) use bearer::TokenHolder;
pub use bearer::TokenRefusal;
pub use change::{AccountError, Actor, Listed, NewAccount};
pub use login::{LoginError, ScramSecret, Wire};
pub(crate) use standing::Standing;

/// Tokens and sessions whose last use waits to be written.
const MAX_WAITING_USES: usize = 256;

/// The accounts as this process knows them. Clones share them.
#[derive(Clone)]
pub struct Accounts {
    inner: Arc<Inner>,
}

struct Inner {
    directory: RwLock<Directory>,
    store: Arc<dyn AccountStore>,
    login: Login,
    programs: ProgramSessions,
    /// Tokens and sessions that were used.
    uses: mpsc::Sender<Use>,
    /// Counts the changes of the copy.
    changes: watch::Sender<u64>,
}

/// Keeps the copy up to date, and writes when tokens were used last.
pub struct Follower {
    accounts: Accounts,
    uses: mpsc::Receiver<Use>,
}

impl Accounts {
    /// Reads the store. The follower must run for changes of others to arrive.
    pub async fn open(store: Arc<dyn AccountStore>) -> Result<(Self, Follower), StoreError> {
        let mut directory = Directory::default();
        for bucket in Bucket::ALL {
            let mut events = store.watch(*bucket).await?;
            while let Some(event) = events.next().await {
                match event? {
                    WatchEvent::Entry(entry) => directory.apply(*bucket, entry),
                    WatchEvent::Current => break,
                }
            }
        }
        let (sender, uses) = mpsc::channel(MAX_WAITING_USES);
        let inner = Inner {
            directory: RwLock::new(directory),
            store,
            login: Login::new()?,
            programs: ProgramSessions::default(),
            uses: sender,
            changes: watch::Sender::new(0),
        };
        let accounts = Self {
            inner: Arc::new(inner),
        };
        let follower = Follower {
            accounts: accounts.clone(),
            uses,
        };
        Ok((accounts, follower))
    }

    /// Reads the copy.
    fn read<T>(&self, read: impl FnOnce(&Directory) -> T) -> T {
        let directory = self.inner.directory.read();
        // Each change of the copy is one insertion or removal, whole or not there.
        read(&directory.unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Changes the copy.
    fn change(&self, change: impl FnOnce(&mut Directory)) {
        let directory = self.inner.directory.write();
        change(&mut directory.unwrap_or_else(std::sync::PoisonError::into_inner));
        self.inner.changes.send_modify(|count| *count += 1);
    }

    /// Puts an entry into the copy, unless a newer one is there.
    fn apply(&self, bucket: Bucket, entry: store::Entry) {
        self.change(|directory| directory.apply(bucket, entry));
    }

    /// Writes a row that may be lost when too many wait.
    fn note(&self, event: AccessEvent) {
        self.inner.store.note(AccessEvent {
            event_time: now_us(),
            ..event
        });
    }

    fn now(&self) -> Instant {
        Instant::now()
    }
}

impl Follower {
    /// Follows the store until it is dropped. What it cannot read it reads again.
    pub async fn run(self) {
        let Follower { accounts, uses } = self;
        let (users, sessions) = (
            accounts.follow(Bucket::Accounts),
            accounts.follow(Bucket::Sessions),
        );
        tokio::join!(users, sessions, accounts.write_uses(uses));
    }
}

impl Accounts {
    async fn follow(&self, bucket: Bucket) {
        let mut pause = store::FIRST_PAUSE;
        loop {
            let started = self.now();
            if let Err(error) = self.follow_once(bucket).await {
                // An outage has its own line in the log, and a note in readiness.
                tracing::debug!(%error, "the copy of the accounts is followed anew");
            }
            if started.elapsed() > store::LONGEST_PAUSE {
                pause = store::FIRST_PAUSE;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(store::LONGEST_PAUSE);
        }
    }

    async fn follow_once(&self, bucket: Bucket) -> Result<(), StoreError> {
        let mut events = self.inner.store.watch(bucket).await?;
        while let Some(event) = events.next().await {
            if let WatchEvent::Entry(entry) = event? {
                self.apply(bucket, entry);
            }
        }
        Ok(())
    }
}
