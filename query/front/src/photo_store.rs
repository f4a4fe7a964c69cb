//! Photos of inspections, as the process that serves them brings their storage.
//!
//! A photo is in memory while it comes, so that only so many do at once. One that is sent is read
//! twice, in pieces: to see that it still is what was stored, and then for whoever asked, however
//! slowly he reads.

use std::sync::Arc;

use async_trait::async_trait;
use aws_lc_rs::digest::{Context, SHA256, digest};
use axum::body::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use headframe_schemas::photo::{self, MAX_PHOTO_BYTES, PhotoType, SIGNATURE_BYTES};
use headframe_schemas::resource::{Field, FieldFault, Format, Resource, Values};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::error::{ErrorCode, QueryError};

/// Photos that may come at once.
const MAX_UPLOADS: usize = 4;
/// Photos whose bytes are compared with their digests at once; others wait.
const MAX_CHECKS: usize = 4;

/// Why a photo was not stored or read; the message says what was attempted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PhotoStoreError(pub String);

/// The bytes of a photo as they are stored, in pieces.
pub type PhotoPieces = BoxStream<'static, Result<Bytes, PhotoStoreError>>;

/// Where photos are, each under the SHA-256 of its bytes: 64 hex digits in lower case.
#[async_trait]
pub trait PhotoStore: Send + Sync {
    /// Stores the bytes of a digest. They are durable when this returns.
    async fn put(&self, digest: &str, bytes: Bytes) -> Result<(), PhotoStoreError>;
    /// The bytes of a digest; `None` where there are none.
    async fn read(&self, digest: &str) -> Result<Option<PhotoPieces>, PhotoStoreError>;
    /// Whether there are bytes of this digest.
    async fn has(&self, digest: &str) -> Result<bool, PhotoStoreError>;
}

/// The photos of a server.
pub(crate) struct Photos {
    store: Arc<dyn PhotoStore>,
    /// Those that may come.
    pub(crate) uploads: Semaphore,
    checks: Semaphore,
}

/// A photo whose bytes are those that were stored.
pub(crate) struct CheckedPhoto {
    pub(crate) photo_type: PhotoType,
    /// Its length in bytes.
    pub(crate) length: u64,
}

impl Photos {
    pub(crate) fn new(store: Arc<dyn PhotoStore>) -> Self {
        Self {
            store,
            uploads: Semaphore::new(MAX_UPLOADS),
            checks: Semaphore::new(MAX_CHECKS),
        }
    }

    /// Stores the bytes of a digest.
    pub(crate) async fn put(&self, digest: &str, bytes: Bytes) -> Result<(), QueryError> {
        self.store.put(digest, bytes).await.map_err(unavailable)
    }

    /// The photo that was stored under a digest; an error where its bytes are others by now.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<CheckedPhoto>, QueryError> {
        let check = self.checks.acquire().await;
        let _check = check.map_err(|_| QueryError::internal("no photo is sent any more"))?;
        let Some(mut pieces) = self.pieces(name).await? else {
            return Ok(None);
        };
        let (mut hash, mut length, mut signature) = (Context::new(&SHA256), 0, Vec::new());
        while let Some(piece) = pieces.try_next().await.map_err(unavailable)? {
            hash.update(&piece);
            length += piece.len();
            if length > MAX_PHOTO_BYTES {
                return Err(changed(name));
            }
            let missing = SIGNATURE_BYTES.saturating_sub(signature.len());
            signature.extend_from_slice(&piece[..missing.min(piece.len())]);
        }
        if hex::encode(hash.finish()) != name {
            return Err(changed(name));
        }
        let photo_type = PhotoType::from_signature(&signature);
        let photo_type =
            photo_type.ok_or_else(|| QueryError::internal(format!("{name} is no photo")))?;
        let length = length as u64;
        Ok(Some(CheckedPhoto { photo_type, length }))
    }

    /// Whether there are bytes of this digest.
    pub(crate) async fn has(&self, name: &str) -> Result<bool, QueryError> {
        self.store.has(name).await.map_err(unavailable)
    }

    /// The bytes that are stored under a digest, as they come from the storage.
    pub(crate) async fn pieces(&self, name: &str) -> Result<Option<PhotoPieces>, QueryError> {
        self.store.read(name).await.map_err(unavailable)
    }

    /// The fault of a resource that names a photo which is not stored, unless `before` named it.
    pub(crate) async fn check(
        photos: Option<&Self>,
        kind: &Resource,
        before: Option<&Values>,
        values: &Values,
    ) -> Result<Option<FieldFault>, QueryError> {
        let is_of_photos = |field: &&Field| field.format == Format::Photos;
        for field in kind.fields.iter().filter(is_of_photos) {
            let known = before.map(|before| named(before, field.name()));
            for digest in photo::digests(named(values, field.name())) {
                if known.is_some_and(|known| known.contains(digest)) {
                    continue;
                }
                let is_stored = match photos {
                    Some(photos) => photos.has(digest).await?,
                    None => false,
                };
                if !is_stored {
                    let reason = format!("no photo {digest} is stored; upload it first");
                    return Ok(Some(FieldFault::new(field.name(), reason)));
                }
            }
        }
        Ok(None)
    }
}

/// The SHA-256 of bytes as photos are named.
pub(crate) fn digest_of(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// The text of a field; empty without it.
pub(crate) fn named<'a>(values: &'a Values, field: &str) -> &'a str {
    values
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn unavailable(error: PhotoStoreError) -> QueryError {
    QueryError::new(
        ErrorCode::Storage,
        error.to_string(),
        "try again in a second",
    )
}

fn changed(name: &str) -> QueryError {
    QueryError::new(
        ErrorCode::Internal,
        format!("the photo {name} is not the one that was stored: its bytes have another SHA-256"),
        "headframe audit evidence names the first photo that was changed; whoever has the original \
         can upload it again",
    )
}
