//! Our own `nats-server`: configured for durability, started, watched, started again when it dies,
//! stopped gently.
//!
//! It is a child process in a data folder. A lock file keeps two of us out of one folder; a server
//! left over by a killed parent is stopped first, because two servers in one store would destroy
//! it.

use std::fs::{File, TryLockError};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::NatsConfig;

pub mod credentials;
mod files;

use credentials::Credentials;

/// Environment variable with the path of the `nats-server` binary.
pub const BINARY_ENV: &str = "HEADFRAME_NATS_SERVER";

/// How to run a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The binary; see [`find_nats_server`].
    pub binary: PathBuf,
    /// Folder for its store, configuration, log and pid.
    pub data_dir: PathBuf,
    /// Port on 127.0.0.1; 0 takes a free one, which restarts keep.
    pub port: u16,
    /// The largest message, in bytes.
    pub max_payload: usize,
    /// How long it may take from start to the first greeting.
    pub start_timeout: Duration,
    /// How long it may take to stop before it is killed.
    pub stop_timeout: Duration,
}

impl ServerConfig {
    /// The usual settings for a folder.
    pub fn new(binary: PathBuf, data_dir: PathBuf) -> Self {
        Self {
            binary,
            data_dir,
            port: 0,
            max_payload: 8 * 1024 * 1024,
            start_timeout: Duration::from_secs(60),
            stop_timeout: Duration::from_secs(20),
        }
    }
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// No binary was found.
    #[error(
        "cannot find nats-server: set {BINARY_ENV}, put it at .parts/bin/nats-server, or install \
         it on PATH"
    )]
    NoBinary,
    /// A file could not be handled.
    #[error("cannot {attempt} {path}: {source}")]
    File {
        /// What was attempted.
        attempt: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A key file holds no key.
    #[error(
        "{path} holds no key of a NATS user: {reason}; restore it, or remove it to have a new one \
         made"
    )]
    Key {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An older version of this program ran in the folder after a newer one.
    #[error(
        "there are streams in {named} and, from an older version of headframe, in {anonymous}; \
         keep the folder whose streams the tables follow, and move the other one away"
    )]
    TwoStores {
        /// The folder of the older version.
        anonymous: PathBuf,
        /// The folder of this version.
        named: PathBuf,
    },
    /// Somebody else works in the folder.
    #[error("{0} is in use by another headframe process; stop it or choose another data folder")]
    Locked(PathBuf),
    /// It does not come up.
    #[error("nats-server did not start within {seconds} s: {reason}; see {log}")]
    Start {
        /// How long was waited.
        seconds: u64,
        /// What happened.
        reason: String,
        /// Where it logs.
        log: PathBuf,
    },
    /// A server left over from before does not go away.
    #[error("an old nats-server (pid {0}) holds the store and does not stop; stop it by hand")]
    Orphan(u32),
}

/// A running server. Dropping it kills the child; [`ManagedServer::shutdown`] stops it gently.
#[derive(Debug)]
pub struct ManagedServer {
    url: String,
    own_seed: PathBuf,
    pid: watch::Receiver<Option<u32>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _lock: File,
}

/// The binary: `$HEADFRAME_NATS_SERVER`, else `.parts/bin/nats-server` in the current folder or
/// above, else on `PATH`.
pub fn find_nats_server() -> Result<PathBuf, ServerError> {
    if let Some(path) = std::env::var_os(BINARY_ENV) {
        let path = PathBuf::from(path);
        return if path.is_file() {
            Ok(path)
        } else {
            Err(ServerError::NoBinary)
        };
    }
    let here = std::env::current_dir().unwrap_or_default();
    let near = here
        .ancestors()
        .map(|folder| folder.join(".parts/bin/nats-server"));
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = std::env::split_paths(&paths)
        .map(|folder| folder.join("nats-server"))
        .collect();
    near.chain(on_path)
        .find(|path| path.is_file())
        .ok_or(ServerError::NoBinary)
}

impl ManagedServer {
    /// Starts a server and waits until it answers.
    pub async fn start(config: ServerConfig) -> Result<Self, ServerError> {
        let files = files::Files::create(&config.data_dir)?;
        let lock = lock(&files.lock)?;
        stop_orphan(&config, &files).await?;
        files.move_streams_into_account()?;
        let credentials = Credentials::load_or_create(files.folder())?;
        let mut port = if config.port == 0 {
            None
        } else {
            Some(config.port)
        };
        files.write_config(port, config.max_payload, &credentials)?;
        let mut child = spawn(&config, &files)?;
        let found = match wait_ready(&config, &files, port, &mut child).await {
            Ok(found) => found,
            Err(error) => {
                child.start_kill().ok();
                child.wait().await.ok();
                return Err(error);
            }
        };
        port = Some(found);
        files.write_config(port, config.max_payload, &credentials)?;
        let (pid_tx, pid) = watch::channel(child.id());
        let stop = CancellationToken::new();
        let task = tokio::spawn(supervise(config, files, found, child, pid_tx, stop.clone()));
        let url = format!("nats://127.0.0.1:{found}");
        tracing::info!(url, "nats-server runs");
        Ok(Self {
            url,
            own_seed: credentials.own_seed,
            pid,
            stop,
            task,
            _lock: lock,
        })
    }

    /// Where clients connect.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How this program's own processes connect: where, and with which key.
    pub fn client_config(&self) -> NatsConfig {
        NatsConfig {
            url: self.url.clone(),
            nkey_file: Some(self.own_seed.clone()),
            ..NatsConfig::default()
        }
    }

