//! Makes sure a JetStream stream exists with the settings that exactly-once rests on, and refuses
//! one that has others.
//!
//! An existing stream is never changed: whoever made it so may have had a reason, and a silent
//! change of retention loses data. The refusal lists every setting that is wrong at once.

use std::time::Duration;

use async_nats::jetstream::Context;
use async_nats::jetstream::consumer::pull;
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use headframe_schemas::Stream;
use serde::{Deserialize, Serialize};

/// The durable consumer through which subscribers read a stream that is open to them.
pub const SUBSCRIBER_DURABLE: &str = "subscriber";

/// The shortest window in which JetStream itself must recognise a repeated message id.
pub const MIN_DUPLICATE_WINDOW: Duration = Duration::from_secs(120);

/// What may be chosen about a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StreamSettings {
    /// Bytes it may hold; when full, publishes are refused until messages age out. `None` =
    /// unlimited.
    pub max_bytes: Option<u64>,
    /// Age at which messages leave, in seconds. It must be longer than any outage of the pipelines.
    /// `None` = never.
    pub max_age_s: Option<u64>,
    /// Copies in a cluster: 1, 3 or 5.
    pub replicas: usize,
    /// Seconds in which JetStream recognises a repeated message id; at least 120.
    pub duplicate_window_s: u64,
}

impl Default for StreamSettings {
    fn default() -> Self {
        Self {
            max_bytes: None,
            max_age_s: Some(7 * 86_400),
            replicas: 1,
            duplicate_window_s: 120,
        }
    }
}

impl StreamSettings {
    /// Refuses wishes that would break the guarantees. The reason names the key.
    pub fn validate(&self) -> Result<(), String> {
        let window = MIN_DUPLICATE_WINDOW.as_secs();
        if self.duplicate_window_s < window {
            return Err(format!(
                "streams.duplicate_window_s is {}; it must be at least {window}",
                self.duplicate_window_s
            ));
        }
        if let Some(age) = self
            .max_age_s
            .filter(|age| *age != 0 && *age < self.duplicate_window_s)
        {
            return Err(format!(
                "streams.max_age_s is {age}; it must not be shorter than \
                 streams.duplicate_window_s; 0 means for ever"
            ));
        }
        if !matches!(self.replicas, 1 | 3 | 5) {
            return Err(format!(
                "streams.replicas is {}; it must be 1, 3 or 5",
                self.replicas
            ));
        }
        if self.max_bytes == Some(0) {
            return Err("streams.max_bytes is 0; leave it out for no limit".to_owned());
        }
        Ok(())
    }
}

/// Which incarnation of a stream this is, and how far it reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamIdentity {
    /// When it was created, nanoseconds since 1970. A recreated stream has another.
    pub created_ns: i64,
    /// The oldest sequence it holds; one more than `last_seq` when it is empty.
    pub first_seq: u64,
    /// The newest sequence it ever held.
    pub last_seq: u64,
    /// Bytes it holds.
    pub bytes: u64,
}

/// Why a stream is not fit.
#[derive(Debug, thiserror::Error)]
pub enum ProvisionError {
    /// It exists with settings that break the guarantees.
    #[error("stream {stream} exists with settings that would lose or change rows: {}; correct them \
             with `nats stream edit {stream}` or recreate it", .faults.join("; "))]
    Unfit {
        /// Its name.
        stream: String,
        /// Everything that is wrong.
        faults: Vec<String>,
    },
    /// The wish itself is wrong.
    #[error("settings of stream {stream}: {fault}")]
    StreamSettings {
        /// Its name.
        stream: String,
        /// What is wrong.
        fault: String,
    },
    /// JetStream cannot be asked; worth a retry.
    #[error(
        "cannot {attempt} stream {stream}: {reason}; check that JetStream is enabled and this \
         account may use it"
    )]
    Nats {
        /// What was attempted.
        attempt: &'static str,
        /// Its name.
        stream: String,
        /// Why it failed.
        reason: String,
    },
}

