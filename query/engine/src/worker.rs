//! A worker: one process that runs statements for a front and nothing else.
//!
//! Statements are planned and run on the runtime of the process; connections are served on a thread
//! of its own, so that a worker which is busy planning still says what it works on. It bounds its
//! own memory before it does anything, offers itself to the system's killer of processes first, and
//! ends when its standard input is closed. The threads of statements give way to everything else on
//! the machine, and leave a core to the pool where that runs beside them: a share waits for one
//! hash, which is slower on a core that it shares even with threads that give way.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use core_affinity::CoreId;
use futures::StreamExt;
use futures::future::BoxFuture;
use headframe_query_front::worker::WorkerSettings;
use headframe_query_front::worker::wire::{
    self, AnswerHead, DescriptionHead, Kind, Request, StatementId,
};
use headframe_query_front::{Execution, QueryError, SqlEngine, SqlRequest};
use headframe_schemas::stream as streams;
use headframe_sinks::Lake;
use rustix::process::{Resource, Rlimit};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::delta::{DeltaTables, StoredUserTable};
use crate::engine::Engine;
use crate::remote_source::RemoteSource;
use crate::serve::{self, Answers, FrameSender, RowFrames};
use crate::source::Source;
use crate::tail_cache::TailCache;

/// Address space for stacks of threads, which is reserved and never used up, in MiB.
const STACKS_MIB: u64 = 256;
/// Stack of each thread that runs statements, as deep as in the process that serves.
const STACK_BYTES: usize = 8 << 20;
/// The name of those threads.
const STATEMENTS: &str = "statements";
/// How readily the system kills a worker instead of anything else: 1,000 is the most.
const OOM_SCORE: &str = "900";

/// Why a worker does not start.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Its memory cannot be bounded.
    #[error("cannot bound the memory of the worker: {0}")]
    Limit(rustix::io::Errno),
    /// Its socket or a thread cannot be made.
    #[error("cannot serve at {socket}: {source}")]
    Serve {
        /// The socket.
        socket: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The tables cannot be opened.
    #[error(transparent)]
    Tables(#[from] headframe_sinks::SinkError),
    /// The engine cannot be made.
    #[error(transparent)]
    Engine(#[from] crate::error::EngineError),
}

/// Serves until the process ends. It must be called inside a runtime.
pub async fn run(settings: WorkerSettings) -> Result<(), WorkerError> {
    bound_memory(settings.query.worker_memory_mib() as u64)?;
    // A system without this file has no killer that could be told.
    std::fs::write("/proc/self/oom_score_adj", OOM_SCORE).ok();
    let engine = engine(&settings)?;
    let failed = |source| WorkerError::Serve {
        socket: settings.socket.display().to_string(),
        source,
    };
    let query = &settings.query;
    let statements = Statements::start(query.worker_niceness, query.worker_cores);
    let statements = statements.map_err(failed)?;
    let service = Arc::new(WorkerService {
        engine: Arc::new(engine),
        running: Arc::default(),
        runtime: statements.handle(),
    });
    let (socket, ended) = (settings.socket.clone(), tokio::sync::oneshot::channel());
    let thread = std::thread::Builder::new().name("sockets".to_owned());
    let serve = move || {
        ended.0.send(serve_on(&socket, service)).ok();
    };
    thread.spawn(serve).map_err(failed)?;
    match ended.1.await {
        Ok(served) => served.map_err(failed),
        Err(_) => Ok(()),
    }
}

/// The threads that run statements.
struct Statements(Option<Runtime>);

impl Statements {
    /// A thread's priority is its own and goes on to the threads it starts, so that a runtime which
    /// runs already cannot be asked to give way.
    /// They use `cores` of the cores that this process may use, or all of them where it is 0.
    fn start(niceness: u8, cores: usize) -> std::io::Result<Self> {
        let start = move || {
            // Where it is not allowed, memory and time are bounded still.
            rustix::process::nice(i32::from(niceness)).ok();
            let mut runtime = Builder::new_multi_thread();
            runtime.enable_all().thread_name(STATEMENTS);
            let usable = last_cores(core_affinity::get_core_ids().unwrap_or_default(), cores);
            if !usable.is_empty() {
                runtime.worker_threads(usable.len());
                let next = AtomicUsize::new(0);
                runtime.on_thread_start(move || {
                    let place = next.fetch_add(1, Ordering::Relaxed) % usable.len();
                    core_affinity::set_for_current(usable[place]);
                });
            }
            runtime.thread_stack_size(STACK_BYTES).build()
        };
        let thread = std::thread::Builder::new().spawn(start)?;
        let failed = |_| std::io::Error::other("the thread that starts the others panicked");
        Ok(Self(Some(thread.join().map_err(failed)??)))
    }

    fn handle(&self) -> Handle {
        self.0
            .as_ref()
            .map_or_else(Handle::current, |runtime| runtime.handle().clone())
    }
}

impl Drop for Statements {
    fn drop(&mut self) {
        // The process ends, and waits for no statement.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The last cores of all, one for each thread to stay on; none where every core may be used, so
/// that the system moves threads as it likes.
fn last_cores(mut all: Vec<CoreId>, cores: usize) -> Vec<CoreId> {
    match cores {
        0 => Vec::new(),
        cores if cores >= all.len() => Vec::new(),
        cores => all.split_off(all.len() - cores),
    }
}

/// Ends the process as soon as standard input is closed, even when every other thread is busy.
pub fn end_with_input() -> std::io::Result<()> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the runtime may be busy for minutes, and a worker has nothing to drain"
    )]
    let wait = || {
        let mut rest = [0_u8; 64];
        while matches!(std::io::stdin().read(&mut rest), Ok(read) if read > 0) {}
        std::process::exit(0);
    };
    let thread = std::thread::Builder::new().name("input".to_owned());
    thread.spawn(wait).map(|_| ())
}

fn bound_memory(mib: u64) -> Result<(), WorkerError> {
    let bytes = Some((mib + STACKS_MIB) << 20);
    let limit = Rlimit {
        current: bytes,
        maximum: bytes,
    };
    rustix::process::setrlimit(Resource::Data, limit).map_err(WorkerError::Limit)
}

fn engine(settings: &WorkerSettings) -> Result<Engine, WorkerError> {
    let lake = Lake::open(&settings.lake_url, &settings.lake_options)?;
    let kept = Arc::new(TailCache::default());
    let source = |stream: &&'static dyn headframe_schemas::Stream| -> Arc<dyn Source> {
        let tables = Arc::new(DeltaTables::open(&lake, *stream));
        Arc::new(RemoteSource::new(
            *stream,
            tables,
            settings.live_rows.clone(),
            kept.clone(),
        ))
    };
    let sources = streams::ALL.iter().map(source).collect();
    let stores = vec![(lake.object_store_url(), lake.store().clone())];
    let user_tables = settings.user_tables.iter().cloned();
    let user_tables = user_tables.map(|table| StoredUserTable::open(&lake, table));
    let engine = Engine::new(settings.query.clone(), sources, stores)?;
    Ok(engine.with_user_tables(user_tables.collect())?)
}

