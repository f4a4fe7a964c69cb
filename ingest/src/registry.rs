//! The registry: small values by key that every process of the system sees, each change within
//! moments. Users and sessions are buckets of it; what the mine consists of is in [`resources`].
//!
//! It is a NATS KV bucket (a JetStream stream of the last message of each subject, as NATS ADR-8
//! lays it out), so that `nats kv` reads it too. Whoever changes a key says which revision he saw,
//! and loses when somebody was faster: nothing is written over unseen.

use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE;
use async_nats::jetstream::Message;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, push};
use async_nats::jetstream::context::{GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, RetentionPolicy, Source, StorageType, SubjectTransform,
};
use bytes::Bytes;
use futures::{Stream, StreamExt};

use crate::nats::Nats;

pub mod resources;
pub mod shared_state;
pub mod state;

/// What says in a message that its key is gone.
const OPERATION: &str = "KV-Operation";
const DELETED: &str = "DEL";

/// How a bucket is kept.
#[derive(Debug, Clone)]
pub struct BucketSettings {
    /// Its name: letters, digits, `-` and `_`.
    pub name: &'static str,
    /// What it holds, for operators who list their streams.
    pub description: &'static str,
    /// Age at which a value vanishes by itself; `None` for never.
    pub max_age: Option<Duration>,
    /// The largest value, in bytes.
    pub max_value_bytes: i32,
    /// Bytes of all values.
    pub max_bytes: i64,
    /// Copies in a cluster.
    pub replicas: usize,
}

/// One bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    nats: Nats,
    name: &'static str,
}

/// A key as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Rises with each change of the bucket.
    pub revision: u64,
    /// The value; `None` when the key was deleted.
    pub value: Option<Bytes>,
}

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key as it is, or as it became.
    Entry(Entry),
    /// Every key that there was when the watch began has been told.
    Current,
}

/// Why the registry did not do something.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Somebody else changed the key meanwhile; nothing was written.
    #[error("somebody else changed {key} in the meantime; look again before trying again")]
    Changed {
        /// The key.
        key: String,
    },
    /// NATS does not answer, or refuses.
    #[error("cannot {attempt} {bucket}: {reason}; check that NATS runs with JetStream")]
    Nats {
        /// What was attempted.
        attempt: &'static str,
        /// The bucket.
        bucket: &'static str,
        /// What NATS said.
        reason: String,
    },
}

