//! The private folder of the sockets: nobody else may enter it, and it goes with its owner.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The longest path of a socket is 108 bytes; names inside the folder need the rest.
const MAX_FOLDER_BYTES: usize = 80;

/// What the names of such folders begin with.
const PREFIX: &str = "sql-";

/// A folder of mode 0700; dropping it removes it with all sockets.
#[derive(Debug)]
pub struct SocketFolder {
    path: PathBuf,
}

impl SocketFolder {
    /// `sql-` and the process id in the data folder, after those that killed processes left there
    /// are removed; a folder among the temporary files where that path is too long for a socket.
    pub fn make(data_dir: &Path) -> io::Result<Self> {
        remove_leftovers(data_dir);
        let name = format!("{PREFIX}{}", std::process::id());
        let near = std::path::absolute(data_dir)?.join(name);
        let path = if near.as_os_str().len() <= MAX_FOLDER_BYTES {
            near
        } else {
            let name = format!("headframe-{}", uuid::Uuid::new_v4().simple());
            std::env::temp_dir().join(name)
        };
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        Ok(Self { path })
    }

    /// Where a socket of this name is.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

/// Removes the folders of processes that are gone. One that cannot be removed harms nobody.
fn remove_leftovers(data_dir: &Path) {
    let entries = fs::read_dir(data_dir).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let Some(pid) = owner.and_then(|pid| pid.parse::<u32>().ok()) else {
            continue;
        };
        if !Path::new(&format!("/proc/{pid}")).exists() {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

impl Drop for SocketFolder {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next start.
        fs::remove_dir_all(&self.path).ok();
    }
}
