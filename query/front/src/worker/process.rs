//! One worker: a child process that is started, watched and killed.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorCode, QueryError};
use crate::worker::client::{Failure, WorkerClient};
use crate::worker::memory::resident_bytes;
use crate::worker::settings::WorkerSettings;

/// How long a worker may take from its start until it listens.
const START: Duration = Duration::from_secs(30);
/// How often a worker's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a statement that was dropped may take to let go.
const GRACE: Duration = Duration::from_millis(500);
/// How long a worker may take to say what it works on.
const ANSWER: Duration = Duration::from_millis(250);
/// How long a lost connection waits for the reason of the loss.
const REASON: Duration = Duration::from_secs(1);

/// What to run as a worker.
#[derive(Debug, Clone)]
pub struct WorkerProgram {
    /// The program.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// A statement did not end when it had to.
    Deadline,
    /// It held more memory than it may, or was refused more.
    Memory,
    /// It ended by itself, or somebody else killed it.
    Ended,
    /// The front stops.
    Stopped,
}

impl EndReason {
    /// The label in metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
        }
    }
}

/// A worker that answers.
pub struct Worker {
    /// Its process id.
    pub pid: u32,
    client: WorkerClient,
    memory_mib: usize,
    statements: Mutex<HashSet<String>>,
    kill: mpsc::Sender<EndReason>,
    end: watch::Receiver<Option<EndReason>>,
    /// The one statement that ran when it ended; `None` when there were several or none.
    last_alone: OnceLock<Option<String>>,
}

/// Keeps a statement among those of its worker. Dropped before it is done, it sees to it that the
/// worker lets go of the statement, or is killed.
pub struct StatementGuard {
    worker: Arc<Worker>,
    id: String,
    done: bool,
}

/// A process that was started: its client's side, and what has to be watched.
pub struct Started {
    /// The worker.
    pub worker: Arc<Worker>,
    child: Child,
    stdin: ChildStdin,
    kills: mpsc::Receiver<EndReason>,
    end: watch::Sender<Option<EndReason>>,
    socket: PathBuf,
}

/// Starts a worker and waits until it listens.
pub async fn start(program: &WorkerProgram, settings: &WorkerSettings) -> io::Result<Started> {
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A Ctrl-C in the terminal must reach the front alone, which stops all in its order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let missing = || io::Error::other("the worker has no standard input or output");
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    let listening = timeout(START, async {
        let mut line = serde_json::to_vec(settings)?;
        line.push(b'\n');
        stdin.write_all(&line).await?;
        stdin.flush().await?;
        let mut ready = String::new();
        BufReader::new(stdout).read_line(&mut ready).await?;
        if ready.trim() != "ready" {
            return Err(io::Error::other("it ended before it listened"));
        }
        Ok(())
    });
    listening
        .await
        .map_err(|_| io::Error::other(format!("it did not listen within {START:?}")))??;
    let (kill, kills) = mpsc::channel(1);
    let (end, ended) = watch::channel(None);
    let worker = Arc::new(Worker {
        pid: child.id().unwrap_or_default(),
        client: WorkerClient::new(settings.socket.clone()),
        memory_mib: settings.query.worker_memory_mib(),
        statements: Mutex::default(),
        kill,
        end: ended,
        last_alone: OnceLock::new(),
    });
    Ok(Started {
        worker,
        child,
        stdin,
        kills,
        end,
        socket: settings.socket.clone(),
    })
}

impl Started {
    /// Watches the process until it has ended, for whatever reason.
    pub async fn watch(mut self, stop: CancellationToken) -> EndReason {
        let limit = (self.worker.memory_mib as u64) << 20;
        let mut looks = interval(LOOK);
        let reason = loop {
            tokio::select! {
                () = stop.cancelled() => break EndReason::Stopped,
                Some(reason) = self.kills.recv() => break reason,
                status = self.child.wait() => break end_of(status),
                _ = looks.tick() => {
                    if resident_bytes(self.worker.pid).is_some_and(|bytes| bytes > limit) {
                        break EndReason::Memory;
                    }
                }
            }
        };
        self.worker.note_last_statement();
        self.end.send_replace(Some(reason));
        drop(self.stdin);
        self.child.kill().await.ok();
        std::fs::remove_file(&self.socket).ok();
        reason
    }
}

/// A process that cannot have more memory aborts.
fn end_of(status: io::Result<std::process::ExitStatus>) -> EndReason {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    match status {
        Ok(status) if status.signal() == Some(SIGABRT) => EndReason::Memory,
        _ => EndReason::Ended,
    }
}

impl Worker {
    /// Whom statements are sent through.
    pub fn client(&self) -> &WorkerClient {
        &self.client
    }

    /// Whether it has ended: it takes no further statement.
    pub fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// How many statements run on it.
    pub fn load(&self) -> usize {
        self.lock().len()
    }

    /// Notes that a statement runs on it.
    pub fn enter(self: &Arc<Self>, id: &str) -> StatementGuard {
        self.lock().insert(id.to_owned());
        StatementGuard {
            worker: self.clone(),
            id: id.to_owned(),
            done: false,
        }
    }

