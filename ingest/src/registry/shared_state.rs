//! What the newest messages of a stream add up to, and its next message.
//!
//! A change is one message of the stream, which carries the sequence that it follows. JetStream
//! refuses it once the stream went on, whoever wrote; then what was written is learnt first and the
//! change is judged anew. So whoever writes, in whichever process, judges by all that was written,
//! and a kill leaves a change made or not made. What is now is the newest message of each subject,
//! which are kept for ever.

use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use futures::{Stream as FutureStream, StreamExt};
use headframe_schemas::{Record, codec};
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, MutexGuard, watch};
use tokio_util::sync::CancellationToken;

use crate::nats::Nats;
use crate::nats::provision::StreamSettings;
use crate::publish::exclusive::{AppendError, ExclusiveAppender};
use crate::read::last_message::last_numbered;
use crate::registry::last_messages;

/// How long a change waits for an answer, or for what others wrote.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a change is judged anew after others wrote.
const ATTEMPTS: usize = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What the messages of a stream add up to.
pub trait StreamState: Default + Send + Sync + 'static {
    /// A row of it.
    type Row: Record + DeserializeOwned + 'static;

    /// Takes a row in, whose message has this sequence; one that is known already, or that is older
    /// than what is known of its key, changes nothing. Answers why a row cannot be used.
    fn apply(&mut self, seq: u64, row: &Self::Row) -> Result<(), String>;

    /// Whether the newest row of a key may be one that the state let go, to stay within its memory.
    fn may_have_left(&self, _key: &str) -> bool {
        false
    }

    /// Takes such a row in again, so that it stays for a while.
    fn recall(&mut self, seq: u64, row: &Self::Row) -> Result<(), String> {
        self.apply(seq, row)
    }
}

/// What a change comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum NextMessage<R, T> {
    /// This message.
    Message(R),
    /// Nothing: it is so already.
    Unchanged(T),
}

/// Why a change was not made. `E` is why the state does not allow it.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError<E: std::error::Error + 'static> {
    /// The state does not allow it; nothing was written.
    #[error(transparent)]
    Refused(E),
    /// Others write all the time; nothing was written.
    #[error("{0} was changed {ATTEMPTS} times while this change was tried")]
    Busy(&'static str),
    /// What others wrote cannot be read just now; nothing was written.
    #[error("what is in {0} now cannot be read from NATS; nothing was written")]
    Behind(&'static str),
    /// The stream does not take it, or does not answer.
    #[error(transparent)]
    Stream(#[from] AppendError),
}

/// Messages of the stream as they come.
type Messages<R> = Pin<Box<dyn FutureStream<Item = Result<LastMessage<R>, String>> + Send>>;

/// One message of the stream.
struct LastMessage<R> {
    seq: u64,
    pending: u64,
    rows: Vec<R>,
}

/// What a process knows of the stream.
#[derive(Debug, Default)]
struct Shared<S> {
    state: RwLock<S>,
    /// Every message through this sequence is in the state.
    complete: watch::Sender<u64>,
}

/// The state of a stream in one process, and the writing end.
#[derive(Debug)]
pub struct SharedState<S> {
    nats: Nats,
    shared: Arc<Shared<S>>,
    appender: Mutex<ExclusiveAppender>,
}

/// Keeps a state up to date with what others write.
pub struct StateFollower<S: StreamState> {
    nats: Nats,
    shared: Arc<Shared<S>>,
    messages: Messages<S::Row>,
}

fn name<S: StreamState>() -> &'static str {
    <S::Row as Record>::STREAM.name()
}

impl<S: StreamState> SharedState<S> {
    /// Makes the stream if it is missing, and learns what it holds. What others write from then on
    /// comes by the follower, which is to be run.
    pub async fn open<E: std::error::Error + 'static>(
        nats: Nats,
        settings: &StreamSettings,
    ) -> Result<(Self, StateFollower<S>), ChangeError<E>> {
        let stream = <S::Row as Record>::STREAM;
        let appender = ExclusiveAppender::open(nats.clone(), stream, settings).await?;
        let shared = Arc::new(Shared {
            state: RwLock::new(S::default()),
            complete: watch::Sender::default(),
        });
        let behind = || ChangeError::Behind(stream.name());
        let mut follower = StateFollower {
            messages: messages::<S>(&nats).await.map_err(|_| behind())?,
            nats,
            shared: shared.clone(),
        };
        if appender.last_seq() > 0 {
            let current = follower.until_current();
            let current = tokio::time::timeout(3 * PATIENCE, current).await;
            current.map_err(|_| behind())?.map_err(|_| behind())?;
        }
        let state = Self {
            nats: follower.nats.clone(),
            shared,
            appender: Mutex::new(appender.with_settle_timeout(PATIENCE)),
        };
        Ok((state, follower))
    }

    /// What there is, as far as this process knows.
    pub fn state(&self) -> RwLockReadGuard<'_, S> {
        self.shared
            .state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The sequence through which this process knows every message.
    pub fn complete(&self) -> u64 {
        *self.shared.complete.borrow()
    }

    /// Makes the change that `plan` makes of the state, and answers it.
    ///
    /// A caller that goes away may leave a change that is made all the same.
    pub async fn change<T, E: std::error::Error + 'static>(
        &self,
        plan: impl Fn(&S) -> Result<NextMessage<S::Row, T>, E>,
    ) -> Result<NextMessage<S::Row, T>, ChangeError<E>> {
        let mut appender = self.appender.lock().await;
        for _ in 0..ATTEMPTS {
            if let Err(error) = appender.settle().await {
                learn_end(&mut appender, error).await?;
            }
            self.until_complete(appender.last_seq()).await?;
            let planned = plan(&self.state());
            let answer = match planned {
                Ok(NextMessage::Message(row)) => {
                    match appender.append(std::slice::from_ref(&row)).await {
                        Ok(seq) => {
                            // Without waiting for the follower.
                            self.shared.apply(seq, &row);
                            self.shared.complete_through(seq);
                            return Ok(NextMessage::Message(row));
                        }
                        Err(error) => learn_end(&mut appender, error).await?,
                    }
                    continue;
                }
                Ok(unchanged) => Ok(unchanged),
                Err(refusal) => Err(ChangeError::Refused(refusal)),
            };
            // It holds only if nobody wrote meanwhile.
            if appender.refresh().await? <= self.complete() {
                return answer;
            }
        }
        Err(ChangeError::Busy(name::<S>()))
    }

    /// Takes the newest message of a key in again, where the state may have let it go.
    ///
    /// # Errors
    ///
    /// [`ChangeError::Behind`] while NATS does not answer.
    pub async fn recall<E: std::error::Error + 'static>(
        &self,
        key: &str,
    ) -> Result<(), ChangeError<E>> {
        if !self.state().may_have_left(key) {
            return Ok(());
        }
        let stream = <S::Row as Record>::STREAM;
        let found = last_numbered(&self.nats, stream, key).await;
        let found = found.map_err(|_| ChangeError::Behind(stream.name()))?;
        let Some((seq, body)) = found else {
            return Ok(());
        };
        let rows = codec::lines(&body)
            .filter_map(|(_, line)| serde_json::from_slice::<S::Row>(line).ok())
            .filter(|row| row.key() == key);
        let mut state = self.shared.write();
        for row in rows {
            if let Err(error) = state.recall(seq, &row) {
                tracing::error!(stream = stream.name(), seq, %error, "a row is left out");
            }
        }
        Ok(())
    }

    /// Waits until this process knows what the stream held when its writer learnt its end.
    async fn until_complete<E: std::error::Error + 'static>(
        &self,
        seq: u64,
    ) -> Result<(), ChangeError<E>> {
        let mut complete = self.shared.complete.subscribe();
        let reached = complete.wait_for(|complete| *complete >= seq);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ChangeError::Behind(name::<S>())),
        }
    }
}