/// Creates the stream if it is missing, checks it if it exists, and makes the subscribers' durable
/// where they may read it. Safe to repeat and to race.
pub async fn provision_stream(
    js: &Context,
    stream: &dyn Stream,
    settings: &StreamSettings,
) -> Result<StreamIdentity, ProvisionError> {
    let identity = create_or_check(js, stream, settings).await?;
    if stream.is_subscribable()
        && let Err(error) = create_subscriber_durable(js, stream.name()).await
    {
        // Only subscribers miss it; the rows do not wait for them.
        tracing::warn!(
            stream = stream.name(),
            %error,
            "cannot make the durable for subscribers"
        );
    }
    Ok(identity)
}

/// Makes the durable, which hands out every message from the oldest on and repeats it until it is
/// acknowledged. One that exists stays as it is.
async fn create_subscriber_durable(js: &Context, name: &str) -> Result<(), ProvisionError> {
    let handle = js
        .get_stream_no_info(name)
        .await
        .map_err(|error| failed("open", name, &error))?;
    let config = pull::Config {
        durable_name: Some(SUBSCRIBER_DURABLE.to_owned()),
        description: Some("For subscribers: see docs/subscribe.md.".to_owned()),
        ..pull::Config::default()
    };
    handle
        .get_or_create_consumer(SUBSCRIBER_DURABLE, config)
        .await
        .map(|_| ())
        .map_err(|error| failed("make a durable of", name, &error))
}

async fn create_or_check(
    js: &Context,
    stream: &dyn Stream,
    settings: &StreamSettings,
) -> Result<StreamIdentity, ProvisionError> {
    let name = stream.name();
    let wanted = config(stream, settings)?;
    if let Some(info) = lookup(js, name).await? {
        return accept(stream, &info);
    }
    match js.create_stream(wanted).await {
        Ok(created) => {
            tracing::info!(stream = name, "created stream");
            accept(
                stream,
                &created
                    .get_info()
                    .await
                    .map_err(|error| failed("read", name, &error))?,
            )
        }
        // Another process may have been first; then what it made is what counts.
        Err(error) => match lookup(js, name).await? {
            Some(info) => accept(stream, &info),
            None => Err(failed("create", name, &error)),
        },
    }
}

/// The identity of an existing stream after checking its settings; `None` when there is no such
/// stream.
pub async fn inspect_stream(
    js: &Context,
    stream: &dyn Stream,
) -> Result<Option<StreamIdentity>, ProvisionError> {
    match lookup(js, stream.name()).await? {
        None => Ok(None),
        Some(info) => accept(stream, &info).map(Some),
    }
}

/// Everything about a stream's settings that breaks the guarantees; empty when it is fit.
pub fn faults(stream: &dyn Stream, config: &Config) -> Vec<String> {
    let storage = storage_requirements(stream, config);
    let features = feature_requirements(config);
    let broken = storage
        .into_iter()
        .chain(features)
        .filter(|(is_met, _)| !is_met);
    broken.map(|(_, fault)| fault).collect()
}

/// What is stored, for how long, and how it is confirmed: whether each setting is fit, and what is
/// wrong if it is not.
fn storage_requirements(stream: &dyn Stream, config: &Config) -> Vec<(bool, String)> {
    let subject = format!("{}.>", stream.name());
    let limited = config.max_bytes > 0 || config.max_messages > 0;
    vec![
        (
            config.subjects == [subject.clone()],
            format!("subjects are {:?}, need [{subject:?}]", config.subjects),
        ),
        (
            config.retention == RetentionPolicy::Limits,
            format!("retention is {:?}, need Limits", config.retention),
        ),
        (
            config.storage == StorageType::File,
            format!("storage is {:?}, need File", config.storage),
        ),
        (
            !stream.keeps_all_messages() || config.max_age.is_zero(),
            "max_age is set: what is registered would be forgotten, need none".to_owned(),
        ),
        (
            config.deny_delete,
            "deny_delete is off: single messages could vanish".to_owned(),
        ),
        (
            !config.allow_rollup,
            "allow_rollup_hdrs is on: a message could erase older ones".to_owned(),
        ),
        (
            !config.no_ack,
            "no_ack is on: a publisher would never know".to_owned(),
        ),
        (
            !config.sealed,
            "sealed is on: nothing can be published".to_owned(),
        ),
        (
            !limited || config.discard == DiscardPolicy::New,
            "discard is Old with a size limit: unread messages would be dropped, need New"
                .to_owned(),
        ),
        (
            config.max_messages_per_subject <= 0,
            format!(
                "max_msgs_per_subject is {}, need none",
                config.max_messages_per_subject
            ),
        ),
    ]
}