/// Whether there is nothing yet, and the newest message of each subject of a stream, by sequence,
/// followed by each that comes. It ends with an error when the connection was lost for long.
async fn last_messages(
    nats: &Nats,
    stream: &str,
    subjects: String,
) -> Result<(bool, impl Stream<Item = Result<Message, String>> + use<>), String> {
    let stream = nats.js.get_stream(stream).await;
    let stream = stream.map_err(|error| error.to_string())?;
    let config = push::OrderedConfig {
        deliver_subject: nats.client.new_inbox(),
        filter_subject: subjects,
        replay_policy: ReplayPolicy::Instant,
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..push::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await;
    let consumer = consumer.map_err(|error| error.to_string())?;
    let is_empty = consumer.cached_info().num_pending == 0;
    let messages = consumer.messages().await;
    let messages = messages.map_err(|error| error.to_string())?;
    let messages = messages.map(|message| message.map_err(|error| error.to_string()));
    Ok((is_empty, messages))
}

impl Bucket {
    /// Opens a bucket, and makes it if it is missing.
    pub async fn open(nats: Nats, settings: &BucketSettings) -> Result<Self, RegistryError> {
        let bucket = Self {
            nats,
            name: settings.name,
        };
        bucket.make(bucket.config(settings)).await?;
        Ok(bucket)
    }

    /// Opens a bucket of the newest message of each subject of a stream, whose subjects have two
    /// tokens, and makes it if it is missing. The key is the second of them. nats-server itself
    /// fills it, and nobody else can.
    pub async fn open_derived(
        nats: Nats,
        settings: &BucketSettings,
        stream: &str,
    ) -> Result<Self, RegistryError> {
        let bucket = Self {
            nats,
            name: settings.name,
        };
        let source = Source {
            name: stream.to_owned(),
            subject_transforms: vec![SubjectTransform {
                source: format!("{stream}.*"),
                destination: bucket.subject("{{wildcard(1)}}"),
            }],
            ..Source::default()
        };
        let config = Config {
            subjects: Vec::new(),
            sources: Some(vec![source]),
            ..bucket.config(settings)
        };
        bucket.make(config).await?;
        Ok(bucket)
    }

    /// Writes a value over the revision that the caller saw, 0 for a key that there never was.
    /// Answers the new revision.
    pub async fn put(&self, key: &str, value: Vec<u8>, seen: u64) -> Result<u64, RegistryError> {
        self.publish(key, value.into(), seen, HeaderMap::new())
            .await
    }

    /// Deletes a key at the revision that the caller saw. Answers the new revision.
    pub async fn delete(&self, key: &str, seen: u64) -> Result<u64, RegistryError> {
        let mut headers = HeaderMap::new();
        headers.insert(OPERATION, DELETED);
        self.publish(key, Bytes::new(), seen, headers).await
    }

    /// Makes the stream of the bucket, unless there is one.
    async fn make(&self, config: Config) -> Result<(), RegistryError> {
        match self.nats.js.get_stream(self.stream()).await {
            Ok(_) => return Ok(()),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(reply) if reply.code() == 404 => {}
                _ => return Err(self.failed("open", &error)),
            },
        }
        if let Err(error) = self.nats.js.create_stream(config).await {
            // Another process may have been first.
            if self.nats.js.get_stream(self.stream()).await.is_err() {
                return Err(self.failed("make", &error));
            }
        }
        Ok(())
    }

    /// Every key as it is now, then [`WatchEvent::Current`], then each change. It ends with an
    /// error when the connection was lost for long; then watch anew.
    pub async fn watch(
        &self,
    ) -> Result<impl Stream<Item = Result<WatchEvent, RegistryError>> + use<>, RegistryError> {
        let messages = last_messages(&self.nats, &self.stream(), self.subject(">")).await;
        let (is_empty, messages) = messages.map_err(|error| self.failed("watch", &error))?;
        let bucket = self.clone();
        let mut is_current = is_empty;
        let events = messages.flat_map(move |message| {
            let read = message
                .map_err(|error| bucket.failed("watch", &error))
                .and_then(|message| bucket.read(&message));
            let mut events = Vec::with_capacity(2);
            match read {
                Ok((entry, pending)) => {
                    events.push(Ok(WatchEvent::Entry(entry)));
                    if pending == 0 && !is_current {
                        is_current = true;
                        events.push(Ok(WatchEvent::Current));
                    }
                }
                Err(error) => events.push(Err(error)),
            }
            futures::stream::iter(events)
        });
        let first = is_empty.then_some(Ok(WatchEvent::Current));
        Ok(futures::stream::iter(first).chain(events))
    }

    /// The connection that it uses.
    pub fn nats(&self) -> &Nats {
        &self.nats
    }

    async fn publish(
        &self,
        key: &str,
        value: Bytes,
        seen: u64,
        mut headers: HeaderMap,
    ) -> Result<u64, RegistryError> {
        headers.insert(
            NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            seen.to_string().as_str(),
        );
        let message = PublishMessage::build().payload(value).headers(headers);
        match self.nats.publish_once(self.subject(key), message).await {
            Ok(ack) => Ok(ack.sequence),
            Err(error) => match error.kind() {
                PublishErrorKind::WrongLastSequence => Err(RegistryError::Changed {
                    key: key.to_owned(),
                }),
                _ => Err(self.failed("write to", &error)),
            },
        }
    }

    fn read(&self, message: &Message) -> Result<(Entry, u64), RegistryError> {
        let info = message.info();
        let info = info.map_err(|error| self.failed("read", &error))?;
        let prefix = self.subject("");
        let key = message.subject.strip_prefix(prefix.as_str());
        let headers = message.headers.as_ref();
        let is_value = headers.and_then(|headers| headers.get(OPERATION)).is_none();
        let entry = Entry {
            key: key.unwrap_or_default().to_owned(),
            revision: info.stream_sequence,
            value: is_value.then(|| message.payload.clone()),
        };
        Ok((entry, info.pending))
    }

    fn config(&self, settings: &BucketSettings) -> Config {
        Config {
            name: self.stream(),
            description: Some(settings.description.to_owned()),
            subjects: vec![self.subject(">")],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::New,
            max_messages: -1,
            max_messages_per_subject: 1,
            max_bytes: settings.max_bytes,
            max_message_size: settings.max_value_bytes,
            max_age: settings.max_age.unwrap_or_default(),
            max_consumers: -1,
            num_replicas: settings.replicas,
            allow_rollup: true,
            deny_delete: true,
            allow_direct: true,
            ..Config::default()
        }
    }

    fn stream(&self) -> String {
        format!("KV_{}", self.name)
    }

    fn subject(&self, key: &str) -> String {
        format!("$KV.{}.{key}", self.name)
    }

    fn failed(&self, attempt: &'static str, error: &dyn std::fmt::Display) -> RegistryError {
        RegistryError::Nats {
            attempt,
            bucket: self.name,
            reason: error.to_string(),
        }
    }
}
