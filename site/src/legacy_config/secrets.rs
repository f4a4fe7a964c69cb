//! Secrets out of the old file into files of their own.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{LegacyError, error};

/// Writes a secret into a file of mode 0600 in a folder of mode 0700; the file's path.
pub fn store(folder: &Path, name: &str, secret: &str) -> Result<PathBuf, LegacyError> {
    let path = folder.join(name);
    let cannot = |why: std::io::Error| {
        let shown = path.display();
        error(
            format!("[NOTIFICATIONS] {name}"),
            format!("cannot be written to {shown}: {why}"),
        )
    };
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(cannot)?;
    // One that says it already is left alone: a controller that runs may be reading it.
    let is_private = |data: std::fs::Metadata| data.permissions().mode() & 0o077 == 0;
    if std::fs::metadata(&path).is_ok_and(is_private)
        && std::fs::read(&path).is_ok_and(|stored| stored == secret.as_bytes())
    {
        return Ok(path);
    }
    // Removed first, so that a file that others may read does not keep its mode.
    match std::fs::remove_file(&path) {
        Err(why) if why.kind() != std::io::ErrorKind::NotFound => return Err(cannot(why)),
        _ => {}
    }
    let mut options = std::fs::File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .map_err(cannot)?;
    file.write_all(secret.as_bytes()).map_err(cannot)?;
    Ok(path)
}
