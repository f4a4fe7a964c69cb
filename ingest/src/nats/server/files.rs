//! The files of a managed server: where they lie and what is in them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::ServerError;
use super::credentials::{ACCOUNT, Credentials, write_private};

/// The paths in a data folder.
#[derive(Debug, Clone)]
pub struct Files {
    /// `nats.conf`, rewritten at each start.
    pub config: PathBuf,
    /// `nats.log`.
    pub log: PathBuf,
    /// `nats.lock`, held while a parent lives.
    pub lock: PathBuf,
    folder: PathBuf,
    pid: PathBuf,
    store: PathBuf,
    run: PathBuf,
}

impl Files {
    /// Creates the folders, and closes the data folder to other users.
    pub fn create(data_dir: &Path) -> Result<Self, ServerError> {
        let (store, run) = (data_dir.join("jetstream"), data_dir.join("run"));
        for folder in [&store, &run] {
            fs::create_dir_all(folder).map_err(|source| ServerError::File {
                attempt: "create",
                path: folder.clone(),
                source,
            })?;
        }
        // The server is told absolute paths, so that nobody's current folder matters.
        let data_dir = fs::canonicalize(data_dir).map_err(|source| ServerError::File {
            attempt: "find",
            path: data_dir.to_owned(),
            source,
        })?;
        fs::set_permissions(&data_dir, fs::Permissions::from_mode(0o700)).map_err(|source| {
            ServerError::File {
                attempt: "close to others",
                path: data_dir.clone(),
                source,
            }
        })?;
        Ok(Self {
            config: data_dir.join("nats.conf"),
            log: data_dir.join("nats.log"),
            lock: data_dir.join("nats.lock"),
            pid: data_dir.join("run/nats.pid"),
            store: data_dir.join("jetstream"),
            run: data_dir.join("run"),
            folder: data_dir,
        })
    }

    /// The data folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Moves the streams of a store from before there were credentials into the account that has
    /// them now. No server may run on it.
    pub fn move_streams_into_account(&self) -> Result<(), ServerError> {
        let accounts = self.store.join("jetstream");
        let (anonymous, named) = (accounts.join("$G"), accounts.join(ACCOUNT));
        if !anonymous.join("streams").exists() {
            return Ok(());
        }
        if named.exists() {
            return Err(ServerError::TwoStores { anonymous, named });
        }
        tracing::info!(
            account = ACCOUNT,
            "moving the streams into an account that needs a key"
        );
        fs::rename(&anonymous, &named).map_err(|source| ServerError::File {
            attempt: "move into an account",
            path: anonymous.clone(),
            source,
        })
    }

    /// Writes the configuration; without a port the server chooses one and writes it into the run
    /// folder.
    pub fn write_config(
        &self,
        port: Option<u16>,
        max_payload: usize,
        credentials: &Credentials,
    ) -> Result<(), ServerError> {
        let port = port.map_or("-1".to_owned(), |port| port.to_string());
        let text = format!(
            "# Written by headframe at each start.\n\
             server_name: headframe\n\
             listen: \"127.0.0.1:{port}\"\n\
             max_payload: {max_payload}\n\
             write_deadline: \"30s\"\n\
             pid_file: {}\n\
             ports_file_dir: {}\n\
             log_file: {}\n\
             logfile_size_limit: 64MB\n\
             jetstream {{\n    store_dir: {}\n    # An acknowledgement is a promise: each one \
             waits for the disk.\n    sync_interval: always\n}}\n{}",
            quoted(&self.pid),
            quoted(&self.run),
            quoted(&self.log),
            quoted(&self.store),
            credentials.accounts_section(),
        );
        write_private(&self.config, text.as_bytes()).map_err(|source| ServerError::File {
            attempt: "write",
            path: self.config.clone(),
            source,
        })
    }

    /// The port a server with this pid wrote down; `None` until it has.
    pub fn read_port(&self, pid: u32) -> Option<u16> {
        let suffix = format!("_{pid}.ports");
        let entry = fs::read_dir(&self.run)
            .ok()?
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().ends_with(&suffix))?;
        let ports: serde_json::Value =
            serde_json::from_slice(&fs::read(entry.path()).ok()?).ok()?;
        let url = ports.get("nats")?.get(0)?.as_str()?;
        url.rsplit(':').next()?.parse().ok()
    }

    /// The pid of a server that still runs with this folder's configuration although its parent is
    /// gone.
    pub fn orphan(&self) -> Option<u32> {
        let pid: u32 = fs::read_to_string(&self.pid).ok()?.trim().parse().ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let config = self.config.to_string_lossy();
        // Pids are reused; only a process that was started on our configuration file is ours.
        command
            .split(|&byte| byte == 0)
            .any(|word| word == config.as_bytes())
            .then_some(pid)
    }
}

/// Where a server listens, as its configuration says; `None` while it has not chosen a port.
pub fn listen_address(config: &str) -> Option<SocketAddr> {
    let line = config
        .lines()
        .find_map(|line| line.strip_prefix("listen: "))?;
    line.trim_matches('"').parse().ok()
}

fn quoted(path: &Path) -> String {
    format!("{:?}", path.to_string_lossy())
}
