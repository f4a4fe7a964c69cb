//! The registry of the mine: what the stream `registry` says, and its next message.
//!
//! A change is one message of that stream, as [`SharedState`] writes it. So no update is lost,
//! references and unique values hold, and there is no moment at which a kill leaves one half of a
//! change behind.
//!
//! A second write of the value into a KV bucket would be such a half. The bucket
//! `headframe_registry` is therefore no store of ours to write: nats-server itself makes it from
//! the stream, the newest change of each resource, as a KV bucket is nothing but the last message
//! of each subject. What is now is read from the same place: the last message of each subject of
//! the stream, which is kept for ever.

use std::sync::RwLockReadGuard;
use std::time::{SystemTime, UNIX_EPOCH};

use headframe_schemas::Stream;
use headframe_schemas::resource::{Change, Refusal, ResourceVersion};
use headframe_schemas::stream::registry::{RegistryChange, RegistryChanges};

use crate::nats::Nats;
use crate::nats::provision::StreamSettings;
use crate::registry::shared_state::{self, NextMessage, SharedState, StateFollower};
use crate::registry::state::RegistryState;
use crate::registry::{Bucket, BucketSettings, RegistryError};

/// The stream.
pub const STREAM: &dyn Stream = &RegistryChanges;
/// The bucket that nats-server makes of it.
pub const BUCKET: &str = "headframe_registry";

/// Why a change was not made.
pub type ChangeError = shared_state::ChangeError<Refusal>;

/// Keeps a registry up to date with what others write.
pub type RegistryFollower = StateFollower<RegistryState>;

/// Opens the bucket of the newest change of each resource, whose keys are such as `sites_north`,
/// and makes it if it is missing.
pub async fn open_bucket(nats: Nats, replicas: usize) -> Result<Bucket, RegistryError> {
    let settings = BucketSettings {
        name: BUCKET,
        description: "What is registered now, made from the stream registry.",
        max_age: None,
        max_value_bytes: -1,
        // There are only so many resources.
        max_bytes: -1,
        replicas,
    };
    Bucket::open_derived(nats, &settings, STREAM.name()).await
}

/// The registry of a process.
#[derive(Debug)]
pub struct ResourceRegistry(SharedState<RegistryState>);

impl ResourceRegistry {
    /// Makes the stream if it is missing, and learns what is registered. What others write from
    /// then on comes by the follower, which is to be run.
    pub async fn open(
        nats: Nats,
        settings: &StreamSettings,
    ) -> Result<(Self, RegistryFollower), ChangeError> {
        let (state, follower) = SharedState::open(nats, settings).await?;
        Ok((Self(state), follower))
    }

    /// What is registered, as far as this process knows.
    pub fn state(&self) -> RwLockReadGuard<'_, RegistryState> {
        self.0.state()
    }

    /// The sequence through which this process knows every change.
    pub fn complete(&self) -> u64 {
        self.0.complete()
    }

    /// Makes a change, and answers what is there since; after a deletion, what was there.
    ///
    /// A caller that goes away may leave a change that is made all the same.
    pub async fn change(&self, change: &Change) -> Result<ResourceVersion, ChangeError> {
        let made = self.0.change(|state| state.plan(change, now_us())).await?;
        Ok(match made {
            NextMessage::Message(message) => version_made(&message),
            NextMessage::Unchanged(there) => there,
        })
    }
}

/// What a change made: by now somebody else may have written over it.
fn version_made(message: &RegistryChange) -> ResourceVersion {
    let (fields, version) = match &message.after {
        Some(after) => (Some(after), message.version),
        None => (message.before.as_ref(), message.version - 1),
    };
    let values = fields.and_then(|fields| serde_json::from_str(fields).ok());
    ResourceVersion {
        id: message.id.clone(),
        version,
        updated_us: message.event_time,
        updated_by: message.actor.clone(),
        values: values.unwrap_or_default(),
    }
}

fn now_us() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
