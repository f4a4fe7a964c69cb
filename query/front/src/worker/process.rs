//! One worker: a child process that is started, watched and killed.

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::error::{ErrorCode, QueryError};
use crate::worker::client::{Failure, WorkerClient};
use crate::worker::settings::WorkerSettings;
use crate::worker::usage::{processor_time, resident_bytes};
use crate::worker::wire::StatementId;

/// How long a worker may take from its start until it listens.
const START: Duration = Duration::from_secs(30);
/// How often a worker's memory is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long a statement that was dropped may take to let go: this long, and this much processor
/// time of its worker, so that where others take the processors a worker is not killed for it.
/// The one that takes its place would have its tables to read anew, and be later still.
const GRACE: Duration = Duration::from_millis(500);
/// How long it may take whatever its worker gets of the processors.
const LONGEST_GRACE: Duration = Duration::from_secs(10);
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
    statements: Mutex<HashSet<StatementId>>,
    next_statement: AtomicU64,
    kill: mpsc::Sender<EndReason>,
    end: watch::Receiver<Option<EndReason>>,
    /// The one statement that ran when it ended; `None` when there were several or none.
    last_alone: OnceLock<Option<StatementId>>,
}

/// Keeps a statement among those of its worker. Dropped before it is done, it sees to it that the
/// worker lets go of the statement, or is killed.
pub struct StatementGuard {
    worker: Arc<Worker>,
    id: StatementId,
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
        next_statement: AtomicU64::new(0),
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
    /// Whether it has ended: it takes no further statement.
    pub fn has_ended(&self) -> bool {
        self.end.borrow().is_some()
    }

    /// How many statements run on it.
    pub fn load(&self) -> usize {
        self.lock().len()
    }

    /// Notes that another statement runs on it.
    pub fn enter(self: &Arc<Self>) -> StatementGuard {
        let id = self.next_statement.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id);
        StatementGuard {
            worker: self.clone(),
            id,
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
        let alone = ids.next().filter(|_| ids.next().is_none()).copied();
        self.last_alone.get_or_init(|| alone);
    }

    /// The error of this statement, whose worker went away under it, and whether another worker may
    /// try it: not when it was the only one on a worker that ran out of memory. One that came when
    /// the worker was gone already has nothing to do with its end.
    pub async fn loss(&self, id: StatementId) -> (QueryError, bool) {
        let reason = self.end_reason().await;
        let last_alone = self.last_alone.get().copied().flatten();
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
    async fn release(self: Arc<Self>, id: StatementId) {
        let begun = Instant::now();
        let before = processor_time(self.pid);
        let reason = loop {
            sleep(GRACE).await;
            let running = timeout(ANSWER, self.client.running()).await;
            match running {
                Ok(Ok(ids)) if !ids.contains(&id) => break None,
                // It does not listen any more: the process ends already, however slowly.
                Ok(Err(Failure::Lost)) => break Some(EndReason::Ended),
                _ if self.is_late(begun.elapsed(), before) => break Some(EndReason::Deadline),
                _ => {}
            }
        };
        if let Some(reason) = reason {
            self.kill.try_send(reason).ok();
        }
        self.lock().remove(&id);
    }

    /// Whether it has had what a statement may take to let go, since it had had `before` of the
    /// processors.
    fn is_late(&self, waited: Duration, before: Option<Duration>) -> bool {
        let worked = processor_time(self.pid).zip(before);
        let has_worked = worked.is_none_or(|(now, before)| now.saturating_sub(before) >= GRACE);
        has_worked || waited >= LONGEST_GRACE
    }

    /// The set is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<StatementId>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl StatementGuard {
    /// What the worker calls the statement.
    pub fn id(&self) -> StatementId {
        self.id
    }

    /// Whom it is sent through.
    pub fn client(&self) -> &WorkerClient {
        &self.worker.client
    }

    /// The worker has ended the statement.
    pub fn done(mut self) {
        self.done = true;
    }

    /// The error of the statement when its worker went away under it.
    pub async fn loss(&self) -> QueryError {
        self.worker.loss(self.id).await.0
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
            runtime.spawn(self.worker.clone().release(self.id));
        }
    }
}

#[cfg(test)]
impl Worker {
    /// A worker without a process that runs these statements, what ends it, and what kills it.
    pub(super) fn without_process(
        pid: u32,
        running: u64,
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
            next_statement: AtomicU64::new(running),
            statements: Mutex::new((0..running).collect()),
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
    use crate::worker::wire::{self, Kind};

    fn ended_worker(reason: EndReason, running: u64) -> Arc<Worker> {
        let (worker, end, _) = Worker::without_process(0, running);
        worker.note_last_statement();
        end.send_replace(Some(reason));
        worker
    }

    #[tokio::test]
    async fn only_the_statement_that_ran_alone_is_told_that_it_took_the_memory() {
        let worker = ended_worker(EndReason::Memory, 1);
        let (error, may_repeat) = worker.loss(0).await;
        assert_eq!((error.code, may_repeat), (ErrorCode::MemoryLimit, false));
        // Sent to the worker after its end, before another took its place.
        let late = worker.enter().id();
        let (error, may_repeat) = worker.loss(late).await;
        assert_eq!((error.code, may_repeat), (ErrorCode::WorkerLost, true));
        let two = ended_worker(EndReason::Memory, 2);
        assert!(two.loss(0).await.1 && two.loss(1).await.1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_died_under_a_statement_was_not_killed_for_being_late() {
        let (worker, _end, mut kills) = Worker::without_process(0, 0);
        drop(worker.enter());
        assert_eq!(kills.recv().await, Some(EndReason::Ended));
    }

    #[tokio::test]
    async fn a_worker_is_not_killed_for_a_statement_that_came_after_the_dropped_one() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("worker.sock");
        let listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let (mut worker, _end, mut kills) = Worker::without_process(0, 0);
        Arc::get_mut(&mut worker).unwrap().client = WorkerClient::new(socket);
        let dropped = worker.enter();
        // The same statement of the same user, by the same name.
        let again = worker.enter();
        let runs = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            wire::read_frame(&mut stream).await.unwrap();
            let ids = wire::to_json(&[1]).unwrap();
            wire::write_frame(&mut stream, Kind::Head, &ids).await
        });
        worker.clone().release(dropped.id()).await;
        runs.await.unwrap().unwrap();
        assert_eq!(again.id(), 1, "what the worker says that it runs");
        assert!(kills.try_recv().is_err());
    }
}
