//! The registry of the mine: what the stream `registry` says, and its next message.
//!
//! A change is one message of that stream, which carries the sequence that it follows. JetStream
//! refuses it once the stream went on, whoever wrote; then what was written is learnt first and the
//! change is judged anew. So no update is lost, references and unique values hold, and there is no
//! moment at which a kill leaves one half of a change behind.
//!
//! A second write of the value into a KV bucket would be such a half. The bucket
//! `headframe_registry` is therefore no store of ours to write: nats-server itself makes it from
//! the stream, the newest change of each resource, as a KV bucket is nothing but the last message
//! of each subject. What is now is read from the same place: the last message of each subject of
//! the stream, which is kept for ever.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::{Stream as FutureStream, StreamExt};
use headframe_schemas::resource::{Change, Refusal, ResourceVersion};
use headframe_schemas::stream::registry::{RegistryChange, RegistryChanges};
use headframe_schemas::{Stream, codec};
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::nats::Nats;
use crate::nats::provision::StreamSettings;
use crate::publish::exclusive::{AppendError, ExclusiveAppender};
use crate::registry::state::{PlannedChange, RegistryState};
use crate::registry::{Bucket, BucketSettings, RegistryError, last_messages};

/// The stream.
pub const STREAM: &dyn Stream = &RegistryChanges;
/// The bucket that nats-server makes of it.
pub const BUCKET: &str = "headframe_registry";

/// How long a change waits for an answer, or for what others wrote.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a change is judged anew after others wrote.
const ATTEMPTS: usize = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The registry does not allow it; nothing was written.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Others write all the time; nothing was written.
    #[error("the registry was changed {ATTEMPTS} times while this change was tried")]
    Busy,
    /// What others wrote cannot be read just now; nothing was written.
    #[error("what is in the registry now cannot be read from NATS; nothing was written")]
    Behind,
    /// The stream does not take it, or does not answer.
    #[error(transparent)]
    Stream(#[from] AppendError),
}

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

/// Messages of the stream as they come.
type Messages = Pin<Box<dyn FutureStream<Item = Result<LastMessage, String>> + Send>>;

/// One message of the stream.
struct LastMessage {
    seq: u64,
    pending: u64,
    changes: Vec<RegistryChange>,
}

/// What a process knows of the registry.
#[derive(Debug, Default)]
struct Shared {
    state: RwLock<RegistryState>,
    /// Every message through this sequence is in the state.
    complete: watch::Sender<u64>,
}

/// The registry of a process.
#[derive(Debug)]
pub struct ResourceRegistry {
    shared: Arc<Shared>,
    appender: Mutex<ExclusiveAppender>,
}

/// Keeps a registry up to date with what others write.
pub struct RegistryFollower {
    nats: Nats,
    shared: Arc<Shared>,
    messages: Messages,
}

impl ResourceRegistry {
    /// Makes the stream if it is missing, and learns what is registered. What others write from
    /// then on comes by the follower, which is to be run.
    pub async fn open(
        nats: Nats,
        settings: &StreamSettings,
    ) -> Result<(Self, RegistryFollower), ChangeError> {
        let appender = ExclusiveAppender::open(nats.clone(), STREAM, settings).await?;
        let shared = Arc::new(Shared::default());
        let mut follower = RegistryFollower {
            messages: messages(&nats).await.map_err(|_| ChangeError::Behind)?,
            nats,
            shared: shared.clone(),
        };
        if appender.last_seq() > 0 {
            let current = follower.until_current();
            let current = tokio::time::timeout(3 * PATIENCE, current).await;
            current
                .map_err(|_| ChangeError::Behind)?
                .map_err(|_| ChangeError::Behind)?;
        }
        let registry = Self {
            shared,
            appender: Mutex::new(appender.with_settle_timeout(PATIENCE)),
        };
        Ok((registry, follower))
    }

    /// What is registered, as far as this process knows.
    pub fn state(&self) -> RwLockReadGuard<'_, RegistryState> {
        self.shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The sequence through which this process knows every change.
    pub fn complete(&self) -> u64 {
        *self.shared.complete.borrow()
    }

