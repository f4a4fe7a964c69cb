//! The pool's self-made pair of files: made once, found ever after, and never half.
//!
//! Each file appears under its name only when it is whole and on the disk, the key first, so that a
//! crash at any moment leaves either nothing or something the next start completes.

use rcgen::{CertificateParams, DnType, KeyPair};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::TlsError;

const CERT_FILE: &str = "stratum-cert.pem";
const KEY_FILE: &str = "stratum-key.pem";
/// For its owner only.
const KEY_MODE: u32 = 0o600;
const CERT_MODE: u32 = 0o644;

/// The certificate's and the key's file in this folder, made if they are not there.
pub(super) fn pair(folder: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let (cert, key) = (folder.join(CERT_FILE), folder.join(KEY_FILE));
    match (exists(&cert)?, exists(&key)?) {
        (true, true) => return Ok((cert, key)),
        (true, false) => return Err(TlsError::KeyGone { cert, key }),
        (false, key_there) => {
            std::fs::create_dir_all(folder)
                .map_err(|reason| file("make the folder", folder, reason))?;
            let pair = if key_there {
                known(&key)?
            } else {
                new(folder, &key)?
            };
            let mut params = CertificateParams::new(vec!["headframe".to_owned()])?;
            params
                .distinguished_name
                .push(DnType::CommonName, "headframe stratum");
            write(
                folder,
                &cert,
                CERT_MODE,
                params.self_signed(&pair)?.pem().as_bytes(),
            )?;
        }
    }
    tracing::info!(cert = %cert.display(), "a certificate for miners was made");
    Ok((cert, key))
}

/// Where the pool's own certificate is or will be.
pub(super) fn cert_file(folder: &Path) -> PathBuf {
    folder.join(CERT_FILE)
}

/// A file's bytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|reason| file("read", path, reason))
}

/// Says so when others on this machine can read the key.
pub(super) fn warn_of_open_key(key: &Path) {
    let open =
        std::fs::metadata(key).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0);
    if open {
        tracing::warn!(key = %key.display(), "the key can be read by other users of this machine; \
                                              chmod 600 it");
    }
}

fn exists(path: &Path) -> Result<bool, TlsError> {
    path.try_exists()
        .map_err(|reason| file("look for", path, reason))
}

/// The key a crash left without its certificate.
fn known(path: &Path) -> Result<KeyPair, TlsError> {
    let text = std::fs::read_to_string(path).map_err(|reason| file("read", path, reason))?;
    Ok(KeyPair::from_pem(&text)?)
}

/// ECDSA on P-256, which every OpenSSL that XMRig was ever built with can check.
fn new(folder: &Path, path: &Path) -> Result<KeyPair, TlsError> {
    let pair = KeyPair::generate()?;
    write(folder, path, KEY_MODE, pair.serialize_pem().as_bytes())?;
    Ok(pair)
}

fn write(folder: &Path, path: &Path, mode: u32, bytes: &[u8]) -> Result<(), TlsError> {
    let unfinished = path.with_extension("pem.new");
    match std::fs::remove_file(&unfinished) {
        Err(reason) if reason.kind() != ErrorKind::NotFound => {
            return Err(file("remove", &unfinished, reason));
        }
        _ => {}
    }
    let written = || {
        let mut out = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)?;
        out.write_all(bytes)?;
        out.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        File::open(folder)?.sync_all()
    };
    written().map_err(|reason| file("write", path, reason))
}

fn file(attempt: &'static str, path: &Path, reason: std::io::Error) -> TlsError {
    TlsError::File {
        attempt,
        path: path.to_owned(),
        reason,
    }
}