    /// Why it ended, waiting a moment for the answer; `None` when it still runs.
    pub async fn end_reason(&self) -> Option<EndReason> {
        let mut end = self.end.clone();
        let ended = timeout(REASON, end.wait_for(Option::is_some)).await;
        ended.ok().and_then(Result::ok).and_then(|reason| *reason)
    }

    /// Remembers which statement ended it, if that can be told.
    fn note_last_statement(&self) {
        let statements = self.lock();
        let mut ids = statements.iter();
        let alone = ids.next().filter(|_| ids.next().is_none()).cloned();
        self.last_alone.get_or_init(|| alone);
    }

    /// The error of this statement, whose worker went away under it, and whether another worker may
    /// try it: not when it was the only one on a worker that ran out of memory. One that came when
    /// the worker was gone already has nothing to do with its end.
    pub async fn loss(&self, id: &str) -> (QueryError, bool) {
        let reason = self.end_reason().await;
        let last_alone = self.last_alone.get().and_then(Option::as_deref);
        if reason == Some(EndReason::Memory) && last_alone == Some(id) {
            let message = format!(
                "the query needs more memory than it may use: its worker reached {} MiB, which is \
                 the limit",
                self.memory_mib
            );
            let hint = "read fewer columns or a shorter time, group by less, or raise \
                        query.worker_memory_mib";
            return (
                QueryError::new(ErrorCode::MemoryLimit, message, hint),
                false,
            );
        }
        let why = match reason {
            Some(EndReason::Deadline) => "a statement beside this one did not end in time",
            Some(EndReason::Memory) => "the statements on it took more memory than it may hold",
            Some(EndReason::Stopped) => "the server stops",
            Some(EndReason::Ended) => "the process ended",
            None => "the connection ended",
        };
        let message = format!("the SQL worker was lost: {why}");
        let error = QueryError::new(ErrorCode::WorkerLost, message, "send the statement again");
        (error, reason != Some(EndReason::Stopped))
    }

    /// Waits until a dropped statement has ended, and kills the worker when it does not.
    async fn release(self: Arc<Self>, id: String) {
        sleep(GRACE).await;
        let running = timeout(ANSWER, self.client.running()).await;
        let reason = match running {
            Ok(Ok(ids)) if !ids.contains(&id) => None,
            // It does not listen any more: the process ends already, however slowly.
            Ok(Err(Failure::Lost)) => Some(EndReason::Ended),
            _ => Some(EndReason::Deadline),
        };
        if let Some(reason) = reason {
            self.kill.try_send(reason).ok();
        }
        self.lock().remove(&id);
    }

    /// The set is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatementGuard {
    /// The worker has ended the statement.
    pub fn done(mut self) {
        self.done = true;
    }

    /// The error of the statement when its worker went away under it.
    pub async fn loss(&self) -> QueryError {
        self.worker.loss(&self.id).await.0
    }
}

impl Drop for StatementGuard {
    fn drop(&mut self) {
        if self.done || self.worker.has_ended() {
            self.worker.lock().remove(&self.id);
            return;
        }
        // Outside a runtime everything ends anyway.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (worker, id) = (self.worker.clone(), std::mem::take(&mut self.id));
            runtime.spawn(worker.release(id));
        }
    }
}

#[cfg(test)]
impl Worker {
    /// A worker without a process that runs these statements, what ends it, and what kills it.
    pub(super) fn without_process(
        pid: u32,
        running: &[&str],
    ) -> (
        Arc<Self>,
        watch::Sender<Option<EndReason>>,
        mpsc::Receiver<EndReason>,
    ) {
        let (end, ended) = watch::channel(None);
        let (kill, kills) = mpsc::channel(1);
        let worker = Self {
            pid,
            client: WorkerClient::new(PathBuf::new()),
            memory_mib: 1536,
            statements: Mutex::new(running.iter().map(|id| (*id).to_owned()).collect()),
            kill,
            end: ended,
            last_alone: OnceLock::new(),
        };
        (Arc::new(worker), end, kills)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ended_worker(reason: EndReason, running: &[&str]) -> Arc<Worker> {
        let (worker, end, _) = Worker::without_process(0, running);
        worker.note_last_statement();
        end.send_replace(Some(reason));
        worker
    }

    #[tokio::test]
    async fn only_the_statement_that_ran_alone_is_told_that_it_took_the_memory() {
        let worker = ended_worker(EndReason::Memory, &["greedy"]);
        let (error, may_repeat) = worker.loss("greedy").await;
        assert_eq!((error.code, may_repeat), (ErrorCode::MemoryLimit, false));
        // Sent to the worker after its end, before another took its place.
        worker.lock().insert("late".to_owned());
        let (error, may_repeat) = worker.loss("late").await;
        assert_eq!((error.code, may_repeat), (ErrorCode::WorkerLost, true));
        let two = ended_worker(EndReason::Memory, &["one", "two"]);
        assert!(two.loss("one").await.1 && two.loss("two").await.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_died_under_a_statement_was_not_killed_for_being_late() {
        let (worker, _end, mut kills) = Worker::without_process(0, &[]);
        drop(worker.enter("lost with it"));
        assert_eq!(kills.recv().await, Some(EndReason::Ended));
    }
}