    /// Makes a change, and answers what is there since; after a deletion, what was there.
    ///
    /// A caller that goes away may leave a change that is made all the same.
    pub async fn change(&self, change: &Change) -> Result<ResourceVersion, ChangeError> {
        let mut appender = self.appender.lock().await;
        for _ in 0..ATTEMPTS {
            if let Err(error) = appender.settle().await {
                learn_end(&mut appender, error).await?;
            }
            self.until_complete(appender.last_seq()).await?;
            let planned = self.state().plan(change, now_us());
            let answer = match planned {
                Ok(PlannedChange::Message(message)) => {
                    match appender.append(std::slice::from_ref(&message)).await {
                        Ok(seq) => return Ok(self.applied(seq, &message)),
                        Err(error) => learn_end(&mut appender, error).await?,
                    }
                    continue;
                }
                Ok(PlannedChange::Unchanged(there)) => Ok(there),
                Err(refusal) => Err(refusal.into()),
            };
            // It holds only if nobody wrote meanwhile.
            if appender.refresh().await? <= self.complete() {
                return answer;
            }
        }
        Err(ChangeError::Busy)
    }

    /// Puts what was just written into the state, without waiting for the follower, and answers
    /// what this change made: by now somebody else may have written over it.
    fn applied(&self, seq: u64, message: &RegistryChange) -> ResourceVersion {
        self.shared.apply(seq, message);
        self.shared.complete_through(seq);
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

    /// Waits until this process knows what the stream held when its writer learnt its end.
    async fn until_complete(&self, seq: u64) -> Result<(), ChangeError> {
        let mut complete = self.shared.complete.subscribe();
        let reached = complete.wait_for(|complete| *complete >= seq);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ChangeError::Behind),
        }
    }
}

/// Takes the stream's end as known, when somebody else wrote; any other error goes on to the
/// caller.
async fn learn_end(
    appender: &mut MutexGuard<'_, ExclusiveAppender>,
    error: AppendError,
) -> Result<(), ChangeError> {
    match error {
        AppendError::Conflict { lost: false, .. } => {
            appender.refresh().await?;
            Ok(())
        }
        error => Err(error.into()),
    }
}

impl Shared {
    fn apply(&self, seq: u64, change: &RegistryChange) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = state.apply(seq, change) {
            tracing::error!(%error, "a change of the registry is left out");
        }
    }

    fn complete_through(&self, seq: u64) {
        self.complete.send_if_modified(|complete| {
            let is_newer = *complete < seq;
            *complete = seq.max(*complete);
            is_newer
        });
    }
}

impl RegistryFollower {
    /// Takes in what is written until cancelled.
    pub async fn run(mut self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.messages.next().await {
                Some(Ok(message)) => {
                    pause = FIRST_PAUSE;
                    self.take(&message);
                    self.shared.complete_through(message.seq);
                    continue;
                }
                Some(Err(error)) => tracing::debug!(%error, "the registry is followed anew"),
                None => tracing::debug!("the registry is followed anew"),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            match messages(&self.nats).await {
                Ok(messages) => self.messages = messages,
                Err(_) => continue,
            }
            // The newest of each is told first, in which there are gaps.
            if let Err(error) = self.until_current().await {
                tracing::debug!(%error, "the registry is followed anew");
            }
        }
    }

    /// Takes in the newest change of every resource.
    async fn until_current(&mut self) -> Result<(), String> {
        loop {
            let message = self.messages.next().await;
            let message = message.ok_or_else(|| "it ended".to_owned())??;
            self.take(&message);
            if message.pending == 0 {
                self.shared.complete_through(message.seq);
                return Ok(());
            }
        }
    }

    fn take(&self, message: &LastMessage) {
        for change in &message.changes {
            self.shared.apply(message.seq, change);
        }
    }
}

/// The newest message of every subject of the stream, by sequence, and then each that comes.
async fn messages(nats: &Nats) -> Result<Messages, String> {
    let (_, messages) = last_messages(nats, STREAM.name(), format!("{}.>", STREAM.name())).await?;
    let read = messages.map(|message| {
        let message = message?;
        let info = message.info().map_err(|error| error.to_string())?;
        let mut changes = Vec::new();
        for (_, line) in codec::lines(&message.payload) {
            match serde_json::from_slice(line) {
                Ok(change) => changes.push(change),
                // The pipeline makes a dead letter of it.
                Err(error) => {
                    let seq = info.stream_sequence;
                    tracing::error!(seq, %error, "a change of the registry is left out");
                }
            }
        }
        Ok(LastMessage {
            seq: info.stream_sequence,
            pending: info.pending,
            changes,
        })
    });
    Ok(Box::pin(read))
}

fn now_us() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_micros()).unwrap_or(i64::MAX)
}
