//! All workers of a front: who gets the next statement, and that there are always enough.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{ErrorCode, QueryError};
use crate::probe::Probe;
use crate::sql::{Description, Execution, SqlEngine, SqlRequest};
use crate::worker::client::Failure;
use crate::worker::folder::SocketFolder;
use crate::worker::process::{self, EndReason, StatementGuard, Worker};
use crate::worker::settings::WorkerSettings;
use crate::worker::statement;

pub use crate::worker::process::WorkerProgram;

/// Pause before a worker that does not start is tried again.
const AGAIN: Duration = Duration::from_millis(500);

/// Runs statements in child processes.
pub struct SqlWorkers {
    pool: Arc<Pool>,
    supervisor: JoinHandle<()>,
    _folder: SocketFolder,
}

struct Pool {
    program: WorkerProgram,
    settings: WorkerSettings,
    /// The first [`Pool::used`] of them get statements; the one beyond waits until one is lost.
    workers: Mutex<Vec<Arc<Worker>>>,
    used: usize,
    up: watch::Sender<usize>,
    lost: Notify,
    stop: CancellationToken,
    watched: TaskTracker,
}

impl SqlWorkers {
    /// Keeps `query.sql_workers` workers and a spare one from now on. `settings.socket` is replaced
    /// by each worker's own.
    pub fn start(program: WorkerProgram, settings: WorkerSettings, folder: SocketFolder) -> Self {
        let pool = Arc::new(Pool {
            program,
            used: settings.query.sql_workers,
            settings,
            workers: Mutex::default(),
            up: watch::channel(0).0,
            lost: Notify::new(),
            stop: CancellationToken::new(),
            watched: TaskTracker::new(),
        });
        let sockets = (0_u64..).map({
            let folder = folder.socket("");
            move |number| folder.join(format!("worker-{number}.sock"))
        });
        let supervisor = tokio::spawn(pool.clone().keep(sockets));
        Self {
            pool,
            supervisor,
            _folder: folder,
        }
    }

    /// Whether any worker is up, for `/ready`.
    pub fn probe(&self) -> WorkersProbe {
        WorkersProbe {
            up: self.pool.up.subscribe(),
        }
    }

    /// Ends every worker and waits until they are gone.
    pub async fn shutdown(&self) {
        self.pool.stop.cancel();
        self.pool.watched.close();
        self.pool.watched.wait().await;
    }
}

impl Drop for SqlWorkers {
    fn drop(&mut self) {
        // Their tasks own the children, which are killed when they are dropped.
        self.pool.stop.cancel();
        self.supervisor.abort();
    }
}

impl SqlEngine for SqlWorkers {
    fn execute<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Execution, QueryError>> {
        Box::pin(async move {
            let begun = Instant::now();
            let (mut execution, waited) = self
                .on_a_worker(request, |guard, left| {
                    Box::pin(async move { statement::execute(guard, &left).await })
                })
                .await?;
            metrics::histogram!("headframe_query_start_seconds").record(begun.elapsed());
            execution.times.worker = waited;
            Ok(execution)
        })
    }

    fn describe<'a>(
        &'a self,
        request: &'a SqlRequest,
    ) -> BoxFuture<'a, Result<Description, QueryError>> {
        Box::pin(async move {
            let described = self
                .on_a_worker(request, |guard, left| {
                    Box::pin(async move { statement::describe(guard, &left).await })
                })
                .await?;
            Ok(described.0)
        })
    }

    fn waits_for(&self) -> Option<&'static str> {
        let up = self.pool.lock().iter().any(|worker| !worker.has_ended());
        (!up).then_some("an SQL worker, none of which is up")
    }
}

/// One try of a statement on a worker.
type Attempt<T> = BoxFuture<'static, Result<T, Failure>>;

impl SqlWorkers {
    /// Sends a statement to a worker, and to another when that one is lost under it. Tells how
    /// long it waited for the worker, too.
    async fn on_a_worker<T>(
        &self,
        request: &SqlRequest,
        attempt: fn(StatementGuard, SqlRequest) -> Attempt<T>,
    ) -> Result<(T, Duration), QueryError> {
        let begun = Instant::now();
        let mut tried = false;
        loop {
            let worker = self.pool.take().await?;
            let waited = begun.elapsed();
            let mut left = request.clone();
            left.timeout = request
                .timeout
                .map(|timeout| timeout.saturating_sub(begun.elapsed()));
            let guard = worker.enter();
            let id = guard.id();
            let (error, may_repeat) = match attempt(guard, left).await {
                Ok(answer) => return Ok((answer, waited)),
                Err(Failure::Told(error)) => return Err(error),
                Err(Failure::Lost) => worker.loss(id).await,
            };
            if tried || !may_repeat {
                return Err(error);
            }
            tried = true;
        }
    }
}

impl Pool {
    /// The least busy worker; waits for one when none is up.
    async fn take(&self) -> Result<Arc<Worker>, QueryError> {
        let mut up = self.up.subscribe();
        loop {
            up.borrow_and_update();
            let least = {
                let workers = self.lock();
                // One that has ended stands in the list until it is gone; the spare one replaces it
                // at once.
                let alive = workers.iter().filter(|worker| !worker.has_ended());
                let used = alive.take(self.used);
                used.min_by_key(|worker| worker.load()).cloned()
            };
            if let Some(worker) = least {
                return Ok(worker);
            }
            if self.stop.is_cancelled() || up.changed().await.is_err() {
                return Err(QueryError::new(
                    ErrorCode::WorkerLost,
                    "no SQL worker is up: the server stops",
                    "send the statement again when it is back",
                ));
            }
        }
    }