/// Takes the stream's end as known, when somebody else wrote; any other error goes on to the
/// caller.
async fn learn_end<E: std::error::Error + 'static>(
    appender: &mut MutexGuard<'_, ExclusiveAppender>,
    error: AppendError,
) -> Result<(), ChangeError<E>> {
    match error {
        AppendError::Conflict { lost: false, .. } => {
            appender.refresh().await?;
            Ok(())
        }
        error => Err(error.into()),
    }
}

impl<S: StreamState> Shared<S> {
    fn write(&self) -> RwLockWriteGuard<'_, S> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn apply(&self, seq: u64, row: &S::Row) {
        if let Err(error) = self.write().apply(seq, row) {
            tracing::error!(stream = name::<S>(), seq, %error, "a row is left out");
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

impl<S: StreamState> StateFollower<S> {
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
                Some(Err(error)) => tracing::debug!(%error, "the stream is followed anew"),
                None => tracing::debug!("the stream is followed anew"),
            }
            tokio::time::sleep(pause).await;
            pause = (2 * pause).min(LONGEST_PAUSE);
            match messages::<S>(&self.nats).await {
                Ok(messages) => self.messages = messages,
                Err(_) => continue,
            }
            // The newest of each is told first, in which there are gaps.
            if let Err(error) = self.until_current().await {
                tracing::debug!(%error, "the stream is followed anew");
            }
        }
    }

    /// Takes in the newest message of every subject.
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

    fn take(&self, message: &LastMessage<S::Row>) {
        for row in &message.rows {
            self.shared.apply(message.seq, row);
        }
    }
}

/// The newest message of every subject of the stream, by sequence, and then each that comes.
async fn messages<S: StreamState>(nats: &Nats) -> Result<Messages<S::Row>, String> {
    let stream = name::<S>();
    let (_, messages) = last_messages(nats, stream, format!("{stream}.>")).await?;
    let read = messages.map(move |message| {
        let message = message?;
        let info = message.info().map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        for (_, line) in codec::lines(&message.payload) {
            match serde_json::from_slice(line) {
                Ok(row) => rows.push(row),
                // The pipeline makes a dead letter of it.
                Err(error) => {
                    let seq = info.stream_sequence;
                    tracing::error!(stream, seq, %error, "a row is left out");
                }
            }
        }
        Ok(LastMessage {
            seq: info.stream_sequence,
            pending: info.pending,
            rows,
        })
    });
    Ok(Box::pin(read))
}
