//! The file that keeps bans over a restart: one JSON line a ban, always replaced as a whole.
//!
//! It holds plain addresses, which it must to be of use, so only its owner may read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::bans::Ban;

/// Reads the bans and the numbers of the lines that are none. No file is no bans.
pub fn read(path: &Path) -> io::Result<(Vec<Ban>, Vec<usize>)> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((Vec::new(), Vec::new()));
        }
        Err(error) => return Err(error),
    };
    let (mut bans, mut bad) = (Vec::new(), Vec::new());
    for (line, number) in text
        .lines()
        .zip(1..)
        .filter(|(line, _)| !line.trim().is_empty())
    {
        match serde_json::from_str(line) {
            Ok(ban) => bans.push(ban),
            Err(_) => bad.push(number),
        }
    }
    Ok((bans, bad))
}

/// Replaces the file. Either the old or the new one survives a crash, never half of one.
pub fn write(path: &Path, bans: &[Ban]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut fresh: PathBuf = path.to_owned();
    fresh.as_mut_os_string().push(".new");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)?;
    let mut out = BufWriter::new(file);
    for ban in bans {
        serde_json::to_writer(&mut out, ban)?;
        out.write_all(b"\n")?;
    }
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)?
        .sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(folder)?.sync_all()
}
