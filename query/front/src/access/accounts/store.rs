//! Where accounts are kept. The process brings it: a registry that every process of the system
//! sees, and the stream `access`.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures::Stream;
use headframe_schemas::stream::access::AccessEvent;

use crate::error::{ErrorCode, QueryError};

/// Pauses before the store is watched again, from and to.
pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What is kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// Users, tokens and the offer of a first admin. They stay until they are revoked.
    Accounts,
    /// Sessions. They vanish by themselves.
    Sessions,
}

impl Bucket {
    /// Every bucket.
    pub const ALL: &[Bucket] = &[Bucket::Accounts, Bucket::Sessions];
}

/// A key of a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Rises with each change of the bucket.
    pub revision: u64,
    /// The value; `None` when it was deleted.
    pub value: Option<Vec<u8>>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key as it is, or as it became.
    Entry(Entry),
    /// Everything that there was has been told.
    Current,
}

/// Why the store did not do something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else was faster; nothing was written.
    #[error("{0} was changed by somebody else in the meantime; look again")]
    Changed(String),
    /// It does not answer.
    #[error("the account store does not answer: {0}")]
    Unavailable(String),
}

impl From<StoreError> for QueryError {
    fn from(error: StoreError) -> Self {
        QueryError::new(
            ErrorCode::Storage,
            error.to_string(),
            "see /ready; it may be tried again",
        )
    }
}

/// What a watch hands over.
pub type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchEvent, StoreError>> + Send>>;

/// Keeps accounts and the rows about them.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// Everything there is, then [`WatchEvent::Current`], then each change.
    async fn watch(&self, bucket: Bucket) -> Result<WatchStream, StoreError>;
    /// Writes a value over the revision that was seen, 0 for a new key. Answers the new revision.
    async fn put(
        &self,
        bucket: Bucket,
        key: &str,
        value: Vec<u8>,
        seen: u64,
    ) -> Result<u64, StoreError>;
    /// Deletes a key at the revision that was seen. Answers the new revision.
    async fn delete(&self, bucket: Bucket, key: &str, seen: u64) -> Result<u64, StoreError>;
    /// Writes a row of the stream `access` durably.
    async fn record(&self, event: AccessEvent) -> Result<(), StoreError>;
    /// Writes a row when there is space for it: strangers cause such rows, which must not fill
    /// memory.
    fn note(&self, event: AccessEvent);
}
