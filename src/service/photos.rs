//! Photos of inspections, which lie beside the tables.

use async_trait::async_trait;
use axum::body::Bytes;
use futures::{StreamExt, TryStreamExt};
use headframe_query_front::photo_store::{PhotoPieces, PhotoStore, PhotoStoreError};
use headframe_sinks::{Lake, SinkError};

/// The photos of a lake.
pub struct LakePhotos(headframe_sinks::PhotoStore);

impl LakePhotos {
    pub fn new(lake: &Lake) -> Self {
        Self(headframe_sinks::PhotoStore::new(lake))
    }
}

#[async_trait]
impl PhotoStore for LakePhotos {
    async fn put(&self, digest: &str, bytes: Bytes) -> Result<(), PhotoStoreError> {
        self.0.put(digest, bytes).await.map_err(error)
    }

    async fn read(&self, digest: &str) -> Result<Option<PhotoPieces>, PhotoStoreError> {
        let pieces = self.0.read(digest).await.map_err(error)?;
        Ok(pieces.map(|pieces| pieces.map_err(error).boxed()))
    }

    async fn has(&self, digest: &str) -> Result<bool, PhotoStoreError> {
        self.0.has(digest).await.map_err(error)
    }
}

fn error(error: SinkError) -> PhotoStoreError {
    PhotoStoreError(error.to_string())
}