    /// Starts workers until there are enough, again and again.
    async fn keep(self: Arc<Self>, mut sockets: impl Iterator<Item = std::path::PathBuf>) {
        loop {
            while self.lock().len() <= self.used {
                // The numbers of the sockets do not end.
                let Some(socket) = sockets.next() else { return };
                if let Err(error) = self.start_one(socket).await {
                    tracing::error!(%error, "cannot start an SQL worker; trying again");
                    tokio::time::sleep(AGAIN).await;
                }
            }
            tokio::select! {
                () = self.lost.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn start_one(self: &Arc<Self>, socket: std::path::PathBuf) -> io::Result<()> {
        let settings = WorkerSettings {
            socket,
            ..self.settings.clone()
        };
        let started = tokio::select! {
            started = process::start(&self.program, &settings) => started?,
            () = self.stop.cancelled() => return Ok(()),
        };
        let worker = started.worker.clone();
        self.lock().push(worker.clone());
        self.tell();
        let pool = self.clone();
        self.watched.spawn(async move {
            let reason = started.watch(pool.stop.clone()).await;
            pool.remove(&worker, reason);
        });
        Ok(())
    }

    fn remove(&self, worker: &Arc<Worker>, reason: EndReason) {
        self.lock().retain(|other| !Arc::ptr_eq(other, worker));
        self.tell();
        if reason == EndReason::Stopped {
            return;
        }
        metrics::counter!("headframe_sql_worker_restarts_total", "reason" => reason.as_str())
            .increment(1);
        tracing::warn!(
            pid = worker.pid,
            reason = reason.as_str(),
            statements = worker.load(),
            "an SQL worker ended; another takes its place"
        );
        self.lost.notify_one();
    }

    fn tell(&self) {
        let up = self.lock().len();
        metrics::gauge!("headframe_sql_workers").set(up as f64);
        self.up.send_replace(up);
    }

    /// The list is whole between any two statements, so that a panic elsewhere cannot have left it
    /// half changed.
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Worker>>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says when no worker is up.
pub struct WorkersProbe {
    up: watch::Receiver<usize>,
}

#[async_trait]
impl Probe for WorkersProbe {
    fn name(&self) -> &str {
        "sql workers"
    }

    async fn check(&self) -> Result<(), String> {
        match *self.up.borrow() {
            0 => Err("none is up; typed SQL waits, pages and ingest go on".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures::FutureExt;

    use super::*;
    use crate::config::QueryConfig;

    type End = watch::Sender<Option<EndReason>>;

    /// A pool that uses two workers and keeps a spare one; each runs so many statements.
    fn pool(statements: [u64; 3]) -> (Pool, [End; 3]) {
        let workers = [1, 2, 3].map(|pid| {
            let running = statements[pid - 1];
            let (worker, end, _) = Worker::without_process(pid as u32, running);
            (worker, end)
        });
        let settings = WorkerSettings {
            query: QueryConfig::default(),
            lake_url: String::new(),
            lake_options: Default::default(),
            user_tables: Vec::new(),
            socket: Default::default(),
            live_rows: Default::default(),
        };
        let pool = Pool {
            program: WorkerProgram {
                path: Default::default(),
                arguments: Vec::new(),
            },
            used: settings.query.sql_workers,
            settings,
            workers: Mutex::new(workers.iter().map(|(worker, _)| worker.clone()).collect()),
            up: watch::channel(3).0,
            lost: Notify::new(),
            stop: CancellationToken::new(),
            watched: TaskTracker::new(),
        };
        (pool, workers.map(|(_, end)| end))
    }

    /// The worker that the next statement goes to; `None` when it waits for one.
    fn next(pool: &Pool) -> Option<u32> {
        let taken = pool.take().now_or_never()?;
        taken.ok().map(|worker| worker.pid)
    }

    #[test]
    fn the_spare_worker_gets_statements_only_when_one_in_use_has_ended() {
        let (pool, ends) = pool([3, 1, 0]);
        assert_eq!(next(&pool), Some(2), "the less busy one of the two in use");
        ends[1].send_replace(Some(EndReason::Memory));
        assert_eq!(next(&pool), Some(3), "the spare one steps in at once");
        ends[2].send_replace(Some(EndReason::Ended));
        assert_eq!(next(&pool), Some(1), "busy as it is");
    }

    #[tokio::test]
    async fn a_worker_that_has_ended_gets_no_statement_before_another_is_up() {
        let (pool, ends) = pool([0, 0, 0]);
        for end in &ends {
            end.send_replace(Some(EndReason::Ended));
        }
        assert_eq!(next(&pool), None, "all of them have ended");
        let mut waiting = std::pin::pin!(pool.take());
        assert!(waiting.as_mut().now_or_never().is_none());
        let (fresh, _end, _) = Worker::without_process(4, 0);
        pool.lock().push(fresh);
        pool.tell();
        assert_eq!(waiting.await.unwrap().pid, 4);
        let gone = pool.lock()[0].clone();
        pool.remove(&gone, EndReason::Ended);
        assert_eq!(next(&pool), Some(4));
        assert!(
            pool.lost.notified().now_or_never().is_some(),
            "another one is started in its place"
        );
    }
}
