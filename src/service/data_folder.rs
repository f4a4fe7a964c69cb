//! The data folder, closed to other users of the machine: it holds keys, the streams with every
//! miner's address, and the tables.

use std::fs::{DirBuilder, Permissions};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// For its owner only.
const MODE: u32 = 0o700;

/// Makes the folder if it is missing, and closes one that is open to others. When that is not
/// allowed, the log says what to do.
pub fn make_private(folder: &Path) -> std::io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(MODE)
        .create(folder)?;
    let mode = std::fs::metadata(folder)?.permissions().mode() & 0o777;
    if mode & !MODE == 0 {
        return Ok(());
    }
    let (shown, mode) = (folder.display(), format!("{mode:o}"));
    match std::fs::set_permissions(folder, Permissions::from_mode(MODE)) {
        Ok(()) => tracing::warn!(
            data_dir = %shown,
            mode,
            "the data folder was open to other users; now only its owner may enter it (700)"
        ),
        Err(error) => tracing::warn!(
            data_dir = %shown,
            mode,
            %error,
            "the data folder is open to other users and cannot be closed; its owner should run \
             chmod 700 on it"
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn mode(folder: &Path) -> u32 {
        std::fs::metadata(folder).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_folder_is_closed_and_an_open_one_is_closed_with_what_it_holds() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/data");
        make_private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        std::fs::write(folder.join("key"), "k").unwrap();
        for open in [0o755, 0o750, 0o701] {
            std::fs::set_permissions(&folder, Permissions::from_mode(open)).unwrap();
            make_private(&folder).unwrap();
            assert_eq!(mode(&folder), 0o700, "{open:o}");
        }
        assert_eq!(std::fs::read(folder.join("key")).unwrap(), b"k");
        // A folder that is closed further stays as its owner wants it.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o500)).unwrap();
        make_private(&folder).unwrap();
        assert_eq!(mode(&folder), 0o500);
        assert!(make_private(&folder.join("key")).is_err(), "it is a file");
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
    }
}
