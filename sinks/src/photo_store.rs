//! Photos of inspections beside the tables: each is one object under the SHA-256 of its bytes.
//!
//! The same bytes twice are one object, and whoever reads one can tell whether it still is what was
//! stored. Where an upload ended before the inspection named its photo, an object stays that none
//! names; it does no harm.

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};

use crate::delta::lake::Lake;
use crate::error::SinkError;

/// The folder beside the tables. No table has a name that begins so.
const FOLDER: &str = "_photos";

/// The bytes of a photo as they are stored, in pieces.
pub type PhotoPieces = BoxStream<'static, Result<Bytes, SinkError>>;

/// The photos of a lake.
#[derive(Debug, Clone)]
pub struct PhotoStore {
    lake: Lake,
}

impl PhotoStore {
    /// Does no I/O.
    pub fn new(lake: &Lake) -> Self {
        Self { lake: lake.clone() }
    }

    /// Stores the bytes of a digest, 64 hex digits; what is there already is written over, so that
    /// a photo that was damaged is whole again once somebody brings it. It has reached the disk
    /// when this returns.
    ///
    /// # Errors
    /// Where the storage does not take it.
    pub async fn put(&self, digest: &str, bytes: Bytes) -> Result<(), SinkError> {
        let stored = self.lake.store().put(&path(digest), bytes.into()).await;
        stored.map(drop).map_err(error("storing", digest))
    }

    /// The bytes of a digest; `None` where there are none.
    ///
    /// # Errors
    /// Where the storage cannot be read.
    pub async fn read(&self, digest: &str) -> Result<Option<PhotoPieces>, SinkError> {
        let found = self.lake.store().get(&path(digest)).await;
        match found {
            Ok(found) => {
                let digest = digest.to_owned();
                let pieces = found.into_stream();
                let pieces = pieces.map_err(move |source| error("reading", &digest)(source));
                Ok(Some(pieces.boxed()))
            }
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(source) => Err(error("reading", digest)(source)),
        }
    }

    /// Whether there are bytes of this digest; whether they still have it is told by reading.
    ///
    /// # Errors
    /// Where the storage cannot be asked.
    pub async fn has(&self, digest: &str) -> Result<bool, SinkError> {
        match self.lake.store().head(&path(digest)).await {
            Ok(_) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(source) => Err(error("looking for", digest)(source)),
        }
    }
}

fn path(digest: &str) -> Path {
    Path::from(FOLDER).join(digest)
}

fn error(action: &'static str, digest: &str) -> impl FnOnce(StoreError) -> SinkError {
    let digest = digest.to_owned();
    move |source| SinkError::Photo {
        action,
        digest,
        source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_photo_is_stored_once_read_whole_and_missed_by_its_digest() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(folder.path().to_str().unwrap(), &Default::default()).unwrap();
        let photos = PhotoStore::new(&lake);
        let (one, other) = ("0a".repeat(32), "0b".repeat(32));
        for _ in 0..2 {
            photos
                .put(&one, Bytes::from_static(b"bytes"))
                .await
                .unwrap();
        }
        let stored = std::fs::read_dir(folder.path().join(FOLDER)).unwrap();
        assert_eq!(stored.count(), 1);
        let pieces = photos.read(&one).await.unwrap().unwrap();
        let pieces: Vec<Bytes> = pieces.try_collect().await.unwrap();
        assert_eq!(pieces.concat(), b"bytes");
        assert!(photos.has(&one).await.unwrap());
        assert!(!photos.has(&other).await.unwrap());
        assert!(photos.read(&other).await.unwrap().is_none());
    }
}