/// Features by which rows would vanish, change or come from elsewhere.
fn feature_requirements(config: &Config) -> Vec<(bool, String)> {
    vec![
        (
            config.subject_transform.is_none(),
            "subject_transform is set: rows would change their subject".to_owned(),
        ),
        (
            config.mirror.is_none(),
            "it is a mirror: its sequences are not its own".to_owned(),
        ),
        (
            config.sources.as_ref().is_none_or(Vec::is_empty),
            "it has sources: rows would arrive past our message ids".to_owned(),
        ),
        (
            !config.allow_message_ttl,
            "allow_msg_ttl is on: single messages could expire early".to_owned(),
        ),
        (
            !config.allow_message_counter,
            "allow_msg_counter is on: bodies would be rewritten".to_owned(),
        ),
        (
            !config.allow_message_schedules,
            "allow_msg_schedules is on: messages could replace others".to_owned(),
        ),
        (
            config.allow_direct,
            "allow_direct is off: reading single messages back would burden the leader".to_owned(),
        ),
        (
            config.duplicate_window >= MIN_DUPLICATE_WINDOW,
            format!(
                "duplicate_window is {} s, need at least {} s",
                config.duplicate_window.as_secs(),
                MIN_DUPLICATE_WINDOW.as_secs()
            ),
        ),
    ]
}

fn config(stream: &dyn Stream, settings: &StreamSettings) -> Result<Config, ProvisionError> {
    settings
        .validate()
        .map_err(|fault| ProvisionError::StreamSettings {
            stream: stream.name().to_owned(),
            fault,
        })?;
    Ok(Config {
        name: stream.name().to_owned(),
        description: Some(stream.doc().to_owned()),
        subjects: vec![format!("{}.>", stream.name())],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        deny_delete: true,
        allow_direct: true,
        max_bytes: settings
            .max_bytes
            .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        max_message_size: -1,
        max_age: match stream.keeps_all_messages() {
            true => Duration::ZERO,
            false => Duration::from_secs(settings.max_age_s.unwrap_or(0)),
        },
        num_replicas: settings.replicas,
        duplicate_window: Duration::from_secs(settings.duplicate_window_s),
        ..Config::default()
    })
}

fn accept(stream: &dyn Stream, info: &Info) -> Result<StreamIdentity, ProvisionError> {
    let faults = faults(stream, &info.config);
    if !faults.is_empty() {
        return Err(ProvisionError::Unfit {
            stream: stream.name().to_owned(),
            faults,
        });
    }
    Ok(StreamIdentity {
        // Nanoseconds since 1970 fit i64 until 2262.
        created_ns: i64::try_from(info.created.unix_timestamp_nanos()).unwrap_or(i64::MAX),
        first_seq: info.state.first_sequence.max(1),
        last_seq: info.state.last_sequence,
        bytes: info.state.bytes,
    })
}

async fn lookup(js: &Context, name: &str) -> Result<Option<Info>, ProvisionError> {
    match js.get_stream(name).await {
        Ok(stream) => Ok(Some(stream.cached_info().clone())),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(reply) if reply.code() == 404 => Ok(None),
            _ => Err(failed("look up", name, &error)),
        },
    }
}

fn failed(attempt: &'static str, stream: &str, error: &dyn std::fmt::Display) -> ProvisionError {
    ProvisionError::Nats {
        attempt,
        stream: stream.to_owned(),
        reason: error.to_string(),
    }
}