    /// How to connect to the server of a folder that another process of ours runs: the address that
    /// it wrote down, and its key.
    pub fn client_config_of(data_dir: &Path) -> Result<NatsConfig, ServerError> {
        let config = data_dir.join("nats.conf");
        let failed = |source| ServerError::File {
            attempt: "read (is a `headframe up` with this data folder running?)",
            path: config.clone(),
            source,
        };
        let text = std::fs::read_to_string(&config).map_err(failed)?;
        let missing = || failed(std::io::ErrorKind::InvalidData.into());
        let listen = files::listen_address(&text).ok_or_else(missing)?;
        Ok(NatsConfig {
            url: format!("nats://{listen}"),
            nkey_file: Some(data_dir.join(credentials::OWN_SEED)),
            ..NatsConfig::default()
        })
    }

    /// The child's process id; `None` while it is being restarted.
    pub fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Tells of every start and end of the child.
    pub fn pids(&self) -> watch::Receiver<Option<u32>> {
        self.pid.clone()
    }

    /// Stops the server gently: SIGTERM, and SIGKILL after the configured time.
    pub async fn shutdown(mut self) {
        self.stop.cancel();
        (&mut self.task).await.ok();
    }
}

impl Drop for ManagedServer {
    fn drop(&mut self) {
        // The child is owned by the task and spawned with `kill_on_drop`.
        self.task.abort();
    }
}

fn lock(path: &Path) -> Result<File, ServerError> {
    let wrap = |source| ServerError::File {
        attempt: "lock",
        path: path.to_owned(),
        source,
    };
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(wrap)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ServerError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(wrap(source)),
    }
}

fn spawn(config: &ServerConfig, files: &files::Files) -> Result<Child, ServerError> {
    Command::new(&config.binary)
        .arg("-c")
        .arg(&files.config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // A Ctrl-C in the terminal must reach us alone, so that the order of stopping is ours.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| ServerError::File {
            attempt: "run",
            path: config.binary.clone(),
            source,
        })
}

/// Waits for the greeting; answers the port. The port is read from the ports file when it was left
/// open.
async fn wait_ready(
    config: &ServerConfig,
    files: &files::Files,
    port: Option<u16>,
    child: &mut Child,
) -> Result<u16, ServerError> {
    let deadline = Instant::now() + config.start_timeout;
    let failed = |reason: String| ServerError::Start {
        seconds: config.start_timeout.as_secs(),
        reason,
        log: files.log.clone(),
    };
    let pid = child.id().unwrap_or_default();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(failed(format!("it ended with {status}")));
        }
        if let Some(port) = port.or_else(|| files.read_port(pid))
            && greets(port).await
        {
            return Ok(port);
        }
        if Instant::now() > deadline {
            return Err(failed("it does not answer".to_owned()));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn greets(port: u16) -> bool {
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let attempt = async {
        let stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.readable().await.ok()?;
        let mut greeting = [0_u8; 5];
        let read = stream.try_read(&mut greeting).ok()?;
        (greeting[..read] == *b"INFO ").then_some(())
    };
    tokio::time::timeout(Duration::from_secs(1), attempt)
        .await
        .ok()
        .flatten()
        .is_some()
}

async fn supervise(
    config: ServerConfig,
    files: files::Files,
    port: u16,
    mut child: Child,
    pid: watch::Sender<Option<u32>>,
    stop: CancellationToken,
) {
    let mut backoff = Duration::from_millis(50);
    loop {
        let started = Instant::now();
        tokio::select! {
            () = stop.cancelled() => {
                end(&config, &mut child).await;
                pid.send_replace(None);
                return;
            }
            status = child.wait() => {
                pid.send_replace(None);
                metrics::counter!("headframe_nats_server_restarts_total").increment(1);
                tracing::error!(?status, "nats-server ended; starting it again");
            }
        }
        if started.elapsed() > Duration::from_secs(60) {
            backoff = Duration::from_millis(50);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(Duration::from_secs(5));
            match spawn(&config, &files) {
                Ok(next) => {
                    child = next;
                    break;
                }
                Err(error) => tracing::error!(%error, "cannot start nats-server; trying again"),
            }
        }
        pid.send_replace(child.id());
        tracing::info!(port, "nats-server started again");
    }
}

async fn end(config: &ServerConfig, child: &mut Child) {
    if let Some(pid) = child.id() {
        signal(&config.binary, "term", pid).await;
    }
    if tokio::time::timeout(config.stop_timeout, child.wait())
        .await
        .is_err()
    {
        tracing::warn!("nats-server does not stop; killing it");
        child.kill().await.ok();
    }
}

/// Sends a signal through `nats-server --signal`, which needs no unsafe code.
async fn signal(binary: &Path, name: &str, pid: u32) {
    let result = Command::new(binary)
        .arg("--signal")
        .arg(format!("{name}={pid}"))
        .output()
        .await;
    if let Err(error) = result {
        tracing::warn!(%error, pid, "cannot signal nats-server");
    }
}

/// Stops a server that an earlier, killed parent left behind in this folder.
async fn stop_orphan(config: &ServerConfig, files: &files::Files) -> Result<(), ServerError> {
    let Some(pid) = files.orphan() else {
        return Ok(());
    };
    tracing::warn!(pid, "stopping a nats-server left over in the data folder");
    for name in ["term", "stop"] {
        signal(&config.binary, name, pid).await;
        let deadline = Instant::now() + config.stop_timeout;
        while Instant::now() < deadline {
            if files.orphan().is_none() {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
    Err(ServerError::Orphan(pid))
}
