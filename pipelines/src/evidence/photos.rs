//! Photos that inspections name: whether each is still stored with the bytes of its digest.
//!
//! The chain covers the rows that name them, and so their digests. What is stored under a digest is
//! compared with it here.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use headframe_schemas::Stream;
use headframe_schemas::photo;
use headframe_schemas::resource::inspections::INSPECTIONS;
use headframe_schemas::resource::{Field, Format, Values};
use headframe_schemas::stream::registry::RegistryChanges;
use headframe_sinks::{PhotoStore, SinkError};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::evidence::entry::Fact;
use crate::evidence::tree::{Hash, hash_of};

/// Digests of photos, each with an inspection that names it, or once did.
#[derive(Debug, Default)]
pub struct NamedPhotos(BTreeMap<Hash, String>);

impl NamedPhotos {
    /// Adds those that a fact names.
    pub fn add(&mut self, fact: &Fact) {
        let text = |name: &str| fact.values.get(name).and_then(Value::as_str);
        if fact.stream != RegistryChanges.name() || text("kind") != Some(INSPECTIONS.name) {
            return;
        }
        let Some(after) = text("after") else {
            return;
        };
        // What cannot be read is no inspection that a server took.
        let values: Values = serde_json::from_str(after).unwrap_or_default();
        let id = text("id").unwrap_or_default();
        let of_photos = |field: &&Field| field.format == Format::Photos;
        for field in INSPECTIONS.fields.iter().filter(of_photos) {
            let named = values.get(field.name()).and_then(Value::as_str);
            for digest in photo::digests(named.unwrap_or_default()) {
                if let Some(hash) = hash_of(digest) {
                    self.0.entry(hash).or_insert_with(|| id.to_owned());
                }
            }
        }
    }

    /// How many are stored as they were, and the first that is not, in words.
    ///
    /// # Errors
    /// Where the storage cannot be read.
    pub async fn check(&self, store: &PhotoStore) -> Result<(u64, Option<String>), SinkError> {
        let mut intact = 0;
        for (hash, inspection) in &self.0 {
            let digest = hex::encode(hash);
            let why = match stored_hash(store, &digest).await? {
                Some(found) if found == *hash => {
                    intact += 1;
                    continue;
                }
                Some(_) => "its bytes are not those that it names",
                None => "it is not stored any more",
            };
            let difference = format!("photo {digest} of inspection {inspection}: {why}");
            return Ok((intact, Some(difference)));
        }
        Ok((intact, None))
    }
}

/// The hash of what is stored under a digest. Pieces of it are in memory, never all of it.
async fn stored_hash(store: &PhotoStore, digest: &str) -> Result<Option<Hash>, SinkError> {
    let Some(mut pieces) = store.read(digest).await? else {
        return Ok(None);
    };
    let mut hash = Sha256::new();
    while let Some(piece) = pieces.try_next().await? {
        hash.update(&piece);
    }
    Ok(Some(hash.finalize().into()))
}
