//! Small state files beside a table: what a pipeline knew after a sequence, with a checksum.
//!
//! The file's name carries the sequence, so no pointer to the newest is needed: after a crash the
//! newest file that is not ahead of the table's offset is the right one. State is a function of the
//! stream alone, so it does not matter who wrote it. A corrupt file is passed over and costs a
//! replay, never an answer.

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStoreExt};

use crate::delta::lake::TableLocation;
use crate::error::SinkError;

/// How many files are kept.
const KEPT: usize = 3;
const HASH_BYTES: usize = 32;

/// The state files of one pipeline.
#[derive(Debug, Clone)]
pub struct StateStore {
    location: TableLocation,
    folder: Path,
}

impl StateStore {
    /// The state files of this pipeline version, in the table's `_state` folder.
    pub fn new(location: TableLocation, pipeline: &str) -> Self {
        let folder = Path::from("_state").join(pipeline);
        Self { location, folder }
    }

    /// Saves the state after a sequence and drops all but the newest few.
    pub async fn save(&self, seq: i64, state: &[u8]) -> Result<(), SinkError> {
        let mut body = Vec::with_capacity(state.len() + HASH_BYTES);
        body.extend_from_slice(blake3::hash(state).as_bytes());
        body.extend_from_slice(state);
        let path = self.folder.clone().join(format!("{seq:020}"));
        self.location
            .store
            .put(&path, body.into())
            .await
            .map_err(SinkError::store("saving state", &self.location.name))?;
        let saved = self.sequences().await?;
        for old in saved.iter().rev().skip(KEPT) {
            let path = self.folder.clone().join(format!("{old:020}"));
            match self.location.store.delete(&path).await {
                Ok(()) | Err(StoreError::NotFound { .. }) => {}
                Err(error) => {
                    return Err(SinkError::store("dropping old state", &self.location.name)(
                        error,
                    ));
                }
            }
        }
        Ok(())
    }

    /// The newest intact state that is not ahead of `seq`, with its sequence. Corrupt files are
    /// logged and passed over.
    pub async fn load(&self, seq: i64) -> Result<Option<(i64, Bytes)>, SinkError> {
        let saved = self.sequences().await?;
        for found in saved.into_iter().rev().filter(|&found| found <= seq) {
            match self.read(found).await {
                Ok(state) => return Ok(Some((found, state))),
                Err(error @ SinkError::Corrupt { .. }) => {
                    tracing::warn!(%error, "state file passed over")
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn read(&self, seq: i64) -> Result<Bytes, SinkError> {
        let path = self.folder.clone().join(format!("{seq:020}"));
        let read = async { self.location.store.get(&path).await?.bytes().await };
        let body = read
            .await
            .map_err(SinkError::store("reading state", &self.location.name))?;
        let corrupt = |why: &str| SinkError::Corrupt {
            what: format!("{}/{path}", self.location.name),
            why: why.to_owned(),
        };
        if body.len() < HASH_BYTES {
            return Err(corrupt("it is too short"));
        }
        if blake3::hash(&body[HASH_BYTES..]).as_bytes() != &body[..HASH_BYTES] {
            return Err(corrupt("its checksum does not match"));
        }
        Ok(body.slice(HASH_BYTES..))
    }

    async fn sequences(&self) -> Result<Vec<i64>, SinkError> {
        let listed: Vec<_> = self
            .location
            .store
            .list(Some(&self.folder))
            .try_collect()
            .await
            .map_err(SinkError::store("listing state", &self.location.name))?;
        let mut found: Vec<i64> = listed
            .iter()
            .filter_map(|meta| meta.location.filename()?.parse().ok())
            .collect();
        found.sort_unstable();
        Ok(found)
    }
}