fn serve_on(socket: &Path, service: Arc<WorkerService>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = serve::listen(socket)?;
        let mut output = std::io::stdout();
        output.write_all(b"ready\n")?;
        output.flush()?;
        serve::serve(listener, service).await
    })
}

struct WorkerService {
    engine: Arc<Engine>,
    running: Arc<Mutex<HashSet<StatementId>>>,
    runtime: Handle,
}

impl Answers<Request> for WorkerService {
    fn answer(
        &self,
        request: Request,
        frames: FrameSender,
    ) -> BoxFuture<'_, Result<(), QueryError>> {
        Box::pin(async move {
            let (statement, only_described) = match request {
                Request::Running => {
                    let ids = {
                        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                        wire::to_json(&*running)?
                    };
                    frames.send((Kind::Head, ids)).await.ok();
                    return Ok(());
                }
                Request::Statement(statement) => (statement, false),
                Request::Describe(statement) => (statement, true),
            };
            let running = Running::enter(&self.running, statement.id());
            let request = statement.into_request();
            let engine = self.engine.clone();
            let mut statement = AbortOnDrop(self.runtime.spawn(async move {
                let _running = running;
                match only_described {
                    true => describe(&engine, &request, frames).await,
                    false => answer(&engine, &request, frames).await,
                }
            }));
            match (&mut statement.0).await {
                Ok(answered) => answered,
                Err(error) => Err(QueryError::internal(format!(
                    "the statement ended: {error}"
                ))),
            }
        })
    }
}

/// Runs a statement and sends what it gives.
async fn answer(
    engine: &Engine,
    request: &SqlRequest,
    frames: FrameSender,
) -> Result<(), QueryError> {
    let Execution {
        schema,
        coverage,
        times,
        mut batches,
    } = engine.execute(request).await?;
    let head = wire::to_json(&AnswerHead::new(&coverage, times))?;
    frames.send((Kind::Head, head)).await.ok();
    let mut rows = RowFrames::start(&schema, frames).await?;
    while let Some(batch) = batches.next().await {
        rows.rows(batch?).await?;
    }
    rows.finish().await
}

/// Plans a statement and sends what it takes and gives.
async fn describe(
    engine: &Engine,
    request: &SqlRequest,
    frames: FrameSender,
) -> Result<(), QueryError> {
    let described = engine.describe(request).await?;
    let head = DescriptionHead {
        parameters: described.parameters,
    };
    frames.send((Kind::Head, wire::to_json(&head)?)).await.ok();
    RowFrames::start(&described.schema, frames)
        .await?
        .finish()
        .await
}

/// Ends a statement whose client is gone.
struct AbortOnDrop(JoinHandle<Result<(), QueryError>>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Keeps a statement among those that run.
struct Running {
    all: Arc<Mutex<HashSet<StatementId>>>,
    id: StatementId,
}

impl Running {
    fn enter(all: &Arc<Mutex<HashSet<StatementId>>>, id: StatementId) -> Self {
        all.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
        Self {
            all: all.clone(),
            id,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.id);
    }
}
